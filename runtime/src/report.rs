//! What a shutdown came to.

use std::time::Duration;

use crate::deployment::Undeployed;

/// What a shutdown came to: for the log, and for the exit code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Each deployment that is no child, in the order they were undeployed: newest first. Children are in their parent's.
    pub deployments: Vec<Undeployed>,
    /// Messages that were accepted and not finished in time, over all deployments.
    pub abandoned: usize,
    /// Event loops that did not end in time: something blocks them.
    pub stuck_loops: Vec<String>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Of a shutdown that found nothing to do.
    pub(crate) fn empty() -> Self {
        Self { deployments: Vec::new(), abandoned: 0, stuck_loops: Vec::new(), took: Duration::ZERO }
    }

    /// Everything that was accepted is done, every `stop` went well, every loop has ended.
    pub fn is_clean(&self) -> bool {
        self.abandoned == 0 && self.stuck_loops.is_empty() && self.deployments.iter().all(Undeployed::is_clean)
    }
}
