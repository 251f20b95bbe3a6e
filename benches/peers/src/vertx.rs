//! The work on Vert.x, in a process of its own.

use std::cell::RefCell;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::rc::Rc;
use std::time::Duration;

use adtrack_benches::{Case, Measured};
use vertebra::BoxError;

use crate::work::{Kind, Work};

/// Until the compiler of the JVM has seen the work.
const WARM_UP: Duration = Duration::from_secs(4);

/// A JVM that runs `VertxPeer.java`.
#[derive(Clone)]
pub(crate) struct Jvm(Rc<RefCell<Pipes>>);

struct Pipes {
    process: Child,
    /// Closed to end it.
    lines: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Jvm {
    /// Starts one; the class path holds the compiled program too.
    pub(crate) fn start(class_path: &str) -> Result<Self, BoxError> {
        let mut process = Command::new("java")
            .args(["-Xmx512m", "-cp", class_path, "VertxPeer"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let lines = process.stdin.take();
        let answers = BufReader::new(process.stdout.take().ok_or("the JVM has no output")?);
        Ok(Self(Rc::new(RefCell::new(Pipes { process, lines, answers }))))
    }

    /// The work, warmed up.
    pub(crate) fn case(&self, name: &str, work: Work) -> Result<Case, BoxError> {
        let jvm = self.clone();
        let mut warm = Duration::ZERO;
        while warm < WARM_UP {
            warm += jvm.run(work, 20_000)?.wall;
        }
        Ok(Case::new(name, move |operations| jvm.run(work, operations)))
    }

    fn run(&self, work: Work, operations: u64) -> Result<Measured, BoxError> {
        let (kind, window) = match work.kind {
            Kind::Send => ("send", 1),
            Kind::Request { window } => ("request", window),
            Kind::Publish => ("publish", 1),
        };
        let loops = if work.two_loops { 2 } else { 1 };
        self.0.borrow_mut().ask(&format!("{kind} {loops} {window} {operations}"))
    }
}

impl Pipes {
    fn ask(&mut self, line: &str) -> Result<Measured, BoxError> {
        let lines = self.lines.as_mut().ok_or("the JVM is closed")?;
        writeln!(lines, "{line}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let (wall, cpu) = answer.trim().split_once(' ').ok_or_else(|| format!("Vert.x gave no answer to {line:?}"))?;
        Ok(Measured { wall: Duration::from_nanos(wall.parse()?), cpu: Duration::from_nanos(cpu.parse()?) })
    }
}

impl Drop for Pipes {
    fn drop(&mut self) {
        drop(self.lines.take());
        if let Err(error) = self.process.wait() {
            eprintln!("the JVM was not seen to end: {error}");
        }
    }
}
