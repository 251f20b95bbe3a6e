//! Questions as a table of ratios: every case in turn, round after round, so that all see the same machine.

use std::io::{self, Write};
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

/// Runs a question and writes one line per case: medians of its rounds, and the median ratio to the first case with the
/// lowest and highest one. A ratio is taken within a round, never between two rounds. Where two threads work at once,
/// rounds in which they had to share a core are left out.
///
/// # Errors
/// When a case fails, or the output does.
pub fn measure(question: &mut Question, effort: Effort, out: &mut impl Write) -> Result<(), BoxError> {
    let mut operations = Vec::new();
    for case in &mut question.cases {
        operations.push(calibrate(case, effort.round)?);
    }
    let mut figures = vec![Vec::with_capacity(effort.rounds); question.cases.len()];
    for _ in 0..effort.rounds {
        for ((case, operations), figures) in question.cases.iter_mut().zip(&operations).zip(&mut figures) {
            figures.push(Figure::of(case.run(*operations)?, *operations));
        }
    }
    if question.two_threads {
        let overlapped: Vec<_> = figures[0].iter().map(|base| base.wall_ns <= OVERLAP_MAX * base.cpu_ns).collect();
        for figures in &mut figures {
            let mut overlapped = overlapped.iter();
            figures.retain(|_| overlapped.next() == Some(&true));
        }
    }
    write_table(question, &figures, out)?;
    Ok(())
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

fn write_table(question: &Question, figures: &[Vec<Figure>], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "\n{}", question.name)?;
    writeln!(out, "  {:<50} {:>9} {:>9}   {:<20} {:<20}", "", "wall ns", "CPU ns", "wall ratio", "CPU ratio")?;
    let base = &figures[0];
    if base.is_empty() {
        return writeln!(out, "  void: in every round the two threads of the base shared a core");
    }
    for (case, own) in question.cases.iter().zip(figures) {
        let wall = median(own.iter().map(|figure| figure.wall_ns));
        let cpu = median(own.iter().map(|figure| figure.cpu_ns));
        let wall_ratio = spread(own.iter().zip(base).map(|(own, base)| own.wall_ns / base.wall_ns));
        let cpu_ratio = spread(own.iter().zip(base).map(|(own, base)| own.cpu_ns / base.cpu_ns));
        writeln!(out, "  {:<50} {wall:>9.0} {cpu:>9.0}   {wall_ratio:<20} {cpu_ratio:<20}", case.name)?;
    }
    if question.two_threads {
        writeln!(out, "  from {} rounds, those in which the base had two cores", base.len())?;
    }
    out.flush()
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let values = sorted(values);
    values[values.len() / 2]
}

fn spread(values: impl Iterator<Item = f64>) -> String {
    let values = sorted(values);
    format!("{:.2} ({:.2}-{:.2})", values[values.len() / 2], values[0], values[values.len() - 1])
}
