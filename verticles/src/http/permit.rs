//! The bound on open connections, shared by all loops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many connections may be open at a time.
#[derive(Debug, Clone)]
pub(super) struct Permits {
    taken: Arc<AtomicUsize>,
    max: usize,
}

/// One open connection; dropping it makes room for another.
#[derive(Debug)]
pub(super) struct Permit(Arc<AtomicUsize>);

impl Permits {
    /// At most `max` together with all others that share the count.
    pub(super) fn new(taken: Arc<AtomicUsize>, max: usize) -> Self {
        Self { taken, max }
    }

    /// Room for one connection, if there is any.
    pub(super) fn take(&self) -> Option<Permit> {
        let taken = self.taken.fetch_add(1, Ordering::Relaxed);
        // Made before the question, so that a refusal takes back what was added.
        let permit = Permit(Arc::clone(&self.taken));
        (taken < self.max).then_some(permit)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_never_more_permits_than_allowed_and_one_given_back_is_given_out_again() {
        let permits = Permits::new(Arc::default(), 2);
        let first = permits.take();
        let second = permits.take();
        assert!(first.is_some() && second.is_some() && permits.take().is_none() && permits.take().is_none());
        drop(first);
        assert!(permits.take().is_some());
    }
}
