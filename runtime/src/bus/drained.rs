//! Waiting for a closed consumer to finish what it has accepted.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::consumer::AnyConsumer;

/// Resolves when nothing is queued, on its way or being handled, or when the consumer was given up.
pub(crate) struct Drained {
    consumer: Rc<dyn AnyConsumer>,
    ticket: Option<u64>,
}

impl Drained {
    pub(crate) fn new(consumer: Rc<dyn AnyConsumer>) -> Self {
        Self { consumer, ticket: None }
    }
}

impl Future for Drained {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.consumer.is_drained() {
            return Poll::Ready(());
        }
        self.ticket = Some(self.consumer.credit().waiters.wait(self.ticket, cx.waker()));
        // Another thread may have given back the last place in between.
        if self.consumer.is_drained() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.consumer.credit().waiters.stop_waiting(ticket);
        }
    }
}
