//! Questions as ratios: every case in turn, round after round, so that all see the same machine.

use std::fmt;
use std::time::Duration;

use vertebra::BoxError;

use crate::question::{Case, Question};
use crate::stopwatch::Measured;

/// How long and how often each case runs.
#[derive(Debug, Clone, Copy)]
pub struct Effort {
    /// Rounds; each runs every case of the question once.
    pub rounds: usize,
    /// About how long a case runs in one round.
    pub round: Duration,
}

/// Wall time over CPU time of two threads that work at once, each on a core of its own, is about a half. Sharing a core,
/// they stop moving cache lines, and the base - which moves most - becomes several times cheaper; such rounds are left out.
const OVERLAP_MAX: f64 = 0.7;
/// Rounds tried for one that counts, where not every round does.
const ATTEMPTS: usize = 4;

/// What the cases of a question took.
#[derive(Debug)]
pub struct Answer {
    /// The question.
    pub name: &'static str,
    /// Its cases, the base first.
    pub rows: Vec<Row>,
    /// Rounds that counted. In none of them the figures mean anything when there are none.
    pub rounds: usize,
    /// Whether rounds could be left out, because two threads shared a core in them.
    pub two_threads: bool,
}

/// What a case took.
#[derive(Debug)]
pub struct Row {
    /// The case.
    pub name: String,
    /// Whether it is ours.
    pub ours: bool,
    /// The ratio that it must not exceed.
    pub at_most: Option<f64>,
    /// Wall time of an operation, the median of the rounds.
    pub wall_ns: f64,
    /// CPU time of an operation, the median of the rounds.
    pub cpu_ns: f64,
    /// Wall time to that of the base.
    pub wall: Ratio,
    /// CPU time to that of the base.
    pub cpu: Ratio,
}

/// A ratio to the base, taken within a round and never between two of them.
#[derive(Debug, Clone, Copy)]
pub struct Ratio {
    /// The median of the rounds.
    pub median: f64,
    /// The lowest.
    pub lowest: f64,
    /// The highest.
    pub highest: f64,
}

/// Runs a question. Where two threads work at once, rounds in which they had to share a core are left out.
///
/// # Errors
/// When a case fails.
pub fn measure(question: &mut Question, effort: Effort) -> Result<Answer, BoxError> {
    let mut operations = Vec::new();
    for case in &mut question.cases {
        operations.push(calibrate(case, effort.round)?);
    }
    let mut rounds = Vec::with_capacity(effort.rounds);
    let attempts = if question.two_threads { effort.rounds * ATTEMPTS } else { effort.rounds };
    for _ in 0..attempts {
        let cases = question.cases.iter_mut().zip(&operations);
        let figures = cases.map(|(case, operations)| Ok(Figure::of(case.run(*operations)?, *operations)));
        let figures = figures.collect::<Result<Vec<_>, BoxError>>()?;
        let overlapped = figures.first().is_some_and(|base| base.wall_ns <= OVERLAP_MAX * base.cpu_ns);
        if overlapped || !question.two_threads {
            rounds.push(figures);
        }
        if rounds.len() == effort.rounds {
            break;
        }
    }
    let rows = question.cases.iter().enumerate().filter_map(|(place, case)| Row::of(case, place, &rounds));
    Ok(Answer { name: question.name, rows: rows.collect(), rounds: rounds.len(), two_threads: question.two_threads })
}

/// How many operations take about as long as a round should; the runs that find it out are the warm-up.
fn calibrate(case: &mut Case, round: Duration) -> Result<u64, BoxError> {
    let mut operations = 256_u64;
    loop {
        let wall = case.run(operations)?.wall;
        if wall * 4 >= round {
            let scale = round.as_secs_f64() / wall.as_secs_f64();
            return Ok(((operations as f64 * scale) as u64).max(1));
        }
        operations *= 2;
    }
}

/// What a case took per operation in one round.
#[derive(Clone, Copy)]
struct Figure {
    wall_ns: f64,
    cpu_ns: f64,
}

impl Figure {
    fn of(measured: Measured, operations: u64) -> Self {
        let per_operation = |took: Duration| took.as_nanos() as f64 / operations as f64;
        Self { wall_ns: per_operation(measured.wall), cpu_ns: per_operation(measured.cpu) }
    }
}

impl Row {
    /// From the figures of all cases, round by round; none when there was no round.
    fn of(case: &Case, place: usize, rounds: &[Vec<Figure>]) -> Option<Self> {
        let median_of = |figure: fn(&Figure) -> f64| spread(rounds.iter().map(|figures| figure(&figures[place])));
        let ratio_of = |figure: fn(&Figure) -> f64| {
            spread(rounds.iter().map(|figures| figure(&figures[place]) / figure(&figures[0])))
        };
        Some(Self {
            name: case.name.clone(),
            ours: case.ours,
            at_most: case.at_most,
            wall_ns: median_of(|figure| figure.wall_ns)?.median,
            cpu_ns: median_of(|figure| figure.cpu_ns)?.median,
            wall: ratio_of(|figure| figure.wall_ns)?,
            cpu: ratio_of(|figure| figure.cpu_ns)?,
        })
    }
}

fn spread(values: impl Iterator<Item = f64>) -> Option<Ratio> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    Some(Ratio { median: *values.get(values.len() / 2)?, lowest: *values.first()?, highest: *values.last()? })
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n{}", self.name)?;
        writeln!(f, "  {:<50} {:>9} {:>9}   {:<20} {:<20} must", "", "wall ns", "CPU ns", "wall ratio", "CPU ratio")?;
        if self.rows.is_empty() {
            return writeln!(f, "  void: in every round the two threads of the base shared a core");
        }
        for Row { name, wall_ns, cpu_ns, wall, cpu, at_most, .. } in &self.rows {
            write!(f, "  {name:<50} {wall_ns:>9.0} {cpu_ns:>9.0}   {wall:<20} {cpu:<20}")?;
            match at_most {
                Some(ratio) => writeln!(f, " {ratio:.2}")?,
                None => writeln!(f)?,
            }
        }
        if self.two_threads {
            writeln!(f, "  from {} rounds, those in which the base had two cores", self.rounds)?;
        }
        Ok(())
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:.2} ({:.2}-{:.2})", self.median, self.lowest, self.highest))
    }
}
