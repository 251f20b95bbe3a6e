//! Locks that are waited for without blocking anybody's loop.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use crate::bus::timer::{Timer, nanos};
use crate::runtime::Shared;

/// Those that hold or want a lock of one name, and names that are held or wanted.
const USERS_MAX: usize = 65_536;

/// The locks that somebody holds or wants.
pub(super) type Locks = Mutex<HashMap<Arc<str>, Arc<Semaphore>>>;

fn table(shared: &Shared) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Semaphore>>> {
    shared.data.locks().lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a lock was not had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Its turn did not come in time.
    #[error("Timed out waiting to get lock {name}")]
    Timeout {
        /// The lock's name.
        name: Arc<str>,
        /// How long was waited.
        after: Duration,
    },
    /// As many want this lock, or as many locks are wanted, as may be.
    #[error("{USERS_MAX} want the lock {name}, or hold and want others; no more may")]
    TooMany {
        /// The lock's name.
        name: Arc<str>,
    },
}

/// Somebody who holds or wants a lock. The last one takes its name out of the table.
struct User {
    shared: Arc<Shared>,
    name: Arc<str>,
    /// Until it goes.
    semaphore: Option<Arc<Semaphore>>,
}

impl User {
    fn new(shared: &Arc<Shared>, name: &Arc<str>) -> Result<(Self, Arc<Semaphore>), LockError> {
        let mut locks = table(shared);
        let room = locks.len() < USERS_MAX;
        let semaphore = match locks.get(name) {
            // Each who holds it or wants it has two parts in it.
            Some(known) if Arc::strong_count(known) < 2 * USERS_MAX => Arc::clone(known),
            None if room => Arc::clone(locks.entry(Arc::clone(name)).or_insert_with(|| Arc::new(Semaphore::new(1)))),
            _ => return Err(LockError::TooMany { name: Arc::clone(name) }),
        };
        let user = Self { shared: Arc::clone(shared), name: Arc::clone(name), semaphore: Some(Arc::clone(&semaphore)) };
        Ok((user, semaphore))
    }
}

impl Drop for User {
    fn drop(&mut self) {
        let mut locks = table(&self.shared);
        // Given back while the table is closed: of two that go at the same time, one must see that it is the last.
        drop(self.semaphore.take());
        if locks.get(&self.name).is_some_and(|known| Arc::strong_count(known) == 1) {
            locks.remove(&self.name);
        }
    }
}

/// A lock on its way to its caller; see [`SharedData::lock`](crate::SharedData::lock).
#[must_use = "a lock is not asked for until this is awaited"]
pub struct Locking {
    shared: Arc<Shared>,
    name: Arc<str>,
    timeout: Duration,
    deadline: u64,
    timer: Timer,
    turn: Option<Turn>,
    /// Dropped after the turn: the turn has a part in the semaphore, too.
    user: Option<User>,
}

type Turn = Pin<Box<dyn Future<Output = Result<OwnedSemaphorePermit, AcquireError>> + Send>>;

impl Locking {
    pub(super) fn new(shared: &Arc<Shared>, name: &str, timeout: Duration) -> Self {
        Self {
            shared: Arc::clone(shared),
            name: name.into(),
            timeout,
            deadline: 0,
            timer: Timer::default(),
            turn: None,
            user: None,
        }
    }

    /// How long to wait, at least a millisecond. Counted from when this is first polled; default 10 s.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Takes its place among those that wait.
    fn begin(&mut self) -> Result<Turn, LockError> {
        let (user, semaphore) = User::new(&self.shared, &self.name)?;
        let turn = Box::pin(semaphore.acquire_owned());
        self.deadline = self.shared.clock.ticks().saturating_add(nanos(self.timeout));
        self.user = Some(user);
        Ok(turn)
    }

    fn timed_out(&self) -> LockError {
        LockError::Timeout { name: Arc::clone(&self.name), after: self.timeout }
    }
}

impl Future for Locking {
    type Output = Result<Lock, LockError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = &mut *self;
        let mut turn = match this.turn.take() {
            Some(turn) => turn,
            None => match this.begin() {
                Ok(turn) => turn,
                Err(refused) => return Poll::Ready(Err(refused)),
            },
        };
        if let Poll::Ready(permit) = turn.as_mut().poll(cx) {
            drop(turn);
            return Poll::Ready(match (permit, this.user.take()) {
                (Ok(permit), Some(user)) => Ok(Lock { permit, user }),
                // Nobody closes the semaphore of a lock.
                _ => Err(this.timed_out()),
            });
        }
        if this.timer.is_over(&this.shared, this.deadline, cx) {
            drop(turn);
            this.user = None;
            return Poll::Ready(Err(this.timed_out()));
        }
        this.turn = Some(turn);
        Poll::Pending
    }
}

impl fmt::Debug for Locking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Locking").field("name", &self.name).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A lock that is held. Dropped, it is released: also when what was done under it fails, panics or is cut off.
#[must_use = "a lock that is dropped is released"]
pub struct Lock {
    // In this order: the next one gets its turn, then the name goes if there is no next one.
    permit: OwnedSemaphorePermit,
    user: User,
}

impl Lock {
    /// Hands the lock on to the one that has waited longest. It is handed on once: there is nothing left to release.
    pub fn release(self) {
        drop(self.permit);
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lock").field(&self.user.name).finish()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Waker;

    use super::*;
    use crate::Runtime;

    #[test]
    fn two_that_go_at_the_same_time_leave_no_name_behind() {
        let rt = Runtime::builder().event_loops(1).build().unwrap();
        let shared = Arc::clone(&rt.bus().shared);
        // Waited for without the operating system: its wake-up would let one of the two go long before the other.
        let ready = AtomicUsize::new(0);
        let come_and_go = || {
            for number in 0..4_000 {
                let mut locking = rt.shared_data().lock(&format!("lock {number}"));
                let polled = Pin::new(&mut locking).poll(&mut Context::from_waker(Waker::noop()));
                ready.fetch_add(1, Ordering::SeqCst);
                let mut looks = 0_u32;
                while ready.load(Ordering::SeqCst) < 2 * (number + 1) {
                    looks += 1;
                    if looks > 10_000 { std::thread::yield_now() } else { std::hint::spin_loop() }
                }
                drop((polled, locking));
            }
        };
        std::thread::scope(|scope| [scope.spawn(come_and_go), scope.spawn(come_and_go)].map(|one| one.join().unwrap()));
        assert_eq!(table(&shared).len(), 0);
    }
}
