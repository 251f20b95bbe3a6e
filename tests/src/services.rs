//! Real servers, each test its own: on a free loopback port, with nothing on disk that outlives it, stopped when dropped.

mod kinesalite;
mod port;
mod process;
mod redis;
mod tools;

use std::io;
use std::path::PathBuf;

pub use self::kinesalite::Kinesalite;
pub use self::process::{Process, Signal};
pub use self::redis::RedisServer;
pub use self::tools::{foreign_judge_is_skipped, protobuf_python, tools_dir};
use crate::wait::TimedOut;

/// Why a server could not be started or commanded.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// A file or program that `tests/services/install` puts there is missing.
    #[error("{} is missing: run tests/services/install", missing.display())]
    NotInstalled {
        /// What was looked for.
        missing: PathBuf,
    },
    /// A program could not be run.
    #[error("cannot run {program}")]
    Spawn {
        /// Its name.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended with a failure.
    #[error("{program} failed: {message}")]
    Failed {
        /// Its name.
        program: String,
        /// What it wrote.
        message: String,
    },
    /// The server ended before it answered.
    #[error("{program} ended before it answered: {log}")]
    Ended {
        /// Its name.
        program: String,
        /// The end of what it wrote.
        log: String,
    },
    /// The server did not answer in time.
    #[error(transparent)]
    TimedOut(#[from] TimedOut),
    /// A port or a directory could not be had.
    #[error("cannot prepare a server: {0}")]
    Prepare(#[from] io::Error),
}
