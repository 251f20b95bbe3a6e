//! A child process that never outlives its owner.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use super::ServiceError;
use crate::wait;

/// How much of a log an error quotes.
const LOG_TAIL_BYTES: usize = 4_096;

/// A signal that tests send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: please end.
    Term,
    /// SIGKILL: end.
    Kill,
    /// SIGSTOP: stand still, with every connection open.
    Stop,
    /// SIGCONT: go on.
    Continue,
}

impl Signal {
    fn option(self) -> &'static str {
        match self {
            Self::Term => "-TERM",
            Self::Kill => "-KILL",
            Self::Stop => "-STOP",
            Self::Continue => "-CONT",
        }
    }
}

/// A running or ended child; killed and waited for when dropped. What it writes goes to a file.
#[derive(Debug)]
pub struct Process {
    program: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command`, with standard output and error appended to `log`.
    ///
    /// # Errors
    /// [`ServiceError::Spawn`] when there is no such program, [`ServiceError::Prepare`] when the log cannot be written.
    pub fn spawn(mut command: Command, log: &Path) -> Result<Self, ServiceError> {
        let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
        let file = File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().map_err(|source| ServiceError::Spawn { program: program.clone(), source })?;
        Ok(Self { program, child, log: log.to_owned() })
    }

    /// The process id; of an ended process, the one it had.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal. To a process that has ended it does nothing.
    ///
    /// # Errors
    /// [`ServiceError`], when `kill` cannot be run or refuses.
    pub fn signal(&mut self, signal: Signal) -> Result<(), ServiceError> {
        // Until it is waited for, the id of an ended child cannot be another's.
        if self.exit_status()?.is_some() {
            return Ok(());
        }
        let output = Command::new("kill")
            .args([signal.option(), &self.pid().to_string()])
            .output()
            .map_err(|source| ServiceError::Spawn { program: "kill".to_owned(), source })?;
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        Err(ServiceError::Failed { program: "kill".to_owned(), message })
    }

    /// Kills it and waits for its end.
    pub fn kill(&mut self) {
        // Both fail only when it has ended and was waited for already.
        let _ended = self.child.kill();
        let _status = self.child.wait();
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn exit_status(&mut self) -> io::Result<Option<ExitStatus>> {
        self.child.try_wait()
    }

    /// Waits until it ends by itself; nothing if it has not after `timeout`.
    ///
    /// # Errors
    /// When the system cannot tell.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<Option<ExitStatus>> {
        match wait::until("the end of a process", timeout, || self.exit_status().transpose()) {
            Ok(status) => status.map(Some),
            Err(_still_running) => Ok(None),
        }
    }

    /// Waits until `ready` gives something; gives up at once when the process ends.
    ///
    /// # Errors
    /// [`ServiceError::Ended`] or [`ServiceError::TimedOut`].
    pub fn wait_until<T>(
        &mut self,
        what: &str,
        timeout: Duration,
        mut ready: impl FnMut() -> Option<T>,
    ) -> Result<T, ServiceError> {
        wait::until(what, timeout, || match self.exit_status() {
            Err(error) => Some(Err(ServiceError::Prepare(error))),
            Ok(Some(_status)) => Some(Err(ServiceError::Ended { program: self.program.clone(), log: self.log_tail() })),
            Ok(None) => ready().map(Ok),
        })?
    }

    /// All it has written so far; bytes that are not UTF-8 are replaced.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let mut start = log.len().saturating_sub(LOG_TAIL_BYTES);
        while !log.is_char_boundary(start) {
            start += 1;
        }
        log[start..].to_owned()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    fn shell(script: &str) -> (Process, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        (Process::spawn(command, &dir.path().join("log")).unwrap(), dir)
    }

    #[test]
    fn what_a_process_writes_and_how_it_ends_is_known() {
        let (mut process, _dir) = shell("echo out; echo err >&2; exit 3");
        let status = process.wait(Duration::from_secs(10)).unwrap().unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(process.log(), "out\nerr\n");
    }

    #[test]
    fn a_wait_for_a_process_that_ends_quotes_its_log() {
        let (mut process, _dir) = shell("echo no such thing; exit 1");
        let error = process.wait_until::<()>("never", Duration::from_secs(10), || None).unwrap_err();
        assert_eq!(error.to_string(), "sh ended before it answered: no such thing\n");
    }

    #[test]
    fn a_dropped_process_is_gone() {
        let (process, _dir) = shell("exec sleep 600");
        let proc_entry = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(proc_entry.exists());
        drop(process);
        assert!(!proc_entry.exists());
    }

    #[test]
    fn a_signal_arrives_and_one_to_an_ended_process_does_nothing() {
        let (mut process, _dir) = shell("exec sleep 600");
        process.signal(Signal::Term).unwrap();
        assert_eq!(process.wait(Duration::from_secs(10)).unwrap().unwrap().code(), None);
        process.signal(Signal::Kill).unwrap();
    }
}
