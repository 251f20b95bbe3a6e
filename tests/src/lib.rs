//! What the system tests stand on: the service as a process, servers for it to talk to, clients to ask it, and the rules of the house.
#![allow(
    clippy::disallowed_methods,
    reason = "tests live outside the runtime: they have their own time, environment and threads"
)]

pub mod adtrack;
pub mod binary;
pub mod client;
#[cfg(test)]
mod echo_server;
pub mod faults;
pub mod foreign_deaggregator;
pub mod kinesis_client;
pub mod kinesis_server;
pub mod load;
pub mod repository;
pub mod services;
pub mod tidy;
pub mod wait;
