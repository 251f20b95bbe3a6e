//! The addresses of adtrack, with what is said there. Whoever serves one is found by searching for its constant.
//!
//! A request that fails because a server cannot answer fails with [`UNAVAILABLE`], one that is refused because a bound
//! is reached with [`OVERLOADED`]; "not there" is `None`, never a failure.

use std::fmt;
use std::ops::Add;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use vertebra::Address;

use crate::program::Deletion;
use crate::{Event, Program, ProgramId};

/// Is there such a program? Answered from memory when it can be. Served by `cache`.
pub const LOOKUP: Address<Lookup, Option<Arc<Program>>> = Address::new("cache.lookup");
/// A program has changed: what is in memory follows at once. Published by the core-data listener and by the stores.
pub const CHANGED: Address<Change> = Address::new("cache.update");
/// Forget what is in memory; the reply counts the programs forgotten. Served by `cache`.
pub const CACHE_PURGE: Address<PurgeCache, u64> = Address::new("cache.purge");
/// Changes may have been missed: what is in memory is asked for again before it is trusted, one program at a time, when
/// it is next looked up. It is still answered while the store cannot be asked. Served by `cache`.
pub const CACHE_REVALIDATE: Address<Revalidate> = Address::new("cache.revalidate");

/// Is there such a program in the store? Served by `redis` or `embedded`.
pub const STORE_LOOKUP: Address<Lookup, Found> = Address::new("store.lookup");
/// Store programs, each with a version above the one that is stored, and publish the change. Served by `redis` or `embedded`.
pub const STORE_PUT: Address<PutPrograms, Stored> = Address::new("store.put");
/// Delete one program, with a version above the one that is stored, and publish that. Served by `redis` or `embedded`.
pub const STORE_DELETE: Address<DeleteProgram, Deleted> = Address::new("store.delete");
/// One page of what the store holds. Served by `redis` or `embedded`.
pub const STORE_LIST: Address<ListPrograms, ProgramPage> = Address::new("store.list");
/// Delete every program - and nothing else - from the store; the reply counts them. What is in memory stays there: for
/// that there is [`CACHE_PURGE`], afterwards. Served by `redis` or `embedded`.
pub const STORE_PURGE: Address<PurgeStore, u64> = Address::new("store.purge");
/// How the store is. Served by `redis` or `embedded`.
pub const STORE_HEALTH: Address<AskHealth, Health> = Address::new("store.health");

/// Take this event; the reply says what holds it. Served by `kinesis`, on every loop.
pub const TRACK: Address<Track, Accepted> = Address::new("events.track");
/// How the way to the stream is. Served by `kinesis`.
pub const EVENTS_HEALTH: Address<AskHealth, Health> = Address::new("events.health");

/// Where every event is that has come. Served by `kinesis`.
pub const LEDGER: Address<AskLedger, Ledger> = Address::new("events.ledger");

/// Put what the stream has refused for good back into the log. Served by `kinesis`.
pub const REPLAY: Address<Replay, Replayed> = Address::new("events.replay");

/// The failure code of "the server that knows cannot be asked": try again later.
pub const UNAVAILABLE: i32 = 503;
/// The failure code of "a queue is full": try again later, and less.
pub const OVERLOADED: i32 = 429;

/// The failure code of "that cannot be asked": the same question will never be answered.
pub const INVALID: i32 = 400;

/// Which program is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lookup {
    /// Its id, checked at the door.
    pub program_id: ProgramId,
}

/// What has become of a program.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// It is this now.
    Put(Arc<Program>),
    /// It is gone.
    Deleted(Deletion),
}

/// What the store has of a program.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// This.
    Program(Arc<Program>),
    /// None, and it remembers that one was deleted.
    Deleted {
        /// The version of the deletion.
        version: u64,
    },
    /// None.
    Nothing,
}

impl Found {
    /// The program, if there is one.
    pub fn program(self) -> Option<Arc<Program>> {
        match self {
            Self::Program(program) => Some(program),
            Self::Deleted { .. } | Self::Nothing => None,
        }
    }
}

