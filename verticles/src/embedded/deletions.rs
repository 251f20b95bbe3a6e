//! The versions of programs that were deleted while the store was open.
//!
//! A program that is put again gets a version above its deletion's: a cache remembers that, and would take the program for an
//! old one. What the caches of this process remember ends with the process, and so may this.

use std::collections::{HashMap, VecDeque};

use adtrack_proto::ProgramId;

/// Deletions remembered; beyond it the oldest are forgotten.
const DELETIONS_MAX: usize = 100_000;

/// Deleted programs and the versions of that.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    versions: HashMap<ProgramId, u64>,
    /// The oldest first; also those that were put again since.
    order: VecDeque<ProgramId>,
}

impl Deletions {
    pub(super) fn version(&self, id: &ProgramId) -> Option<u64> {
        self.versions.get(id).copied()
    }

    pub(super) fn add(&mut self, id: ProgramId, version: u64) {
        if self.versions.insert(id.clone(), version).is_some() {
            return;
        }
        self.order.push_back(id);
        if self.order.len() > DELETIONS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.versions.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn the_oldest_are_forgotten_at_the_bound() {
        let mut deletions = Deletions::default();
        let id = |number: usize| ProgramId::new(format!("p{number}")).unwrap();
        for number in 0..=DELETIONS_MAX {
            deletions.add(id(number), 1);
            deletions.add(id(number), 2);
        }
        assert_eq!((deletions.version(&id(0)), deletions.version(&id(1))), (None, Some(2)));
        assert_eq!(deletions.versions.len(), deletions.order.len());
    }
}
