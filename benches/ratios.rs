//! `cargo bench -p adtrack-benches --bench ratios [-- PART OF A QUESTION]`: the table that README.md quotes.
//!
//! With `--case PART` only the cases with that in their name run, as a profiler wants it; the first of them is the base.

use std::time::Duration;

use adtrack_benches::Question;
use adtrack_benches::ratios::{Effort, measure};
use vertebra::BoxError;

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
}

type Questions = fn() -> Result<Vec<Question>, BoxError>;

fn groups() -> Vec<Questions> {
    vec![
        adtrack_benches::bus::questions,
        #[cfg(feature = "service")]
        adtrack_benches::cache::questions,
        #[cfg(feature = "service")]
        adtrack_benches::encode::questions,
        #[cfg(feature = "service")]
        adtrack_benches::request_path::questions,
    ]
}

fn main() -> Result<(), BoxError> {
    let arguments = Arguments::read(std::env::args().skip(1));
    let mut out = std::io::stdout().lock();
    for questions in groups() {
        for mut question in questions()?.into_iter().filter_map(|question| arguments.narrow(question)) {
            measure(&mut question, arguments.effort, &mut out)?;
        }
    }
    Ok(())
}
