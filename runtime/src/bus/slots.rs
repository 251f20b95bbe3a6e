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

use super::consume::ConsumerKey;
use super::envelope::ReplyTo;

/// All places there have been so far; as many as handlers have ever been in flight at a time.
pub(super) struct Slots<F> {
    in_flight: Cell<usize>,
    /// The one that is used again and again while handlers do not suspend.
    spare: Cell<Option<Box<Running<F>>>>,
    #[expect(clippy::vec_box, reason = "moving what is in the box costs more than the box")]
    free: RefCell<Vec<Box<Running<F>>>>,
    /// By slot.
    suspended: RefCell<Vec<Suspended<F>>>,
    /// What is suspended now was begun by an instance that is being replaced.
    old: Cell<bool>,
    /// Handlers in flight that were begun by instances another one has replaced.
    old_in_flight: Cell<u32>,
}

struct Suspended<F> {
    /// Taken out while the handler is polled, because it may call its own address meanwhile.
    running: Option<Box<Running<F>>>,
    reply_to: ReplyTo,
    /// It was begun by an instance that another one has replaced.
    old: bool,
    flag: Arc<SlotWaker>,
}

/// A place with the handler in it and what polls it. Its boxes and its waker stay for the next handler. It goes from hand
/// to hand in a box, because moving it costs more than looking into one.
pub(super) struct Running<F> {
    pub(super) slot: u32,
    future: Pin<Box<Option<F>>>,
    waker: Waker,
}

/// What came of polling a handler. When it has ended, its future is gone; what it gave is where it was to be put.
pub(super) enum Polled {
    Pending,
    Ready,
    /// It has given something all the same when it panicked as it was dropped.
    Panicked(Box<dyn Any + Send>),
}

/// A place as it is seen under a guard.
pub(super) struct Place<'r, F: Future> {
    running: &'r mut Running<F>,
    /// What the handler gives is put here once and moved no more: moving it costs as much as checking it in.
    pub(super) result: &'r mut Option<F::Output>,
}

impl<F: Future> Place<'_, F> {
    /// Starts a handler and polls it; finished, it is dropped. There must be no result left of another.
    #[inline]
    pub(super) fn start(&mut self, start: impl FnOnce() -> F) -> Poll<()> {
        let future = start();
        // The place is empty, as every place is that no handler is in. Said here, where nothing lies between this and the
        // move, it has the compiler put the future together where it stays; otherwise it is written in words elsewhere and
        // moved in vectors, which waits for the words.
        if self.running.future.is_none() {
            self.running.future.set(Some(future));
        } else {
            self.set_anew(future);
        }
        self.poll()
    }

    #[cold]
    fn set_anew(&mut self, future: F) {
        self.running.future.set(Some(future));
    }

    #[inline(always)]
    fn poll(&mut self) -> Poll<()> {
        let mut cx = Context::from_waker(&self.running.waker);
        let Some(future) = self.running.future.as_mut().as_pin_mut() else { return Poll::Pending };
        let Poll::Ready(result) = future.poll(&mut cx) else { return Poll::Pending };
        // Out of reach of a panic in what follows. There was none before: nothing is dropped.
        std::mem::forget(self.result.replace(result));
        // Outside any borrow: what the handler held may run foreign code.
        self.running.future.set(None);
        Poll::Ready(())
    }
}

impl<F: Future> Running<F> {
    fn new(slot: u32, flag: &Arc<SlotWaker>) -> Box<Self> {
        Box::new(Self { slot, future: Box::pin(None), waker: Waker::from(Arc::clone(flag)) })
    }

    /// Starts a handler and polls it.
    #[inline]
    pub(super) fn start(&mut self, result: &mut Option<F::Output>, start: impl FnOnce() -> F) -> Polled {
        self.guarded(result, |place| place.start(start))
    }

    /// Polls the handler.
    #[inline]
    pub(super) fn poll(&mut self, result: &mut Option<F::Output>) -> Polled {
        self.guarded(result, |place| place.poll())
    }

