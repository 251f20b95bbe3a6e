//! The long half of the tests: the real binary, real sockets, and faults while it is under load. `./tests/faults` runs them.
//!
//! Each scenario accounts for every event: what was answered with 200 must be in the stream, or still in the log on the disk.

mod connection;
mod contents;
mod error;
mod latencies;
mod ledger;
mod load;
mod memory_group;
mod report;
mod resident;
mod scenarios;
pub mod small_disk;
mod stand;

pub use self::error::RunError;
pub use self::latencies::Latencies;
pub use self::load::{Answer, Load, Loaded, Pace, Request};
pub use self::report::{Check, HEAD, Outcome, Row};
pub use self::scenarios::{ALL, Plan, Scenario};
