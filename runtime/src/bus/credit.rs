//! The room a consumer has for messages of other event loops, counted where every loop can see it.

use crate::sync::atomic::{AtomicUsize, Ordering};

use super::waiters::Waiters;

const CLOSED: usize = 1 << (usize::BITS - 1);

/// How much of a consumer's room is taken by messages of other loops: on their way, or queued.
///
/// Closing and taking are one atomic, so that after [`Credit::close`] nobody can take any more, and a consumer is
/// drained exactly when it is closed and nothing is taken.
#[derive(Debug)]
pub(crate) struct Credit {
    taken: AtomicUsize,
    room: usize,
    /// Senders that wait for room, and whoever waits for the consumer to be drained.
    pub(crate) waiters: Waiters,
}

impl Credit {
    pub(crate) fn new(room: usize) -> Self {
        Self { taken: AtomicUsize::new(0), room, waiters: Waiters::default() }
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
        self.waiters.wake();
    }

    /// Nobody gets any more room from now on.
    pub(crate) fn close(&self) {
        self.taken.fetch_or(CLOSED, Ordering::SeqCst);
        self.waiters.wake();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.taken.load(Ordering::SeqCst) & CLOSED != 0
    }

    /// Whether trying again makes sense: there is room, or there never will be.
    pub(crate) fn is_worth_a_try(&self) -> bool {
        let taken = self.taken.load(Ordering::SeqCst);
        taken & CLOSED != 0 || taken < self.room
    }

    /// Places that are free now; none when it is closed.
    pub(crate) fn free(&self) -> usize {
        let taken = self.taken.load(Ordering::SeqCst);
        if taken & CLOSED == 0 { self.room.saturating_sub(taken) } else { 0 }
    }

    /// Places taken now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::SeqCst) & !CLOSED
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
