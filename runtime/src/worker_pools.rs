//! Named pools of loops on which blocking is allowed: made by the first deployment that names one, ended after the last.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::event_loop::shared::LoopShared;
use crate::event_loop::thread::LoopThread;
use crate::runtime::Shared;

/// Most threads of one pool.
pub(crate) const THREADS_MAX: usize = 1_024;

/// The pools there are.
pub(crate) struct WorkerPools {
    pools: Mutex<HashMap<String, Pool>>,
    /// The pools' loops by number, for whoever knows no more of one. A number is never used twice.
    loops: Mutex<HashMap<usize, Arc<LoopShared>>>,
    next_id: AtomicUsize,
    /// Stands for each loop that has ended.
    ended: Arc<LoopShared>,
}

struct Pool {
    loops: Vec<Arc<LoopShared>>,
    threads: Vec<LoopThread>,
    deployments: usize,
    turn: usize,
}

impl WorkerPools {
    /// Numbers its loops from `first_id` on.
    pub(crate) fn new(first_id: usize) -> Self {
        let (ended, _) = LoopShared::new(usize::MAX, "a worker that has ended".to_owned(), Duration::MAX);
        drop(ended.end());
        Self {
            pools: Mutex::default(),
            loops: Mutex::default(),
            next_id: AtomicUsize::new(first_id),
            ended: Arc::new(ended),
        }
    }

    /// The loop of this number; one that has ended when there is none any more.
    pub(crate) fn event_loop(&self, id: usize) -> Arc<LoopShared> {
        Arc::clone(lock(&self.loops).get(&id).unwrap_or(&self.ended))
    }

    /// The loops for so many instances, in turn. The pool is made if it is not there; that it has as many threads as it was
    /// made with. To be given back with [`WorkerPools::leave`].
    pub(crate) fn join(
        &self,
        shared: &Arc<Shared>,
        name: &str,
        threads: usize,
        instances: usize,
    ) -> io::Result<Vec<Arc<LoopShared>>> {
        let mut pools = lock(&self.pools);
        if !pools.contains_key(name) {
            let made = self.make(shared, name, threads)?;
            pools.insert(name.to_owned(), made);
        }
        let Some(pool) = pools.get_mut(name) else { return Ok(Vec::new()) };
        pool.deployments += 1;
        let turns = pool.turn..pool.turn + instances;
        pool.turn = turns.end % pool.loops.len();
        Ok(turns.map(|turn| Arc::clone(&pool.loops[turn % pool.loops.len()])).collect())
    }

    fn make(&self, shared: &Arc<Shared>, name: &str, threads: usize) -> io::Result<Pool> {
        let mut pool = Pool { loops: vec![], threads: vec![], deployments: 0, turn: 0 };
        for number in 0..threads {
            let id = self.next_id.fetch_add(1, Ordering::Relaxed);
            let (event_loop, inbox) = LoopShared::new(id, format!("{name}-{number}"), shared.options.worker_time_max);
            let event_loop = Arc::new(event_loop);
            let thread = event_loop.name.clone();
            match LoopThread::spawn(shared, &event_loop, inbox, thread) {
                // Not waited for: what is to be done there waits until it is there.
                Ok((thread, _starting)) => pool.threads.push(thread),
                Err(error) => {
                    drop(self.end(pool));
                    return Err(error);
                }
            }
            lock(&self.loops).insert(id, Arc::clone(&event_loop));
            pool.loops.push(event_loop);
        }
        Ok(pool)
    }

    /// One deployment less; the last one's pool ends, and its threads are given to be waited for.
    pub(crate) fn leave(&self, name: &str) -> Vec<LoopThread> {
        let ending = {
            let mut pools = lock(&self.pools);
            let last = pools.get_mut(name).is_some_and(|pool| {
                pool.deployments -= 1;
                pool.deployments == 0
            });
            if last { pools.remove(name) } else { None }
        };
        ending.map(|pool| self.end(pool)).unwrap_or_default()
    }

    /// Ends all pools.
    pub(crate) fn end_all(&self) -> Vec<LoopThread> {
        let ending = std::mem::take(&mut *lock(&self.pools));
        ending.into_values().flat_map(|pool| self.end(pool)).collect()
    }

    fn end(&self, pool: Pool) -> Vec<LoopThread> {
        for event_loop in &pool.loops {
            event_loop.stop();
            lock(&self.loops).remove(&event_loop.id);
        }
        pool.threads
    }

    /// The loops of all pools.
    pub(crate) fn loops(&self) -> Vec<Arc<LoopShared>> {
        lock(&self.loops).values().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
