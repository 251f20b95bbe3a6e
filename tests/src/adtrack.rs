//! The real `adtrack` process, on free ports and with a data directory of its own.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use http::Method;
use serde::Deserialize;
use tempfile::TempDir;

use crate::binary::{BuildError, adtrack_binary};
use crate::client::{Answer, ClientError, once};
use crate::services::{Process, ServiceError, Signal};

const START_TIMEOUT_MS: u64 = 30_000;
/// Written into the data directory once both listeners are bound.
const ADDRESSES_FILE: &str = "addresses.json";
const LOG_FILE: &str = "adtrack.log";

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no binary.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// No directory could be made.
    #[error("cannot make a data directory: {0}")]
    Directory(#[from] io::Error),
    /// It ended, or did not say in time where it listens.
    #[error(transparent)]
    Process(#[from] ServiceError),
}

/// What the service says of itself.
#[derive(Debug, Clone, Copy, Deserialize)]
struct Addresses {
    public: SocketAddr,
    admin: SocketAddr,
    pid: u32,
}

/// How to start a service.
#[derive(Debug, Default)]
pub struct Builder {
    environment: Vec<(OsString, OsString)>,
    arguments: Vec<OsString>,
    data_dir: Option<PathBuf>,
    launcher: Vec<OsString>,
}

/// A running or ended service; killed when dropped.
#[derive(Debug)]
pub struct Adtrack {
    addresses: Addresses,
    process: Process,
    start: Start,
}

/// What every start of one service shares.
#[derive(Debug)]
struct Start {
    binary: PathBuf,
    environment: Vec<(OsString, OsString)>,
    arguments: Vec<OsString>,
    data_dir: PathBuf,
    launcher: Vec<OsString>,
    /// The log, and the data directory unless one was given; removed at the end.
    scratch: TempDir,
}

impl Builder {
    /// Sets a variable of the otherwise empty environment.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Adds an argument after `serve` and the ones every service gets.
    #[must_use]
    pub fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// Uses this data directory, and leaves it where it is at the end; without it the service has one that goes with it.
    #[must_use]
    pub fn data_dir(mut self, dir: impl Into<PathBuf>) -> Self {
        self.data_dir = Some(dir.into());
        self
    }

    /// Starts it through this program with these arguments, which gets the service's command behind them and must become it (`exec`).
    #[must_use]
    pub fn launcher<I: AsRef<OsStr>>(mut self, command: impl IntoIterator<Item = I>) -> Self {
        self.launcher = command.into_iter().map(|part| part.as_ref().to_owned()).collect();
        self
    }

    /// Starts it, and waits until it says where it listens. Blocks: the first start in a process may have to build the binary.
    ///
    /// # Errors
    /// [`StartError`]; a service that ended at once is quoted.
    pub fn start(self) -> Result<Adtrack, StartError> {
        self.start_binary(adtrack_binary()?)
    }

    fn start_binary(self, binary: PathBuf) -> Result<Adtrack, StartError> {
        let scratch = tempfile::tempdir()?;
        let data_dir = self.data_dir.clone().unwrap_or_else(|| scratch.path().join("data"));
        let Self { environment, arguments, launcher, .. } = self;
        let start = Start { binary, environment, arguments, data_dir, launcher, scratch };
        let (process, addresses) = start.run()?;
        Ok(Adtrack { addresses, process, start })
    }
}

impl Start {
    fn run(&self) -> Result<(Process, Addresses), ServiceError> {
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        let mut command = self.command(&self.launcher, &arguments);
        command.args(&self.arguments);
        let mut process = Process::spawn(command, &self.scratch.path().join(LOG_FILE))?;
        let (pid, timeout) = (process.pid(), Duration::from_millis(START_TIMEOUT_MS));
        let file = self.data_dir.join(ADDRESSES_FILE);
        let addresses = process.wait_until("adtrack to say where it listens", timeout, || addresses(&file, pid))?;
        Ok((process, addresses))
    }

    /// The binary with our environment and data directory, behind what launches it.
    fn command(&self, launcher: &[OsString], arguments: &[&str]) -> Command {
        let mut command = match launcher.split_first() {
            None => Command::new(&self.binary),
            Some((program, more)) => {
                let mut command = Command::new(program);
                command.args(more).arg(&self.binary);
                command
            }
        };
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.args(arguments).arg("--data-dir").arg(&self.data_dir);
        command.current_dir(self.scratch.path());
        command
    }
}

impl Adtrack {
    /// How to start one; [`Builder::start`] does.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Where it serves the world.
    pub fn public(&self) -> SocketAddr {
        self.addresses.public
    }

    /// Where it serves its operator.
    pub fn admin(&self) -> SocketAddr {
        self.addresses.admin
    }

    /// The directory that a restart finds again.
    pub fn data_dir(&self) -> &Path {
        &self.start.data_dir
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// `GET path` from the public side, on a connection of its own.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        once(self.addresses.public, Method::GET, path, &[], "").await
    }

    /// `GET path` from the operator's side.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn admin_get(&self, path: &str) -> Result<Answer, ClientError> {
        once(self.addresses.admin, Method::GET, path, &[], "").await
    }

    /// `POST path` to the operator's side.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn admin_post(&self, path: &str, body: &str) -> Result<Answer, ClientError> {
        once(self.addresses.admin, Method::POST, path, &[], body.to_owned()).await
    }

    /// Runs another command of the same binary to its end, on the same data directory, in the same environment, with `input` as its
    /// standard input.
    ///
    /// # Errors
    /// When the binary cannot be run.
    pub fn command(&self, arguments: &[&str], input: &str) -> io::Result<Output> {
        let mut command = self.start.command(&[], arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // A command that does not read its input has closed it; its output tells the rest.
            let _not_read = stdin.write_all(input.as_bytes());
        }
        child.wait_with_output()
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// [`ServiceError`], when the signal cannot be sent.
    pub fn sigterm(&mut self) -> Result<(), ServiceError> {
        self.process.signal(Signal::Term)
    }

    /// Ends it as a crash would; it is gone when this returns.
    pub fn kill_9(&mut self) {
        self.process.kill();
    }

    /// Waits for its end: the exit code, 128 and the signal's number when a signal ended it, nothing when it still runs.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn wait_exit(&mut self, timeout: Duration) -> io::Result<Option<i32>> {
        let status = self.process.wait(timeout)?;
        Ok(status.and_then(|status| status.code().or_else(|| status.signal().map(|signal| 128 + signal))))
    }

    /// Starts it again with the same data directory, environment and arguments, on other ports; kills it first if it still runs.
    ///
    /// # Errors
    /// [`ServiceError`], when it does not come up.
    pub fn restart(&mut self) -> Result<(), ServiceError> {
        self.process.kill();
        (self.process, self.addresses) = self.start.run()?;
        Ok(())
    }

    /// All it has written to standard output and error, from the first start on.
    pub fn log(&self) -> String {
        self.process.log()
    }
}

