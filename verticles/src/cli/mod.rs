//! What the commands of the binary do, as functions; the command line itself is in `main.rs`.

mod admin_client;
pub mod args;
mod elements;
mod embedded_target;
pub mod events;
pub mod health;
pub mod logging;
mod program_store;
pub mod programs;

pub use admin_client::AdminError;
pub use embedded_target::EmbeddedTarget;
