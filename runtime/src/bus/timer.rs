//! A timer for whoever waits, made only when the waiting begins and usable on any thread.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::clock::Sleep;

use crate::runtime::Shared;

/// A duration as the clock counts; what does not fit is for ever.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Not running until it is first asked.
#[derive(Default)]
pub(crate) struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    /// Whether the clock has come to `deadline`; wakes the task when it does.
    pub(crate) fn is_over(&mut self, shared: &Shared, deadline: u64, cx: &mut Context<'_>) -> bool {
        if deadline == u64::MAX {
            return false;
        }
        if self.0.is_none() {
            self.0 = shared.timer(deadline).map(Box::pin);
        }
        // A timer of an executor that has ended panics, and so it does when there is none any more: the runtime is gone,
        // and with it what was waited for.
        match &mut self.0 {
            Some(sleep) => !matches!(catch_unwind(AssertUnwindSafe(|| sleep.as_mut().poll(cx))), Ok(Poll::Pending)),
            None => true,
        }
    }
}
