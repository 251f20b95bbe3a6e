//! Waking one task of the same loop.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Poll, Waker};

/// A bell one task listens to. Ringing it while nobody listens is remembered, ringing it twice is once.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    rung: Cell<bool>,
    listener: RefCell<Option<Waker>>,
}

impl Bell {
    /// Wakes the listener.
    pub(crate) fn ring(&self) {
        if !self.rung.replace(true) {
            let listener = self.listener.borrow_mut().take();
            if let Some(listener) = listener {
                listener.wake();
            }
        }
    }

    /// Waits until it rings, or has rung since the last time. Cancel safe; only one may wait.
    pub(crate) async fn rung(&self) {
        poll_fn(|cx| {
            if self.rung.take() {
                return Poll::Ready(());
            }
            *self.listener.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    #[test]
    fn a_ring_that_nobody_heard_is_remembered_once() {
        let bell = Bell::default();
        bell.ring();
        bell.ring();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(bell.rung()).poll(&mut cx).is_ready());
        assert!(pin!(bell.rung()).poll(&mut cx).is_pending());
    }

    #[test]
    fn a_listener_that_went_away_costs_no_ring() {
        let bell = Bell::default();
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(bell.rung()).poll(&mut cx).is_pending());
        bell.ring();
        assert!(pin!(bell.rung()).poll(&mut cx).is_ready());
    }
}
