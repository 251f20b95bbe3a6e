//! Requests that wait for their reply: one slot each, on the loop that asked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use slab::Slab;

use crate::error::Failure;
use crate::event_loop::LoopCore;
use crate::message::Message;

use super::outbox::Batch;

/// Which slot, and which of its occupants: a late reply to an earlier one finds the wrong generation and is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplyKey {
    slot: u32,
    generation: u32,
}

/// How a request ended, seen from the bus.
pub(crate) enum Outcome<R> {
    Replied(Result<R, Failure>),
    TimedOut,
    Closed,
}

struct Slot<R> {
    generation: u32,
    deadline: u64,
    state: State<R>,
}

enum State<R> {
    Waiting(Option<Waker>),
    Ended(Outcome<R>),
    /// The caller went away; the slot waits for the reply - or the deadline - so that its key stays unambiguous.
    Abandoned,
}

/// The waiting requests of one loop with one reply type.
pub(crate) struct Replies<R> {
    slots: RefCell<Slab<Slot<R>>>,
    generation: Cell<u32>,
    /// No slot's deadline is earlier. May be earlier than all of them: then a sweep finds nothing and sets it anew.
    earliest: Cell<u64>,
}

impl<R: Message> Replies<R> {
    pub(crate) fn new() -> Self {
        Self { slots: RefCell::default(), generation: Cell::new(0), earliest: Cell::new(u64::MAX) }
    }

    /// Takes a slot for a request that must end by `deadline`.
    pub(crate) fn wait(&self, core: &LoopCore, deadline: u64) -> ReplyKey {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let slot = self.slots.borrow_mut().insert(Slot { generation, deadline, state: State::Waiting(None) });
        if deadline < self.earliest.get() {
            self.earliest.set(deadline);
            core.deadline_at(deadline);
        }
        // A slab of more than four thousand million waiting requests would have run out of memory long before.
        ReplyKey { slot: slot as u32, generation }
    }

    /// Asks whether the request has ended; remembers who asks when it has not. `None`: there is no such request.
    pub(crate) fn poll(&self, key: ReplyKey, cx: &mut Context<'_>) -> Poll<Option<Outcome<R>>> {
        let mut slots = self.slots.borrow_mut();
        let Some(slot) = Self::find(&mut slots, key) else {
            return Poll::Ready(None);
        };
        match &mut slot.state {
            State::Waiting(waker) => {
                match waker {
                    Some(known) => known.clone_from(cx.waker()),
                    None => *waker = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
            State::Ended(_) | State::Abandoned => match slots.remove(key.slot as usize).state {
                State::Ended(outcome) => Poll::Ready(Some(outcome)),
                State::Waiting(_) | State::Abandoned => Poll::Ready(None),
            },
        }
    }

    /// Ends the request, unless it has ended or its caller is gone. What nobody waits for is dropped.
    pub(crate) fn end(&self, key: ReplyKey, outcome: Outcome<R>) {
        let mut unwanted = None;
        let waker = {
            let mut slots = self.slots.borrow_mut();
            match Self::find(&mut slots, key).map(|slot| &mut slot.state) {
                Some(state @ State::Waiting(_)) => match std::mem::replace(state, State::Ended(outcome)) {
                    State::Waiting(waker) => waker,
                    State::Ended(_) | State::Abandoned => None,
                },
                Some(State::Abandoned) => {
                    slots.remove(key.slot as usize);
                    unwanted = Some(outcome);
                    None
                }
                Some(State::Ended(_)) | None => {
                    unwanted = Some(outcome);
                    None
                }
            }
        };
        // Outside the borrow: dropping a reply and waking a caller both run foreign code.
        drop(unwanted);
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The caller is gone.
    pub(crate) fn abandon(&self, key: ReplyKey) {
        let ended = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = Self::find(&mut slots, key) else { return };
            match slot.state {
                State::Ended(_) => Some(slots.remove(key.slot as usize)),
                State::Waiting(_) | State::Abandoned => {
                    slot.state = State::Abandoned;
                    None
                }
            }
        };
        drop(ended);
    }

    /// Frees a slot whose request was never sent.
    pub(crate) fn forget(&self, key: ReplyKey) {
        let slot = {
            let mut slots = self.slots.borrow_mut();
            if Self::find(&mut slots, key).is_none() {
                return;
            }
            slots.remove(key.slot as usize)
        };
        drop(slot);
    }

    fn find(slots: &mut Slab<Slot<R>>, key: ReplyKey) -> Option<&mut Slot<R>> {
        slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation)
    }
}

/// A table of waiting requests with its type forgotten.
pub(crate) trait AnyReplies {
    /// Ends what is overdue; gives the earliest deadline that is left, `u64::MAX` when nothing waits.
    fn sweep(&self, now: u64) -> u64;
    /// Ends everything: the loop is closing.
    fn close(&self);
}

impl<R: Message> AnyReplies for Replies<R> {
    fn sweep(&self, now: u64) -> u64 {
        if self.earliest.get() > now {
            return self.earliest.get();
        }
        let mut overdue = Vec::new();
        let mut earliest = u64::MAX;
        self.slots.borrow_mut().retain(|_, slot| {
            if slot.deadline > now {
                earliest = earliest.min(slot.deadline);
                return true;
            }
            match &mut slot.state {
                State::Waiting(waker) => {
                    overdue.extend(waker.take());
                    slot.state = State::Ended(Outcome::TimedOut);
                    true
                }
                State::Ended(_) => true,
                State::Abandoned => false,
            }
        });
        self.earliest.set(earliest);
        overdue.into_iter().for_each(Waker::wake);
        earliest
    }

    fn close(&self) {
        let mut waiting = Vec::new();
        for (_, slot) in self.slots.borrow_mut().iter_mut() {
            if let State::Waiting(waker) = &mut slot.state {
                waiting.extend(waker.take());
                slot.state = State::Ended(Outcome::Closed);
            }
        }
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// A reply on its way back to the loop that asked.
pub(crate) struct RemoteReply<R> {
    pub(crate) to: ReplyKey,
    pub(crate) outcome: Outcome<R>,
}

impl<R: Message> Batch for RemoteReply<R> {
    fn deliver(items: Vec<Self>, core: &Rc<LoopCore>) {
        let replies = core.replies::<R>();
        for item in items {
            replies.end(item.to, item.outcome);
        }
    }
}
