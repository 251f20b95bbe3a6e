//! The store a command works on: Redis, the embedded store of a running service, or its file when none is running.

use std::collections::HashSet;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adtrack_config::{Config, RedisConfig, SAMPLE_PROGRAMS};
use adtrack_proto::bus::{Deleted, Outdated, Stored};
use adtrack_proto::program::Deletion;
use adtrack_proto::{Program, ProgramId};
use vertebra::Clock;

use super::admin_client::AdminClient;
use super::admin_client::AdminError;
use super::embedded_target::{EmbeddedTarget, Holder};
use crate::addresses::AddressesError;
use crate::embedded::{Limits, OpenError, Opened, ProgramFile, Programs, WriteError, next_version, versioned};
use crate::redis::{Direct, DirectError};

/// Programs of one page of the file.
const PAGE_PROGRAMS: usize = 1_000;
/// How long to wait for another command to be done with the file, or for a service to listen, and how often to look.
const IN_USE_MAX: Duration = Duration::from_secs(2);
const IN_USE_PAUSE: Duration = Duration::from_millis(20);

/// Which store a command is for.
#[derive(Debug, Clone)]
pub enum Target {
    /// The one in Redis.
    Redis(RedisConfig),
    /// The embedded one: the service that has it is asked through its admin API; when none has, its file is.
    Embedded(EmbeddedTarget),
}

