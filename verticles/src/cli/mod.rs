//! What the commands of the binary do, as functions; the command line itself is in `main.rs`.

mod admin_client;
pub mod args;
mod elements;
pub mod events;
pub mod health;
pub mod logging;
mod program_store;
pub mod programs;

pub use admin_client::AdminError;
