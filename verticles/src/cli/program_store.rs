//! The store a command works on: Redis, the embedded store of a running service, or its file.

use std::collections::HashSet;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;

use adtrack_config::{Config, RedisConfig, SAMPLE_PROGRAMS, Secret};
use adtrack_proto::{Program, ProgramId};

use super::admin_client::{AdminClient, AdminError};
use crate::addresses::{Addresses, AddressesError};
use crate::embedded::{Limits, OpenError, Opened, ProgramFile, Programs, WriteError};
use crate::redis::{Direct, DirectError};

/// Programs of one page of the file.
const PAGE_PROGRAMS: usize = 1_000;

/// Which store a command is for.
#[derive(Debug, Clone)]
pub enum Target {
    /// The one in Redis.
    Redis(RedisConfig),
    /// The embedded one: the service that has it open is asked through its admin API; when none has, its file is.
    Embedded {
        /// Where the file and the service's addresses are.
        data_dir: PathBuf,
        /// How much the store may hold.
        limits: Limits,
        /// The admin API's token.
        token: Option<Secret>,
    },
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
    /// The file holds as many programs as it may.
    #[error("the store is full: store.programs_max is {programs_max}")]
    Full {
        /// The bound.
        programs_max: usize,
    },
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
        let limits = Limits { programs_max: config.store.programs_max, file_bytes_max: config.store.file_bytes_max };
        Self::Embedded { data_dir: config.data.dir.clone(), limits, token: config.admin.token.clone() }
    }
}

/// An open store.
#[derive(Debug)]
pub(super) enum ProgramStore {
    Redis(Direct),
    Admin(AdminClient),
    File { file: ProgramFile, programs: Programs, programs_max: usize },
}

impl ProgramStore {
    pub(super) async fn open(target: &Target) -> Result<Self, StoreError> {
        let (data_dir, limits, token) = match target {
            Target::Redis(config) => return Ok(Self::Redis(Direct::connect(config).await?)),
            Target::Embedded { data_dir, limits, token } => (data_dir, *limits, token),
        };
        // The lock tells whether a service is running; the noted addresses may be of one that has ended.
        match ProgramFile::open(data_dir, SAMPLE_PROGRAMS, limits) {
            Ok(Opened { file, programs, .. }) => Ok(Self::File { file, programs, programs_max: limits.programs_max }),
            Err(OpenError::InUse { .. }) => {
                Ok(Self::Admin(AdminClient::new(Addresses::read(data_dir)?.admin, token.clone())))
            }
            Err(error) => Err(error.into()),
        }
    }

    pub(super) async fn put(&mut self, new: &[Arc<Program>]) -> Result<(), StoreError> {
        match self {
            Self::Redis(redis) => Ok(redis.put(new).await?),
            Self::Admin(admin) => Ok(admin.put(new).await?),
            Self::File { file, programs, programs_max } => {
                let ids = new.iter().map(|program| &program.program_id);
                let added = ids.filter(|id| !programs.contains_key(*id)).collect::<HashSet<_>>().len();
                let stored = programs.len() + added;
                if stored > *programs_max {
                    return Err(StoreError::Full { programs_max: *programs_max });
                }
                file.append(new, stored)?;
                programs.extend(new.iter().map(|program| (program.program_id.clone(), Arc::clone(program))));
                Ok(())
            }
        }
    }

    pub(super) async fn get(&mut self, id: &ProgramId) -> Result<Option<Program>, StoreError> {
        match self {
            Self::Redis(redis) => Ok(redis.get(id).await?),
            Self::Admin(admin) => Ok(admin.get(id).await?),
            Self::File { programs, .. } => Ok(programs.get(id).map(|program| (**program).clone())),
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
            Self::File { programs, .. } => {
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
