//! Waiting for a consumer to finish what it has accepted.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::event_loop::LoopCore;

use super::consume::{AnyConsumer, ConsumerKey};
use super::credit::Credit;

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

/// Resolves when the consumer is closed and drained, or gone. It does not keep the consumer, which holds its verticle: this
/// may be kept in there.
pub(crate) struct Ended {
    core: Rc<LoopCore>,
    key: ConsumerKey,
    waiting: Option<(Arc<Credit>, u64)>,
}

impl Ended {
    pub(crate) fn new(core: &Rc<LoopCore>, key: ConsumerKey) -> Self {
        Self { core: Rc::clone(core), key, waiting: None }
    }

    fn still_there(&self) -> Option<Rc<dyn AnyConsumer>> {
        self.core.any_consumer(self.key).filter(|known| known.is_open() || !known.is_drained())
    }
}

impl Future for Ended {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(consumer) = self.still_there() else { return Poll::Ready(()) };
        let credit = Arc::clone(consumer.credit());
        let ticket = self.waiting.as_ref().map(|(_, ticket)| *ticket);
        let ticket = credit.waiters.wait(ticket, cx.waker());
        self.waiting = Some((credit, ticket));
        // Another thread may have given back the last place in between.
        if self.still_there().is_none() { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for Ended {
    fn drop(&mut self) {
        if let Some((credit, ticket)) = &self.waiting {
            credit.waiters.stop_waiting(*ticket);
        }
    }
}
