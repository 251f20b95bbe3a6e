//! The events of one turn of a loop: gathered in one buffer, written together, answered together.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::acks::Ack;
use super::ledger::{AccountId, Part, Tally};
use super::spool::segment::{self, FrameError};

/// What has come and is not written yet.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    frames: Vec<u8>,
    events: usize,
    tally: Tally,
    answered: Vec<AccountId>,
    acks: Vec<Ack>,
    turn: Rc<Turn>,
}

/// Everything of one turn, ready to be written.
#[derive(Debug)]
pub(crate) struct Gathered {
    /// Whole frames.
    pub(crate) frames: Vec<u8>,
    /// How many.
    pub(crate) events: usize,
    /// Whose they are.
    pub(crate) parts: Vec<Part>,
    /// Whose those are that have been answered already.
    pub(crate) answered: Vec<AccountId>,
    /// Who waits for the stream to have them.
    pub(crate) acks: Vec<Ack>,
    /// Whoever waits.
    pub(crate) turn: Unfinished,
}

/// A turn that is being written, or synced. Dropped before that is over - by a panic, say -, it counts as not written: nobody waits
/// for ever.
#[derive(Debug)]
pub(crate) struct Unfinished(Rc<Turn>);

impl Unfinished {
    /// The write is over: everybody who waits goes on.
    pub(crate) fn finish(self, written: bool) {
        self.0.finish(written);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.0.written.get().is_none() {
            self.0.finish(false);
        }
    }
}

impl Pending {
    /// Appends an event of a customer; `encode` appends its bytes. Its handler then waits for the turn that is given.
    pub(crate) fn push(
        &mut self,
        account: AccountId,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Rc<Turn>, FrameError> {
        let before = self.frames.len();
        segment::push_frame(&mut self.frames, encode)?;
        self.events += 1;
        // A frame is far below the largest number.
        self.tally.add(account, 1, (self.frames.len() - before) as i64);
        Ok(Rc::clone(&self.turn))
    }

    /// The event that was pushed last, of this customer, is answered before it is written.
    pub(crate) fn answered(&mut self, account: AccountId) {
        self.answered.push(account);
    }

    /// Somebody waits for the stream to have the event that was pushed last.
    pub(crate) fn acknowledge(&mut self, ack: Ack) {
        self.acks.push(ack);
    }

    /// The events that are not written.
    pub(crate) fn events(&self) -> usize {
        self.events
    }

    /// Those of one customer.
    pub(crate) fn events_of(&self, account: AccountId) -> u64 {
        u64::try_from(self.tally.events(account)).unwrap_or(0)
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.frames.len()
    }

    /// Ends the turn: what has come so far is given, what comes now belongs to the next.
    pub(crate) fn take(&mut self) -> Option<Gathered> {
        if self.events == 0 {
            return None;
        }
        let turn = Unfinished(std::mem::take(&mut self.turn));
        Some(Gathered {
            frames: std::mem::take(&mut self.frames),
            events: std::mem::take(&mut self.events),
            parts: self.tally.take(),
            answered: std::mem::take(&mut self.answered),
            acks: std::mem::take(&mut self.acks),
            turn,
        })
    }

    /// Gives a buffer and the room of parts back, to be filled again.
    pub(crate) fn reuse(&mut self, mut buffer: Vec<u8>, parts: Vec<Part>) {
        self.tally.reuse(parts);
        if self.frames.capacity() == 0 && buffer.capacity() <= REUSED_BYTES_MAX {
            buffer.clear();
            self.frames = buffer;
        }
    }
}

/// A buffer that grew larger in a burst is not kept.
const REUSED_BYTES_MAX: usize = 1024 * 1024;

/// What the handlers of one turn wait for: the write, or the sync.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    written: Cell<Option<bool>>,
    waiting: RefCell<Vec<Waker>>,
}

impl Turn {
    /// Somebody is about to do what they wait for.
    pub(crate) fn unfinished(self: Rc<Self>) -> Unfinished {
        Unfinished(self)
    }

    fn finish(&self, written: bool) {
        self.written.set(Some(written));
        for waiter in self.waiting.take() {
            waiter.wake();
        }
    }

    /// Waits for the write; whether it worked. Cancel safe: the event is written all the same.
    pub(crate) async fn written(&self) -> bool {
        let mut place = None;
        poll_fn(|cx| {
            if let Some(written) = self.written.get() {
                return Poll::Ready(written);
            }
            let mut waiting = self.waiting.borrow_mut();
            match place.and_then(|place: usize| waiting.get_mut(place)) {
                Some(known) => known.clone_from(cx.waker()),
                None => {
                    place = Some(waiting.len());
                    waiting.push(cx.waker().clone());
                }
            }
            Poll::Pending
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::future::Future;
    use std::pin::pin;
    use std::task::Context;

    use super::*;

    #[test]
    fn everybody_of_one_turn_waits_for_the_same_write_and_the_next_for_another() {
        let mut pending = Pending::default();
        assert!(pending.take().is_none());
        let first = pending.push(AccountId::OTHERS, |out| out.push(1)).unwrap();
        let second = pending.push(AccountId::OTHERS, |out| out.push(2)).unwrap();
        let gathered = pending.take().unwrap();
        assert_eq!((gathered.events, gathered.frames.len()), (2, 18));
        let third = pending.push(AccountId::OTHERS, |out| out.push(3)).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let (mut one, mut two, mut three) = (pin!(first.written()), pin!(second.written()), pin!(third.written()));
        assert!(one.as_mut().poll(&mut cx).is_pending() && one.as_mut().poll(&mut cx).is_pending());
        assert_eq!(first.waiting.borrow().len(), 1, "polled twice is waiting once");
        gathered.turn.finish(true);
        assert_eq!((one.poll(&mut cx), two.as_mut().poll(&mut cx)), (Poll::Ready(true), Poll::Ready(true)));
        assert!(three.as_mut().poll(&mut cx).is_pending());
        pending.take().unwrap().turn.finish(false);
        assert_eq!(three.poll(&mut cx), Poll::Ready(false));
    }

    #[test]
    fn a_turn_that_is_dropped_unwritten_ends_as_not_written() {
        let mut pending = Pending::default();
        let turn = pending.push(AccountId::OTHERS, |out| out.push(1)).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        let mut waiting = pin!(turn.written());
        assert!(waiting.as_mut().poll(&mut cx).is_pending());
        drop(pending.take());
        assert_eq!(waiting.poll(&mut cx), Poll::Ready(false));
    }

    #[test]
    fn an_event_that_is_refused_leaves_no_trace() {
        let mut pending = Pending::default();
        pending.push(AccountId::OTHERS, |_| {}).unwrap_err();
        assert_eq!((pending.events(), pending.bytes()), (0, 0));
    }
}
