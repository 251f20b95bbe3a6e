//! `adtrack events replay`: events that the stream has refused go into the log once more.

use std::net::SocketAddr;
use std::path::PathBuf;

use adtrack_config::{Config, Secret};

use super::files::LogError;
use crate::addresses::{Addresses, AddressesError};
use crate::cli::admin_client::{AdminClient, AdminError};
use crate::kinesis::replay;
use crate::kinesis::spool::directory::{Directory, OpenError, events_dir};

/// Whose log.
#[derive(Debug, Clone)]
pub struct LogTarget {
    /// Where the log and the service's addresses are.
    pub data_dir: PathBuf,
    /// The admin API's token.
    pub token: Option<Secret>,
}

impl LogTarget {
    /// The log that a service with this configuration has.
    pub fn of(config: &Config) -> Self {
        Self { data_dir: config.data.dir.clone(), token: config.admin.token.clone() }
    }
}

/// What is in the log again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// How many files.
    pub files: u64,
    /// How many events.
    pub events: u64,
    /// Whether a service has them, and sends them now; otherwise the next one does.
    pub is_running: bool,
}

/// Why events were not put back into the log.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// There is no log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The log cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// A service has the log, and it is not known where it listens.
    #[error("the event log is in use, but where its service listens is not known: {0}")]
    Addresses(#[from] AddressesError),
    /// The service does not do it.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// A file cannot be moved; those before it are in the log.
    #[error("{files} files are in the log again, the next one is not: {source}")]
    File {
        /// How many are.
        files: u64,
        /// Why not.
        source: std::io::Error,
    },
    /// Nothing that waits can be run.
    #[error("the command cannot be run: {0}")]
    Executor(std::io::Error),
}

/// Puts the events of all `.dead` files back into the log: through the service that has it, or, when none is running, by this
/// process, which has the log's lock meanwhile. Blocking: for a program of its own.
///
/// # Errors
/// [`ReplayError`].
pub fn replay(target: &LogTarget) -> Result<Replayed, ReplayError> {
    let folder = events_dir(&target.data_dir);
    if !folder.is_dir() {
        return Err(LogError::NoLog { folder }.into());
    }
    match Directory::open(&target.data_dir) {
        Ok(directory) => by_itself(&directory),
        Err(OpenError::InUse { .. }) => {
            let noted = Addresses::read(&target.data_dir)?;
            by_the_service(noted.admin, target.token.clone())
        }
        Err(error) => Err(error.into()),
    }
}

fn by_itself(directory: &Directory) -> Result<Replayed, ReplayError> {
    let mut replayed = Replayed::default();
    let revived = replay::dead_letters(directory).and_then(|names| {
        replay::revive(directory, &names, |revived| {
            replayed.files += 1;
            replayed.events += revived.events;
        })
    });
    match revived {
        Ok(()) => Ok(replayed),
        Err(source) => Err(ReplayError::File { files: replayed.files, source }),
    }
}

fn by_the_service(admin: SocketAddr, token: Option<Secret>) -> Result<Replayed, ReplayError> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ReplayError::Executor)?;
    let (files, events) = executor.block_on(AdminClient::new(admin, token).replay())?;
    Ok(Replayed { files, events, is_running: true })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_log_that_is_not_there_is_not_made() {
        let data = tempfile::tempdir().unwrap();
        let target = LogTarget { data_dir: data.path().join("mistyped"), token: None };
        assert!(matches!(replay(&target), Err(ReplayError::Log(LogError::NoLog { .. }))));
        assert!(!target.data_dir.exists());
    }

    #[test]
    fn a_log_that_somebody_has_and_nobody_can_be_asked_about_is_left_alone() {
        let data = tempfile::tempdir().unwrap();
        let target = LogTarget { data_dir: data.path().to_owned(), token: None };
        let held = Directory::open(data.path()).unwrap();
        assert!(matches!(replay(&target), Err(ReplayError::Addresses(_))));
        drop(held);
        assert_eq!(replay(&target).unwrap(), Replayed::default());
    }
}
