//! `cargo bench -p adtrack-benches --bench counts [-- PART OF A QUESTION]`: instructions of an operation, counted by valgrind.
//!
//! What README.md holds is printed beside it, and an operation of ours that has become more than 5 % dearer is an error.
//! `--save` puts the new counts into README.md.

use std::io::Write;

use adtrack_benches::counts::{Counts, count, possible, run_case};
use vertebra::BoxError;

const README: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");

fn main() -> Result<(), BoxError> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [flag, question, case, operations] = &arguments[..]
        && flag == "--run"
    {
        return run_case(question, case, operations.parse()?);
    }
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    if !has("--bench") {
        // Not a measurement: `ratios` tests that every case runs.
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    if !possible() {
        return Ok(writeln!(out, "valgrind is not installed: nothing is counted")?);
    }
    let part = arguments.iter().find(|argument| !argument.starts_with("--")).map_or("", String::as_str);
    let readme = std::fs::read_to_string(README)?;
    let counted = count(part, &Counts::read(&readme), &mut out)?;
    match has("--save") {
        true if cfg!(not(feature = "service")) => Err("--save would lose what this build cannot count".into()),
        true => Ok(std::fs::write(README, counted.written_into(&readme)?)?),
        false => counted.check(),
    }
}
