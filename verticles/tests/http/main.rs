//! The HTTP side from outside: real sockets, real loops, stubs for everything behind the bus.
#![allow(clippy::unwrap_used, reason = "tests")]

mod admin;
mod client;
mod drain;
mod events;
mod framing;
mod health;
mod service;
mod times;
mod wild;