/// Why the store did not do what a command asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Redis.
    #[error(transparent)]
    Redis(#[from] DirectError),
    /// The admin API of the service.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The file, when no service is running.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The file, when it is written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A service has the store open, and it is not known where it listens.
    #[error("the store is in use, but where its service listens is not known: {0}")]
    Addresses(#[from] AddressesError),
    /// There is nothing to look at; a mistyped directory is not to become a store.
    #[error("data.dir is {dir}: there is no program store in it, adtrack serve and adtrack programs put make one", dir = .data_dir.display())]
    NoStore {
        /// The data directory.
        data_dir: PathBuf,
    },
    /// The file holds as many programs as it may.
    #[error("the store is full: store.programs_max is {programs_max}")]
    Full {
        /// The bound.
        programs_max: usize,
    },
    /// A program cannot be deleted with a version above its own.
    #[error("program {0} is not deleted: there is no version above its own")]
    Last(ProgramId),
    /// A listing was continued where none was.
    #[error("the listing cannot be continued at {0:?}")]
    Cursor(String),
}

impl Target {
    /// The store that a service with this configuration has.
    pub fn of(config: &Config) -> Self {
        if config.redis.host.is_some() {
            return Self::Redis(config.redis.clone());
        }
        Self::Embedded(EmbeddedTarget {
            data_dir: config.data.dir.clone(),
            limits: Limits { programs_max: config.store.programs_max, file_bytes_max: config.store.file_bytes_max },
            admin: config.admin.listen,
            token: config.admin.token.clone(),
        })
    }
}

/// A store that programs are put into.
#[derive(Debug)]
pub(super) enum ProgramWriter {
    Redis(Direct),
    Admin(AdminClient),
    File { file: ProgramFile, programs: Programs, programs_max: usize },
}

impl ProgramWriter {
    /// Opens the store of a target; the file of an embedded one is made if it is not there and no service has it.
    pub(super) async fn open(target: &Target) -> Result<Self, StoreError> {
        let embedded = match target {
            Target::Redis(config) => return Ok(Self::Redis(Direct::connect(config).await?)),
            Target::Embedded(embedded) => embedded,
        };
        let (clock, limits) = (Clock::system(), embedded.limits);
        let until = clock.now() + IN_USE_MAX;
        loop {
            let holder = embedded.holder().await;
            if let Holder::Service(admin) = holder {
                return Ok(Self::Admin(admin));
            }
            match ProgramFile::open(&embedded.data_dir, SAMPLE_PROGRAMS, limits) {
                Ok(Opened { file, programs, .. }) => {
                    return Ok(Self::File { file, programs, programs_max: limits.programs_max });
                }
                // Another command, or a service that does not listen yet.
                Err(OpenError::InUse { .. }) if clock.now() < until => clock.sleep(IN_USE_PAUSE).await,
                Err(error @ OpenError::InUse { .. }) => {
                    return Err(if let Holder::Somebody(error) = holder { error } else { error.into() });
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether what is put is told to those who answer: so it is, but where no service runs.
    pub(super) fn publishes(&self) -> bool {
        !matches!(self, Self::File { .. })
    }

    /// Stores programs, but for those of which a higher version is stored.
    pub(super) async fn put(&mut self, new: &[Arc<Program>]) -> Result<Stored, StoreError> {
        match self {
            Self::Redis(redis) => Ok(redis.put(new).await?),
            Self::Admin(admin) => Ok(admin.put(new).await?),
            Self::File { file, programs, programs_max } => {
                let stored_version = |id: &ProgramId| programs.get(id).and_then(|program| program.version);
                let outcomes = versioned(new, stored_version, Clock::system().unix_ms());
                let (new, outdated) = parted(outcomes);
                let ids = new.iter().map(|program| &program.program_id);
                let added = ids.filter(|id| !programs.contains_key(*id)).collect::<HashSet<_>>().len();
                let stored = programs.len() + added;
                if stored > *programs_max {
                    return Err(StoreError::Full { programs_max: *programs_max });
                }
                file.append(&new, stored)?;
                programs.extend(new.into_iter().map(|program| (program.program_id.clone(), program)));
                Ok(Stored { outdated })
            }
        }
    }

    /// Deletes a program, whether the store has it or not: memories may have it.
    pub(super) async fn delete(&mut self, id: &ProgramId) -> Result<Deleted, StoreError> {
        match self {
            Self::Redis(redis) => Ok(redis.delete(id).await?),
            Self::Admin(admin) => Ok(admin.delete(id).await?),
            Self::File { file, programs, .. } => {
                let before = programs.get(id).and_then(|program| program.version);
                let version = next_version(before, Clock::system().unix_ms());
                let version = version.ok_or_else(|| StoreError::Last(id.clone()))?;
                let was_stored = programs.contains_key(id);
                let deletion = Deletion { program_id: id.clone(), version: Some(version) };
                file.delete(&deletion, programs.len() - usize::from(was_stored))?;
                programs.remove(id);
                Ok(Deleted { version, was_stored })
            }
        }
    }
}

fn parted(outcomes: Vec<Result<Arc<Program>, Outdated>>) -> (Vec<Arc<Program>>, Vec<Outdated>) {
    let mut outdated = Vec::new();
    let kept = outcomes.into_iter().filter_map(|outcome| outcome.map_err(|refused| outdated.push(refused)).ok());
    (kept.collect(), outdated)
}

/// A store that is looked at. Nothing of it is made or changed.
#[derive(Debug)]
pub(super) enum ProgramReader {
    Redis(Direct),
    Admin(AdminClient),
    Contents(Programs),
}

impl ProgramReader {
    pub(super) async fn open(target: &Target) -> Result<Self, StoreError> {
        let embedded = match target {
            Target::Redis(config) => return Ok(Self::Redis(Direct::connect(config).await?)),
            Target::Embedded(embedded) => embedded,
        };
        if let Holder::Service(admin) = embedded.holder().await {
            return Ok(Self::Admin(admin));
        }
        match ProgramFile::read(&embedded.data_dir, embedded.limits.programs_max) {
            Ok(programs) => Ok(Self::Contents(programs)),
            Err(OpenError::Missing { .. }) => Err(StoreError::NoStore { data_dir: embedded.data_dir.clone() }),
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn get(&mut self, id: &ProgramId) -> Result<Option<Program>, StoreError> {
        match self {
            Self::Redis(redis) => Ok(redis.get(id).await?),
            Self::Admin(admin) => Ok(admin.get(id).await?),
            Self::Contents(programs) => Ok(programs.get(id).map(|program| (**program).clone())),
        }
    }

    /// Some programs, and the cursor of the next page.
    pub(super) async fn page(&mut self, cursor: Option<String>) -> Result<(Vec<Program>, Option<String>), StoreError> {
        match self {
            Self::Redis(redis) => {
                let at = cursor.map_or(Ok(0), |cursor| cursor.parse().map_err(|_| StoreError::Cursor(cursor)))?;
                let (programs, next) = redis.page(at).await?;
                Ok((programs, next.map(|next| next.to_string())))
            }
            Self::Admin(admin) => Ok(admin.page(cursor.as_deref()).await?),
            Self::Contents(programs) => {
                let from = cursor.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
                let rest = programs.range::<str, _>((from, Bound::Unbounded)).take(PAGE_PROGRAMS);
                let page: Vec<_> = rest.map(|(_, program)| (**program).clone()).collect();
                let full = page.len() == PAGE_PROGRAMS;
                let next = page.last().filter(|_| full).map(|last| last.program_id.to_string());
                Ok((page, next))
            }
        }
    }
}
