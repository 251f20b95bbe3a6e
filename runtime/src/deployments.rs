//! What is deployed, who deployed it, and the order in which it comes and goes.
//!
//! The list is the only truth about a deployment that several loops share; what is deployed where is carried out by jobs on
//! the loops. Nothing foreign runs while the list is locked.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::bus::Bus;
use crate::deploy::{Deploy, Place};
use crate::deployment::{Birth, Deployment, DeploymentId, DeploymentInfo, GRACE_DEFAULT, Plan, Undeployed};
use crate::error::{DeployError, UndeployError};
use crate::event::Event;
use crate::event_loop::LoopCore;
use crate::event_loop::shared::LoopShared;
use crate::runtime::Shared;
use crate::seat::{Factory, Stopped, begin_instance, stop_instance};
use crate::starts::{StartsOn, starts};
use crate::verticle::Verticle;
use crate::worker_pools::THREADS_MAX;

/// Most instances of a deployment.
const INSTANCES_MAX: usize = 1_048_576;
/// Instances of a deployment that a loop begins in one turn.
const BEGUN_PER_TURN: usize = 64;
/// How much longer than its grace something is waited for that should have answered within it.
pub(crate) const STUCK_MARGIN: Duration = Duration::from_secs(1);

/// The instance that deployed a child.
pub(crate) type Parent = (DeploymentId, usize);

/// All deployments of a runtime, by id and therefore in the order they were made.
#[derive(Default)]
pub(crate) struct Deployments {
    all: Mutex<BTreeMap<DeploymentId, Deployed>>,
}

/// A deployment as the runtime remembers it.
struct Deployed {
    name: Arc<str>,
    parent: Option<Parent>,
    /// On which loop each instance lives.
    loops: Loops,
    /// The worker pool whose loops these are; taken when it is left.
    pool: Option<String>,
    state: State,
    children: BTreeSet<DeploymentId>,
    /// Told, by being dropped, when it is gone.
    waiting_for_end: Vec<oneshot::Sender<()>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Starting,
    Running,
    Stopping,
}

impl Deployments {
    /// Whether the deployment is there or on its way: nobody is undeploying it.
    pub(crate) fn is_wanted(&self, id: DeploymentId) -> bool {
        self.lock().get(&id).is_some_and(|known| known.state != State::Stopping)
    }

    /// The name of a deployment that is not gone yet.
    pub(crate) fn name(&self, id: DeploymentId) -> Option<Arc<str>> {
        self.lock().get(&id).map(|known| Arc::clone(&known.name))
    }

    /// Those that have started and are not gone yet, oldest first.
    pub(crate) fn list(&self) -> Vec<DeploymentInfo> {
        let all = self.lock();
        let started = all.iter().filter(|(_, known)| known.state != State::Starting);
        started.map(|(id, known)| known.info(*id)).collect()
    }

    /// The newest one that nobody is undeploying and that has no parent.
    pub(crate) fn newest(&self) -> Option<DeploymentId> {
        let all = self.lock();
        let mut wanted = all.iter().rev().filter(|(_, known)| known.state != State::Stopping);
        wanted.find(|(_, known)| known.parent.is_none()).map(|(id, _)| *id)
    }

    /// Resolves, by its sender's being dropped, when the newest of those that are being undeployed is gone.
    pub(crate) fn end_of_newest(&self) -> Option<oneshot::Receiver<()>> {
        self.lock().last_entry().map(|mut newest| newest.get_mut().tell_when_gone())
    }

    fn add(&self, shared: &Shared, id: DeploymentId, deployed: Deployed) -> Result<(), DeployError> {
        let mut all = self.lock();
        let name = || deployed.name.to_string();
        if shared.is_closed() {
            return Err(DeployError::ShuttingDown { name: name() });
        }
        if let Some((parent, _)) = deployed.parent {
            let parent = all.get_mut(&parent).filter(|parent| parent.state != State::Stopping);
            let parent = parent.ok_or_else(|| DeployError::ParentStopping { name: name() })?;
            parent.children.insert(id);
        }
        all.insert(id, deployed);
        Ok(())
    }

    /// All its instances have started; `false` when somebody has begun to undeploy it meanwhile.
    fn started(&self, id: DeploymentId) -> bool {
        let mut all = self.lock();
        let known = all.get_mut(&id).filter(|known| known.state == State::Starting);
        known.map(|known| known.state = State::Running).is_some()
    }

    /// From now on it is this caller's to undeploy, and nobody else's.
    fn claim(&self, id: DeploymentId) -> Result<(), UndeployError> {
        let mut all = self.lock();
        let known = all.get_mut(&id).filter(|known| known.state != State::Stopping);
        let known = known.ok_or(UndeployError::Unknown { id })?;
        known.state = State::Stopping;
        Ok(())
    }

