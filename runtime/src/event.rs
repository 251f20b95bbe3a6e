//! What happens in a runtime that an operator wants to hear of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::deployment::{DeploymentId, DeploymentInfo, Undeployed};
use crate::panic::contain;

/// Something that happened, told to the hook of [`RuntimeBuilder::on_event`](crate::RuntimeBuilder::on_event).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An event loop or a worker is kept by code that does not come back: nothing else on it goes on. Told again at each
    /// check for as long as it lasts.
    Blocked {
        /// The name of the loop, or of the worker's thread.
        event_loop: String,
        /// Whose code it is; `None` when it is not a verticle's, but a library's task for example.
        by: Option<Culprit>,
        /// For how long by now, at least: since it was first seen there.
        blocked_for: Duration,
    },
    /// A deployment has begun: its instances are being built and started.
    Deploying(DeploymentInfo),
    /// All of its instances have started.
    Deployed(DeploymentInfo),
    /// It did not come to be, and nothing of it is left.
    DeployFailed {
        /// What was to be.
        deployment: DeploymentInfo,
        /// Why it is not.
        error: String,
    },
    /// A deployment is being undeployed; its children go first.
    Undeploying(DeploymentInfo),
    /// A deployment is gone.
    Undeployed(Undeployed),
    /// A handler, a task or a timer of an instance has panicked. Its message has failed, whatever becomes of the instance.
    Panicked {
        /// Whose.
        by: Culprit,
        /// What it said.
        panic: String,
    },
    /// An instance has panicked, and another one has started in its place.
    Rebuilt {
        /// Which.
        by: Culprit,
        /// How often by now, within the time that its [`Restart`](crate::Restart) names.
        times: usize,
    },
    /// An instance has panicked - or failed to start again - more often than it may: its deployment is undeployed as a whole.
    GivenUp {
        /// Which.
        by: Culprit,
        /// The last panic or failure.
        reason: String,
    },
    /// An event loop or a worker has ended without being told to, and what lived there with it; see
    /// [`Runtime::lost_loop`](crate::Runtime::lost_loop).
    LoopLost {
        /// Its name.
        event_loop: String,
    },
}

/// An instance, as a person would look for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Culprit {
    /// The deployment's name: the verticle's, unless it was given another.
    pub verticle: String,
    /// Its deployment.
    pub deployment: DeploymentId,
    /// Which of its instances, from 0.
    pub instance: usize,
}

impl fmt::Display for Culprit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (deployment {}, instance {})", self.verticle, self.deployment, self.instance)
    }
}

type Tell = dyn Fn(&Event) + Send + Sync;

/// Who is told. Any thread may tell.
#[derive(Clone, Default)]
pub(crate) struct Hook(Option<Arc<Tell>>);

impl Hook {
    pub(crate) fn new(tell: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(tell)))
    }

    /// Tells it; a panic of the hook is its own affair.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(tell) = &self.0 {
            contain(|| tell(&event()));
        }
    }
}

impl fmt::Debug for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Hook" } else { "no hook" })
    }
}
