//! The runtime: its loops, what is deployed on them, and the order in which it all ends.

use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::address::Name;
use crate::builder::RuntimeBuilder;
use crate::bus::Bus;
use crate::bus::intercept::Interceptors;
use crate::bus::registry::Registry;
use crate::bus::tally::Outside;
use crate::clock::{Clock, Sleep};
use crate::deploy::Deploy;
use crate::deployment::{Deployment, DeploymentId, DeploymentInfo, Undeployed};
use crate::deployments::{self, Deployments, Limits};
use crate::error::{BuildError, DeployError, UndeployError};
use crate::event::{Event, Hook};
use crate::event_loop::current_of;
use crate::event_loop::shared::{Inbox, LoopShared};
use crate::event_loop::thread::{LoopThread, executor};
use crate::metrics::{self, AddressMetrics, Metrics};
use crate::report::Report;
use crate::shared_data::{SharedData, SharedTables};
use crate::verticle::Verticle;
use crate::watchdog::Watchdog;
use crate::worker_pools::WorkerPools;

/// What every thread may know of the runtime.
pub(crate) struct Shared {
    pub(crate) options: Options,
    pub(crate) hook: Hook,
    pub(crate) clock: Clock,
    pub(crate) registry: Registry,
    pub(crate) interceptors: Interceptors,
    /// What threads that are no loop have counted.
    pub(crate) outside: Outside,
    /// The event loops first, then the named ones. Those of worker pools are not among them.
    loops: Vec<Arc<LoopShared>>,
    pub(crate) workers: WorkerPools,
    event_loops: usize,
    turn: AtomicUsize,
    closed: AtomicBool,
    /// The first loop that ended without being told to.
    lost: watch::Sender<Option<String>>,
    pub(crate) last_deployment: AtomicU64,
    pub(crate) deployments: Deployments,
    /// The number of the next timer.
    pub(crate) next_timer: AtomicU64,
    pub(crate) data: SharedTables,
    /// What loops still had when they ended.
    #[cfg(feature = "testing")]
    pub(crate) leaks: Mutex<Vec<String>>,
    /// The first loop's executor, for timers of threads that have none.
    timekeeper: Mutex<Option<Handle>>,
}

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) request_timeout: Duration,
    pub(crate) mailbox: usize,
    pub(crate) blocked_check_interval: Duration,
    pub(crate) worker_time_max: Duration,
    /// Everything runs on the one loop there is, worker verticles too: the test kit's virtual time is one thread's.
    pub(crate) single_thread: bool,
    /// One handler in so many is measured; a power of two.
    pub(crate) handler_time_one_in: u64,
    /// Headers that go from a message to those its handler sends.
    pub(crate) carried: Arc<[Box<str>]>,
}

impl Shared {
    pub(crate) fn new(
        options: Options,
        hook: Hook,
        clock: Clock,
        loops: Vec<Arc<LoopShared>>,
        event_loops: usize,
    ) -> Self {
        let interceptors = Interceptors::new(!options.carried.is_empty());
        Self {
            options,
            hook,
            clock,
            registry: Registry::default(),
            interceptors,
            outside: Outside::default(),
            workers: WorkerPools::new(loops.len()),
            loops,
            event_loops,
            turn: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            lost: watch::Sender::new(None),
            last_deployment: AtomicU64::new(0),
            deployments: Deployments::default(),
            next_timer: AtomicU64::new(0),
            data: SharedTables::default(),
            #[cfg(feature = "testing")]
            leaks: Mutex::default(),
            timekeeper: Mutex::default(),
        }
    }

    /// Counts something by name, on whatever thread this is.
    #[cold]
    pub(crate) fn count(self: &Arc<Self>, name: &Name, count: impl FnOnce(&mut AddressMetrics)) {
        match current_of(self) {
            Some(core) => core.ledger.count(name, count),
            None => self.outside.count(name, count),
        }
    }

    /// The loop of this number. Those of worker pools come and go, and are looked up under a lock.
    pub(crate) fn event_loop(&self, id: usize) -> Arc<LoopShared> {
        self.loops.get(id).map_or_else(|| self.workers.event_loop(id), Arc::clone)
    }

    /// The event loops first, then the named ones.
    pub(crate) fn loops(&self) -> &[Arc<LoopShared>] {
        &self.loops
    }

    /// Every loop there is now, those of worker pools too.
    pub(crate) fn all_loops(&self) -> Vec<Arc<LoopShared>> {
        self.loops.iter().cloned().chain(self.workers.loops()).collect()
    }

    /// The event loop whose turn it is.
    pub(crate) fn next_loop(&self) -> &Arc<LoopShared> {
        &self.loops[self.turn.fetch_add(1, Ordering::Relaxed) % self.event_loops]
    }

