//! A published message on its way to the consumers of its own loop: one entry for all of them, cloned when it is handed in.
//!
//! Each of them expects it: until it is there they begin nothing that came later.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;

use tokio::task::coop::has_budget_remaining;

use crate::event_loop::LoopCore;
use crate::message::{Headers, Message};
use crate::panic::{contain, panic_text};

use super::consume::Consume;
use super::route::Target;

/// What is handed to several consumers in one of the loop's next turns.
pub(crate) trait HandOut {
    /// Hands it to so many consumers at most; `false` when there are more.
    fn hand_out(&self, core: &Rc<LoopCore>, consumers: usize) -> bool;
}

/// Who gets it.
pub(super) enum Expecting<M, R> {
    /// All targets of a route that live on this loop.
    All(Rc<[Target<M, R>]>),
    Some(Vec<Rc<dyn Consume<M, R>>>),
}

impl<M, R> Expecting<M, R> {
    fn get(&self, at: usize) -> Option<&Rc<dyn Consume<M, R>>> {
        match self {
            // Those of this loop come first.
            Self::All(targets) => match targets.get(at)? {
                Target::Local(consumer) => Some(consumer),
                Target::Remote(_) => None,
            },
            Self::Some(consumers) => consumers.get(at),
        }
    }
}

/// A message and those who still expect it.
pub(super) struct FanOut<M, R> {
    message: RefCell<Option<M>>,
    headers: Headers,
    expecting: Expecting<M, R>,
    /// How many expected it.
    count: usize,
    next: Cell<usize>,
}

impl<M: Message + Clone, R: Message> FanOut<M, R> {
    pub(super) fn new(message: M, headers: Headers, expecting: Expecting<M, R>, count: usize) -> Self {
        Self { message: RefCell::new(Some(message)), headers, expecting, count, next: Cell::new(0) }
    }

    /// A clone for each of the next, up to this one; the message itself for the last.
    fn hand_to_next(&self, core: &Rc<LoopCore>, end: usize) {
        while self.next.get() < end {
            let at = self.next.get();
            let Some(consumer) = self.expecting.get(at) else { break };
            self.next.set(at + 1);
            // Nobody else looks at it: the entry is one turn's, and its turn is no part of another.
            let message = if at + 1 == self.count { self.message.take() } else { self.message.borrow().clone() };
            match message {
                Some(message) => consumer.hand_in_published(core, message, self.headers.clone()),
                None => consumer.published_is_lost(core),
            }
        }
    }
}

impl<M: Message + Clone, R: Message> HandOut for FanOut<M, R> {
    fn hand_out(&self, core: &Rc<LoopCore>, consumers: usize) -> bool {
        let end = self.count.min(self.next.get() + consumers);
        while self.next.get() < self.count {
            if self.next.get() >= end || !has_budget_remaining() {
                return false;
            }
            let guarded = catch_unwind(AssertUnwindSafe(|| self.hand_to_next(core, end)));
            if let Err(panic) = guarded {
                let panic = panic_text(panic.as_ref());
                core.count_panic();
                tracing::error!(panic, "a published message panicked when it was cloned; one consumer misses it");
                if let Some(consumer) = self.expecting.get(self.next.get() - 1) {
                    consumer.published_is_lost(core);
                }
            }
        }
        true
    }
}

impl<M, R> Drop for FanOut<M, R> {
    fn drop(&mut self) {
        let left = self.message.take();
        contain(|| drop(left));
    }
}
