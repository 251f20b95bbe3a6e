//! A running deployment: started all or not at all, undeployed in order.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::bus::Bus;
use crate::clock::Clock;
use crate::context::{Context, Instance, Life, catch_panic};
use crate::error::{BoxError, DeployError, UndeployError};
use crate::event_loop::LoopCore;
use crate::runtime::Runtime;
use crate::verticle::Verticle;

/// Names a deployment for as long as the runtime lives; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeploymentId(pub(crate) u64);

impl fmt::Display for DeploymentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A deployment that has started. Dropping it changes nothing: the runtime keeps it until it is undeployed.
#[derive(Debug, Clone)]
pub struct Deployment {
    pub(crate) runtime: Runtime,
    pub(crate) id: DeploymentId,
    pub(crate) name: Arc<str>,
}

/// How long [`Deployment::undeploy`] takes at most.
const GRACE_DEFAULT: Duration = Duration::from_secs(10);

impl Deployment {
    /// Its id.
    pub fn id(&self) -> DeploymentId {
        self.id
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Stops its intake, lets it finish what it has accepted, runs [`Verticle::stop`], and ends its tasks; within 10 s.
    ///
    /// # Errors
    /// [`UndeployError`] when it is undeployed already.
    pub async fn undeploy(self) -> Result<Undeployed, UndeployError> {
        self.undeploy_within(GRACE_DEFAULT).await
    }

    /// The same, within this time: what is not finished then is given up and counted.
    ///
    /// # Errors
    /// [`UndeployError`] when it is undeployed already.
    pub async fn undeploy_within(self, grace: Duration) -> Result<Undeployed, UndeployError> {
        self.runtime.undeploy(self.id, grace).await
    }
}

/// What an undeployment came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undeployed {
    /// The deployment.
    pub id: DeploymentId,
    /// Its name.
    pub name: String,
    /// Messages that were accepted and not finished in time: queued ones and handlers in flight.
    pub abandoned: usize,
    /// What `stop` complained about, for each instance that did; an instance cut off in its `stop` is among them.
    pub failures: Vec<String>,
}

/// An instance with its type forgotten.
pub(crate) trait AnyInstance {
    fn stop(self: Rc<Self>, grace: Duration) -> Pin<Box<dyn Future<Output = Stopped>>>;
}

/// What stopping one instance came to.
#[derive(Debug, Default)]
pub(crate) struct Stopped {
    pub(crate) abandoned: usize,
    pub(crate) failure: Option<String>,
}

/// What an instance needs to know of its deployment, on its way to the loop.
#[derive(Clone)]
pub(crate) struct Birth {
    pub(crate) bus: Bus,
    pub(crate) deployment: DeploymentId,
    pub(crate) name: Arc<str>,
    pub(crate) index: usize,
    pub(crate) count: usize,
}

/// Builds an instance on this loop and starts it. An instance that does not start leaves nothing behind.
pub(crate) async fn start_instance<V: Verticle>(
    core: Rc<LoopCore>,
    factory: Arc<dyn Fn() -> V + Send + Sync>,
    birth: Birth,
) -> Result<(), DeployError> {
    let panicked = |panic| DeployError::Panicked { name: birth.name.to_string(), instance: birth.index, panic };
    let verticle = catch_panic(async { factory() }).await.map_err(panicked)?;
    let life = Life {
        core: Rc::clone(&core),
        bus: birth.bus,
        deployment: birth.deployment,
        name: Arc::clone(&birth.name),
        index: birth.index,
        count: birth.count,
        stopping: false.into(),
        waiting_for_stop: Default::default(),
        tasks: Default::default(),
        consumers: Default::default(),
    };
    let instance = Rc::new(Instance { verticle, life });
    let ctx = Context::new(Rc::clone(&instance));
    let started = catch_panic(instance.verticle.start(&ctx)).await;
    let error = match started {
        Ok(Ok(())) => {
            core.keep_instance(birth.deployment.0, birth.index, instance);
            return Ok(());
        }
        Ok(Err(source)) => DeployError::Start { name: birth.name.to_string(), instance: birth.index, source },
        Err(panic) => DeployError::Panicked { name: birth.name.to_string(), instance: birth.index, panic },
    };
    instance.life.close_intake();
    instance.life.end();
    Err(error)
}

impl<V: Verticle> AnyInstance for Instance<V> {
    fn stop(self: Rc<Self>, grace: Duration) -> Pin<Box<dyn Future<Output = Stopped>>> {
        Box::pin(async move {
            let clock = self.life.core.shared().clock.clone();
            let deadline = clock.now() + grace;
            self.life.close_intake();
            // Time that is up while draining is no reason to skip `stop`: it gets what is left, at least one poll.
            let drained = clock.timeout(left(&clock, deadline), self.life.drained()).await;
            tracing::debug!(deployment = %self.life.name, drained = drained.is_ok(), "the intake is closed");
            let ctx = Context::new(Rc::clone(&self));
            let stopping = catch_panic(self.verticle.stop(&ctx));
            let failure = match clock.timeout(left(&clock, deadline), stopping).await {
                Ok(Ok(Ok(()))) => None,
                Ok(Ok(Err(error))) => Some(describe(&error)),
                Ok(Err(panic)) => Some(format!("stop panicked: {panic}")),
                Err(_) => Some(format!("stop did not end within {grace:?}")),
            };
            Stopped { abandoned: self.life.end(), failure }
        })
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

impl Life {
    /// Nobody can send here any more; what was accepted is still handled.
    fn close_intake(&self) {
        self.stopping.set(true);
        for (name, key) in self.consumers.borrow().iter() {
            self.core.shared().registry.remove(name, self.core.id(), *key);
            if let Some(consumer) = self.core.any_consumer(*key) {
                consumer.close();
            }
        }
        let waiting = self.waiting_for_stop.take();
        waiting.into_iter().for_each(std::task::Waker::wake);
    }

    async fn drained(&self) {
        let keys: Vec<_> = self.consumers.borrow().iter().map(|(_, key)| *key).collect();
        for key in keys {
            if let Some(consumer) = self.core.any_consumer(key) {
                poll_fn(|cx| consumer.poll_drained(cx)).await;
            }
        }
    }

    /// Ends the tasks and removes the consumers; gives the number of messages given up.
    fn end(&self) -> usize {
        let tasks: Vec<_> = self.tasks.borrow().iter().map(|(_, task)| task.clone()).collect();
        tasks.iter().for_each(tokio::task::AbortHandle::abort);
        let mut given_up = 0;
        for (_, key) in self.consumers.take() {
            if let Some(consumer) = self.core.any_consumer(key) {
                given_up += consumer.abandon(&self.core);
            }
            self.core.remove_consumer(key);
        }
        given_up
    }
}
