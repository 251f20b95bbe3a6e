//! The runtime: its loops, what is deployed on them, and the order in which it all ends.

use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::builder::RuntimeBuilder;
use crate::bus::Bus;
use crate::bus::registry::Registry;
use crate::clock::{Clock, Sleep};
use crate::deploy::Deploy;
use crate::deployment::{Birth, Deployment, DeploymentId, Stopped, Undeployed, begin_instance, stop_instance};
use crate::error::{BuildError, DeployError, UndeployError};
use crate::event_loop::shared::{Inbox, LoopShared};
use crate::event_loop::thread::{LoopThread, executor};
use crate::event_loop::{LoopCore, current_of};
use crate::report::Report;
use crate::shared_data::{SharedData, SharedTables};
use crate::verticle::Verticle;

/// What every thread may know of the runtime.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) clock: Clock,
    pub(crate) registry: Registry,
    /// The event loops first, then the named ones.
    loops: Vec<Arc<LoopShared>>,
    event_loops: usize,
    turn: AtomicUsize,
    closed: AtomicBool,
    /// The first loop that ended without being told to.
    lost: watch::Sender<Option<String>>,
    last_deployment: AtomicU64,
    /// The number of the next timer.
    pub(crate) next_timer: AtomicU64,
    pub(crate) data: SharedTables,
    /// In the order they were made. Closing and adding take turns under this lock.
    deployments: Mutex<Vec<Deployed>>,
    /// The first loop's executor, for timers of threads that have none.
    timekeeper: Mutex<Option<Handle>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) request_timeout: Duration,
    pub(crate) mailbox: usize,
}

/// A deployment as the runtime remembers it: on which loop each instance lives.
#[derive(Debug, Clone)]
struct Deployed {
    id: DeploymentId,
    name: Arc<str>,
    loops: Vec<usize>,
}

impl Shared {
    pub(crate) fn new(options: Options, clock: Clock, loops: Vec<Arc<LoopShared>>, event_loops: usize) -> Self {
        Self {
            options,
            clock,
            registry: Registry::default(),
            loops,
            event_loops,
            turn: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            lost: watch::Sender::new(None),
            last_deployment: AtomicU64::new(0),
            next_timer: AtomicU64::new(0),
            data: SharedTables::default(),
            deployments: Mutex::default(),
            timekeeper: Mutex::default(),
        }
    }

    pub(crate) fn event_loop(&self, id: usize) -> &Arc<LoopShared> {
        &self.loops[id]
    }

    /// The event loop whose turn it is.
    pub(crate) fn next_loop(&self) -> &Arc<LoopShared> {
        &self.loops[self.turn.fetch_add(1, Ordering::Relaxed) % self.event_loops]
    }

    /// A loop has ended without being told to.
    pub(crate) fn lose(&self, event_loop: &str) {
        self.lost.send_if_modified(|lost| {
            let first = lost.is_none();
            lost.get_or_insert_with(|| event_loop.to_owned());
            first
        });
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Nothing is deployed from now on.
    fn close(&self) {
        let _no_deployment_meanwhile = self.deployments();
        self.closed.store(true, Ordering::Release);
    }

    /// Whether the deployment is there or on its way: it was not undeployed.
    pub(crate) fn is_deployed(&self, id: DeploymentId) -> bool {
        self.deployments().iter().rev().any(|known| known.id == id)
    }

    /// A timer for this thread, whether or not it has an executor; `None` when the runtime has ended.
    pub(crate) fn timer(&self, tick: u64) -> Option<Sleep> {
        if Handle::try_current().is_ok() {
            return Some(self.clock.at(tick));
        }
        let handle = self.timekeeper.lock().unwrap_or_else(PoisonError::into_inner).clone()?;
        let _inside = handle.enter();
        Some(self.clock.at(tick))
    }

    pub(crate) fn set_timekeeper(&self, handle: Option<Handle>) {
        let before = std::mem::replace(&mut *self.timekeeper.lock().unwrap_or_else(PoisonError::into_inner), handle);
        drop(before);
    }

    fn deployments(&self) -> MutexGuard<'_, Vec<Deployed>> {
        self.deployments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Most instances of a deployment.
const INSTANCES_MAX: usize = 1_048_576;

/// Event loops, an event bus between them, and what is deployed on them.
///
/// Cheap to clone. When the last clone is dropped the loops end where they are; [`shutdown`](Runtime::shutdown) is the
/// orderly way.
#[derive(Clone)]
pub struct Runtime {
    bus: Bus,
    inner: Arc<Inner>,
}

struct Inner {
    shared: Arc<Shared>,
    threads: Mutex<Vec<LoopThread>>,
    /// Held by the shutdown that is going on.
    ending: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("loops", &self.inner.shared.loops).finish_non_exhaustive()
    }
}

impl Runtime {
    /// A runtime with one event loop per core, unless the builder is told otherwise.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::new()
    }

