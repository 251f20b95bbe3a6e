//! `faults`: runs the fault scenarios and prints one table; `./tests/faults` builds it and what it needs.
#![allow(clippy::disallowed_methods, reason = "it stands outside the runtime and has a time of its own")]

use std::process::ExitCode;
use std::time::Instant;

use adtrack_tests::binary::take_as_built;
use adtrack_tests::faults::{ALL, HEAD, Outcome, Plan, RunError, Scenario};
use clap::Parser;

/// Runs fault scenarios against the real binary, and tells whether anything got lost
#[derive(Debug, Parser)]
#[command(name = "faults")]
struct Arguments {
    /// Scenarios to run; all of them when none is named
    scenarios: Vec<String>,
    /// The small size: a few minutes for all of them
    #[arg(long)]
    quick: bool,
    /// Where every draw comes from; drawn itself when not given
    #[arg(long)]
    seed: Option<u64>,
    /// Lists the scenarios and runs none
    #[arg(long)]
    list: bool,
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its user")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        ALL.iter().for_each(|scenario| println!("{:<10} {}", scenario.name, scenario.about));
        return ExitCode::SUCCESS;
    }
    let chosen = match chosen(&arguments.scenarios) {
        Ok(chosen) => chosen,
        Err(unknown) => {
            eprintln!("faults: there is no scenario {unknown:?}; --list names them");
            return ExitCode::from(2);
        }
    };
    if let Err(error) = take_as_built() {
        eprintln!("faults: {error}");
        return ExitCode::from(2);
    }
    let plan = Plan { is_quick: arguments.quick, seed: arguments.seed.unwrap_or_else(|| fastrand::u64(..1_000_000)) };
    let size = if plan.is_quick { "quick" } else { "full" };
    println!("faults: {size} size, --seed {}\n\n{HEAD}", plan.seed);
    let mut is_met = true;
    for scenario in chosen {
        let begun = Instant::now();
        let (text, met) = told(scenario, (scenario.run)(plan));
        println!("{text}\n  ({:.0} s)", begun.elapsed().as_secs_f64());
        is_met &= met;
    }
    println!("\nfaults: {}", if is_met { "every figure is met" } else { "figures are MISSED" });
    if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn chosen(names: &[String]) -> Result<Vec<&'static Scenario>, &str> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let of_name = |name: &'_ String| ALL.iter().find(|scenario| scenario.name == name.as_str());
    names.iter().map(|name| of_name(name).ok_or(name.as_str())).collect()
}

/// What a scenario came to, in words, and whether that is well.
fn told(scenario: &Scenario, outcome: Result<Outcome, RunError>) -> (String, bool) {
    match outcome {
        Ok(Outcome::Rows(rows)) => {
            let lines: Vec<_> = rows.iter().map(ToString::to_string).collect();
            (lines.join("\n"), rows.iter().all(|row| row.is_met()))
        }
        Ok(Outcome::Skipped(why)) => (format!("{:<22} | skipped: {why}", scenario.name), true),
        Err(error) => (format!("{:<22} | MISSED: it could not be run: {error}", scenario.name), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scenarios_are_chosen_by_name_and_all_of_them_without_one() {
        assert_eq!(chosen(&[]).map(|chosen| chosen.len()), Ok(ALL.len()));
        let names = ["disk".to_owned(), "kill9".to_owned()];
        assert_eq!(chosen(&names).map(|chosen| chosen.iter().map(|s| s.name).collect()), Ok(vec!["disk", "kill9"]));
        assert_eq!(chosen(&["nothing".to_owned()]).map(|chosen| chosen.len()), Err("nothing"));
    }
}
