//! What a loop shows of itself to whoever watches it: that it goes on, and whose code it is in.
//!
//! Written by the loop alone and read now and then by another thread, so plain stores are enough: no locked instruction.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::deployment::DeploymentId;

/// Instances of a deployment are numbered in so many bits; it has 1,048,576 at most.
const INSTANCE_BITS: u32 = 20;

/// An instance, in one word. 0 is nobody: deployments are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Whose(u64);

impl Whose {
    /// The runtime's own code, or that of a library.
    pub(crate) const NOBODY: Self = Self(0);

    pub(crate) fn of(deployment: DeploymentId, instance: usize) -> Self {
        Self(deployment.0 << INSTANCE_BITS | instance as u64)
    }

    /// The deployment and the instance; `None` for nobody.
    pub(crate) fn instance(self) -> Option<(DeploymentId, usize)> {
        let instance = self.0 & ((1 << INSTANCE_BITS) - 1);
        (self != Self::NOBODY).then_some((DeploymentId(self.0 >> INSTANCE_BITS), instance as usize))
    }
}

/// One loop's signs of life.
#[derive(Debug, Default)]
pub(crate) struct Watched {
    progress: AtomicU64,
    whose: AtomicU64,
    asleep: AtomicBool,
}

impl Watched {
    /// The loop goes on: another piece of work begins.
    #[inline]
    pub(crate) fn go_on(&self) {
        self.progress.store(self.progress.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Code of this instance begins; gives whose it was until now, for [`Watched::leave`].
    #[inline]
    pub(crate) fn enter(&self, whose: Whose) -> Whose {
        self.go_on();
        let before = Whose(self.whose.load(Ordering::Relaxed));
        self.whose.store(whose.0, Ordering::Relaxed);
        before
    }

    #[inline]
    pub(crate) fn leave(&self, before: Whose) {
        self.whose.store(before.0, Ordering::Relaxed);
    }

    /// The loop's thread waits for something to do, or does so no more.
    pub(crate) fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::Relaxed);
    }

    /// What is seen from outside.
    pub(crate) fn look(&self) -> Look {
        Look {
            progress: self.progress.load(Ordering::Relaxed),
            whose: Whose(self.whose.load(Ordering::Relaxed)),
            asleep: self.asleep.load(Ordering::Relaxed),
        }
    }
}

/// A loop, seen from outside.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) progress: u64,
    pub(crate) whose: Whose,
    pub(crate) asleep: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_one_word_and_comes_back_from_it() {
        let last = (DeploymentId(1 << 40), (1 << INSTANCE_BITS) - 1);
        for (deployment, instance) in [(DeploymentId(1), 0), last] {
            assert_eq!(Whose::of(deployment, instance).instance(), Some((deployment, instance)));
        }
        assert_eq!(Whose::NOBODY.instance(), None);
    }

    #[test]
    fn code_within_code_gives_back_whose_it_was() {
        let watched = Watched::default();
        let outer = watched.enter(Whose::of(DeploymentId(1), 0));
        let inner = watched.enter(Whose::of(DeploymentId(2), 3));
        assert_eq!(watched.look().whose.instance(), Some((DeploymentId(2), 3)));
        watched.leave(inner);
        assert_eq!(watched.look().whose.instance(), Some((DeploymentId(1), 0)));
        watched.leave(outer);
        assert_eq!(watched.look().whose, Whose::NOBODY);
    }
}