    /// Starts the loops.
    pub(crate) fn start(shared: Arc<Shared>, inboxes: Vec<Inbox>) -> Result<Self, BuildError> {
        let mut threads = Vec::with_capacity(inboxes.len());
        for (event_loop, inbox) in shared.loops.iter().zip(inboxes) {
            match LoopThread::start(&shared, event_loop, inbox) {
                Ok(thread) => threads.push(thread),
                Err(source) => {
                    stop_loops(&shared);
                    return Err(BuildError::Io { event_loop: event_loop.name.clone(), source });
                }
            }
        }
        Ok(Self::of(shared, threads))
    }

    pub(crate) fn of(shared: Arc<Shared>, threads: Vec<LoopThread>) -> Self {
        let bus = Bus { shared: Arc::clone(&shared) };
        Self { bus, inner: Arc::new(Inner { shared, threads: Mutex::new(threads), ending: Default::default() }) }
    }

    /// The event bus.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The runtime's time.
    pub fn clock(&self) -> &Clock {
        &self.inner.shared.clock
    }

    /// What verticles share by name.
    pub fn shared_data(&self) -> SharedData {
        SharedData::new(&self.inner.shared)
    }

    /// How many event loops there are, the named ones not counted.
    pub fn event_loops(&self) -> usize {
        self.inner.shared.event_loops
    }

