//! A running deployment: started all or not at all, undeployed in order.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::bus::Bus;
use crate::deployments::{Limits, undeploy};
use crate::error::UndeployError;
use crate::restart::Restart;
use crate::runtime::Shared;

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
    /// [`Verticle::stop`](crate::Verticle::stop), and ends its tasks; all within 10 s.
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
    /// up: [`spawn`](crate::Context::spawn) it.
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

/// What all instances of a deployment share.
pub(crate) struct Plan {
    pub(crate) bus: Bus,
    pub(crate) id: DeploymentId,
    pub(crate) name: Arc<str>,
    pub(crate) count: usize,
    pub(crate) config: Option<Arc<dyn Any + Send + Sync>>,
    pub(crate) restart: Restart,
}

/// Which instance of which deployment, on its way to the loop.
#[derive(Clone)]
pub(crate) struct Birth {
    pub(crate) plan: Arc<Plan>,
    pub(crate) index: usize,
}
