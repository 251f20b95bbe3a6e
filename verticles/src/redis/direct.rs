//! Redis for commands of the command line: one connection, no supervisor, errors for a person.

use std::fmt;
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, ProtocolVersion, RedisError};
use adtrack_config::RedisConfig;
use adtrack_proto::bus::{Deleted, Stored};
use adtrack_proto::{Program, ProgramId};

use super::commands::{self, Found};
use super::connect::{self, ClientError};
use super::writer::{self, Deleting, Writer};

/// A person waits longer than a request does.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to Redis that does what the store verticle does.
pub struct Direct {
    connection: MultiplexedConnection,
    server: String,
    writer: Writer,
    bytes_max: usize,
}

/// Why Redis did not do what a command asked for.
#[derive(Debug, thiserror::Error)]
pub enum DirectError {
    /// The settings do not name one.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// It cannot be reached, or refuses the login.
    #[error("redis at {server} cannot be connected to: {source}")]
    Connect {
        /// Host and port.
        server: String,
        /// What the driver says.
        source: RedisError,
    },
    /// It refused or did not answer.
    #[error("redis at {server}: {source}")]
    Command {
        /// Host and port.
        server: String,
        /// What the driver says.
        source: RedisError,
    },
    /// The key holds something else.
    #[error("key {program_id} in redis holds no program: {reason}")]
    Foreign {
        /// The key.
        program_id: ProgramId,
        /// What is wrong with it.
        reason: String,
    },
    /// It cannot be deleted with a version above the stored one.
    #[error("program {program_id} is not deleted: there is no version above {stored}, which is stored")]
    Last {
        /// The program.
        program_id: ProgramId,
        /// Its version.
        stored: u64,
    },
}

impl fmt::Debug for Direct {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Direct").field("server", &self.server).finish_non_exhaustive()
    }
}

impl Direct {
    /// Connects. To be called on a tokio runtime that lives as long as this.
    ///
    /// # Errors
    /// [`DirectError::Client`] or [`DirectError::Connect`], after `redis.connect_timeout_ms` at the latest.
    pub async fn connect(config: &RedisConfig) -> Result<Self, DirectError> {
        let client = connect::client(config, ProtocolVersion::RESP2)?;
        let server = connect::name(config);
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            .set_response_timeout(Some(RESPONSE_TIMEOUT));
        match client.get_multiplexed_async_connection_with_config(&settings).await {
            Ok(connection) => {
                Ok(Self { connection, server, writer: Writer::new(config), bytes_max: config.payload_bytes_max })
            }
            Err(source) => Err(DirectError::Connect { server, source }),
        }
    }

    /// Stores programs and publishes the changes, but for those of which a higher version is stored.
    ///
    /// # Errors
    /// [`DirectError::Command`]; some of the programs may be stored.
    pub async fn put(&mut self, programs: &[impl AsRef<Program>]) -> Result<Stored, DirectError> {
        let mut stored = Stored::default();
        for programs in programs.chunks(writer::PROGRAMS_MAX) {
            let put = self.writer.put(&mut self.connection, programs).await;
            stored.outdated.extend(put.map_err(|source| self.failed(source))?.into_iter().filter_map(Result::err));
        }
        Ok(stored)
    }

    /// One program, `None` when there is no such key.
    ///
    /// # Errors
    /// [`DirectError::Command`], or [`DirectError::Foreign`] when the key holds something else.
    pub async fn get(&mut self, id: &ProgramId) -> Result<Option<Program>, DirectError> {
        let found = commands::lookup(&mut self.connection, id, self.bytes_max).await;
        match found.map_err(|source| self.failed(source))? {
            Found::Program(program) => Ok(Some(program)),
            Found::Nothing | Found::Deleted { .. } => Ok(None),
            Found::Foreign(foreign) => {
                let reason = foreign.map_or_else(|| "not a hash".to_owned(), |foreign| foreign.to_string());
                Err(DirectError::Foreign { program_id: id.clone(), reason })
            }
        }
    }

    /// Deletes a program and publishes that.
    ///
    /// # Errors
    /// [`DirectError::Command`], [`DirectError::Foreign`] when the key holds something else, or [`DirectError::Last`].
    pub async fn delete(&mut self, id: &ProgramId) -> Result<Deleted, DirectError> {
        let deleting = self.writer.delete(&mut self.connection, id).await;
        match deleting.map_err(|source| self.failed(source))? {
            Deleting::Done(deleted) => Ok(deleted),
            Deleting::Last { stored } => Err(DirectError::Last { program_id: id.clone(), stored }),
            Deleting::Foreign => {
                Err(DirectError::Foreign { program_id: id.clone(), reason: "its programId is not the key".to_owned() })
            }
        }
    }

    /// Some of the programs, and the cursor to go on with; begins at 0, ends with `None`.
    ///
    /// # Errors
    /// [`DirectError::Command`].
    pub async fn page(&mut self, cursor: u64) -> Result<(Vec<Program>, Option<u64>), DirectError> {
        let page = commands::page(&mut self.connection, cursor, commands::SCAN_KEYS_MAX, self.bytes_max).await;
        let page = page.map_err(|source| self.failed(source))?;
        Ok((page.programs, (page.cursor != 0).then_some(page.cursor)))
    }

    fn failed(&self, source: RedisError) -> DirectError {
        DirectError::Command { server: self.server.clone(), source }
    }
}