    /// The newest child of a deployment, or of one instance of it.
    fn newest_child(&self, parent: DeploymentId, instance: Option<usize>) -> Option<DeploymentId> {
        let all = self.lock();
        let children = all.get(&parent)?.children.iter().rev();
        let of = |child: &&DeploymentId| all.get(child).and_then(|child| child.parent).map(|(_, of)| of);
        children.copied().find(|child| instance.is_none() || of(&child) == instance)
    }

    fn end_of(&self, id: DeploymentId) -> Option<oneshot::Receiver<()>> {
        self.lock().get_mut(&id).map(Deployed::tell_when_gone)
    }

    fn places(&self, id: DeploymentId) -> Option<(Arc<str>, Loops)> {
        self.lock().get(&id).map(|known| (Arc::clone(&known.name), Arc::clone(&known.loops)))
    }

    fn info(&self, id: DeploymentId) -> Option<DeploymentInfo> {
        self.lock().get(&id).map(|known| known.info(id))
    }

    fn take_pool(&self, id: DeploymentId) -> Option<String> {
        self.lock().get_mut(&id).and_then(|known| known.pool.take())
    }

    fn remove(&self, id: DeploymentId) {
        let gone = {
            let mut all = self.lock();
            let gone = all.remove(&id);
            let parent = gone.as_ref().and_then(|gone| gone.parent);
            if let Some(parent) = parent.and_then(|(parent, _)| all.get_mut(&parent)) {
                parent.children.remove(&id);
            }
            gone
        };
        // Wakes whoever waits for it: not under the lock.
        drop(gone);
    }

    /// For whoever closes the runtime: nothing is added while this is held.
    pub(crate) fn hold(&self) -> impl Sized + '_ {
        self.lock()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DeploymentId, Deployed>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Deployed {
    fn info(&self, id: DeploymentId) -> DeploymentInfo {
        let parent = self.parent.map(|(parent, _)| parent);
        DeploymentInfo { id, name: self.name.to_string(), parent, instances: self.loops.len() }
    }

    fn tell_when_gone(&mut self) -> oneshot::Receiver<()> {
        let (waiting, gone) = oneshot::channel();
        self.waiting_for_end.retain(|waiting| !waiting.is_closed());
        self.waiting_for_end.push(waiting);
        gone
    }
}

/// How long an undeployment may take, in the clock's time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// What is not finished then is given up.
    pub(crate) deadline: Duration,
    /// A loop that has not answered by then is not waited for any longer.
    pub(crate) patience: Duration,
}

impl Limits {
    pub(crate) fn within(shared: &Shared, grace: Duration) -> Self {
        let deadline = shared.clock.now().saturating_add(grace);
        Self { deadline, patience: deadline.saturating_add(STUCK_MARGIN) }
    }
}

/// Starts a deployment: all of it, or nothing is left of it.
pub(crate) async fn deploy<V: Verticle>(
    shared: &Arc<Shared>,
    parent: Option<Parent>,
    deploy: Deploy<V>,
) -> Result<Deployment, DeployError> {
    let (loops, pool) = place(shared, &deploy)?;
    let id = DeploymentId(shared.last_deployment.fetch_add(1, Ordering::Relaxed) + 1);
    let name: Arc<str> = deploy.name.as_str().into();
    let deployed = Deployed {
        name: Arc::clone(&name),
        parent,
        loops: Arc::clone(&loops),
        pool: pool.clone(),
        state: State::Starting,
        children: BTreeSet::new(),
        waiting_for_end: Vec::new(),
    };
    let info = deployed.info(id);
    if let Err(refused) = shared.deployments.add(shared, id, deployed) {
        leave_pool(shared, pool, shared.clock.now().saturating_add(STUCK_MARGIN)).await;
        return Err(refused);
    }
    shared.hook.tell(|| Event::Deploying(info.clone()));
    let undone = Undone { shared, id, armed: true };
    let bus = Bus { shared: Arc::clone(shared) };
    let plan = Arc::new(Plan {
        bus,
        id,
        name: Arc::clone(&name),
        count: deploy.instances,
        config: deploy.config,
        restart: deploy.restart,
    });
    let (by_loop, ended) = starts(shared, &name, &loops);
    for starts in by_loop {
        let (plan, factory) = (Arc::clone(&plan), Arc::clone(&deploy.factory));
        let event_loop = Arc::clone(starts.event_loop());
        event_loop.do_job(move |core| begin_instances(core, &factory, &plan, starts));
    }
    // Each start says how it has ended, or is dropped and says so too.
    let mut failed = ended.await.ok().flatten();
    if failed.is_none() && !shared.deployments.started(id) {
        failed = Some(DeployError::Undeployed { name: name.to_string() });
    }
    match failed {
        None => {
            undone.disarm();
            shared.hook.tell(|| Event::Deployed(info));
            Ok(Deployment { shared: Arc::clone(shared), id, name })
        }
        Some(error) => {
            // Those that did start are stopped, and children go with them; whatever that comes to, the first error is
            // what is reported. Somebody else may be at it already: then that is waited for.
            if undeploy(shared, id, Limits::within(shared, GRACE_DEFAULT)).await.is_err()
                && let Some(gone) = shared.deployments.end_of(id)
            {
                drop(gone.await);
            }
            undone.disarm();
            shared.hook.tell(|| Event::DeployFailed { deployment: info, error: error.to_string() });
            Err(error)
        }
    }
}

