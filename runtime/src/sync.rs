//! What several threads share is built of these, so that shuttle can take their place and try every order of steps.
//!
//! `RUSTFLAGS="--cfg shuttle" cargo test -p vertebra --lib shuttle_` does that; nothing else works in such a build.

#[cfg(not(shuttle))]
pub(crate) use std::sync::{Mutex, MutexGuard, PoisonError, atomic};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::{Mutex, MutexGuard, atomic};
#[cfg(shuttle)]
pub(crate) use std::sync::PoisonError;

/// A step of something that shuttle does not see: another thread may come in between.
#[inline]
pub(crate) fn step() {
    #[cfg(shuttle)]
    shuttle::thread::yield_now();
}