    /// Runs a future on the calling thread, which is no event loop: composition, and waiting for the end.
    ///
    /// # Errors
    /// None of its own: the future's output is given.
    ///
    /// # Panics
    /// When called from within an event loop or another tokio runtime, or when the system refuses an event queue.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match executor() {
            Ok(executor) => executor.block_on(future),
            Err(error) => panic!("no event queue for block_on: {error}"),
        }
    }

    /// Starts a deployment: every instance is built on its loop and started. All of them or none: when one fails, those
    /// that have started are stopped and the first error is given.
    ///
    /// Takes as long as `start` does; [`undeploy`](Runtime::undeploy) and [`shutdown`](Runtime::shutdown) cut off a start
    /// that takes too long. Dropped half-way, what has been started until then stays until one of these.
    ///
    /// # Errors
    /// [`DeployError`]; nothing of the deployment is left running then.
    pub async fn deploy<V: Verticle>(&self, deploy: Deploy<V>) -> Result<Deployment, DeployError> {
        let shared = &self.inner.shared;
        let loops = self.place(&deploy)?;
        let id = DeploymentId(shared.last_deployment.fetch_add(1, Ordering::Relaxed) + 1);
        let name: Arc<str> = deploy.name.as_str().into();
        {
            let mut deployments = shared.deployments();
            if shared.is_closed() {
                return Err(DeployError::ShuttingDown { name: deploy.name });
            }
            deployments.push(Deployed { id, name: Arc::clone(&name), loops: loops.clone() });
        }
        let mut starting = Vec::with_capacity(loops.len());
        for (index, event_loop) in loops.iter().enumerate() {
            let bus = self.bus.clone();
            let birth = Birth { bus, deployment: id, name: Arc::clone(&name), index, count: deploy.instances };
            let factory = Arc::clone(&deploy.factory);
            let (done, outcome) = oneshot::channel();
            shared.event_loop(*event_loop).do_job(move |core| begin_instance(core, &*factory, &birth, done));
            starting.push(outcome);
        }
        let mut failed = None;
        for outcome in starting {
            let started = outcome.await.unwrap_or_else(|_| Err(DeployError::ShuttingDown { name: name.to_string() }));
            failed = failed.or(started.err());
        }
        match failed {
            None => Ok(Deployment { runtime: self.clone(), id, name }),
            Some(error) => {
                // Those that did start are stopped; whatever that comes to, the first error is what is reported.
                drop(self.undeploy(id, Duration::from_secs(10)).await);
                Err(error)
            }
        }
    }

    /// On which loop each instance goes.
    fn place<V: Verticle>(&self, deploy: &Deploy<V>) -> Result<Vec<usize>, DeployError> {
        let shared = &self.inner.shared;
        let name = || deploy.name.clone();
        if deploy.instances == 0 {
            return Err(DeployError::NoInstances { name: name() });
        }
        if deploy.instances > INSTANCES_MAX {
            return Err(DeployError::TooManyInstances { name: name(), instances: deploy.instances });
        }
        if shared.is_closed() {
            return Err(DeployError::ShuttingDown { name: name() });
        }
        match &deploy.event_loop {
            None => Ok((0..deploy.instances).map(|_| shared.next_loop().id).collect()),
            Some(wanted) => {
                let found = shared.loops.iter().find(|known| known.name == *wanted);
                let found =
                    found.ok_or_else(|| DeployError::NoSuchLoop { name: name(), event_loop: wanted.clone() })?;
                Ok(vec![found.id; deploy.instances])
            }
        }
    }

    /// Waits until an event loop has ended that was not told to, and gives its name; for ever when all goes well.
    ///
    /// What lived on that loop is gone, and nothing brings it back: end the process and let its supervisor start a new one.
    /// Cancel safe.
    pub async fn lost_loop(&self) -> String {
        let mut lost = self.inner.shared.lost.subscribe();
        let name = lost.wait_for(Option::is_some).await.ok().and_then(|name| name.clone());
        match name {
            Some(name) => name,
            None => std::future::pending().await,
        }
    }

    /// The deployments there are, oldest first: id and name.
    pub fn deployments(&self) -> Vec<(DeploymentId, String)> {
        self.inner.shared.deployments().iter().map(|known| (known.id, known.name.to_string())).collect()
    }

    /// Undeploys by id; see [`Deployment::undeploy_within`](crate::Deployment::undeploy_within).
    ///
    /// # Errors
    /// [`UndeployError`] when there is no such deployment.
    pub async fn undeploy(&self, id: DeploymentId, grace: Duration) -> Result<Undeployed, UndeployError> {
        let patience = self.clock().now().saturating_add(grace).saturating_add(STUCK_MARGIN);
        self.undeploy_until(id, grace, patience).await
    }

    /// Undeploys within the grace; loops that do not answer are waited for until the clock has come to `patience`.
    async fn undeploy_until(
        &self,
        id: DeploymentId,
        grace: Duration,
        patience: Duration,
    ) -> Result<Undeployed, UndeployError> {
        let deployed = {
            let mut deployments = self.inner.shared.deployments();
            let known = deployments.iter().rposition(|known| known.id == id);
            known.map(|at| deployments.remove(at)).ok_or(UndeployError::Unknown { id })?
        };
        let mut stopping = Vec::with_capacity(deployed.loops.len());
        for (index, event_loop) in deployed.loops.iter().enumerate() {
            let (done, outcome) = oneshot::channel::<Stopped>();
            let stop = move |core: &Rc<LoopCore>| stop_instance(core, (id, index), grace, done);
            self.inner.shared.event_loop(*event_loop).do_job(stop);
            stopping.push(outcome);
        }
        let mut undeployed = Undeployed { id, name: deployed.name.to_string(), abandoned: 0, failures: Vec::new() };
        for (index, outcome) in stopping.into_iter().enumerate() {
            // A loop that is blocked does not answer; its instances are not waited for for ever, nor one after the other.
            let left = patience.saturating_sub(self.clock().now());
            match self.clock().timeout(left, outcome).await {
                Ok(Ok(stopped)) => {
                    undeployed.abandoned += stopped.abandoned;
                    let failure = stopped.failure.map(|failure| format!("instance {index}: {failure}"));
                    undeployed.failures.extend(failure);
                }
                // It never started, or its loop has ended: there is nothing to stop.
                Ok(Err(_)) => {}
                Err(_) => undeployed.failures.push(format!("instance {index}: its event loop does not answer")),
            }
        }
        Ok(undeployed)
    }

    /// Undeploys everything, newest first, and ends the loops; all of it within the grace, plus a second for loops that
    /// do not answer. What is not finished then is given up, and counted in the report.
    ///
    /// From the moment it is called no deployment starts, and a start that is under way is cut off. Called again while it
    /// is going on, it waits for the first to be done - within its own grace, then it ends the loops - and gives a report
    /// of what that has left, which is usually nothing.
    ///
    /// On an event loop it goes on when its caller is cut off, as a handler or a task of a verticle will be; the report
    /// may find nobody left to read it. Elsewhere it is not cancel safe: dropped half-way, what is deployed by then stays.
    pub async fn shutdown(&self, grace: Duration) -> Report {
        if current_of(&self.inner.shared).is_none() {
            return self.end(grace).await;
        }
        let own = self.clone();
        let ending = tokio::task::spawn_local(async move { own.end(grace).await });
        // Cut off itself when the loop ends; there is nobody to read the report then.
        ending.await.unwrap_or_else(|_| Report::empty())
    }

    async fn end(&self, grace: Duration) -> Report {
        let started = self.clock().now();
        let deadline = started.saturating_add(grace);
        let patience = deadline.saturating_add(STUCK_MARGIN);
        self.inner.shared.close();
        let _alone = self.clock().timeout(grace, self.inner.ending.lock()).await;
        let mut report = Report::empty();
        loop {
            let Some(newest) = self.inner.shared.deployments().last().map(|known| known.id) else { break };
            let left = deadline.saturating_sub(self.clock().now());
            if let Ok(undeployed) = self.undeploy_until(newest, left, patience).await {
                report.abandoned += undeployed.abandoned;
                report.deployments.push(undeployed);
            }
        }
        self.empty(deadline).await;
        report.stuck_loops = self.end_loops(patience).await;
        report.took = self.clock().now() - started;
        report
    }

    /// Waits for what others are undeploying at the same time.
    async fn empty(&self, deadline: Duration) {
        let tell_when_empty = |event_loop: &Arc<LoopShared>| {
            let (waiting, empty) = oneshot::channel();
            event_loop.do_job(move |core| core.tell_when_empty(waiting));
            empty
        };
        let loops: Vec<_> = self.inner.shared.loops.iter().map(tell_when_empty).collect();
        for empty in loops {
            let left = deadline.saturating_sub(self.clock().now());
            if self.clock().timeout(left, empty).await.is_err() {
                break;
            }
        }
    }

    async fn end_loops(&self, patience: Duration) -> Vec<String> {
        stop_loops(&self.inner.shared);
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut stuck = Vec::new();
        for thread in threads {
            if std::thread::current().id() == thread.handle.thread().id() {
                // Called from this very loop: it ends when the caller's turn does.
                continue;
            }
            let left = patience.saturating_sub(self.clock().now());
            match self.clock().timeout(left, thread.ended).await {
                // The loop is over; its thread has only to return.
                Ok(_) => drop(thread.handle.join()),
                Err(_) => stuck.push(self.inner.shared.event_loop(thread.id).name.clone()),
            }
        }
        stuck
    }
}

