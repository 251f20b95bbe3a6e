//! What `promises.md` promises, each row held to by a test whose name begins with the row's number.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod address;
mod buffering;
mod codec;
mod config;
mod consumer_lifecycle;
mod context;
mod deployments;
mod execute_blocking;
mod headers;
mod interceptor;
mod kit;
mod ledger;
mod metrics;
mod ordering;
mod pause_resume_fetch;
mod producer;
mod publish;
mod reply_failure;
mod request_reply;
mod send;
mod shared_data;
mod tap;
mod timers;
mod workers;
