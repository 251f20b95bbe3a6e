//! A running deployment: started all or not at all, undeployed in order.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::bus::Bus;
use crate::clock::Clock;
use crate::context::{Context, Instance};
use crate::deployments::{Limits, undeploy};
use crate::error::{BoxError, DeployError, UndeployError};
use crate::event_loop::LoopCore;
use crate::life::Life;
use crate::panic::{catch_panic, panic_text};
use crate::runtime::Shared;
use crate::verticle::Verticle;

/// Names a deployment for as long as the runtime lives; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeploymentId(pub(crate) u64);

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A deployment that has started. Dropping it changes nothing: the runtime keeps it until it is undeployed. Nor does
/// keeping it keep the runtime.
#[derive(Clone)]
pub struct Deployment {
    pub(crate) shared: Arc<Shared>,
    pub(crate) id: DeploymentId,
    pub(crate) name: Arc<str>,
}

impl fmt::Debug for Deployment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Deployment").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// A deployment in the list of them; see [`Runtime::deployments`](crate::Runtime::deployments).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeploymentInfo {
    /// Its id.
    pub id: DeploymentId,
    /// Its name.
    pub name: String,
    /// The deployment whose instance deployed it, if one did: it goes when that goes.
    pub parent: Option<DeploymentId>,
    /// How many instances it has.
    pub instances: usize,
}

/// How long [`Deployment::undeploy`] takes at most.
pub(crate) const GRACE_DEFAULT: Duration = Duration::from_secs(10);

impl Deployment {
    /// Its id.
    pub fn id(&self) -> DeploymentId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Undeploys its children, the newest first; then stops its intake, lets it finish what it has accepted, runs
    /// [`Verticle::stop`], and ends its tasks; all within 10 s.
    ///
    /// # Errors
    /// [`UndeployError`] when it is undeployed already.
    pub async fn undeploy(self) -> Result<Undeployed, UndeployError> {
        self.undeploy_within(GRACE_DEFAULT).await
    }

    /// The same, within this time: what is not finished then is given up and counted. When its event loop does not answer,
    /// that is found out a second later.
    ///
    /// Cancel safe: once polled, the deployment is undeployed whether or not this is awaited to its end. A handler of the
    /// deployment that waits for this is one of those that are waited for, so it would wait for itself until the time is
    /// up: [`spawn`](Context::spawn) it.
    ///
    /// # Errors
    /// [`UndeployError`] when it is undeployed already.
    pub async fn undeploy_within(self, grace: Duration) -> Result<Undeployed, UndeployError> {
        undeploy(&self.shared, self.id, Limits::within(&self.shared, grace)).await
    }
}

/// What an undeployment came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeployed {
    /// The deployment.
    pub id: DeploymentId,
    /// Its name.
    pub name: String,
    /// Messages that were accepted and not finished in time, its children's among them: queued ones and handlers in
    /// flight.
    pub abandoned: usize,
    /// What `stop` complained about, for each instance that did; an instance cut off in its `stop` is among them.
    pub failures: Vec<String>,
    /// Its children, in the order they went: before it, the newest first.
    pub children: Vec<Self>,
}

impl Undeployed {
    /// Everything that was accepted is done, and every `stop` went well, the children's too.
    pub fn is_clean(&self) -> bool {
        self.abandoned == 0 && self.failures.is_empty() && self.children.iter().all(Self::is_clean)
    }
}

/// An instance with its type forgotten.
pub(crate) trait AnyInstance {
    fn stop(self: Rc<Self>, grace: Duration) -> Pin<Box<dyn Future<Output = Stopped>>>;
    /// Ends it where it is; gives the number of messages given up.
    fn cut_off(&self) -> usize;
}

/// What stopping one instance came to.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stopped {
    pub(crate) abandoned: usize,
    pub(crate) failure: Option<String>,
}

/// An instance as its loop keeps it.
#[derive(Clone)]
pub(crate) struct Resident {
    pub(crate) instance: Rc<dyn AnyInstance>,
    starting: Rc<Starting>,
    /// Whoever waits for its stop; `None` as long as it is not stopping.
    stopping: Rc<RefCell<Option<Vec<oneshot::Sender<Stopped>>>>>,
}

/// Whether an instance has started yet, and who waits for its end if it is to end before that.
#[derive(Default)]
struct Starting {
    done: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    cut_off_by: RefCell<Option<oneshot::Sender<Stopped>>>,
}

