//! Redis: the store of programs, and the channel on which their changes are pushed. The driver is imported here only.
//!
//! [`RedisStore`] answers the `store.*` addresses, [`Updates`] publishes what arrives on the channel to the caches; each
//! has a connection of its own, is deployed once, on the loop that does not serve requests, and outlives any outage.
//! [`Direct`] is the same without verticles, for commands.

mod backoff;
mod commands;
mod connect;
mod direct;
mod hash;
mod link;
mod log_budget;
mod metrics;
mod payload;
mod replay;
mod script;
mod store;
mod updates;
mod writer;

pub use connect::ClientError;
pub use direct::{Direct, DirectError};
pub use metrics::Metrics;
pub use store::RedisStore;
pub use updates::Updates;
