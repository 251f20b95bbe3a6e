//! Whether this node is leaving.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Set once, when shutdown begins; from then on `/health/check` says 503. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Draining(Arc<AtomicBool>);

impl Draining {
    /// From now on this node is leaving.
    pub fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    pub fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
