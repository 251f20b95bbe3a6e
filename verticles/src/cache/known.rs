//! What is known of one program, and for how long that counts.

use std::sync::Arc;
use std::time::Duration;

use adtrack_proto::Program;

/// How long knowledge counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// A program is answered without asking again.
    pub(super) ttl: Duration,
    /// "No such program" is answered without asking again.
    pub(super) absent_ttl: Duration,
    /// A program past its `ttl` is answered while the store cannot be asked.
    pub(super) stale_max: Duration,
}

/// Which state of the whole cache a piece of knowledge belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Era {
    /// Purges so far: knowledge from before the last one is gone.
    pub(super) purges: u64,
    /// Revalidations so far: knowledge from before the last one must be asked for again.
    pub(super) revalidations: u64,
}

/// What is known of one program.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// The program, or that there is none.
    pub(super) answer: Option<Arc<Program>>,
    /// The highest version that was ever seen of it; also after something was said that has none.
    pub(super) highest: Option<u64>,
    /// When the push came, or the read of the store began, on the runtime's clock.
    pub(super) since: Duration,
    pub(super) era: Era,
    /// Tells this piece of knowledge from the one before it under the same id.
    pub(super) stamp: u64,
}

/// What knowledge is worth at a moment.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Standing {
    /// It is the answer.
    Fresh(Option<Arc<Program>>),
    /// The store must be asked; this is the answer if it cannot be.
    Stale(Arc<Program>),
    /// It is worth nothing. Absence is never stale: without the store nobody says that a program does not exist.
    Gone,
}

impl Known {
    /// Whether what is known is not what the highest version says.
    pub(super) fn counts_none(&self) -> bool {
        self.answer.as_ref().is_none_or(|program| program.version.is_none())
    }

    /// The program if only a revalidation has made it doubtful.
    pub(super) fn in_its_time(&self, now: Duration, era: Era, terms: &Terms) -> Option<Arc<Program>> {
        let young = self.era.purges == era.purges && now.saturating_sub(self.since) < terms.ttl;
        self.answer.clone().filter(|_| young)
    }

    pub(super) fn standing(&self, now: Duration, era: Era, terms: &Terms) -> Standing {
        let age = now.saturating_sub(self.since);
        let current = self.era == era;
        match &self.answer {
            _ if self.era.purges != era.purges => Standing::Gone,
            Some(_) if current && age < terms.ttl => Standing::Fresh(self.answer.clone()),
            Some(program) if age < terms.stale_max => Standing::Stale(Arc::clone(program)),
            None if current && age < terms.absent_ttl => Standing::Fresh(None),
            _ => Standing::Gone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);
    const TERMS: Terms = Terms {
        ttl: Duration::from_secs(600),
        absent_ttl: Duration::from_secs(5),
        stale_max: Duration::from_secs(6_000),
    };

    fn program() -> Arc<Program> {
        crate::cache::tests::program("1", 1)
    }

    fn known(answer: Option<Arc<Program>>) -> Known {
        Known { answer, highest: None, since: 10 * S, era: Era::default(), stamp: 0 }
    }

    #[test]
    fn a_program_is_fresh_then_stale_then_gone() {
        let known = known(Some(program()));
        let at = |seconds| known.standing(seconds * S, Era::default(), &TERMS);
        assert_eq!(at(10), Standing::Fresh(Some(program())));
        assert_eq!(at(609), Standing::Fresh(Some(program())));
        assert_eq!(at(610), Standing::Stale(program()));
        assert_eq!(at(6_009), Standing::Stale(program()));
        assert_eq!(at(6_010), Standing::Gone);
    }

    #[test]
    fn absence_is_fresh_then_gone() {
        let known = known(None);
        let at = |seconds| known.standing(seconds * S, Era::default(), &TERMS);
        assert_eq!(at(14), Standing::Fresh(None));
        assert_eq!(at(15), Standing::Gone);
    }

    #[test]
    fn a_revalidation_makes_programs_stale_and_absences_gone() {
        let era = Era { revalidations: 1, ..Era::default() };
        assert_eq!(known(Some(program())).standing(10 * S, era, &TERMS), Standing::Stale(program()));
        assert_eq!(known(None).standing(10 * S, era, &TERMS), Standing::Gone);
    }

    #[test]
    fn a_purge_ends_everything() {
        let era = Era { purges: 1, ..Era::default() };
        assert_eq!(known(Some(program())).standing(10 * S, era, &TERMS), Standing::Gone);
        assert_eq!(known(None).standing(10 * S, era, &TERMS), Standing::Gone);
    }
}
