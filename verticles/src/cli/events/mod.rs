//! `adtrack events ...`: looking at the event log, also while a service writes it. Nothing is locked and nothing changed.

pub mod export;
mod files;
pub mod stats;
pub mod tail;
#[cfg(test)]
mod tests;
pub mod verify;

pub use files::{LogError, Part};
