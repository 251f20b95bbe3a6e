//! Why a scenario could not be run to its end.

use std::io;

use crate::{adtrack, client, kinesis_server, services};

/// Nothing was found out.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The service did not start.
    #[error("the service did not start: {0}")]
    Start(#[from] adtrack::StartError),
    /// A process could not be started, signalled or started again.
    #[error(transparent)]
    Process(#[from] services::ServiceError),
    /// The Kinesis server did not start.
    #[error("the Kinesis server did not start: {0}")]
    Kinesis(#[from] kinesis_server::StartError),
    /// The stream could not be made or changed.
    #[error("the stream: {0}")]
    Stream(String),
    /// A request of the scenario's own was not answered.
    #[error("a request was not answered: {0}")]
    Client(#[from] client::ClientError),
    /// `adtrack events export` failed.
    #[error("adtrack events export: {0}")]
    Export(String),
    /// `adtrack programs import` failed.
    #[error("adtrack programs import: {0}")]
    Import(String),
    /// A file, a directory or a process of the machine.
    #[error(transparent)]
    Io(#[from] io::Error),
}