/// Forget everything in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeCache;

/// Trust nothing in memory until the store was asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revalidate;

/// Programs to store, all of them or none when the store cannot be reached. One that has a version is stored if none above it
/// is; one that has none is given the next: the time in milliseconds, or one above the stored version if that is higher.
#[derive(Debug, Clone, PartialEq)]
pub struct PutPrograms {
    /// At most [`PutPrograms::MAX`].
    pub programs: Vec<Arc<Program>>,
}

impl PutPrograms {
    /// The most programs one message carries; more are sent in several.
    pub const MAX: usize = 1_000;
}

/// What became of programs that were to be stored: they are, but for those of which a higher version is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stored {
    /// Those that were not stored.
    pub outdated: Vec<Outdated>,
}

/// A program that was not stored, because a higher version of it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outdated {
    /// Which one.
    pub program_id: ProgramId,
    /// Its version; `None`: it was to be given the next one, and there is none.
    pub version: Option<u64>,
    /// The version that is stored.
    pub stored: u64,
}

impl fmt::Display for Outdated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { program_id, version, stored } = self;
        match version {
            Some(version) => write!(
                f,
                "program {program_id} is not stored: its version {version} is below {stored}, which is stored; without a \
                 version it is given the next one"
            ),
            None => {
                write!(f, "program {program_id} is not stored: there is no version above {stored}, which is stored")
            }
        }
    }
}

/// A program to delete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeleteProgram {
    /// Its id.
    pub program_id: ProgramId,
}

/// A program is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// The version of the deletion: what has a lower one does not bring the program back.
    pub version: u64,
    /// Whether the store had it. It is published all the same: memories may have what no store has.
    pub was_stored: bool,
}

/// Ask for one page of programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListPrograms {
    /// Where the page before this one ended; `None` for the first page.
    pub cursor: Option<String>,
    /// About how many programs to give: a page may hold some more or fewer, and none while there are more pages.
    pub limit: usize,
}

/// One page of programs.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramPage {
    /// In no particular order; across pages a program may come twice when it is written meanwhile.
    pub programs: Vec<Arc<Program>>,
    /// The cursor of the next page; `None` when this was the last.
    pub next: Option<String>,
}

/// Delete every program from the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PurgeStore;

/// Ask a verticle how its dependency is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskHealth;

/// How a dependency is, for people and for `/health/deps`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// Its name: `redis`, `kinesis`, `event log`, `embedded store`.
    pub name: &'static str,
    /// Whether it works now.
    pub up: bool,
    /// Whether this node can do its work as it is: for events, whether it can accept one.
    pub accepting: bool,
    /// What is known, in words: the last error, what is waiting, since when. Never a secret.
    pub detail: String,
}

/// Take this event.
#[derive(Debug, Clone, PartialEq)]
pub struct Track {
    /// What happened.
    pub event: Event,
    /// What must hold it before the reply comes.
    pub durability: Durability,
    /// What becomes of it when a bound is reached.
    pub at_bound: AtBound,
}

/// What becomes of an event that finds a bound of the log or its queues reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AtBound {
    /// It is refused with [`OVERLOADED`].
    Refuse,
    /// It is dropped and counted, and the reply says so.
    Drop,
}

/// What has become of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accepted {
    /// It is held.
    Held {
        /// By what.
        durability: Durability,
    },
    /// It was to be dropped at a bound, and was.
    Dropped {
        /// Which bound.
        bound: Bound,
    },
}

/// A bound that events may find reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// A loop holds as many unwritten events as it may.
    Queue,
    /// The log is as long as it may be.
    Log,
    /// The event's customer holds more of one of the two than is fair to the others.
    Share,
}

impl Bound {
    /// Every bound.
    pub const ALL: [Self; 3] = [Self::Queue, Self::Log, Self::Share];

    /// Its name, in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queue => "queue_full",
            Self::Log => "log_full",
            Self::Share => "fair_share",
        }
    }
}