    /// Runs what starts and polls handlers, one after the other. One guard round all that is foreign: it costs nearly as
    /// much as starting a handler does.
    #[inline]
    pub(super) fn guarded(
        &mut self,
        result: &mut Option<F::Output>,
        act: impl FnOnce(&mut Place<'_, F>) -> Poll<()>,
    ) -> Polled {
        let mut place = Place { running: self, result };
        match catch_unwind(AssertUnwindSafe(|| act(&mut place))) {
            Ok(Poll::Pending) => Polled::Pending,
            Ok(Poll::Ready(())) => Polled::Ready,
            Err(panic) => Polled::Panicked(panic),
        }
    }

    /// Drops the handler, if there is one; gives the panic when it panicked at that.
    pub(super) fn cut_off(&mut self) -> Result<(), Box<dyn Any + Send>> {
        catch_unwind(AssertUnwindSafe(|| self.future.set(None)))
    }
}

impl<F> Default for Slots<F> {
    fn default() -> Self {
        Self {
            in_flight: Cell::new(0),
            spare: Cell::new(None),
            free: RefCell::default(),
            suspended: RefCell::default(),
            old: Cell::new(false),
            old_in_flight: Cell::new(0),
        }
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
    pub(super) fn take(&self, core: &LoopCore, consumer: ConsumerKey) -> Box<Running<F>> {
        self.in_flight.set(self.in_flight.get() + 1);
        self.spare.take().unwrap_or_else(|| self.take_another(core, consumer))
    }

    fn take_another(&self, core: &LoopCore, consumer: ConsumerKey) -> Box<Running<F>> {
        if let Some(free) = self.free.borrow_mut().pop() {
            return free;
        }
        let mut suspended = self.suspended.borrow_mut();
        let slot = suspended.len() as u32; // bounded by `in_flight`
        let flag = SlotWaker::new(core.own(), consumer, slot);
        let running = Running::new(slot, &flag);
        suspended.push(Suspended { running: None, reply_to: ReplyTo::NOBODY, old: false, flag });
        running
    }

    /// The handler that was begun in this place is suspended, and this is where its outcome goes.
    pub(super) fn suspend(&self, running: Box<Running<F>>, reply_to: ReplyTo) {
        let place = &mut self.suspended.borrow_mut()[running.slot as usize];
        place.reply_to = reply_to;
        place.old = self.old.get();
        place.running = Some(running);
    }

    /// The handlers that have begun are those of an instance that is being replaced, and so is one that is being polled.
    pub(super) fn make_old(&self) {
        self.old.set(true);
        self.suspended.borrow_mut().iter_mut().for_each(|suspended| suspended.old = true);
    }

    /// What begins from now on is another instance's; gives how many handlers in flight are not.
    pub(super) fn take_over(&self) -> usize {
        self.old.set(false);
        self.old_in_flight.set(self.occupied().len() as u32);
        self.old_in_flight.get() as usize
    }

    /// Whether the handler in this slot is one of those.
    #[inline]
    pub(super) fn is_left_over(&self, slot: u32) -> bool {
        self.old_in_flight.get() > 0 && self.is_old(slot)
    }

    /// One of them has ended; gives how many are left.
    pub(super) fn old_has_ended(&self) -> usize {
        let left = self.old_in_flight.get().saturating_sub(1);
        self.old_in_flight.set(left);
        left as usize
    }

    pub(super) fn is_old(&self, slot: u32) -> bool {
        self.suspended.borrow().get(slot as usize).is_some_and(|suspended| suspended.old)
    }

    /// A handler that was suspended before is so again.
    pub(super) fn put_back(&self, running: Box<Running<F>>) {
        let slot = running.slot as usize;
        self.suspended.borrow_mut()[slot].running = Some(running);
    }

    /// Its waker was called: gives the suspended handler and where its outcome goes; `None` when there is none, or when it
    /// is being polled. From now on a call counts again.
    pub(super) fn woken(&self, slot: u32) -> Option<(Box<Running<F>>, ReplyTo)> {
        let mut suspended = self.suspended.borrow_mut();
        let place = suspended.get_mut(slot as usize)?;
        place.flag.noticed();
        place.running.take().map(|running| (running, place.reply_to))
    }

    pub(super) fn set_reply_to(&self, slot: u32, reply_to: ReplyTo) {
        self.suspended.borrow_mut()[slot as usize].reply_to = reply_to;
    }

    /// The handler has ended and is gone: the place is free.
    #[inline]
    pub(super) fn give_back(&self, running: Box<Running<F>>) {
        self.in_flight.set(self.in_flight.get() - 1);
        if let Some(spare) = self.spare.replace(Some(running)) {
            self.free.borrow_mut().push(spare);
        }
    }

    /// The same after a panic: its box is not used again.
    pub(super) fn replace(&self, running: Box<Running<F>>) {
        let slot = running.slot;
        let fresh = Running::new(slot, &self.suspended.borrow()[slot as usize].flag);
        self.give_back(fresh);
        drop(running);
    }

    /// The slots whose handlers are suspended now.
    pub(super) fn occupied(&self) -> Vec<u32> {
        let suspended = self.suspended.borrow();
        (0..suspended.len() as u32).filter(|slot| suspended[*slot as usize].running.is_some()).collect()
    }
}
