//! Work that blocks, on threads where that is allowed: in a line of its instance, or side by side.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::BlockingError;
use crate::panic::{contain, panic_text};

/// The blocking work of one instance that must not overlap: one piece after the other, in the order they were asked for.
///
/// A thread that has a line works it off by itself: an instance on a worker may block until its own work is done.
#[derive(Default)]
pub(crate) struct Line {
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    /// Each with a number, by which whoever goes away takes it out.
    pieces: VecDeque<(u64, Piece)>,
    last: u64,
    /// A thread works this line off.
    has_thread: bool,
}

type Piece = Box<dyn FnOnce() + Send>;

/// Runs the work when all that stand in the line before it are done.
pub(crate) async fn in_line<T: Send + 'static>(
    line: &Arc<Line>,
    threads: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlockingError> {
    let (done, mut outcome) = oneshot::channel();
    let place = line.stand(Box::new(move || drop(done.send(contained(work)))));
    tokio::select! {
        // The work is looked after before its outcome is.
        biased;
        () = line.get_thread(threads) => {}
        ended = &mut outcome => return ended.unwrap_or(Err(BlockingError::Cancelled)),
    }
    let ended = outcome.await.unwrap_or(Err(BlockingError::Cancelled));
    drop(place);
    ended
}

/// Runs the work as soon as there is a thread.
pub(crate) async fn side_by_side<T: Send + 'static>(
    threads: &Arc<Semaphore>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, BlockingError> {
    let Ok(thread) = Arc::clone(threads).acquire_owned().await else { return Err(BlockingError::Cancelled) };
    let (done, outcome) = oneshot::channel();
    on_thread(thread, move || drop(done.send(contained(work))));
    outcome.await.unwrap_or(Err(BlockingError::Cancelled))
}

/// The handle is not kept: how the work ended is told by its channel, and by that one's being dropped.
fn on_thread(thread: OwnedSemaphorePermit, work: impl FnOnce() + Send + 'static) {
    drop(tokio::task::spawn_blocking(move || {
        work();
        drop(thread);
    }));
}

fn contained<T>(work: impl FnOnce() -> T) -> Result<T, BlockingError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| BlockingError::Panicked { panic: panic_text(panic.as_ref()) })
}

impl Line {
    fn stand(self: &Arc<Self>, piece: Piece) -> Place<'_> {
        let mut waiting = self.lock();
        waiting.last += 1;
        let number = waiting.last;
        waiting.pieces.push_back((number, piece));
        Place { line: self, number }
    }

    /// Resolves when the line has a thread.
    async fn get_thread(self: &Arc<Self>, threads: &Arc<Semaphore>) {
        if self.lock().has_thread {
            return;
        }
        let Ok(thread) = Arc::clone(threads).acquire_owned().await else { return };
        if std::mem::replace(&mut self.lock().has_thread, true) {
            // Somebody else of the line was served first.
            return;
        }
        let line = Arc::clone(self);
        on_thread(thread, move || line.work_off());
    }

    fn work_off(&self) {
        while let Some(piece) = self.next() {
            // The work has its own guard. Its outcome is dropped here when nobody waits for it, and may panic at that: whoever
            // stands behind must not wait for a thread that is gone.
            contain(piece);
        }
    }

    fn next(&self) -> Option<Piece> {
        let mut waiting = self.lock();
        let next = waiting.pieces.pop_front();
        // Under the same lock: whoever stands behind has this thread, or sees that there is none.
        waiting.has_thread = next.is_some();
        next.map(|(_, piece)| piece)
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in a line. Whoever goes away before it is his turn takes his work with him.
struct Place<'l> {
    line: &'l Line,
    number: u64,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let gone = {
            let mut waiting = self.line.lock();
            let at = waiting.pieces.iter().position(|(number, _)| *number == self.number);
            at.and_then(|at| waiting.pieces.remove(at))
        };
        // What the work holds is foreign: not under the lock.
        drop(gone);
    }
}
