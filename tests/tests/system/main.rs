//! The whole service from outside: the real binary, a real Redis, servers of the Kinesis protocol, and nothing of its inside.
//!
//! Each test starts what it needs on free ports. Tests whose figures count have the machine to themselves, see [`support::alone`].
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "tests have a time and threads of their own")]
#![allow(clippy::print_stdout, reason = "figures are shown to whoever runs the tests with --nocapture")]

mod aggregated;
mod cache_routes;
mod commands;
mod core_data;
mod embedded;
mod full_log;
mod http_edges;
mod kinesis_outages;
mod ledger;
mod lifecycle;
mod log_readers;
mod programs;
mod redis_outages;
mod shards;
mod stream;
mod stream_refusals;
mod support;
