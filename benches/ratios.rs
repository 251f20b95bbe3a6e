//! `cargo bench -p adtrack-benches --bench ratios [-- PART OF A QUESTION]`: the table that README.md quotes.
//!
//! A run of all questions also draws the table, into `results/ratios.svg`.
//!
//! With `--case PART` only the cases with that in their name run, as a profiler wants it; the first of them is the base.

use std::io::Write;
use std::time::Duration;

use adtrack_benches::plot::svg;
use adtrack_benches::ratios::{Effort, measure};
use adtrack_benches::{Question, all};
use vertebra::BoxError;

const PICTURE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/results/ratios.svg");

struct Arguments {
    effort: Effort,
    question: String,
    case: String,
}

impl Arguments {
    fn read(mut given: impl Iterator<Item = String>) -> Self {
        // Without cargo's `--bench` this is not a measurement but a test that everything runs.
        let effort = Effort { rounds: 1, round: Duration::from_millis(1) };
        let mut arguments = Self { effort, question: String::new(), case: String::new() };
        while let Some(argument) = given.next() {
            match argument.as_str() {
                "--bench" => arguments.effort = Effort { rounds: 9, round: Duration::from_millis(50) },
                "--case" => arguments.case = given.next().unwrap_or_default(),
                option if option.starts_with("--") => {}
                question => arguments.question = question.to_owned(),
            }
        }
        arguments
    }

    fn narrow(&self, mut question: Question) -> Option<Question> {
        question.cases.retain(|case| case.name.contains(&self.case));
        let wanted = question.name.contains(&self.question) && !question.cases.is_empty();
        wanted.then_some(question)
    }

    /// Whether this is a measurement of everything there is.
    fn whole(&self) -> bool {
        self.effort.rounds > 1 && self.question.is_empty() && self.case.is_empty() && cfg!(feature = "service")
    }
}

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::read(std::env::args().skip(1));
    let mut out = std::io::stdout().lock();
    let mut answers = Vec::new();
    for questions in all() {
        for mut question in questions()?.into_iter().filter_map(|question| arguments.narrow(question)) {
            let answer = measure(&mut question, arguments.effort)?;
            write!(out, "{answer}")?;
            out.flush()?;
            answers.push(answer);
        }
    }
    if arguments.whole() {
        let picture = svg("CPU time of an operation, as a ratio to the base of its question", &answers)?;
        std::fs::write(PICTURE, picture)?;
        writeln!(out, "\ndrawn: {PICTURE}")?;
    }
    Ok(())
}
