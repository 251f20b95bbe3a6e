//! `adtrack events ...`: looking at the event log, also while a service writes it; nothing is locked and nothing changed, but by
//! [`replay`].

pub mod export;
mod files;
pub mod replay;
pub mod stats;
pub mod tail;
#[cfg(test)]
mod tests;
pub mod verify;

pub use files::{LogError, Part};
