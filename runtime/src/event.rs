//! What happens in a runtime that an operator wants to hear of.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::deployment::DeploymentId;
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
}

/// The instance whose code blocks its loop.
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
