//! kinesalite: somebody else's idea of Kinesis, to judge ours by.

use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::process::Process;
use super::{ServiceError, port, tools};
use crate::repository;

const START_TIMEOUT_MS: u64 = 30_000;
/// Another process may take the port between its choice and the start.
const START_ATTEMPTS_MAX: u32 = 5;

/// A kinesalite on a port of its own, with everything in memory.
#[derive(Debug)]
pub struct Kinesalite {
    port: u16,
    _process: Process,
    _dir: TempDir,
}

impl Kinesalite {
    /// Starts one on a free port. It accepts connections when this returns.
    ///
    /// # Errors
    /// [`ServiceError::NotInstalled`] names `tests/services/install`.
    pub fn start() -> Result<Self, ServiceError> {
        let modules = tools::node_modules()?;
        let dir = tempfile::tempdir()?;
        let mut attempt = 1;
        loop {
            let port = port::free()?;
            let mut command = Command::new("node");
            command.arg(repository::root().join("tests/services/kinesalite.js")).arg(&modules).arg(port.to_string());
            let mut process = Process::spawn(command, &dir.path().join("kinesalite.log"))?;
            let timeout = Duration::from_millis(START_TIMEOUT_MS);
            match process.wait_until("kinesalite to listen", timeout, || port::is_served(port).then_some(())) {
                Ok(()) => {
                    return Ok(Self { port, _process: process, _dir: dir });
                }
                Err(ServiceError::Ended { .. }) if attempt < START_ATTEMPTS_MAX => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// What a client is given as the endpoint: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}
