//! The starts of a deployment's instances, and whoever waits for all of them.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::error::DeployError;
use crate::event_loop::shared::LoopShared;
use crate::runtime::Shared;

/// What has come of the starts so far.
struct Starts {
    shared: Arc<Shared>,
    name: Arc<str>,
    so_far: Mutex<SoFar>,
}

struct SoFar {
    left: usize,
    /// That of the first instance that has one, and its number.
    failed: Option<(usize, DeployError)>,
    done: Option<oneshot::Sender<Option<DeployError>>>,
}

/// The starts of the instances of one loop that have not begun. Those that never do, because the loop has ended, have failed.
pub(crate) struct StartsOn {
    starts: Arc<Starts>,
    event_loop: Arc<LoopShared>,
    /// In the order in which they begin, the last first.
    waiting: Vec<usize>,
}

/// The start of an instance. Dropped without having been told what came of it, it has failed.
pub(crate) struct Start {
    starts: Option<Arc<Starts>>,
    event_loop: Arc<LoopShared>,
    index: usize,
}

/// One list of starts for each loop, and what tells that all have ended: with the first error, in the order of the
/// instances, if there was one.
pub(crate) fn starts(
    shared: &Arc<Shared>,
    name: &Arc<str>,
    loops: &[Arc<LoopShared>],
) -> (Vec<StartsOn>, oneshot::Receiver<Option<DeployError>>) {
    let (done, ended) = oneshot::channel();
    let so_far = Mutex::new(SoFar { left: loops.len(), failed: None, done: Some(done) });
    let starts = Arc::new(Starts { shared: Arc::clone(shared), name: Arc::clone(name), so_far });
    let mut by_loop: Vec<StartsOn> = Vec::new();
    // They are given in turn: the loop after the one before is the right one for all but the first round.
    let mut turn = 0;
    for (index, event_loop) in loops.iter().enumerate().rev() {
        let is_it = |at: usize| by_loop.get(at).is_some_and(|known| known.event_loop.id == event_loop.id);
        let found = if is_it(turn) { Some(turn) } else { (0..by_loop.len()).find(|at| is_it(*at)) };
        let at = found.unwrap_or(by_loop.len());
        if found.is_none() {
            let (starts, event_loop) = (Arc::clone(&starts), Arc::clone(event_loop));
            by_loop.push(StartsOn { starts, event_loop, waiting: Vec::new() });
        }
        by_loop[at].waiting.push(index);
        turn = (at + 1) % by_loop.len();
    }
    (by_loop, ended)
}

impl StartsOn {
    pub(crate) fn event_loop(&self) -> &Arc<LoopShared> {
        &self.event_loop
    }

    /// The next one, and the number of its instance.
    pub(crate) fn begin_next(&mut self) -> Option<(usize, Start)> {
        let index = self.waiting.pop()?;
        let (starts, event_loop) = (Some(Arc::clone(&self.starts)), Arc::clone(&self.event_loop));
        let start = Start { starts, event_loop, index };
        Some((index, start))
    }
}

impl Drop for StartsOn {
    fn drop(&mut self) {
        while self.begin_next().is_some() {}
    }
}

impl Start {
    /// Says what came of it.
    pub(crate) fn ended(mut self, outcome: Result<(), DeployError>) {
        if let Some(starts) = self.starts.take() {
            starts.count(self.index, outcome.err());
        }
    }
}

impl Drop for Start {
    fn drop(&mut self) {
        let Some(starts) = self.starts.take() else { return };
        let name = starts.name.to_string();
        let error = match starts.shared.is_closed() {
            true => DeployError::ShuttingDown { name },
            false => DeployError::LoopEnded { name, event_loop: self.event_loop.name.clone() },
        };
        starts.count(self.index, Some(error));
    }
}

impl Starts {
    fn count(&self, index: usize, error: Option<DeployError>) {
        let done = {
            let mut so_far = self.lock();
            so_far.left -= 1;
            let is_first = so_far.failed.as_ref().is_none_or(|(known, _)| index < *known);
            match error {
                Some(error) if is_first => so_far.failed = Some((index, error)),
                _ => {}
            }
            if so_far.left > 0 { None } else { so_far.done.take().map(|done| (done, so_far.failed.take())) }
        };
        // Wakes whoever waits: not under the lock.
        if let Some((done, failed)) = done {
            drop(done.send(failed.map(|(_, error)| error)));
        }
    }

    fn lock(&self) -> MutexGuard<'_, SoFar> {
        self.so_far.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
