//! Requests that wait for their reply: one slot each, on the loop that asked.

use std::cell::{Cell, RefCell};
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;

use tokio::sync::oneshot;

use crate::error::Failure;
use crate::event_loop::LoopCore;
use crate::message::Message;
use crate::panic::contain;
use crate::runtime::Shared;

use super::outbox::Batch;
use super::timer::nanos;

/// Which slot, and which of its occupants: a late reply to an earlier one finds the wrong generation and is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReplyKey {
    pub(super) slot: u32,
    /// Wide enough never to come round: a reply may be late by hours, and a loop may ask millions of times a second.
    pub(super) generation: NonZeroU64,
}

/// How a request ended, seen from the bus.
pub(crate) enum Outcome<R> {
    Replied(Result<R, Failure>),
    TimedOut,
    Closed,
}

struct Slot<R> {
    generation: NonZeroU64,
    deadline: u64,
    /// The reading of the clock that the deadline was made from.
    reading: u64,
    state: State<R>,
}

enum State<R> {
    Waiting(Waker),
    /// A thread that is no event loop waits for it.
    Elsewhere(oneshot::Sender<Outcome<R>>),
    Ended(Outcome<R>),
    /// The caller went away; the slot waits for the reply - or the deadline - so that its key stays unambiguous.
    Abandoned,
}

/// What is left to do for a request that has ended, once no borrow is alive: with the state it had.
enum Then<R> {
    Wake(State<R>),
    Tell(State<R>, Outcome<R>),
    Drop(Outcome<R>),
}

/// The waiting requests of one loop with one reply type.
pub(crate) struct Replies<R> {
    /// Which of its loop's tables this is.
    pub(crate) table: u32,
    slots: RefCell<Slab<Slot<R>>>,
    /// Of the next request.
    generation: Cell<NonZeroU64>,
    /// No slot's deadline is earlier. May be earlier than all of them: then a sweep finds nothing and sets it anew.
    earliest: Cell<u64>,
}

impl<R: Message> Replies<R> {
    pub(crate) fn new(table: u32) -> Self {
        Self { table, slots: RefCell::default(), generation: Cell::new(NonZeroU64::MIN), earliest: Cell::new(u64::MAX) }
    }

    /// Takes a slot for a request of this loop that must end within that time from now, and wakes who asks then.
    pub(crate) fn wait(&self, core: &LoopCore, timeout: Duration, asking: &Waker) -> ReplyKey {
        let asking = asking.clone();
        let (now, reading) = core.tick_for_deadline();
        self.take_slot(core, now.saturating_add(nanos(timeout)), reading, State::Waiting(asking))
    }

    /// Takes a slot for a request of a thread that is no event loop; it must end by `deadline`.
    pub(crate) fn wait_for(&self, core: &LoopCore, deadline: u64, asking: oneshot::Sender<Outcome<R>>) -> ReplyKey {
        self.take_slot(core, deadline, READING_NONE, State::Elsewhere(asking))
    }

    fn take_slot(&self, core: &LoopCore, deadline: u64, reading: u64, state: State<R>) -> ReplyKey {
        let generation = self.generation.get();
        self.generation.set(generation.saturating_add(1));
        let slot = self.slots.borrow_mut().insert(Slot { generation, deadline, reading, state });
        if deadline < self.earliest.get() {
            self.earliest.set(deadline);
            core.deadline_at(deadline);
        }
        // A slab of more than four thousand million waiting requests would have run out of memory long before.
        ReplyKey { slot: slot as u32, generation }
    }

