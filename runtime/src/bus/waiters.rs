//! Who waits for room somewhere, and how they are told that there is some.

use std::task::Waker;

use crate::panic::contain;
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard, PoisonError};

/// Futures that wait for something which any thread may bring about. One entry per waiting future.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    // Checked before the lock is touched: nobody waits in the usual case.
    anyone: AtomicBool,
    /// Made when somebody waits for the first time: there are many who are never waited for.
    waiting: Mutex<Option<Box<Waiting>>>,
}

#[derive(Debug, Default)]
struct Waiting {
    last_ticket: u64,
    wakers: Vec<(u64, Waker)>,
}

impl Waiters {
    /// Remembers who waits, under the ticket it has or a new one. The caller must look once more afterwards: what it
    /// waits for may have come in between. Whoever goes away gives the ticket back with [`Waiters::stop_waiting`].
    pub(crate) fn wait(&self, ticket: Option<u64>, waker: &Waker) -> u64 {
        // Cloned before the lock is taken and, where it replaces another one, dropped after: a waker is foreign code.
        let mut waker = waker.clone();
        let mut waiting = self.waiting();
        let waiting = waiting.get_or_insert_default();
        self.anyone.store(true, Ordering::SeqCst);
        let known = ticket.and_then(|ticket| waiting.wakers.iter_mut().find(|(known, _)| *known == ticket));
        if let Some((ticket, known)) = known {
            std::mem::swap(known, &mut waker);
            return *ticket;
        }
        waiting.last_ticket += 1;
        let ticket = waiting.last_ticket;
        waiting.wakers.push((ticket, waker));
        ticket
    }

    /// The holder of the ticket waits no more.
    pub(crate) fn stop_waiting(&self, ticket: u64) {
        let gone = {
            let mut waiting = self.waiting();
            let wakers = waiting.as_mut().map(|waiting| &mut waiting.wakers);
            wakers.and_then(|wakers| {
                let at = wakers.iter().position(|(known, _)| *known == ticket)?;
                Some(wakers.remove(at))
            })
        };
        drop(gone);
    }

    /// Wakes all who wait. All, because one of them may have gone away meanwhile and would take the wake-up with it;
    /// those who find nothing wait again.
    pub(crate) fn wake(&self) {
        if !self.anyone.load(Ordering::SeqCst) {
            return;
        }
        let woken = {
            let mut waiting = self.waiting();
            self.anyone.store(false, Ordering::SeqCst);
            waiting.as_mut().map(|waiting| std::mem::take(&mut waiting.wakers))
        };
        for (_, waker) in woken.into_iter().flatten() {
            contain(|| waker.wake());
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Box<Waiting>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;
    use std::task::Wake;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_ticket_is_woken_once_however_often_it_waited_and_not_after_it_was_given_back() {
        let (waiters, count) = (Waiters::default(), Arc::new(Count::default()));
        let waker = Waker::from(Arc::clone(&count));
        let ticket = waiters.wait(None, &waker);
        assert_eq!(waiters.wait(Some(ticket), &waker), ticket);
        waiters.wake();
        waiters.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        let ticket = waiters.wait(Some(ticket), &waker);
        waiters.stop_waiting(ticket);
        waiters.wake();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
        drop(waker);
        assert_eq!(Arc::strong_count(&count), 1, "no waker is kept");
    }
}