/// Begins so many instances of a loop at once, and the others in later turns: its other work goes on meanwhile.
fn begin_instances<V: Verticle>(core: &Rc<LoopCore>, factory: &Factory<V>, plan: &Arc<Plan>, mut starts: StartsOn) {
    for _ in 0..BEGUN_PER_TURN {
        let Some((index, begun)) = starts.begin_next() else { return };
        let birth = Birth { plan: Arc::clone(plan), index };
        begin_instance(core, Arc::clone(factory), &birth, begun);
    }
    let (factory, plan) = (Arc::clone(factory), Arc::clone(plan));
    core.own().do_job(move |core| begin_instances(core, &factory, &plan, starts));
}

/// On which loop each instance goes, and the worker pool that has been joined for that.
fn place<V: Verticle>(shared: &Arc<Shared>, deploy: &Deploy<V>) -> Result<Placed, DeployError> {
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
    let in_turn = || ((0..deploy.instances).map(|_| Arc::clone(shared.next_loop())).collect(), None);
    match &deploy.place {
        Place::InTurn => Ok(in_turn()),
        Place::Pool { name: pool, threads } => {
            check_pool(&deploy.name, pool, *threads)?;
            if shared.options.single_thread {
                return Ok(in_turn());
            }
            let loops = shared.workers.join(shared, pool, *threads, deploy.instances);
            let loops = loops.map_err(|source| DeployError::Io { name: name(), pool: pool.clone(), source })?;
            Ok((loops.into(), Some(pool.clone())))
        }
        Place::Loop(wanted) => {
            let found = shared.loops().iter().find(|known| known.name == *wanted);
            let found = found.ok_or_else(|| DeployError::NoSuchLoop { name: name(), event_loop: wanted.clone() })?;
            Ok((std::iter::repeat_n(Arc::clone(found), deploy.instances).collect(), None))
        }
    }
}

type Loops = Arc<[Arc<LoopShared>]>;

type Placed = (Loops, Option<String>);

fn check_pool(name: &str, pool: &str, threads: usize) -> Result<(), DeployError> {
    let refused = |key, value, allowed| Err(DeployError::OutOfRange { name: name.to_owned(), key, value, allowed });
    // A thread carries the name, and the system ends it at a NUL.
    if pool.is_empty() || pool.contains('\0') {
        return refused("worker pool", format!("{pool:?}"), "a name that is not empty and has no NUL in it");
    }
    if !(1..=THREADS_MAX).contains(&threads) {
        return refused("worker threads", threads.to_string(), "1 to 1024");
    }
    Ok(())
}

/// Leaves a worker pool, and waits for its threads when that was its last deployment. Gives the names of those that do not
/// end.
async fn leave_pool(shared: &Arc<Shared>, pool: Option<String>, patience: Duration) -> Vec<String> {
    let mut stuck = Vec::new();
    for thread in pool.map(|pool| shared.workers.leave(&pool)).unwrap_or_default() {
        stuck.extend(thread.join(&shared.clock, patience).await.err());
    }
    stuck
}

/// Undeploys a deployment and, before it, its children.
pub(crate) async fn undeploy(
    shared: &Arc<Shared>,
    id: DeploymentId,
    limits: Limits,
) -> Result<Undeployed, UndeployError> {
    shared.deployments.claim(id)?;
    Ok(carry_out(shared, id, limits).await)
}