/// What holds an event. Each level survives what those before it survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Durability {
    /// A bounded queue of this process: it survives a panic and a stop in order.
    Memory,
    /// The log; the write(2) that holds it has returned: it survives the end of this process, however it ends.
    Spool,
    /// The log on the disk; an fdatasync that began after the write has returned: it survives the end of the machine.
    Sync,
    /// The stream has acknowledged it: it survives the loss of the disk.
    Stream,
}

impl Durability {
    /// Every level, the weakest first.
    pub const ALL: [Self; 4] = [Self::Memory, Self::Spool, Self::Sync, Self::Stream];

    /// Its name, in settings and headers.
    ///
    /// ```
    /// use adtrack_proto::bus::Durability;
    /// assert_eq!(Durability::named("sync").map(Durability::name), Some("sync"));
    /// ```
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Spool => "spool",
            Self::Sync => "sync",
            Self::Stream => "stream",
        }
    }

    /// The level of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.name() == name)
    }
}

/// Put the events of all `.dead` files back into the log, to be sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replay;

/// What is in the log again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Replayed {
    /// Files that were `.dead` and are segments now.
    pub files: u64,
    /// The events in them.
    pub events: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Ask where all events are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AskLedger;

/// Where all events are, for people and for metrics.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ledger {
    /// Of all customers together.
    pub total: Account,
    /// Of those of whom most events have come, the first of them first.
    pub customers: Vec<CustomerAccount>,
    /// Of all others together.
    pub other: Account,
    /// Events by which it does not come out even.
    pub imbalance: u64,
}

/// The events of one customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CustomerAccount {
    /// Whose.
    pub customer_id: i32,
    /// Where they are.
    pub account: Account,
}

/// How events came, and where they are. Numbers of events since the start of the process; those of places that events leave
/// again are what is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Account {
    /// Written to the log, or answered with 200 all the same.
    pub accepted: i64,
    /// Found in the log of an earlier run.
    pub recovered: i64,
    /// Sent back into the log out of a `.dead` file.
    pub replayed: i64,
    /// In the log alone, now.
    pub spooled: i64,
    /// In memory on the way to the stream, now.
    pub in_flight: i64,
    /// Acknowledged by the stream.
    pub delivered: i64,
    /// Put into a `.dead` file.
    pub dead_lettered: i64,
    /// Held by nothing.
    pub dropped: Dropped,
}

/// Events that nothing holds, by reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Dropped {
    /// Answered at the level `memory`, and not to be written.
    pub unwritten: i64,
    /// Found a bound reached, and were to be dropped then.
    pub bound: i64,
    /// Went with the oldest segments of a log without a stream.
    pub retention: i64,
    /// Were in a part of the log that is damaged.
    pub damaged: i64,
    /// Were in a segment that somebody has removed.
    pub gone: i64,
}

impl Account {
    /// Every number with its name.
    pub fn places(&self) -> [(&'static str, i64); 12] {
        [
            ("accepted", self.accepted),
            ("recovered", self.recovered),
            ("replayed", self.replayed),
            ("spooled", self.spooled),
            ("in_flight", self.in_flight),
            ("delivered", self.delivered),
            ("dead_lettered", self.dead_lettered),
            ("dropped_unwritten", self.dropped.unwritten),
            ("dropped_bound", self.dropped.bound),
            ("dropped_retention", self.dropped.retention),
            ("dropped_damaged", self.dropped.damaged),
            ("dropped_gone", self.dropped.gone),
        ]
    }
}

impl Add for Account {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let (one, two) = (self.dropped, other.dropped);
        Self {
            accepted: self.accepted + other.accepted,
            recovered: self.recovered + other.recovered,
            replayed: self.replayed + other.replayed,
            spooled: self.spooled + other.spooled,
            in_flight: self.in_flight + other.in_flight,
            delivered: self.delivered + other.delivered,
            dead_lettered: self.dead_lettered + other.dead_lettered,
            dropped: Dropped {
                unwritten: one.unwritten + two.unwritten,
                bound: one.bound + two.bound,
                retention: one.retention + two.retention,
                damaged: one.damaged + two.damaged,
                gone: one.gone + two.gone,
            },
        }
    }
}
