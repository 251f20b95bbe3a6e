//! The Redis store: what is not in memory is asked here.

use std::cell::OnceCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::RedisResult;
use ::redis::aio::ConnectionManager;
use adtrack_config::RedisConfig;
use adtrack_proto::bus::{
    AskHealth, Change, DeleteProgram, Deleted, Found, Health, INVALID, ListPrograms, Lookup, ProgramPage, PurgeStore,
    PutPrograms, STORE_DELETE, STORE_HEALTH, STORE_LIST, STORE_LOOKUP, STORE_PURGE, STORE_PUT, Stored, UNAVAILABLE,
};
use adtrack_proto::program::Deletion;
use vertebra::{BoxError, Clock, Context, Failure, Handler, Verticle};

use super::commands::{self, Page};
use super::link::{Link, State};
use super::log_budget::LogBudget;
use super::writer::{self, Deleting, Writer};
use super::{Metrics, connect};
use crate::changes;

/// Lookups under way at a time; they share one connection. As many more stay in the mailbox.
const LOOKUPS_IN_FLIGHT_MAX: usize = 4_096;
/// Puts under way at a time: enough that one waits for the network while another is written.
const PUTS_IN_FLIGHT_MAX: usize = 4;
/// How long a put waits for the caches of this node, which are to know what was put.
const CACHES_TIMEOUT: Duration = Duration::from_secs(1);
/// A step of a listing, purge or put has this many times the time of a lookup.
const BULK_FACTOR: u32 = 10;

/// The store verticle: one instance, on the loop that does not serve requests.
///
/// It starts whether or not Redis is there, fails with [`UNAVAILABLE`] at once while it is not, and works again by itself.
/// A key that holds no program is answered as absent, and counted.
pub struct RedisStore {
    config: RedisConfig,
    writer: Writer,
    metrics: Metrics,
    link: OnceCell<Link>,
    foreign_log: LogBudget,
}

impl RedisStore {
    /// A store that connects when it is deployed.
    pub fn new(config: RedisConfig, metrics: Metrics) -> Self {
        let writer = Writer::new(&config);
        Self { config, writer, metrics, link: OnceCell::new(), foreign_log: LogBudget::default() }
    }

    async fn run<T>(
        &self,
        ctx: &Context<Self>,
        timeout: Duration,
        command: impl AsyncFnOnce(ConnectionManager) -> RedisResult<T>,
    ) -> Result<T, Failure> {
        let link = self.link.get().ok_or_else(|| Failure::new(UNAVAILABLE, "redis is not connected: not started"))?;
        let result = link.run(ctx.clock(), timeout, command).await;
        result.map_err(|error| Failure::new(UNAVAILABLE, error.to_string()))
    }

    /// What was published comes back to this node too, but later; and their versions put the two in order.
    async fn tell_caches(&self, ctx: &Context<Self>, stored: Vec<Change>) {
        let Some(last) = stored.last().cloned() else { return };
        let told = async {
            let told = changes::tell(ctx.bus(), ctx.clock(), stored).await;
            changes::taken(ctx.bus(), last).await;
            told
        };
        if !matches!(ctx.clock().timeout(CACHES_TIMEOUT, told).await, Ok(Ok(_))) {
            tracing::warn!(
                "programs were changed, but caches may answer with the old ones until what was published arrives"
            );
        }
    }

    fn bulk_timeout(&self) -> Duration {
        self.config.response_timeout * BULK_FACTOR
    }

    fn note_foreign(&self, clock: &Clock, key: &str, reason: &str) {
        self.metrics.foreign_keys.inc();
        if let Some(suppressed) = self.foreign_log.take(clock.now()) {
            tracing::warn!(key, reason, suppressed, "a key in redis holds no program");
        }
    }
}

impl fmt::Debug for RedisStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.link.get().map(Link::state);
        f.debug_struct("RedisStore").field("config", &self.config).field("state", &state).finish_non_exhaustive()
    }
}

impl Verticle for RedisStore {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let link = Link::new(&self.config, self.bulk_timeout(), self.metrics.clone())?;
        let link = self.link.get_or_init(|| link);
        // One attempt, so that a node whose Redis is there begins with it.
        link.probe(ctx.clock()).await;
        let supervised = ctx.clone();
        ctx.spawn(async move {
            if let Some(link) = supervised.verticle().link.get() {
                link.supervise(supervised.clock()).await;
            }
        });
        ctx.serve(STORE_LOOKUP).in_flight(LOOKUPS_IN_FLIGHT_MAX).mailbox(LOOKUPS_IN_FLIGHT_MAX).register()?;
        ctx.serve(STORE_PUT).in_flight(PUTS_IN_FLIGHT_MAX).register()?;
        ctx.serve(STORE_DELETE).in_flight(PUTS_IN_FLIGHT_MAX).register()?;
        ctx.serve(STORE_LIST).in_flight(1).register()?;
        ctx.serve(STORE_PURGE).in_flight(1).register()?;
        ctx.serve(STORE_HEALTH).register()?;
        Ok(())
    }
}

impl Handler<Lookup> for RedisStore {
    type Reply = Found;

