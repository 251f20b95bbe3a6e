//! Instructions of an operation: a figure that a busy machine does not change.
//!
//! A case runs in a process of its own under valgrind, once with a few operations and once with so many more. The
//! difference is what those took, on whichever thread they ran; what was set up before them is in both.

use std::io::Write;
use std::process::{Command, Stdio};

use vertebra::BoxError;

use crate::Questions;
use crate::question::{Case, Question};

/// Operations that are counted.
const OPERATIONS: u64 = 10_000;
/// Of cheap ones more, because one start differs from another by some ten thousand instructions.
const CHEAP_OPERATIONS: u64 = 100_000;
/// What is cheap.
const CHEAP: u64 = 3_000;
/// Operations of the run whose count is taken off: more than a mailbox holds, so that all queues have been full.
const FIRST_OPERATIONS: u64 = 2_000;
/// How much dearer an operation of ours may be than what is written down.
const GROWTH_MAX: f64 = 1.05;
/// Between two loops the count depends on who sleeps when.
const NOT_COUNTED: &str = "cross loop";
/// What is between these lines of a document are counts.
const BEGIN: &str = "<!-- counts -->";
const END: &str = "<!-- end of counts -->";

/// Instructions of an operation, by question and case.
#[derive(Debug, Default)]
pub struct Counts {
    counted: Vec<Counted>,
}

#[derive(Debug)]
struct Counted {
    question: String,
    case: String,
    ours: bool,
    instructions: u64,
    before: Option<u64>,
}

impl Counts {
    /// Reads what [`written_into`](Self::written_into) wrote. A document without counts has none.
    #[must_use]
    pub fn read(document: &str) -> Self {
        let table =
            document.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).map_or("", |(table, _)| table);
        let counted = table.lines().filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let (question, case) = (cells.next()?.to_owned(), cells.next()?.to_owned());
            // The head of the table has no number there.
            let instructions = cells.next()?.trim_matches('*').replace(',', "").parse().ok()?;
            Some(Counted { question, case, ours: false, instructions, before: None })
        });
        Self { counted: counted.collect() }
    }

    /// The document with these counts in place of its own.
    ///
    /// # Errors
    /// When it has no place for them.
    pub fn written_into(&self, document: &str) -> Result<String, BoxError> {
        let place = document.split_once(BEGIN).and_then(|(head, rest)| Some((head, rest.split_once(END)?.1)));
        let (head, tail) = place.ok_or("the document has no lines that mark the counts")?;
        let mut table = String::from("| question | case | instructions |\n|---|---|---:|\n");
        for Counted { question, case, ours, instructions, .. } in &self.counted {
            let bold = if *ours { "**" } else { "" };
            table += &format!("| {question} | {case} | {bold}{}{bold} |\n", grouped(*instructions));
        }
        Ok(format!("{head}{BEGIN}\n{table}{END}{tail}"))
    }

    /// Looks whether something of ours has become dearer.
    ///
    /// # Errors
    /// Names what has.
    pub fn check(&self) -> Result<(), BoxError> {
        let dearer = |counted: &&Counted| {
            counted.ours
                && counted.before.is_some_and(|before| counted.instructions as f64 > before as f64 * GROWTH_MAX)
        };
        let dearer: Vec<_> =
            self.counted.iter().filter(dearer).map(|it| format!("{}: {}", it.question, it.case)).collect();
        match dearer.is_empty() {
            true => Ok(()),
            false => Err(format!("more instructions than README.md says: {}", dearer.join("; ")).into()),
        }
    }

    fn of(&self, question: &str, case: &str) -> Option<u64> {
        let found = self.counted.iter().find(|counted| counted.question == question && counted.case == case);
        found.map(|counted| counted.instructions)
    }
}