impl Starting {
    /// Gives up the start; whoever wants that gets to know what it came to.
    fn cut_off(&self, by: oneshot::Sender<Stopped>) {
        self.cut_off_by.replace(Some(by));
        let waker = self.waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The start's outcome, `None` when it is given up before.
    async fn unless_cut_off<T>(&self, start: impl Future<Output = T>) -> Option<T> {
        let mut start = pin!(start);
        poll_fn(|cx| {
            if self.cut_off_by.borrow().is_some() {
                return Poll::Ready(None);
            }
            let before = self.waker.replace(Some(cx.waker().clone()));
            drop(before);
            start.as_mut().poll(cx).map(Some)
        })
        .await
    }
}

/// What all instances of a deployment share.
pub(crate) struct Plan {
    pub(crate) bus: Bus,
    pub(crate) id: DeploymentId,
    pub(crate) name: Arc<str>,
    pub(crate) count: usize,
    pub(crate) config: Option<Arc<dyn Any + Send + Sync>>,
}

/// Which instance of which deployment, on its way to the loop.
#[derive(Clone)]
pub(crate) struct Birth {
    pub(crate) plan: Arc<Plan>,
    pub(crate) index: usize,
}

/// Builds an instance on this loop and has it started. An instance that does not start leaves nothing behind.
pub(crate) fn begin_instance<V: Verticle>(
    core: &Rc<LoopCore>,
    factory: &dyn Fn() -> V,
    birth: &Birth,
    done: oneshot::Sender<Result<(), DeployError>>,
) {
    let Birth { plan, index } = birth;
    // Undeployed before it got here: whoever did that will not come back for it.
    if !core.shared().deployments.is_wanted(plan.id) {
        drop(done.send(Err(DeployError::Undeployed { name: plan.name.to_string() })));
        return;
    }
    let verticle = match catch_unwind(AssertUnwindSafe(factory)) {
        Ok(verticle) => verticle,
        Err(panic) => {
            let (name, panic) = (plan.name.to_string(), panic_text(panic.as_ref()));
            drop(done.send(Err(DeployError::Panicked { name, instance: *index, panic })));
            return;
        }
    };
    let instance = Rc::new(Instance { verticle, life: Life::new(core, Arc::clone(plan), *index) });
    let starting = Rc::new(Starting::default());
    let resident = Resident {
        instance: Rc::clone(&instance) as Rc<dyn AnyInstance>,
        starting: Rc::clone(&starting),
        stopping: Rc::default(),
    };
    core.keep_instance(plan.id.0, *index, resident);
    tokio::task::spawn_local(async move {
        // The deployer may have gone away: then the instance stays until it is undeployed.
        drop(done.send(start_instance(instance, &starting).await));
    });
}

async fn start_instance<V: Verticle>(instance: Rc<Instance<V>>, starting: &Starting) -> Result<(), DeployError> {
    let life = &instance.life;
    let ctx = Context::new(Rc::clone(&instance));
    // In a block of its own, because a `start` that is not an `async fn` may panic before it has a future to give.
    let started = starting.unless_cut_off(catch_panic(life.own(async { instance.verticle.start(&ctx).await }))).await;
    starting.done.set(true);
    let name = life.name().to_owned();
    let error = match started {
        Some(Ok(Ok(()))) => return Ok(()),
        Some(Ok(Err(source))) => DeployError::Start { name, instance: life.index, source },
        Some(Err(panic)) => DeployError::Panicked { name, instance: life.index, panic },
        None => DeployError::Undeployed { name },
    };
    drop(life.core.take_instance(life.plan.id.0, life.index));
    let abandoned = life.cut_off();
    life.core.count_abandoned(abandoned);
    life.tasks_gone_soon().await;
    let cut_off_by = starting.cut_off_by.take();
    if let Some(by) = cut_off_by {
        drop(by.send(Stopped { abandoned, failure: None }));
    }
    Err(error)
}

/// Stops an instance of this loop, if there is such a one; dropping `done` says that there is not.
pub(crate) fn stop_instance(
    core: &Rc<LoopCore>,
    (deployment, index): (DeploymentId, usize),
    grace: Duration,
    done: oneshot::Sender<Stopped>,
) {
    let Some(resident) = core.instance(deployment.0, index) else { return };
    if !resident.starting.done.get() {
        resident.starting.cut_off(done);
        return;
    }
    // Told twice when whoever told it first has gone away: it stops once.
    if let Some(waiting) = &mut *resident.stopping.borrow_mut() {
        waiting.push(done);
        return;
    }
    resident.stopping.replace(Some(vec![done]));
    tokio::task::spawn_local(async move {
        let stopped = resident.instance.stop(grace).await;
        let waiting = resident.stopping.take();
        for done in waiting.into_iter().flatten() {
            drop(done.send(stopped.clone()));
        }
    });
}

impl<V: Verticle> AnyInstance for Instance<V> {
    fn stop(self: Rc<Self>, grace: Duration) -> Pin<Box<dyn Future<Output = Stopped>>> {
        Box::pin(async move {
            let life = &self.life;
            let clock = life.core.shared().clock.clone();
            let deadline = clock.now().saturating_add(grace);
            life.close_intake();
            // Time that is up while draining is no reason to skip `stop`: it gets what is left, at least one poll.
            let drained = clock.timeout(left(&clock, deadline), life.drained()).await;
            tracing::debug!(deployment = %life.name(), drained = drained.is_ok(), "the intake is closed");
            let ctx = Context::new(Rc::clone(&self));
            let stopping = catch_panic(life.own(async { self.verticle.stop(&ctx).await }));
            let failure = match clock.timeout(left(&clock, deadline), stopping).await {
                Ok(Ok(Ok(()))) => None,
                Ok(Ok(Err(error))) => Some(describe(&error)),
                Ok(Err(panic)) => Some(format!("stop panicked: {panic}")),
                Err(_) => Some(format!("stop did not end within {grace:?}")),
            };
            let abandoned = life.cut_off();
            life.core.count_abandoned(abandoned);
            drop(life.core.take_instance(life.plan.id.0, life.index));
            life.tasks_gone_soon().await;
            Stopped { abandoned, failure }
        })
    }

    fn cut_off(&self) -> usize {
        self.life.cut_off()
    }
}

fn left(clock: &Clock, deadline: Duration) -> Duration {
    deadline.saturating_sub(clock.now())
}

fn describe(error: &BoxError) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
