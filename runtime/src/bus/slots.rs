//! The places of a consumer's running handlers. They are used again, so that starting a handler allocates nothing.

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
    all: RefCell<Vec<Slot<F>>>,
    free: RefCell<Vec<u32>>,
    in_flight: Cell<usize>,
}

struct Slot<F> {
    /// Taken out while the handler is polled, because it may call its own address meanwhile.
    running: Option<Running<F>>,
    reply_to: ReplyTo,
    occupied: bool,
}

/// A handler with what polls it. Its box and its waker stay for the next one.
pub(super) struct Running<F> {
    future: Pin<Box<Option<F>>>,
    waker: Waker,
    flag: Arc<SlotWaker>,
}

impl<F: Future> Running<F> {
    /// Polls the handler; a panic is given as such.
    pub(super) fn poll(&mut self) -> std::thread::Result<Poll<F::Output>> {
        self.flag.about_to_poll();
        let mut cx = Context::from_waker(&self.waker);
        catch_unwind(AssertUnwindSafe(|| match self.future.as_mut().as_pin_mut() {
            Some(future) => future.poll(&mut cx),
            None => Poll::Pending,
        }))
    }
}

impl<F> Default for Slots<F> {
    fn default() -> Self {
        Self { all: RefCell::default(), free: RefCell::default(), in_flight: Cell::new(0) }
    }
}

impl<F> Slots<F> {
    /// Handlers that have begun and not finished.
    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.get()
    }

    /// Takes a place for a handler. Afterwards it is put back or released.
    pub(super) fn take(&self, core: &LoopCore, consumer: ConsumerKey, future: F) -> (u32, Running<F>) {
        self.in_flight.set(self.in_flight.get() + 1);
        let free = self.free.borrow_mut().pop();
        let mut all = self.all.borrow_mut();
        let slot = free.unwrap_or(all.len() as u32); // bounded by `in_flight`
        if slot as usize == all.len() {
            all.push(Slot { running: None, reply_to: ReplyTo::Nobody, occupied: false });
        }
        let place = &mut all[slot as usize];
        place.occupied = true;
        place.reply_to = ReplyTo::Nobody;
        let mut running = place.running.take().unwrap_or_else(|| {
            let flag = SlotWaker::new(core.own(), consumer, slot);
            Running { future: Box::pin(None), waker: Waker::from(Arc::clone(&flag)), flag }
        });
        running.future.set(Some(future));
        (slot, running)
    }

    /// The handler is suspended.
    pub(super) fn put_back(&self, slot: u32, running: Running<F>) {
        self.all.borrow_mut()[slot as usize].running = Some(running);
    }

    /// A suspended handler; `None` when there is none, or when it is being polled.
    pub(super) fn suspended(&self, slot: u32) -> Option<Running<F>> {
        let mut all = self.all.borrow_mut();
        all.get_mut(slot as usize).filter(|slot| slot.occupied)?.running.take()
    }

    pub(super) fn set_reply_to(&self, slot: u32, reply_to: ReplyTo) {
        self.all.borrow_mut()[slot as usize].reply_to = reply_to;
    }

    pub(super) fn reply_to(&self, slot: u32) -> ReplyTo {
        self.all.borrow()[slot as usize].reply_to
    }

    /// The handler has finished, or is given up: the place is free. `false`: it panicked when it was dropped.
    pub(super) fn release(&self, slot: u32, mut running: Running<F>) -> bool {
        // Dropped before the place is free and outside any borrow: what the handler held may run foreign code.
        let dropped = catch_unwind(AssertUnwindSafe(|| running.future.set(None)));
        {
            let mut all = self.all.borrow_mut();
            all[slot as usize].occupied = false;
            all[slot as usize].running = dropped.is_ok().then_some(running);
        }
        self.free.borrow_mut().push(slot);
        self.in_flight.set(self.in_flight.get() - 1);
        dropped.is_ok()
    }

    /// The handlers that are suspended now, each with its slot.
    pub(super) fn occupied(&self) -> Vec<u32> {
        let all = self.all.borrow();
        (0..all.len() as u32).filter(|slot| all[*slot as usize].occupied).collect()
    }
}
