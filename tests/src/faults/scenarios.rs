//! Every scenario by its name.

mod disk;
mod hazards;
mod kill;
mod order;
mod outage;
mod partial;
mod poison;
mod recovery;
mod settings;
mod shutdown;

use std::time::Duration;

use super::error::RunError;
use super::report::Outcome;

/// How a scenario is to be run.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The small size: minutes for all of them together, not an hour.
    pub is_quick: bool,
    /// Where every draw comes from.
    pub seed: u64,
}

impl Plan {
    /// One of two sizes.
    fn size<T>(self, quick: T, full: T) -> T {
        if self.is_quick { quick } else { full }
    }

    /// So many seconds.
    fn seconds(self, quick: u64, full: u64) -> Duration {
        Duration::from_secs(self.size(quick, full))
    }
}

/// A way to find out whether something gets lost.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// What it is called by.
    pub name: &'static str,
    /// What happens in it.
    pub about: &'static str,
    /// Runs it to its end.
    pub run: fn(Plan) -> Result<Outcome, RunError>,
}

/// In the order they are run.
pub const ALL: [Scenario; 11] = [
    Scenario {
        name: "kill9",
        about: "kill -9 at a random instant under load, then a restart on the same directory",
        run: kill::run,
    },
    Scenario { name: "aggregated", about: "kill9 with many events in one record", run: kill::run_aggregated },
    Scenario { name: "spooled", about: "kill -9 with 256 MiB in the log, then a restart", run: kill::run_spooled },
    Scenario {
        name: "outage",
        about: "the stream hangs, then refuses connections, in 256 MiB of memory",
        run: outage::run,
    },
    Scenario {
        name: "recovery",
        about: "a backlog drains into shards with limits while events go on",
        run: recovery::run,
    },
    Scenario { name: "partial", about: "30 % of the records of each call fail", run: partial::run },
    Scenario { name: "order", about: "the same, one key's events in order", run: order::run },
    Scenario { name: "sigterm", about: "SIGTERM under load, a third with the stream hung", run: shutdown::run },
    Scenario { name: "disk", about: "a disk of 16 MiB that is full, read-only, and well again", run: disk::run },
    Scenario { name: "poison", about: "one record that every call is refused for", run: poison::run },
    Scenario { name: "hazards", about: "every other fault of the stream, one after another", run: hazards::run },
];