    /// A loop has ended without being told to.
    pub(crate) fn lose(&self, event_loop: &str) {
        self.hook.tell(|| Event::LoopLost { event_loop: event_loop.to_owned() });
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
        let _no_deployment_meanwhile = self.deployments.hold();
        self.closed.store(true, Ordering::Release);
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
}

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
    /// None on virtual time: there is one thread, and what blocks it blocks the test.
    watchdog: Mutex<Option<Watchdog>>,
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
        let runtime = Self::of(shared, threads);
        let watchdog = Watchdog::start(&runtime.inner.shared);
        let watchdog = watchdog.map_err(|source| BuildError::Io { event_loop: "watchdog".to_owned(), source })?;
        *runtime.inner.watchdog() = Some(watchdog);
        Ok(runtime)
    }

    pub(crate) fn of(shared: Arc<Shared>, threads: Vec<LoopThread>) -> Self {
        let bus = Bus { shared: Arc::clone(&shared) };
        let threads = Mutex::new(threads);
        let inner = Inner { shared, threads, watchdog: Mutex::default(), ending: Default::default() };
        Self { bus, inner: Arc::new(inner) }
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

    /// How everything stands: what was sent, handled, failed, dropped at each address, how full the mailboxes are, how far
    /// the loops lag behind. Each loop counts in plain cells and is asked for them now; that costs a turn of each loop, and
    /// time in proportion to its addresses. Cancel safe.
    ///
    /// A loop that does not answer within a second is reported as such, with what can be known from outside.
    ///
    /// ```
    /// # use vertebra::{Address, BoxError, Runtime};
    /// # const NEWS: Address<u32> = Address::new("news");
    /// # let rt = Runtime::builder().event_loops(2).build()?;
    /// # rt.block_on(async {
    /// rt.bus().publish(NEWS, 1);
    /// let metrics = rt.metrics().await;
    /// assert_eq!(metrics.address("news").map(|news| (news.sent, news.delivered)), Some((1, 0)));
    /// assert!(metrics.loops.iter().all(|event_loop| event_loop.answered && event_loop.panics == 0));
    /// # });
    /// # Ok::<(), BoxError>(())
    /// ```
    pub fn metrics(&self) -> impl Future<Output = Metrics> + Send + use<> {
        metrics::gather(&self.inner.shared)
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
    /// that takes too long. Cancel safe: dropped before it is done, the deployment is undone.
    ///
    /// # Errors
    /// [`DeployError`]; nothing of the deployment is left running then.
    pub async fn deploy<V: Verticle>(&self, deploy: Deploy<V>) -> Result<Deployment, DeployError> {
        deployments::deploy(&self.inner.shared, None, deploy).await
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

    /// The deployments there are, oldest first, children among them: those that have started, until they are gone.
    pub fn deployments(&self) -> Vec<DeploymentInfo> {
        self.inner.shared.deployments.list()
    }

    /// Undeploys by id; see [`Deployment::undeploy_within`](crate::Deployment::undeploy_within).
    ///
    /// # Errors
    /// [`UndeployError`] when there is no such deployment, or somebody undeploys it already.
    pub async fn undeploy(&self, id: DeploymentId, grace: Duration) -> Result<Undeployed, UndeployError> {
        let shared = &self.inner.shared;
        deployments::undeploy(shared, id, Limits::within(shared, grace)).await
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
        let shared = &self.inner.shared;
        let limits = Limits::within(shared, grace);
        shared.close();
        let _alone = self.clock().timeout(grace, self.inner.ending.lock()).await;
        let mut report = Report::empty();
        while let Some(newest) = shared.deployments.newest() {
            if let Ok(undeployed) = deployments::undeploy(shared, newest, limits).await {
                report.abandoned += undeployed.abandoned;
                report.deployments.push(undeployed);
            }
        }
        // What others are undeploying at the same time is waited for.
        while let Some(end) = shared.deployments.end_of_newest() {
            let left = limits.deadline.saturating_sub(self.clock().now());
            if self.clock().timeout(left, end).await.is_err() {
                break;
            }
        }
        report.stuck_loops = self.end_loops(limits.patience).await;
        report.took = self.clock().now() - started;
        report
    }

    async fn end_loops(&self, patience: Duration) -> Vec<String> {
        stop_loops(&self.inner.shared);
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut stuck = Vec::new();
        for thread in threads.into_iter().chain(self.inner.shared.workers.end_all()) {
            stuck.extend(thread.join(self.clock(), patience).await.err());
        }
        let watchdog = self.inner.watchdog().take();
        drop(watchdog);
        stuck
    }
}

impl Inner {
    fn watchdog(&self) -> MutexGuard<'_, Option<Watchdog>> {
        self.watchdog.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        stop_loops(&self.shared);
    }
}

fn stop_loops(shared: &Arc<Shared>) {
    shared.close();
    for event_loop in shared.all_loops() {
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