    /// Asks whether the request has ended; remembers who asks when it has not. `None`: there is no such request.
    pub(crate) fn poll(&self, key: ReplyKey, cx: &mut Context<'_>) -> Poll<Option<Outcome<R>>> {
        let ended = {
            let mut slots = self.slots.borrow_mut();
            match Self::find(&mut slots, key).map(|slot| &slot.state) {
                None => return Poll::Ready(None),
                Some(State::Waiting(known)) if known.will_wake(cx.waker()) => return Poll::Pending,
                Some(State::Waiting(_)) => None,
                Some(State::Ended(_) | State::Abandoned | State::Elsewhere(_)) => {
                    Some(slots.remove(key.slot as usize).state)
                }
            }
        };
        match ended {
            Some(State::Ended(outcome)) => Poll::Ready(Some(outcome)),
            Some(State::Waiting(_) | State::Abandoned | State::Elsewhere(_)) => Poll::Ready(None),
            None => {
                self.remember(key, cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// Made by the caller and the one before dropped outside the borrow: a waker is foreign code.
    fn remember(&self, key: ReplyKey, waker: Waker) {
        let before = match Self::find(&mut self.slots.borrow_mut(), key).map(|slot| &mut slot.state) {
            Some(State::Waiting(known)) => std::mem::replace(known, waker),
            _ => waker,
        };
        drop(before);
    }

    /// Ends the request, unless it has ended or its caller is gone. What nobody waits for is dropped.
    pub(crate) fn end(&self, key: ReplyKey, outcome: Outcome<R>) {
        let then = {
            let mut slots = self.slots.borrow_mut();
            match Self::find(&mut slots, key).map(|slot| &mut slot.state) {
                Some(state @ State::Waiting(_)) => Then::Wake(std::mem::replace(state, State::Ended(outcome))),
                Some(State::Abandoned | State::Elsewhere(_)) => {
                    Then::Tell(slots.remove(key.slot as usize).state, outcome)
                }
                Some(State::Ended(_)) | None => Then::Drop(outcome),
            }
        };
        // Outside the borrow: dropping a reply and waking a caller both run foreign code.
        match then {
            Then::Wake(State::Waiting(waker)) => drop(contain(|| waker.wake())),
            Then::Tell(State::Elsewhere(asking), outcome) => tell(asking, outcome),
            unwanted => drop(contain(|| drop(unwanted))),
        }
    }

    /// The caller is gone.
    pub(crate) fn abandon(&self, key: ReplyKey) {
        let before = {
            let mut slots = self.slots.borrow_mut();
            let Some(slot) = Self::find(&mut slots, key) else { return };
            match slot.state {
                State::Ended(_) => slots.remove(key.slot as usize).state,
                State::Waiting(_) | State::Abandoned | State::Elsewhere(_) => {
                    std::mem::replace(&mut slot.state, State::Abandoned)
                }
            }
        };
        contain(|| drop(before));
    }

    fn find(slots: &mut Slab<Slot<R>>, key: ReplyKey) -> Option<&mut Slot<R>> {
        slots.get_mut(key.slot as usize).filter(|slot| slot.generation == key.generation)
    }
}

/// The reading of a deadline that came from elsewhere; no reading has this number.
const READING_NONE: u64 = 0;

/// The caller may be gone; then nobody wants the outcome.
fn tell<R>(asking: oneshot::Sender<Outcome<R>>, outcome: Outcome<R>) {
    contain(|| drop(asking.send(outcome)));
}

/// A table of waiting requests with its type forgotten.
pub(crate) trait AnyReplies {
    /// Ends what is overdue; gives the earliest deadline that is left, `u64::MAX` when nothing waits.
    fn sweep(&self, now: u64) -> u64;
    /// Puts off the deadlines that were made from this reading of the clock.
    fn put_off(&self, reading: u64, by: u64);
    /// Ends everything: the loop is closing.
    fn close(&self);
    /// How many callers wait.
    #[cfg(feature = "testing")]
    fn waiting(&self) -> usize;
    /// What for.
    #[cfg(feature = "testing")]
    fn waiting_for(&self) -> &'static str;
}

/// Whom to tell that requests have ended, once no borrow is alive.
struct Ending<R> {
    wakers: Vec<Waker>,
    elsewhere: Vec<oneshot::Sender<Outcome<R>>>,
}

impl<R> Ending<R> {
    fn new() -> Self {
        Self { wakers: Vec::new(), elsewhere: Vec::new() }
    }

    /// Ends what waits; `false` when the slot is not needed any more.
    fn end(&mut self, state: &mut State<R>, outcome: Outcome<R>) -> bool {
        match std::mem::replace(state, State::Abandoned) {
            State::Waiting(waker) => {
                self.wakers.push(waker);
                *state = State::Ended(outcome);
                true
            }
            // Its caller has not fetched it yet, and may.
            ended @ State::Ended(_) => {
                *state = ended;
                true
            }
            State::Elsewhere(asking) => {
                self.elsewhere.push(asking);
                false
            }
            State::Abandoned => false,
        }
    }

    fn tell(self, outcome: impl Fn() -> Outcome<R>) {
        for waker in self.wakers {
            contain(|| waker.wake());
        }
        for asking in self.elsewhere {
            tell(asking, outcome());
        }
    }
}

impl<R: Message> AnyReplies for Replies<R> {
    fn sweep(&self, now: u64) -> u64 {
        if self.earliest.get() > now {
            return self.earliest.get();
        }
        let mut ending = Ending::new();
        let mut earliest = u64::MAX;
        self.slots.borrow_mut().retain(|_, slot| {
            if slot.deadline <= now {
                return ending.end(&mut slot.state, Outcome::TimedOut);
            }
            earliest = earliest.min(slot.deadline);
            true
        });
        self.earliest.set(earliest);
        ending.tell(|| Outcome::TimedOut);
        earliest
    }

    fn put_off(&self, reading: u64, by: u64) {
        for (_, slot) in self.slots.borrow_mut().iter_mut().filter(|(_, slot)| slot.reading == reading) {
            slot.deadline = slot.deadline.saturating_add(by);
        }
    }

    #[cfg(feature = "testing")]
    fn waiting(&self) -> usize {
        let waits = |state: &State<R>| match state {
            State::Waiting(_) => true,
            State::Elsewhere(asking) => !asking.is_closed(),
            State::Ended(_) | State::Abandoned => false,
        };
        self.slots.borrow().iter().filter(|(_, slot)| waits(&slot.state)).count()
    }

    #[cfg(feature = "testing")]
    fn waiting_for(&self) -> &'static str {
        std::any::type_name::<R>()
    }

    fn close(&self) {
        let mut ending = Ending::new();
        self.slots.borrow_mut().retain(|_, slot| ending.end(&mut slot.state, Outcome::Closed));
        ending.tell(|| Outcome::Closed);
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

    /// Its caller has gone with its loop.
    fn lost(items: Vec<Self>, _: &Arc<Shared>) {
        for item in items {
            contain(|| drop(item));
        }
    }
}
