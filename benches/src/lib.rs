//! The questions the benchmarks ask, each a list of cases: baselines first, ours last.
//!
//! The same cases run under criterion (one bench target per question file) and in the `ratios` target, which runs them in
//! turn, so that both sides of a ratio see the same machine.

mod bare;
mod body;
mod compare;
mod loops;
#[cfg(feature = "service")]
mod program;
mod question;
mod stopwatch;
mod window;

pub mod bus;
#[cfg(feature = "service")]
pub mod cache;
pub mod counts;
#[cfg(feature = "service")]
pub mod encode;
pub mod plot;
pub mod ratios;
#[cfg(feature = "service")]
pub mod request_path;
pub mod scale;
#[cfg(feature = "service")]
pub mod ship;
#[cfg(feature = "service")]
pub mod spool;

pub use bare::{Bare, spawn_peer};
pub use body::Body;
pub use compare::compare;
pub use loops::{Inside, Loops};
pub use question::{Case, Question};
pub use stopwatch::{Measured, Stopwatch};
pub use window::{windowed, yield_once};

/// What sets up the questions of a group.
pub type Questions = fn() -> Result<Vec<Question>, vertebra::BoxError>;

/// The groups, in the order of the README.
#[must_use]
pub fn all() -> Vec<Questions> {
    vec![
        bus::questions,
        #[cfg(feature = "service")]
        cache::questions,
        #[cfg(feature = "service")]
        encode::questions,
        #[cfg(feature = "service")]
        spool::questions,
        #[cfg(feature = "service")]
        request_path::questions,
    ]
}
