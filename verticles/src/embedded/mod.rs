//! The store of a node that has no Redis: programs in memory, each put in a file before it counts.
//!
//! [`Embedded`] is deployed once, on the loop that does not serve requests. It answers the `store.*` addresses; what is
//! put is published as a change when it is on the disk, so that a cache never knows more than the next start would.
//! Disk work is done on workers. Puts that come during a write share the next one.

mod deletions;
mod file;
mod journal;
mod metrics;
mod versions;

use std::cell::RefCell;
use std::ops::Bound;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use adtrack_proto::bus::{
    AskHealth, DeleteProgram, Deleted, Found, Health, INVALID, ListPrograms, Lookup, OVERLOADED, ProgramPage,
    PurgeStore, PutPrograms, STORE_DELETE, STORE_HEALTH, STORE_LIST, STORE_LOOKUP, STORE_PURGE, STORE_PUT, Stored,
    UNAVAILABLE,
};
use adtrack_proto::{Program, ProgramId};
use vertebra::{BoxError, Context, Failure, Handler, Verticle};

use deletions::Deletions;
use journal::{Journal, NotWritten};

pub use file::{FILE_NAME, Limits, OpenError, Opened, ProgramFile, Programs, WriteError};
pub use metrics::Metrics;
pub use versions::{next_version, versioned};

/// Puts that may wait for the disk at a time; more stay in the mailbox.
const PUTS_IN_FLIGHT_MAX: usize = 64;
/// Lookups come from every loop at once.
const LOOKUP_MAILBOX: usize = 4_096;
/// How long a start waits for the file when somebody has it: the instance before this one may still be writing.
const IN_USE_MAX: Duration = Duration::from_secs(10);
/// Between two looks whether it is given back.
const IN_USE_PAUSE: Duration = Duration::from_millis(20);
/// The most programs of one page.
const PAGE_PROGRAMS_MAX: usize = 1_000;

/// What the store needs to know.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where its file is.
    pub data_dir: PathBuf,
    /// What it holds when it is new: a JSON array of programs.
    pub seed: String,
    /// How much it may hold.
    pub limits: Limits,
}

/// The embedded store; see the [module](self).
#[derive(Debug)]
pub struct Embedded {
    options: Options,
    metrics: Metrics,
    programs: RefCell<Programs>,
    deletions: RefCell<Deletions>,
    journal: Journal,
    last_error: RefCell<Option<String>>,
    /// Why the file that is open is not the one in the data directory.
    astray: RefCell<Option<String>>,
}

impl Embedded {
    /// A store that opens its file when it is deployed.
    pub fn new(options: Options, metrics: Metrics) -> Self {
        Self {
            options,
            metrics,
            programs: RefCell::default(),
            deletions: RefCell::default(),
            journal: Journal::default(),
            last_error: RefCell::default(),
            astray: RefCell::default(),
        }
    }

    /// How many programs there are once these are in, if that is allowed.
    fn room_for(&self, programs: &[Arc<Program>]) -> Result<(), Failure> {
        let known = self.programs.borrow();
        let new = programs.iter().filter(|program| !known.contains_key(&program.program_id)).count();
        let programs_max = self.options.limits.programs_max;
        if known.len() + self.journal.programs_on_their_way() + new <= programs_max {
            return Ok(());
        }
        Err(Failure::new(OVERLOADED, format!("the store is full: store.programs_max is {programs_max}")))
    }

    /// Opens the file; waits for it, within a bound, when somebody has it. A write that an instance has begun goes on when
    /// that is replaced, and has the file until it is over.
    async fn open(&self, ctx: &Context<Self>) -> Result<Opened, BoxError> {
        let until = ctx.clock().now() + IN_USE_MAX;
        let mut told = false;
        loop {
            let Options { data_dir, seed, limits } = self.options.clone();
            match ctx.execute_blocking(move || ProgramFile::open(&data_dir, &seed, limits)).await? {
                Err(OpenError::InUse { path }) if ctx.clock().now() < until => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(lock = %path.display(), wait_max = ?IN_USE_MAX, "the embedded store waits for its file, which is in use");
                    }
                    ctx.clock().sleep(IN_USE_PAUSE).await;
                }
                opened => return Ok(opened?),
            }
        }
    }

    /// The highest version of a program that was ever stored, deletions included.
    fn highest(&self, id: &ProgramId) -> Option<u64> {
        let stored = self.programs.borrow().get(id).and_then(|program| program.version);
        stored.max(self.deletions.borrow().version(id))
    }

    fn show_count(&self) {
        self.metrics.programs.set(i64::try_from(self.programs.borrow().len()).unwrap_or(i64::MAX));
    }
}

