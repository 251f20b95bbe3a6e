//! The room a consumer has for messages of other event loops, counted where every loop can see it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

const CLOSED: usize = 1 << (usize::BITS - 1);

/// How much of a consumer's room is taken by messages of other loops: on their way, or queued.
///
/// Closing and taking are one atomic, so that after [`Credit::close`] nobody can take any more, and a consumer is
/// drained exactly when it is closed and nothing is taken.
#[derive(Debug)]
pub(crate) struct Credit {
    taken: AtomicUsize,
    room: usize,
    // Checked before the lock is touched: nobody waits in the usual case.
    anyone_waits: AtomicBool,
    waiters: Mutex<Waiters>,
}

#[derive(Debug, Default)]
struct Waiters {
    last_ticket: u64,
    waiting: Vec<(u64, Waker)>,
}

impl Credit {
    pub(crate) fn new(room: usize) -> Self {
        Self { taken: AtomicUsize::new(0), room, anyone_waits: AtomicBool::new(false), waiters: Mutex::default() }
    }

    /// Takes up to `wanted` places; 0 when there is no room or the consumer is closed.
    pub(crate) fn take(&self, wanted: usize) -> usize {
        // Sequentially consistent, here and in `give_back`: a waiter announces itself and then looks for room, a giver
        // makes room and then looks for waiters; one of the two must see the other.
        let mut taken = self.taken.load(Ordering::SeqCst);
        loop {
            if taken & CLOSED != 0 {
                return 0;
            }
            let granted = wanted.min(self.room.saturating_sub(taken));
            if granted == 0 {
                return 0;
            }
            match self.taken.compare_exchange_weak(taken, taken + granted, Ordering::SeqCst, Ordering::SeqCst) {
                Ok(_) => return granted,
                Err(now) => taken = now,
            }
        }
    }

    /// Gives places back and wakes whoever waits for room.
    pub(crate) fn give_back(&self, places: usize) {
        if places > 0 {
            let before = self.taken.fetch_sub(places, Ordering::SeqCst);
            debug_assert!(before & !CLOSED >= places, "more credit given back than was taken");
        }
        self.wake();
    }

    /// Nobody gets any more room from now on.
    pub(crate) fn close(&self) {
        self.taken.fetch_or(CLOSED, Ordering::SeqCst);
        self.wake();
    }

    /// Places taken now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Acquire) & !CLOSED
    }

    /// Remembers who waits for room, under the ticket it has or a new one. The caller must try once more afterwards:
    /// room may have come in between. Whoever goes away gives the ticket back with [`Credit::stop_waiting`].
    pub(crate) fn wait(&self, ticket: Option<u64>, waker: &Waker) -> u64 {
        let mut waiters = self.waiters();
        self.anyone_waits.store(true, Ordering::SeqCst);
        let known = ticket.and_then(|ticket| waiters.waiting.iter_mut().find(|(known, _)| *known == ticket));
        if let Some((ticket, known)) = known {
            known.clone_from(waker);
            return *ticket;
        }
        waiters.last_ticket += 1;
        let ticket = waiters.last_ticket;
        waiters.waiting.push((ticket, waker.clone()));
        ticket
    }

    /// The holder of the ticket waits no more.
    pub(crate) fn stop_waiting(&self, ticket: u64) {
        self.waiters().waiting.retain(|(known, _)| *known != ticket);
    }

    /// Wakes all who wait. All, because one of them may have gone away meanwhile and would take the wake-up with it;
    /// those who find no room wait again.
    pub(crate) fn wake(&self) {
        if !self.anyone_waits.load(Ordering::SeqCst) {
            return;
        }
        let woken = {
            let mut waiters = self.waiters();
            self.anyone_waits.store(false, Ordering::SeqCst);
            std::mem::take(&mut waiters.waiting)
        };
        // Outside the lock: a waker is foreign code.
        woken.into_iter().for_each(|(_, waker)| waker.wake());
    }

    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_granted_than_there_is_room() {
        let credit = Credit::new(3);
        assert_eq!(credit.take(2), 2);
        assert_eq!(credit.take(2), 1);
        assert_eq!(credit.take(1), 0);
        credit.give_back(2);
        assert_eq!(credit.take(5), 2);
        assert_eq!(credit.taken(), 3);
    }

    #[test]
    fn nothing_is_granted_after_closing_and_what_was_taken_is_still_counted() {
        let credit = Credit::new(3);
        assert_eq!(credit.take(2), 2);
        credit.close();
        assert_eq!(credit.take(1), 0);
        assert_eq!(credit.taken(), 2);
        credit.give_back(2);
        assert_eq!(credit.taken(), 0);
    }
}