/// Whether valgrind can be run.
#[must_use]
pub fn possible() -> bool {
    Command::new("valgrind").arg("--version").stdout(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Counts every case of the questions with `part` in their name, and prints each beside what it was. The others are as
/// they were.
///
/// # Errors
/// When valgrind cannot be run, or a case fails in it.
pub fn count(part: &str, before: &Counts, out: &mut impl Write) -> Result<Counts, BoxError> {
    writeln!(out, "{:<36} {:<50} {:>12} {:>12} {:>8}", "question", "case", "instructions", "before", "change")?;
    let mut counts = Counts::default();
    let questions: Result<Vec<_>, _> = groups().into_iter().map(counted).collect();
    for question in questions?.into_iter().flatten() {
        for Case { name, ours, .. } in question.cases {
            let (question, case) = (question.name.to_owned(), name);
            let before = before.of(&question, &case);
            if !question.contains(part) {
                let kept = before.map(|instructions| Counted { question, case, ours, instructions, before });
                counts.counted.extend(kept);
                continue;
            }
            let instructions = instructions(&question, &case)?;
            write!(out, "{question:<36} {case:<50} {:>12}", grouped(instructions))?;
            match before {
                Some(before) => {
                    let change = (instructions as f64 / before as f64 - 1.0) * 100.0;
                    writeln!(out, " {:>12} {change:>+7.1}%", grouped(before))?;
                }
                None => writeln!(out, " {:>12}", "-")?,
            }
            counts.counted.push(Counted { question, case, ours, instructions, before });
        }
    }
    Ok(counts)
}

/// Without the request path, where it depends on the system.
fn groups() -> Vec<Questions> {
    vec![
        crate::bus::questions,
        #[cfg(feature = "service")]
        crate::encode::questions,
        // The last, for it takes a number of turns to be set up that varies.
        #[cfg(feature = "service")]
        crate::cache::questions,
    ]
}

fn counted(group: Questions) -> Result<Vec<Question>, BoxError> {
    let mut questions = group()?;
    questions.retain(|question| !question.name.contains(NOT_COUNTED));
    Ok(questions)
}

fn instructions(question: &str, case: &str) -> Result<u64, BoxError> {
    let without = under_valgrind(question, case, FIRST_OPERATIONS)?;
    let of = |operations| {
        let with = under_valgrind(question, case, FIRST_OPERATIONS + operations)?;
        Ok(with.saturating_sub(without) / operations)
    };
    match of(OPERATIONS) {
        Ok(..CHEAP) => of(CHEAP_OPERATIONS),
        counted => counted,
    }
}

/// Instructions of a whole process that runs the case.
fn under_valgrind(question: &str, case: &str, operations: u64) -> Result<u64, BoxError> {
    let valgrind = ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", "--fair-sched=yes"];
    let output = Command::new("valgrind")
        .args(valgrind)
        .arg(std::env::current_exe()?)
        .args(["--run", question, case, &operations.to_string()])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let refs = said.lines().find_map(|line| line.split_once("refs:")).map(|(_, refs)| refs.trim().replace(',', ""));
    match refs {
        Some(refs) if output.status.success() => Ok(refs.parse()?),
        _ => Err(format!("{question}, {case}: valgrind says {}\n{said}", output.status).into()),
    }
}

/// Runs one case and nothing else.
///
/// # Errors
/// When there is no such case, or it fails.
pub fn run_case(question: &str, case: &str, operations: u64) -> Result<(), BoxError> {
    let mut case = case_named(question, case)?;
    case.run(operations)?;
    Ok(())
}

/// Sets up the groups up to the one that has it. All but the case is dropped again before it runs.
fn case_named(question: &str, case: &str) -> Result<Case, BoxError> {
    for group in groups() {
        let cases = group()?.into_iter().filter(|one| one.name == question).flat_map(|one| one.cases);
        if let Some(found) = cases.into_iter().find(|one| one.name == case) {
            return Ok(found);
        }
    }
    Err(format!("no case {case:?} of {question:?}").into())
}

/// With a comma between thousands.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
