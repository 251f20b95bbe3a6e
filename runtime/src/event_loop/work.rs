//! What a loop has to do in its next turn, and whom to wake for that.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::Waker;

use crate::bus::consume::ConsumerKey;
use crate::bus::fan_out::HandOut;
use crate::bus::outbox::Flush;

use super::LoopCore;

/// Whose turn it is.
pub(super) enum Ready {
    /// One that has messages queued.
    Consumer(ConsumerKey),
    /// Those who expect a published message.
    Published(Box<dyn HandOut>),
}

/// The work of a loop.
#[derive(Default)]
pub(super) struct Work {
    pub(super) ready: RefCell<VecDeque<Ready>>,
    pub(super) woken: RefCell<VecDeque<(ConsumerKey, u32)>>,
    outgoing: RefCell<Vec<Rc<dyn Flush>>>,
    /// Those that found a full inbox; tried again each turn, and by the driver's timer.
    refused: RefCell<Vec<Rc<dyn Flush>>>,
    pub(super) driver: RefCell<Option<Waker>>,
    driver_woken: Cell<bool>,
}

impl LoopCore {
    /// The consumer has messages to handle.
    #[inline]
    pub(crate) fn schedule(&self, consumer: ConsumerKey) {
        self.work.ready.borrow_mut().push_back(Ready::Consumer(consumer));
        self.wake_driver();
    }

    /// A published message waits for consumers of this loop.
    pub(crate) fn hand_out_later(&self, published: Box<dyn HandOut>) {
        self.work.ready.borrow_mut().push_back(Ready::Published(published));
        self.wake_driver();
    }

    /// A handler's waker was called on this loop.
    pub(crate) fn resume_later(&self, consumer: ConsumerKey, slot: u32) {
        self.work.woken.borrow_mut().push_back((consumer, slot));
        self.wake_driver();
    }

    /// The outbox has something to send when the turn ends.
    pub(crate) fn flush_later(&self, outbox: Rc<dyn Flush>) {
        self.work.outgoing.borrow_mut().push(outbox);
        self.wake_driver();
    }

    #[inline]
    pub(super) fn wake_driver(&self) {
        if !self.work.driver_woken.replace(true) {
            self.wake_idle_driver();
        }
    }

    fn wake_idle_driver(&self) {
        if let Some(driver) = &*self.work.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    /// Gives whether another thread has left something to do.
    pub(super) fn begin_turn(&self, waker: &Waker) -> bool {
        let known = self.work.driver.borrow().as_ref().is_some_and(|driver| driver.will_wake(waker));
        if !known {
            self.work.driver.replace(Some(waker.clone()));
            self.own.set_driver(Some(waker.clone()));
        }
        self.own.watched.go_on();
        // Set during the turn, so that nothing wakes the driver for work it is about to see anyway.
        self.work.driver_woken.set(true);
        self.own.take_notified()
    }

    pub(super) fn end_turn(&self, parcels_left: bool) {
        self.work.driver_woken.set(false);
        let work_left = !self.work.ready.borrow().is_empty()
            || !self.work.woken.borrow().is_empty()
            || !self.work.outgoing.borrow().is_empty();
        if work_left || parcels_left {
            self.wake_driver();
        }
    }

    pub(super) fn gather_woken(&self) {
        let from_elsewhere = self.own.take_woken();
        self.work.woken.borrow_mut().extend(from_elsewhere);
    }

    pub(super) fn woken_count(&self) -> usize {
        self.work.woken.borrow().len()
    }

    pub(super) fn next_woken(&self) -> Option<(ConsumerKey, u32)> {
        self.draw(&self.work.woken)
    }

    pub(super) fn ready_count(&self) -> usize {
        self.work.ready.borrow().len()
    }

    pub(super) fn next_ready(&self) -> Option<Ready> {
        self.draw(&self.work.ready)
    }

    #[cfg(not(feature = "testing"))]
    pub(super) fn draw<T>(&self, queue: &RefCell<VecDeque<T>>) -> Option<T> {
        queue.borrow_mut().pop_front()
    }

    /// Only the test kit draws what runs next.
    #[cfg(not(feature = "testing"))]
    pub(crate) fn draws(&self) -> bool {
        false
    }

    /// Only the test kit puts anything off.
    #[cfg(not(feature = "testing"))]
    pub(crate) fn puts_off(&self) -> bool {
        false
    }

    #[cfg(not(feature = "testing"))]
    pub(super) fn messages_per_turn(&self, usual: usize) -> usize {
        usual
    }

    /// Not handed to everybody yet: what was published after it must not overtake it.
    pub(super) fn hand_out_next(&self, published: Box<dyn HandOut>) {
        self.work.ready.borrow_mut().push_front(Ready::Published(published));
    }

    /// Whether there was any.
    pub(super) fn take_outgoing(&self, into: &mut Vec<Rc<dyn Flush>>) -> bool {
        if self.work.refused.borrow().is_empty() && self.work.outgoing.borrow().is_empty() {
            return false;
        }
        into.append(&mut self.work.refused.borrow_mut());
        into.append(&mut self.work.outgoing.borrow_mut());
        !into.is_empty()
    }

    pub(super) fn flush_when_retried(&self, outbox: Rc<dyn Flush>) {
        self.work.refused.borrow_mut().push(outbox);
    }
}
