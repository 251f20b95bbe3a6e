//! A real Redis.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::{Process, Signal};
use super::{ServiceError, port};

const START_TIMEOUT_MS: u64 = 20_000;
/// Another process may take the port between its choice and the start.
const START_ATTEMPTS_MAX: u32 = 5;

/// A Redis on a port of its own that keeps nothing on disk.
#[derive(Debug)]
pub struct RedisServer {
    port: u16,
    dir: TempDir,
    process: Process,
}

impl RedisServer {
    /// Starts one on a free port. It answers PING when this returns.
    ///
    /// # Errors
    /// [`ServiceError`], when `redis-server` is not installed or does not come up.
    pub fn start() -> Result<Self, ServiceError> {
        let dir = tempfile::tempdir()?;
        let mut attempt = 1;
        loop {
            let port = port::free()?;
            match spawn(port, &dir) {
                Ok(process) => return Ok(Self { port, dir, process }),
                Err(ServiceError::Ended { .. }) if attempt < START_ATTEMPTS_MAX => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Its port, the same after every restart.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Kills it; its data is gone and its port closed when this returns.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    /// Starts an empty one on the same port, after a [`kill`](Self::kill) if it still runs.
    ///
    /// # Errors
    /// [`ServiceError`], when it does not come up.
    pub fn restart(&mut self) -> Result<(), ServiceError> {
        self.kill();
        self.process = spawn(self.port, &self.dir)?;
        Ok(())
    }

    /// Makes it stand still with every connection open: it accepts, and never answers.
    ///
    /// # Errors
    /// [`ServiceError`], when the signal cannot be sent.
    pub fn pause(&mut self) -> Result<(), ServiceError> {
        self.process.signal(Signal::Stop)
    }

    /// Goes on after a [`pause`](Self::pause).
    ///
    /// # Errors
    /// [`ServiceError`], when the signal cannot be sent.
    pub fn resume(&mut self) -> Result<(), ServiceError> {
        self.process.signal(Signal::Continue)
    }

    /// Runs the real `redis-cli` with these arguments and gives what it prints, without the last line end.
    ///
    /// # Errors
    /// [`ServiceError::Failed`] when the command is refused or the server does not answer.
    pub fn cli(&self, arguments: &[&str]) -> Result<String, ServiceError> {
        cli(self.port, arguments)
    }
}

fn spawn(port: u16, dir: &TempDir) -> Result<Process, ServiceError> {
    let mut command = Command::new("redis-server");
    command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(dir.path());
    let mut process = Process::spawn(command, &dir.path().join("redis.log"))?;
    let timeout = Duration::from_millis(START_TIMEOUT_MS);
    process.wait_until("redis-server to answer", timeout, || {
        (port::is_served(port) && cli(port, &["PING"]).is_ok_and(|answer| answer == "PONG")).then_some(())
    })?;
    Ok(process)
}

fn cli(port: u16, arguments: &[&str]) -> Result<String, ServiceError> {
    let program = || "redis-cli".to_owned();
    let output = Command::new("redis-cli")
        // -e: a refused command is a failure, not a line of text.
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-e"])
        .args(arguments)
        .output()
        .map_err(|source| ServiceError::Spawn { program: program(), source })?;
    let printed = String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned();
    if output.status.success() {
        return Ok(printed);
    }
    let message = format!("{printed}{}", String::from_utf8_lossy(&output.stderr));
    Err(ServiceError::Failed { program: program(), message })
}