/// Undeploys what is claimed. When whoever waits for it goes away, an event loop goes on with it.
async fn carry_out(shared: &Arc<Shared>, id: DeploymentId, limits: Limits) -> Undeployed {
    if let Some(info) = shared.deployments.info(id) {
        shared.hook.tell(|| Event::Undeploying(info));
    }
    let unfinished = Unfinished { shared, id, limits, armed: true };
    let children = undeploy_children(shared, id, None, limits).await;
    let mut undeployed = stop_instances(shared, id, limits).await;
    undeployed.abandoned += children.iter().map(|child| child.abandoned).sum::<usize>();
    undeployed.children = children;
    let pool = shared.deployments.take_pool(id);
    let stuck = leave_pool(shared, pool, limits.patience).await;
    undeployed.failures.extend(stuck.iter().map(|thread| format!("worker {thread} does not end")));
    shared.deployments.remove(id);
    unfinished.disarm();
    shared.hook.tell(|| Event::Undeployed(undeployed.clone()));
    undeployed
}

/// Undeploys the children of a deployment, or of one instance of it, the newest first. One that somebody else undeploys
/// already is waited for.
pub(crate) async fn undeploy_children(
    shared: &Arc<Shared>,
    parent: DeploymentId,
    instance: Option<usize>,
    limits: Limits,
) -> Vec<Undeployed> {
    let mut gone = Vec::new();
    while let Some(child) = shared.deployments.newest_child(parent, instance) {
        if shared.deployments.claim(child).is_ok() {
            gone.push(Box::pin(carry_out(shared, child, limits)).await);
        } else if let Some(end) = shared.deployments.end_of(child) {
            // Resolved by its sender's being dropped. What others do not finish in time they are left to finish.
            if shared.clock.timeout(until(shared, limits.patience), end).await.is_err() {
                break;
            }
        }
    }
    gone
}

async fn stop_instances(shared: &Arc<Shared>, id: DeploymentId, limits: Limits) -> Undeployed {
    let (name, loops) = shared.deployments.places(id).unwrap_or_else(|| ("".into(), Arc::default()));
    let mut undeployed = Undeployed { id, name: name.to_string(), abandoned: 0, failures: vec![], children: vec![] };
    let grace = until(shared, limits.deadline);
    let mut stopping = Vec::with_capacity(loops.len());
    for (index, event_loop) in loops.iter().enumerate() {
        let (done, outcome) = oneshot::channel::<Stopped>();
        let stop = move |core: &Rc<LoopCore>| stop_instance(core, (id, index), grace, done);
        event_loop.do_job(stop);
        stopping.push(outcome);
    }
    for (index, outcome) in stopping.into_iter().enumerate() {
        // A loop that is blocked does not answer; its instances are not waited for for ever, nor one after the other.
        match shared.clock.timeout(until(shared, limits.patience), outcome).await {
            Ok(Ok(stopped)) => {
                undeployed.abandoned += stopped.abandoned;
                undeployed.failures.extend(stopped.failure.map(|failure| format!("instance {index}: {failure}")));
            }
            // It never started, or its loop has ended: there is nothing to stop.
            Ok(Err(_)) => {}
            Err(_) => undeployed.failures.push(format!("instance {index}: its event loop does not answer")),
        }
    }
    undeployed
}

fn until(shared: &Shared, time: Duration) -> Duration {
    time.saturating_sub(shared.clock.now())
}

/// A deployment that nobody waits for any more before it is there is undone.
struct Undone<'s> {
    shared: &'s Arc<Shared>,
    id: DeploymentId,
    armed: bool,
}

impl Undone<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Undone<'_> {
    fn drop(&mut self) {
        if self.armed && self.shared.deployments.claim(self.id).is_ok() {
            go_on(self.shared, self.id, Limits::within(self.shared, GRACE_DEFAULT));
        }
    }
}

/// An undeployment that nobody waits for any more goes on.
struct Unfinished<'s> {
    shared: &'s Arc<Shared>,
    id: DeploymentId,
    limits: Limits,
    armed: bool,
}

impl Unfinished<'_> {
    fn disarm(mut self) {
        self.armed = false;
    }
}

impl Drop for Unfinished<'_> {
    fn drop(&mut self) {
        if self.armed {
            go_on(self.shared, self.id, self.limits);
        }
    }
}

/// Has an event loop undeploy a deployment that is not worth keeping, unless somebody does so already.
pub(crate) fn give_up(shared: &Arc<Shared>, id: DeploymentId) {
    if shared.deployments.claim(id).is_ok() {
        go_on(shared, id, Limits::within(shared, GRACE_DEFAULT));
    }
}

/// Has an event loop undeploy what is claimed. What was done of it already is found done.
fn go_on(shared: &Arc<Shared>, id: DeploymentId, limits: Limits) {
    let own = Arc::clone(shared);
    shared.next_loop().do_job(move |_| {
        tokio::task::spawn_local(async move { carry_out(&own, id, limits).await });
    });
}
