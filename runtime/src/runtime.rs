//! The runtime: its loops, what is deployed on them, and the order in which it all ends.

use std::fmt;
use std::future::Future;
use std::io;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::oneshot;

use crate::bus::Bus;
use crate::bus::registry::Registry;
use crate::clock::Clock;
use crate::deploy::Deploy;
use crate::deployment::{Birth, Deployment, DeploymentId, Stopped, Undeployed, start_instance};
use crate::error::{BuildError, DeployError, UndeployError};
use crate::event_loop::{Driver, Inbox, LoopCore, LoopShared, OnLoop, job, note_sleep};
use crate::report::Report;
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
    last_deployment: AtomicU64,
    deployments: Mutex<Vec<Deployed>>,
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
    pub(crate) fn event_loop(&self, id: usize) -> &Arc<LoopShared> {
        &self.loops[id]
    }

    /// The event loop whose turn it is.
    pub(crate) fn next_loop(&self) -> &Arc<LoopShared> {
        &self.loops[self.turn.fetch_add(1, Ordering::Relaxed) % self.event_loops]
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn deployments(&self) -> MutexGuard<'_, Vec<Deployed>> {
        self.deployments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a runtime is built; see [`Runtime::builder`].
#[derive(Debug, Clone)]
#[must_use = "nothing runs until `build` is called"]
pub struct RuntimeBuilder {
    event_loops: usize,
    named: Vec<String>,
    request_timeout: Duration,
    mailbox: usize,
}

impl RuntimeBuilder {
    /// How many event loops, 1 to 1,024. Default: one per core.
    pub fn event_loops(mut self, count: usize) -> Self {
        self.event_loops = count;
        self
    }

    /// One more loop, for what must not sit between two requests. Only deployments that ask for it by name run there.
    pub fn named_loop(mut self, name: impl Into<String>) -> Self {
        self.named.push(name.into());
        self
    }

    /// How long requests wait for their reply unless they say otherwise, and sends for room; at least 1 ms. Default 30 s.
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// How many messages a consumer's mailbox holds unless it says otherwise, 1 to 1,048,576. Default 1,024.
    pub fn mailbox(mut self, messages: usize) -> Self {
        self.mailbox = messages;
        self
    }

    /// Starts the loops.
    ///
    /// # Errors
    /// [`BuildError`] when a value is out of its range, two loops share a name, or the system refuses a thread.
    pub fn build(self) -> Result<Runtime, BuildError> {
        self.check()?;
        let (shared, inboxes) = self.shared(Clock::real());
        let mut threads = Vec::with_capacity(inboxes.len());
        for (event_loop, inbox) in shared.loops.iter().zip(inboxes) {
            match start_loop(&shared, event_loop, inbox) {
                Ok(thread) => threads.push(thread),
                Err(source) => {
                    stop_loops(&shared);
                    return Err(BuildError::Io { event_loop: event_loop.name.clone(), source });
                }
            }
        }
        let bus = Bus { shared: Arc::clone(&shared) };
        Ok(Runtime { bus, inner: Arc::new(Inner { shared, threads: Mutex::new(threads) }) })
    }

    /// A runtime whose one loop is the calling thread, for the test kit.
    #[cfg(feature = "testing")]
    pub(crate) fn build_here(mut self, clock: Clock) -> (Runtime, Rc<LoopCore>, Driver) {
        self.event_loops = 1;
        let (shared, mut inboxes) = self.shared(clock);
        let core = LoopCore::new(Arc::clone(&shared.loops[0]), &shared);
        let driver = Driver::new(Rc::clone(&core), inboxes.remove(0));
        let bus = Bus { shared: Arc::clone(&shared) };
        (Runtime { bus, inner: Arc::new(Inner { shared, threads: Mutex::default() }) }, core, driver)
    }

    fn check(&self) -> Result<(), BuildError> {
        let out_of_range = |key, value: String, allowed| Err(BuildError::OutOfRange { key, value, allowed });
        if !(1..=1_024).contains(&self.event_loops) {
            return out_of_range("event_loops", self.event_loops.to_string(), "1 to 1024");
        }
        if !(1..=1_048_576).contains(&self.mailbox) {
            return out_of_range("mailbox", self.mailbox.to_string(), "1 to 1048576 messages");
        }
        if self.request_timeout < Duration::from_millis(1) {
            return out_of_range("request_timeout", format!("{:?}", self.request_timeout), "at least 1 ms");
        }
        let mut names = self.named.clone();
        names.sort();
        names.dedup();
        if names.len() != self.named.len() {
            return out_of_range("named_loop", self.named.join(", "), "a name only once");
        }
        Ok(())
    }

    fn shared(&self, clock: Clock) -> (Arc<Shared>, Vec<Inbox>) {
        let numbered = (0..self.event_loops).map(|id| format!("loop-{id}"));
        let names = numbered.chain(self.named.iter().cloned());
        let (loops, inboxes): (Vec<_>, Vec<_>) = names.enumerate().map(|(id, name)| LoopShared::new(id, name)).unzip();
        let shared = Shared {
            options: Options { request_timeout: self.request_timeout, mailbox: self.mailbox },
            clock,
            registry: Registry::default(),
            loops: loops.into_iter().map(Arc::new).collect(),
            event_loops: self.event_loops,
            turn: AtomicUsize::new(0),
            closed: AtomicBool::new(false),
            last_deployment: AtomicU64::new(0),
            deployments: Mutex::default(),
        };
        (Arc::new(shared), inboxes)
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
}

/// A loop's thread. `ended` resolves - by being dropped - when the loop has ended.
struct LoopThread {
    id: usize,
    ended: oneshot::Receiver<()>,
    handle: JoinHandle<()>,
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("loops", &self.inner.shared.loops).finish_non_exhaustive()
    }
}

impl Runtime {
    /// A runtime with one event loop per core, unless the builder is told otherwise.
    pub fn builder() -> RuntimeBuilder {
        let event_loops = std::thread::available_parallelism().map_or(1, usize::from);
        RuntimeBuilder { event_loops, named: Vec::new(), request_timeout: Duration::from_secs(30), mailbox: 1_024 }
    }

    /// The event bus.
    pub fn bus(&self) -> &Bus {
        &self.bus
    }

    /// The runtime's time.
    pub fn clock(&self) -> &Clock {
        &self.inner.shared.clock
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
    /// Dropped half-way, what has been started until then stays until the shutdown.
    ///
    /// # Errors
    /// [`DeployError`]; nothing of the deployment is left running then.
    pub async fn deploy<V: Verticle>(&self, deploy: Deploy<V>) -> Result<Deployment, DeployError> {
        let shared = &self.inner.shared;
        let loops = self.place(&deploy)?;
        let id = DeploymentId(shared.last_deployment.fetch_add(1, Ordering::Relaxed) + 1);
        let name: Arc<str> = deploy.name.as_str().into();
        shared.deployments().push(Deployed { id, name: Arc::clone(&name), loops: loops.clone() });
        let mut starting = Vec::with_capacity(loops.len());
        for (index, event_loop) in loops.iter().enumerate() {
            let birth = Birth {
                bus: self.bus.clone(),
                deployment: id,
                name: Arc::clone(&name),
                index,
                count: deploy.instances,
            };
            let factory = Arc::clone(&deploy.factory);
            let (done, outcome) = oneshot::channel();
            let work = job(move |core| {
                let core = Rc::clone(core);
                tokio::task::spawn_local(async move {
                    // The deployer may have gone away: then the shutdown stops the instance.
                    drop(done.send(start_instance(core, factory, birth).await));
                });
            });
            shared.event_loop(*event_loop).post(work).await;
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

    /// The deployments there are, oldest first: id and name.
    pub fn deployments(&self) -> Vec<(DeploymentId, String)> {
        self.inner.shared.deployments().iter().map(|known| (known.id, known.name.to_string())).collect()
    }

    /// Undeploys by id; see [`Deployment::undeploy_within`](crate::Deployment::undeploy_within).
    ///
    /// # Errors
    /// [`UndeployError`] when there is no such deployment.
    pub async fn undeploy(&self, id: DeploymentId, grace: Duration) -> Result<Undeployed, UndeployError> {
        let deployed = {
            let mut deployments = self.inner.shared.deployments();
            let known = deployments.iter().position(|known| known.id == id);
            known.map(|at| deployments.remove(at)).ok_or(UndeployError::Unknown { id })?
        };
        let mut stopping = Vec::with_capacity(deployed.loops.len());
        for (index, event_loop) in deployed.loops.iter().enumerate() {
            let (done, outcome) = oneshot::channel::<Stopped>();
            let work = job(move |core| {
                if let Some(instance) = core.take_instance(id.0, index) {
                    tokio::task::spawn_local(async move { drop(done.send(instance.stop(grace).await)) });
                }
            });
            self.inner.shared.event_loop(*event_loop).post(work).await;
            stopping.push(outcome);
        }
        let mut undeployed = Undeployed { id, name: deployed.name.to_string(), abandoned: 0, failures: Vec::new() };
        for (index, outcome) in stopping.into_iter().enumerate() {
            // A loop that is blocked does not answer; its instance is not waited for for ever.
            let outcome = self.clock().timeout(grace + STUCK_MARGIN, outcome).await;
            match outcome {
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
    /// From the moment it is called no deployment starts. Calling it twice gives an empty report the second time.
    pub async fn shutdown(&self, grace: Duration) -> Report {
        let started = self.clock().now();
        let deadline = started + grace;
        self.inner.shared.closed.store(true, Ordering::Release);
        let mut report =
            Report { deployments: Vec::new(), abandoned: 0, stuck_loops: Vec::new(), took: Duration::ZERO };
        loop {
            let Some(newest) = self.inner.shared.deployments().last().map(|known| known.id) else { break };
            let left = deadline.saturating_sub(self.clock().now());
            if let Ok(undeployed) = self.undeploy(newest, left).await {
                report.abandoned += undeployed.abandoned;
                report.deployments.push(undeployed);
            }
        }
        report.stuck_loops = self.end_loops(deadline.saturating_sub(self.clock().now())).await;
        report.took = self.clock().now() - started;
        report
    }

    async fn end_loops(&self, grace: Duration) -> Vec<String> {
        stop_loops(&self.inner.shared);
        let threads = std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let mut stuck = Vec::new();
        for thread in threads {
            if std::thread::current().id() == thread.handle.thread().id() {
                // Called from this very loop: it ends when the caller's turn does.
                continue;
            }
            match self.clock().timeout(grace + STUCK_MARGIN, thread.ended).await {
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
    shared.closed.store(true, Ordering::Release);
    for event_loop in &shared.loops {
        event_loop.stop();
    }
}

fn executor() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().on_thread_unpark(note_sleep).build_local(LocalOptions::default())
}

fn start_loop(shared: &Arc<Shared>, event_loop: &Arc<LoopShared>, inbox: Inbox) -> io::Result<LoopThread> {
    let (ending, ended) = oneshot::channel();
    let (own, shared) = (Arc::clone(event_loop), Arc::clone(shared));
    let (started, starting) = std::sync::mpsc::sync_channel(1);
    let id = own.id;
    let handle = std::thread::Builder::new().name(format!("vertebra-{}", own.name)).spawn(move || {
        let _ending = ending;
        match executor() {
            Ok(executor) => {
                drop(started.send(Ok(())));
                run_loop(&executor, own, &shared, inbox);
            }
            Err(error) => drop(started.send(Err(error))),
        }
    })?;
    match starting.recv() {
        Ok(Ok(())) => Ok(LoopThread { id, ended, handle }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("its thread ended before it had begun")),
    }
}

fn run_loop(executor: &LocalRuntime, own: Arc<LoopShared>, shared: &Arc<Shared>, inbox: Inbox) {
    let core = LoopCore::new(own, shared);
    let _on_loop = OnLoop::enter(&core);
    executor.block_on(async { Driver::new(core, inbox).run().await });
}
