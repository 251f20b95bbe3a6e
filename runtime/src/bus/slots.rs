//! The places of a consumer's running handlers. They are used again, so that starting a handler allocates nothing.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::event_loop::LoopCore;
use crate::event_loop::shared::SlotWaker;

use super::consumer::{ConsumerKey, ReplyTo};

/// All places there have been so far; as many as handlers have ever been in flight at a time.
pub(super) struct Slots<F> {
    free: RefCell<Vec<Running<F>>>,
    /// By slot. As long as the slots there have been, once one of their handlers was suspended.
    suspended: RefCell<Vec<Suspended<F>>>,
    made: Cell<u32>,
    in_flight: Cell<usize>,
}

struct Suspended<F> {
    /// Taken out while the handler is polled, because it may call its own address meanwhile.
    running: Option<Running<F>>,
    reply_to: ReplyTo,
    /// It was begun by an instance that another one has replaced.
    old: bool,
}

/// A place with the handler in it and what polls it. Its box and its waker stay for the next handler.
pub(super) struct Running<F> {
    pub(super) slot: u32,
    future: Pin<Box<Option<F>>>,
    waker: Waker,
    flag: Arc<SlotWaker>,
}

/// What came of polling a handler. When it has ended, its future is gone.
pub(super) enum Polled<T> {
    Pending,
    Ready(T),
    /// It finished, and panicked when it was dropped.
    DropPanicked(T, Box<dyn Any + Send>),
    Panicked(Box<dyn Any + Send>),
}

impl<F: Future> Running<F> {
    fn new(core: &LoopCore, consumer: ConsumerKey, slot: u32) -> Self {
        let flag = SlotWaker::new(core.own(), consumer, slot);
        Self { slot, future: Box::pin(None), waker: Waker::from(Arc::clone(&flag)), flag }
    }

    /// Starts a handler and polls it.
    #[inline]
    pub(super) fn start(&mut self, start: impl FnOnce() -> F) -> Polled<F::Output> {
        self.guarded(|future, cx| {
            future.set(Some(start()));
            poll_in_place(future, cx)
        })
    }

    /// Polls the handler.
    #[inline]
    pub(super) fn poll(&mut self) -> Polled<F::Output> {
        self.guarded(poll_in_place)
    }

    /// One guard round all that is foreign: it costs as much as starting a handler does.
    #[inline]
    fn guarded(
        &mut self,
        poll: impl FnOnce(&mut Pin<Box<Option<F>>>, &mut Context<'_>) -> Poll<F::Output>,
    ) -> Polled<F::Output> {
        self.flag.about_to_poll();
        let mut cx = Context::from_waker(&self.waker);
        let mut result = None;
        let future = &mut self.future;
        let guarded = catch_unwind(AssertUnwindSafe(|| {
            if let Poll::Ready(value) = poll(future, &mut cx) {
                result = Some(value);
                // Outside any borrow: what the handler held may run foreign code.
                future.set(None);
            }
        }));
        match (guarded, result) {
            (Ok(()), None) => Polled::Pending,
            (Ok(()), Some(result)) => Polled::Ready(result),
            (Err(panic), Some(result)) => Polled::DropPanicked(result, panic),
            (Err(panic), None) => Polled::Panicked(panic),
        }
    }

    /// Drops the handler, if there is one; gives the panic when it panicked at that.
    pub(super) fn cut_off(&mut self) -> Result<(), Box<dyn Any + Send>> {
        catch_unwind(AssertUnwindSafe(|| self.future.set(None)))
    }
}

#[inline]
fn poll_in_place<F: Future>(future: &mut Pin<Box<Option<F>>>, cx: &mut Context<'_>) -> Poll<F::Output> {
    match future.as_mut().as_pin_mut() {
        Some(future) => future.poll(cx),
        None => Poll::Pending,
    }
}

impl<F> Default for Slots<F> {
    fn default() -> Self {
        Self { free: RefCell::default(), suspended: RefCell::default(), made: Cell::new(0), in_flight: Cell::new(0) }
    }
}

impl<F: Future> Slots<F> {
    /// Handlers that have begun and not finished.
    #[inline]
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Takes a place for a handler. Afterwards it is suspended or given back.
    #[inline]
    pub(super) fn take(&self, core: &LoopCore, consumer: ConsumerKey) -> Running<F> {
        self.in_flight.set(self.in_flight.get() + 1);
        let free = self.free.borrow_mut().pop();
        free.unwrap_or_else(|| self.make(core, consumer))
    }

    #[cold]
    fn make(&self, core: &LoopCore, consumer: ConsumerKey) -> Running<F> {
        // Bounded by `in_flight`.
        let slot = self.made.replace(self.made.get() + 1);
        Running::new(core, consumer, slot)
    }

    /// The handler that was begun in this place is suspended, and this is where its outcome goes.
    pub(super) fn suspend(&self, running: Running<F>, reply_to: ReplyTo) {
        let slot = running.slot as usize;
        let mut suspended = self.suspended.borrow_mut();
        if suspended.len() <= slot {
            suspended.resize_with(self.made.get() as usize, || Suspended {
                running: None,
                reply_to: ReplyTo::Nobody,
                old: false,
            });
        }
        suspended[slot] = Suspended { running: Some(running), reply_to, old: false };
    }

    /// The handlers that are suspended now are those of an instance that is replaced.
    pub(super) fn make_old(&self) {
        self.suspended.borrow_mut().iter_mut().for_each(|suspended| suspended.old = true);
    }

    pub(super) fn is_old(&self, slot: u32) -> bool {
        self.suspended.borrow().get(slot as usize).is_some_and(|suspended| suspended.old)
    }

    /// A handler that was suspended before is so again.
    pub(super) fn put_back(&self, running: Running<F>) {
        let slot = running.slot as usize;
        self.suspended.borrow_mut()[slot].running = Some(running);
    }

    /// A suspended handler; `None` when there is none, or when it is being polled.
    pub(super) fn suspended(&self, slot: u32) -> Option<Running<F>> {
        self.suspended.borrow_mut().get_mut(slot as usize)?.running.take()
    }

    pub(super) fn set_reply_to(&self, slot: u32, reply_to: ReplyTo) {
        self.suspended.borrow_mut()[slot as usize].reply_to = reply_to;
    }

    pub(super) fn reply_to(&self, slot: u32) -> ReplyTo {
        self.suspended.borrow()[slot as usize].reply_to
    }

    /// The handler has ended and is gone: the place is free.
    #[inline]
    pub(super) fn give_back(&self, running: Running<F>) {
        self.free.borrow_mut().push(running);
        self.in_flight.set(self.in_flight.get() - 1);
    }

    /// The same after a panic: its box and its waker are not used again.
    pub(super) fn replace(&self, core: &LoopCore, consumer: ConsumerKey, running: Running<F>) {
        self.give_back(Running::new(core, consumer, running.slot));
        drop(running);
    }

    /// The slots whose handlers are suspended now.
    pub(super) fn occupied(&self) -> Vec<u32> {
        let suspended = self.suspended.borrow();
        (0..suspended.len() as u32).filter(|slot| suspended[*slot as usize].running.is_some()).collect()
    }
}