fn failure(NotWritten(reason): NotWritten) -> Failure {
    Failure::new(UNAVAILABLE, reason)
}

impl Verticle for Embedded {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let opened = self.open(ctx).await?;
        tracing::info!(
            file = %opened.file.path().display(),
            programs = opened.programs.len(),
            torn_bytes = opened.torn_bytes,
            seeded = opened.seeded,
            "embedded store opened"
        );
        self.programs.replace(opened.programs);
        self.show_count();
        ctx.spawn(journal::keep(ctx.clone(), opened.file));

        ctx.serve(STORE_LOOKUP).mailbox(LOOKUP_MAILBOX).register()?;
        ctx.serve(STORE_PUT).in_flight(PUTS_IN_FLIGHT_MAX).mailbox(PUTS_IN_FLIGHT_MAX).register()?;
        ctx.serve(STORE_DELETE).in_flight(PUTS_IN_FLIGHT_MAX).register()?;
        ctx.serve(STORE_LIST).register()?;
        ctx.serve(STORE_PURGE).in_flight(1).register()?;
        ctx.serve(STORE_HEALTH).register()?;
        Ok(())
    }
}

impl Handler<Lookup> for Embedded {
    type Reply = Found;

    async fn handle(&self, lookup: Lookup, _: &Context<Self>) -> Result<Found, Failure> {
        self.metrics.lookups.inc();
        if let Some(program) = self.programs.borrow().get(&lookup.program_id) {
            return Ok(Found::Program(Arc::clone(program)));
        }
        let deleted = self.deletions.borrow().version(&lookup.program_id);
        Ok(deleted.map_or(Found::Nothing, |version| Found::Deleted { version }))
    }
}

impl Handler<PutPrograms> for Embedded {
    type Reply = Stored;

    async fn handle(&self, put: PutPrograms, _: &Context<Self>) -> Result<Stored, Failure> {
        if put.programs.len() > PutPrograms::MAX {
            let asked = put.programs.len();
            return Err(Failure::new(
                INVALID,
                format!("{asked} programs in one put, it must be at most {}", PutPrograms::MAX),
            ));
        }
        self.room_for(&put.programs)?;
        self.journal.put(put.programs).await.map_err(failure)
    }
}

impl Handler<DeleteProgram> for Embedded {
    type Reply = Deleted;

    async fn handle(&self, delete: DeleteProgram, _: &Context<Self>) -> Result<Deleted, Failure> {
        self.journal.delete(delete.program_id).await.map_err(failure)
    }
}

impl Handler<ListPrograms> for Embedded {
    type Reply = ProgramPage;

    async fn handle(&self, list: ListPrograms, _: &Context<Self>) -> Result<ProgramPage, Failure> {
        let limit = list.limit.clamp(1, PAGE_PROGRAMS_MAX);
        // The cursor is the last id of the page before: it holds whatever is put or purged between two pages.
        let after = list.cursor.map(ProgramId::new).transpose();
        let after = after.map_err(|error| Failure::new(INVALID, format!("the cursor is not one: {error}")))?;
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.programs.borrow();
        let mut rest = known.range::<ProgramId, _>((from, Bound::Unbounded)).map(|(_, program)| Arc::clone(program));
        let programs: Vec<_> = rest.by_ref().take(limit).collect();
        let more = rest.next().is_some();
        let next = programs.last().filter(|_| more).map(|last| last.program_id.to_string());
        Ok(ProgramPage { programs, next })
    }
}

impl Handler<PurgeStore> for Embedded {
    type Reply = u64;

    async fn handle(&self, _: PurgeStore, _: &Context<Self>) -> Result<u64, Failure> {
        let purged = self.programs.borrow().len() as u64;
        self.journal.purge().await.map_err(failure)?;
        Ok(purged)
    }
}

impl Handler<AskHealth> for Embedded {
    type Reply = Health;

    async fn handle(&self, _: AskHealth, _: &Context<Self>) -> Result<Health, Failure> {
        let programs = self.programs.borrow().len();
        let (astray, last_error) = (self.astray.borrow(), self.last_error.borrow());
        let (up, detail) = match (&*astray, &*last_error) {
            (Some(reason), _) => {
                let file = self.options.data_dir.join(FILE_NAME);
                let file = file.display();
                (
                    false,
                    format!("{programs} programs can be read, none can be put until the next start: {file}: {reason}"),
                )
            }
            (None, Some(error)) => (false, format!("{programs} programs can be read; the last write failed: {error}")),
            (None, None) => (true, format!("{programs} programs")),
        };
        Ok(Health { name: "embedded store", up, accepting: true, detail })
    }
}

#[cfg(test)]
mod tests;
