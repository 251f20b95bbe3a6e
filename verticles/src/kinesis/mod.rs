//! Events: written to a local log before they are answered, and shipped to the stream.
//!
//! ```text
//! TRACK ──► Intake, one a loop ── one write(2) a turn ──► EventLog: <data-dir>/events/*.log
//!              │ a turn at a time, while there is room                │ what did not fit, and what an earlier run left
//!              └───────────────► Shipper, on a loop of its own ◄──────┘
//!                                   └── PutRecords ──► the stream; a segment it has completely is removed
//! ```
//!
//! Who composes the service opens one [`EventLog`] before the runtime is built - that takes the log's lock, and fails
//! when another process has it - and deploys, in this order, so that undeploying in reverse loses no time:
//!
//! 1. with a stream: one `Shipper::new(log, KinesisClient::new(config))` on a named loop;
//! 2. one `Intake::new(log)` for each event loop.
//!
//! Without a stream there is no shipper, events stay in the log, and the oldest go when it reaches its bound.
//! [`EVENTS_HEALTH`](adtrack_proto::bus::EVENTS_HEALTH) is served by the shipper where there is one, by the first intake
//! otherwise. What is counted is in [`Metrics`].
//!
//! What is promised: an event that was answered is held by what the answer names, see
//! [`Durability`](adtrack_proto::bus::Durability); it is shipped at least once, under the partition key that the settings choose, its
//! message id by default. Not promised: an order between
//! loops or batches, and survival of the machine.

mod acks;
mod age;
pub mod aggregate;
mod appender;
pub mod batch;
mod bell;
mod budget;
mod burial;
mod cleanup;
pub mod client;
mod cursor;
pub mod dead;
mod dead_letter;
mod dispatch;
pub mod entry;
pub mod flow;
mod hand_over;
pub mod hash_ranges;
mod intake;
pub mod lanes;
mod ledger;
mod left;
mod log;
mod metrics;
pub mod outbox;
pub mod pacer;
mod partition_key;
mod pending;
mod probe;
pub mod progress;
pub mod record;
mod recover;
pub mod replay;
pub mod retry;
pub mod room;
pub mod settled;
pub mod shard;
mod shard_list;
pub mod shard_map;
pub mod shard_queue;
mod shipper;
pub mod spool;
mod syncs;
#[cfg(test)]
mod tests;
pub mod tracker;

pub use client::KinesisClient;
pub use intake::Intake;
pub use left::Left;
pub use log::EventLog;
pub use metrics::{Metrics, Refused};
pub use shipper::Shipper;
pub use spool::directory::OpenError;
