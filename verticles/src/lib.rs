//! An ad-tracking service on the vertebra runtime.
//!
//! The verticles `http`, `cache`, `redis`, `embedded` and `kinesis` never import one another; they meet at the addresses of
//! `adtrack_proto::bus`, and in [`app`], which composes them.

pub mod addresses;
pub mod app;
pub mod cache;
mod changes;
pub mod cli;
pub mod data_dir;
pub mod drain;
pub mod embedded;
pub mod http;
pub mod kinesis;
pub mod redis;
