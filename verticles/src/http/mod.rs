//! The doors: HTTP for the world, and HTTP for operators.
//!
//! * [`Listener`] binds an address before anything is deployed, so that it is known and a port in use fails the start.
//! * [`Server`], one instance per event loop, serves the public routes on the connections it is given; it asks `LOOKUP`
//!   for the program, `TRACK` to take the event, and `EVENTS_HEALTH` once a second for `/health/check`.
//! * [`Acceptor`], one instance, accepts the public connections and hands them to the servers in turn. Deployed last:
//!   what is deployed last stops first, and a leaving node first says so, then accepts nothing, then drains.
//! * [`Admin`], one instance, serves the operators' listener: metrics, health of the dependencies, programs.
//!
//! Every connection is guarded by `head` (what is not plainly one HTTP request is refused before it is parsed) and
//! `watch` (a sweep over all connections ends what takes too long). The parser between them is hyper's.

mod accept;
mod acceptor;
mod admin;
mod admin_guard;
mod answer;
mod bus_metrics;
mod client_ip;
mod connection;
mod connections;
mod cookie;
mod dependencies;
mod durability;
mod event;
mod grammar;
mod head;
mod latency;
mod ledger;
mod listener;
mod message_id;
mod metrics;
mod operator;
mod permit;
mod program_id;
mod public;
mod query;
mod readiness;
mod samples;
mod server;
mod store;
mod stream;
mod text;
mod trace;
mod tracking_paths;
mod watch;

pub use acceptor::Acceptor;
pub use admin::{Admin, AdminOptions};
pub use listener::{BindError, Listener};
pub use metrics::Metrics;
pub use samples::Samples;
pub use server::Server;
