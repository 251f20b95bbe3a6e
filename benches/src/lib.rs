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
#[cfg(feature = "service")]
pub mod encode;
pub mod ratios;
#[cfg(feature = "service")]
pub mod request_path;

pub use compare::compare;
pub use question::{Case, Question};
pub use stopwatch::Measured;