/// What the process `pid` says of itself; nothing while the file is missing, incomplete or an earlier process's.
fn addresses(file: &Path, pid: u32) -> Option<Addresses> {
    let addresses: Addresses = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    (addresses.pid == pid).then_some(addresses)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::repository;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn stand_in(builder: Builder) -> Result<Adtrack, StartError> {
        builder.start_binary(repository::root().join("tests/services/adtrack-stand-in"))
    }

    #[test]
    fn a_service_gets_its_arguments_and_the_given_environment_alone() {
        let adtrack = stand_in(Adtrack::builder().env("SETTING", "value").arg("--more")).unwrap();
        let expected = "started: serve --listen 127.0.0.1:0 --admin-listen 127.0.0.1:0 --data-dir ";
        assert!(adtrack.log().starts_with(expected), "{}", adtrack.log());
        assert!(adtrack.log().trim_end().ends_with(" --more"));
        assert_eq!((adtrack.public().port(), adtrack.admin().port()), (1, 2));
        assert_eq!(std::fs::read_to_string(adtrack.data_dir().join("starts")).unwrap(), "value\n");
    }

    #[test]
    fn a_restarted_service_finds_its_data_directory() {
        let mut adtrack = stand_in(Adtrack::builder().env("SETTING", "x")).unwrap();
        let first = adtrack.pid();
        adtrack.kill_9();
        assert_eq!(adtrack.wait_exit(DEADLINE).unwrap(), Some(128 + 9));
        adtrack.restart().unwrap();
        assert_ne!(adtrack.pid(), first);
        assert_eq!(std::fs::read_to_string(adtrack.data_dir().join("starts")).unwrap(), "x\nx\n");
    }

    #[test]
    fn a_service_that_is_asked_to_end_tells_its_exit_code() {
        let mut adtrack = stand_in(Adtrack::builder()).unwrap();
        assert_eq!(adtrack.wait_exit(Duration::ZERO).unwrap(), None);
        adtrack.sigterm().unwrap();
        assert_eq!(adtrack.wait_exit(DEADLINE).unwrap(), Some(0));
    }

    #[test]
    fn a_service_that_does_not_start_is_quoted() {
        let error = stand_in(Adtrack::builder().arg("--fail")).unwrap_err().to_string();
        assert!(error.contains("a bad setting"), "{error}");
    }

    #[test]
    fn another_command_runs_on_the_same_data_directory() {
        let adtrack = stand_in(Adtrack::builder()).unwrap();
        let output = adtrack.command(&["--fail"], "input").unwrap();
        assert_eq!((output.status.code(), &output.stderr[..]), (Some(3), &b"a bad setting\n"[..]));
    }

    #[test]
    fn a_launcher_gets_the_services_command_and_becomes_it() {
        let launcher = ["/bin/sh", "-c", r#"echo "launched as $$"; exec "$@""#, "launcher"];
        let adtrack = stand_in(Adtrack::builder().launcher(launcher)).unwrap();
        assert!(adtrack.log().starts_with(&format!("launched as {}\n", adtrack.pid())), "{}", adtrack.log());
    }

    #[test]
    fn addresses_are_taken_from_the_process_that_was_started_alone() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(ADDRESSES_FILE);
        assert!(addresses(&file, 7).is_none(), "missing");
        std::fs::write(&file, r#"{"public":"127.0.0.1:80"#).unwrap();
        assert!(addresses(&file, 7).is_none(), "incomplete");
        std::fs::write(&file, r#"{"public":"127.0.0.1:8080","admin":"127.0.0.1:9090","pid":7}"#).unwrap();
        assert!(addresses(&file, 8).is_none(), "an earlier process");
        assert_eq!(addresses(&file, 7).unwrap().admin.port(), 9090);
    }
}