    async fn handle(&self, lookup: Lookup, ctx: &Context<Self>) -> Result<Found, Failure> {
        let (id, bytes_max) = (&lookup.program_id, self.config.payload_bytes_max);
        // A connection that was cut is found by the command that uses it, and replaced by the time of the next one.
        let ask = async |mut manager: ConnectionManager| match commands::lookup(&mut manager, id, bytes_max).await {
            Err(error) if error.is_connection_dropped() => commands::lookup(&mut manager, id, bytes_max).await,
            found => found,
        };
        match self.run(ctx, self.config.response_timeout, ask).await? {
            commands::Found::Program(program) => Ok(Found::Program(Arc::new(program))),
            commands::Found::Deleted { version } => Ok(Found::Deleted { version }),
            commands::Found::Nothing => Ok(Found::Nothing),
            commands::Found::Foreign(foreign) => {
                let reason = foreign.map_or_else(|| "not a hash".to_owned(), |foreign| foreign.to_string());
                self.note_foreign(ctx.clock(), id.as_str(), &reason);
                Ok(Found::Nothing)
            }
        }
    }
}

impl Handler<PutPrograms> for RedisStore {
    type Reply = Stored;

    async fn handle(&self, put: PutPrograms, ctx: &Context<Self>) -> Result<Stored, Failure> {
        if put.programs.len() > PutPrograms::MAX {
            let asked = put.programs.len();
            return Err(Failure::new(INVALID, format!("{asked} programs in one put, at most {}", PutPrograms::MAX)));
        }
        let (mut stored, mut outdated) = (Vec::with_capacity(put.programs.len()), Vec::new());
        for programs in put.programs.chunks(writer::PROGRAMS_MAX) {
            let write = async |mut manager: ConnectionManager| self.writer.put(&mut manager, programs).await;
            for outcome in self.run(ctx, self.bulk_timeout(), write).await? {
                match outcome {
                    Ok(program) => stored.push(Change::Put(Arc::new(program))),
                    Err(refused) => outdated.push(refused),
                }
            }
        }
        self.metrics.outdated_puts.inc_by(outdated.len() as u64);
        self.tell_caches(ctx, stored).await;
        Ok(Stored { outdated })
    }
}

impl Handler<DeleteProgram> for RedisStore {
    type Reply = Deleted;

    async fn handle(&self, delete: DeleteProgram, ctx: &Context<Self>) -> Result<Deleted, Failure> {
        let id = &delete.program_id;
        let write = async |mut manager: ConnectionManager| self.writer.delete(&mut manager, id).await;
        match self.run(ctx, self.bulk_timeout(), write).await? {
            Deleting::Done(deleted) => {
                let deletion = Deletion { program_id: delete.program_id, version: Some(deleted.version) };
                self.tell_caches(ctx, vec![Change::Deleted(deletion)]).await;
                Ok(deleted)
            }
            Deleting::Last { stored } => {
                Err(Failure::new(INVALID, format!("there is no version above {stored}, which is stored")))
            }
            Deleting::Foreign => Err(Failure::new(INVALID, format!("key {id} in redis holds no program"))),
        }
    }
}

impl Handler<ListPrograms> for RedisStore {
    type Reply = ProgramPage;

    async fn handle(&self, list: ListPrograms, ctx: &Context<Self>) -> Result<ProgramPage, Failure> {
        let cursor = list.cursor.as_deref().unwrap_or("0");
        let cursor: u64 = cursor.parse().map_err(|_| Failure::new(INVALID, "the cursor is not one of a listing"))?;
        let keys = list.limit.clamp(1, commands::SCAN_KEYS_MAX);
        let bytes_max = self.config.payload_bytes_max;
        let ask = async |mut manager: ConnectionManager| commands::page(&mut manager, cursor, keys, bytes_max).await;
        let Page { programs, foreign, cursor } = self.run(ctx, self.bulk_timeout(), ask).await?;
        self.metrics.foreign_keys.inc_by(foreign);
        let next = (cursor != 0).then(|| cursor.to_string());
        Ok(ProgramPage { programs: programs.into_iter().map(Arc::new).collect(), next })
    }
}

impl Handler<PurgeStore> for RedisStore {
    type Reply = u64;

    async fn handle(&self, _: PurgeStore, ctx: &Context<Self>) -> Result<u64, Failure> {
        let (mut purged, mut cursor) = (0, 0);
        loop {
            let step = async |mut manager: ConnectionManager| commands::purge_step(&mut manager, cursor).await;
            let (deleted, next) = self.run(ctx, self.bulk_timeout(), step).await?;
            purged += deleted;
            cursor = next;
            if cursor == 0 {
                return Ok(purged);
            }
        }
    }
}

impl Handler<AskHealth> for RedisStore {
    type Reply = Health;

    async fn handle(&self, _: AskHealth, ctx: &Context<Self>) -> Result<Health, Failure> {
        let server = connect::name(&self.config);
        let (up, how) = match self.link.get().map(Link::state) {
            Some(State::Up { since }) => (true, format!("connected for {} s", ago(ctx.clock(), since))),
            Some(State::Down { since, error }) => (false, format!("down for {} s: {error}", ago(ctx.clock(), since))),
            None => (false, "not started".to_owned()),
        };
        let subscribed = if self.metrics.subscribed.get() == 1 { "subscribed to" } else { "not subscribed to" };
        let detail = format!("{server} {how}; {subscribed} {}", self.config.channel);
        Ok(Health { name: "redis", up, accepting: up, detail })
    }
}

fn ago(clock: &Clock, since: Duration) -> u64 {
    clock.now().saturating_sub(since).as_secs()
}
