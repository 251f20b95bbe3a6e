//! What `promises.md` promises, each row held to by a test whose name begins with the row's number.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod address;
mod buffering;
mod consumer_lifecycle;
mod ledger;
mod pause_resume_fetch;
mod tap;