/// How much longer than its grace something is waited for that should have answered within it.
const STUCK_MARGIN: Duration = Duration::from_secs(1);

impl Drop for Inner {
    fn drop(&mut self) {
        stop_loops(&self.shared);
    }
}

fn stop_loops(shared: &Arc<Shared>) {
    shared.close();
    for event_loop in &shared.loops {
        event_loop.stop();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_that_ends_without_being_told_to_is_reported_by_name_and_an_orderly_end_is_not() {
        let rt = Runtime::builder().event_loops(2).build().unwrap();
        rt.block_on(async {
            let quiet = rt.clock().timeout(Duration::from_millis(20), rt.lost_loop()).await;
            assert!(quiet.is_err(), "nothing is lost yet");
            let waiting = rt.clone();
            let told = tokio::task::spawn_local(async move { waiting.lost_loop().await });
            rt.inner.shared.lose("loop-1");
            rt.inner.shared.lose("loop-0");
            assert_eq!(told.await.unwrap(), "loop-1");
        });
        let rt = Runtime::builder().event_loops(2).build().unwrap();
        rt.block_on(async {
            rt.shutdown(Duration::from_secs(5)).await;
            assert!(rt.clock().timeout(Duration::from_millis(20), rt.lost_loop()).await.is_err());
        });
    }
}
