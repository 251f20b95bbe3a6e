//! The rule by which what is known of a program follows what is said of it. It has no clock, no lock and no memory.
//!
//! Versions decide where there are some: a lower one is never taken, whatever way it came, and however late. What is said
//! without a version is taken as it comes: the last writer wins, as where nobody counts. The highest version that was ever
//! seen is remembered all the same, so that an old message cannot pass behind one that counts none.

use std::cmp::Ordering;
use std::sync::Arc;

use adtrack_proto::Program;

use super::known::Known;

/// By what way something is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    /// Somebody has changed the program. It may come late, and more than once.
    Message,
    /// The store was asked, and nothing was said since the question.
    Read,
}

/// What is said of a program.
#[derive(Debug, Clone, Copy)]
pub(super) struct Said<'s> {
    /// The program, or that there is none.
    answer: Option<&'s Arc<Program>>,
    /// Its version, or that of its deletion.
    pub(super) version: Option<u64>,
    by: By,
}

/// What that is to what is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is what is known from now on.
    Newer,
    /// It was known before.
    Same,
    /// A higher version is known.
    Older,
}

impl<'s> Said<'s> {
    /// That a program is this.
    pub(super) fn put(program: &'s Arc<Program>, by: By) -> Self {
        Self { answer: Some(program), version: program.version, by }
    }

    /// That there is none. Without a version nobody has said that it was deleted.
    pub(super) fn deleted(version: Option<u64>, by: By) -> Self {
        Self { answer: None, version, by }
    }

    /// What it is to what is known.
    pub(super) fn against(&self, known: Option<&Known>) -> Verdict {
        let Some(known) = known else { return Verdict::Newer };
        let (Some(version), Some(highest)) = (self.version, known.highest) else { return Verdict::Newer };
        match version.cmp(&highest) {
            Ordering::Less => Verdict::Older,
            Ordering::Greater => Verdict::Newer,
            Ordering::Equal if known.answer.as_ref() == self.answer => Verdict::Same,
            // Written without counting since: the hash has another content and the old version.
            Ordering::Equal if self.by == By::Read => Verdict::Newer,
            // A message says it once more; meanwhile somebody who counts no versions has said something else, or it was
            // deleted. Neither is taken back.
            Ordering::Equal if known.counts_none() => Verdict::Same,
            Ordering::Equal => Verdict::Newer,
        }
    }

    /// The highest version that was ever seen, with this.
    pub(super) fn highest(&self, known: Option<&Known>) -> Option<u64> {
        self.version.max(known.and_then(|known| known.highest))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::cache::known::Era;

    /// What a writer says: versions have one content each, and some writers count none.
    #[derive(Debug, Clone, Copy)]
    enum Spoken {
        Put(u64),
        Deleted(u64),
        Uncounted(i32),
    }

    fn program(content: i32, version: Option<u64>) -> Arc<Program> {
        let program = Program::clone(&crate::cache::tests::program("1", content));
        Arc::new(Program { version, ..program })
    }

    impl Spoken {
        fn answer(self) -> Option<Arc<Program>> {
            match self {
                Self::Put(version) => Some(program(i32::try_from(version).unwrap_or_default(), Some(version))),
                Self::Deleted(_) => None,
                Self::Uncounted(content) => Some(program(content, None)),
            }
        }

        fn version(self) -> Option<u64> {
            match self {
                Self::Put(version) | Self::Deleted(version) => Some(version),
                Self::Uncounted(_) => None,
            }
        }
    }

    /// Says something to what is known, as the memory does.
    fn say(known: Option<Known>, spoken: Spoken, by: By) -> (Verdict, Option<Known>) {
        let answer = spoken.answer();
        let said = match &answer {
            Some(program) => Said::put(program, by),
            None => Said::deleted(spoken.version(), by),
        };
        let verdict = said.against(known.as_ref());
        if verdict != Verdict::Newer {
            return (verdict, known);
        }
        let highest = said.highest(known.as_ref());
        (verdict, Some(Known { answer, highest, since: Duration::ZERO, era: Era::default(), stamp: 0 }))
    }

    fn all(spoken: impl IntoIterator<Item = (Spoken, By)>) -> Option<Known> {
        spoken.into_iter().fold(None, |known, (spoken, by)| say(known, spoken, by).1)
    }

    fn what(known: Option<Known>) -> Option<(Option<Arc<Program>>, Option<u64>)> {
        known.map(|known| (known.answer, known.highest))
    }

    /// A version is either a program or a deletion, always the same.
    fn counted(version: u64) -> Spoken {
        if version.is_multiple_of(7) { Spoken::Deleted(version) } else { Spoken::Put(version) }
    }

    fn any_by() -> impl Strategy<Value = By> {
        prop_oneof![Just(By::Message), Just(By::Read)]
    }

    fn any_counted() -> impl Strategy<Value = (Spoken, By)> {
        ((0..40_u64).prop_map(counted), any_by())
    }

    fn any_spoken() -> impl Strategy<Value = (Spoken, By)> {
        prop_oneof![3 => any_counted(), 1 => ((0..1_000).prop_map(Spoken::Uncounted), any_by())]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4_000))]

        /// Any order, any number of times, by any way: the highest version is what is known in the end.
        #[test]
        fn the_highest_version_is_what_is_known_in_the_end(
            (order, shuffled) in prop::collection::vec(any_counted(), 1..30)
                .prop_flat_map(|order| (Just(order.clone()), Just(order).prop_shuffle()))
        ) {
            let highest = order.iter().filter_map(|(spoken, _)| spoken.version()).max();
            let expected = highest.map(|version| (counted(version).answer(), Some(version)));
            prop_assert_eq!(what(all(order.clone())), expected.clone());
            prop_assert_eq!(what(all(shuffled.clone())), expected.clone());
            prop_assert_eq!(what(all(order.into_iter().chain(shuffled))), expected);
        }

        /// Whoever looks never sees a version go down, whatever is said in between.
        #[test]
        fn versions_that_are_seen_never_go_down(spoken in prop::collection::vec(any_spoken(), 1..60)) {
            let (mut known, mut seen) = (None, None);
            for (spoken, by) in spoken {
                known = say(known, spoken, by).1;
                let answered = known.as_ref().and_then(|known: &Known| known.answer.as_ref()?.version);
                if let Some(version) = answered {
                    prop_assert!(seen <= Some(version), "{version} after {seen:?}");
                    seen = Some(version);
                }
            }
        }

        /// What counts no versions is taken at once, and only what is newer than all versions before it takes its place.
        #[test]
        fn what_counts_no_versions_is_taken_and_kept_until_something_newer_is_said(
            before in prop::collection::vec(any_spoken(), 0..30),
            content in 0..1_000,
            by in any_by(),
            after in prop::collection::vec((0..40_u64).prop_map(counted), 0..30),
        ) {
            let (verdict, known) = say(all(before), Spoken::Uncounted(content), by);
            prop_assert_eq!(verdict, Verdict::Newer);
            let highest = known.as_ref().and_then(|known| known.highest);
            let newest = after.iter().copied().filter(|spoken| spoken.version() > highest).max_by_key(|spoken| spoken.version());
            let messages = after.into_iter().map(|spoken| (spoken, By::Message));
            let (answer, _) = what(messages.fold(known, |known, (spoken, by)| say(known, spoken, by).1)).unwrap_or_default();
            match newest {
                Some(newest) => prop_assert_eq!(answer, newest.answer()),
                None => prop_assert_eq!(answer, Spoken::Uncounted(content).answer()),
            }
        }
    }

    fn verdict(before: impl IntoIterator<Item = Spoken>, spoken: Spoken, by: By) -> Verdict {
        say(all(before.into_iter().map(|spoken| (spoken, By::Message))), spoken, by).0
    }

    #[test]
    fn a_message_that_comes_twice_does_not_take_back_what_was_said_since() {
        use Spoken::{Deleted, Put, Uncounted};
        assert_eq!(verdict([Put(1)], Put(1), By::Message), Verdict::Same);
        assert_eq!(verdict([Put(1), Uncounted(9)], Put(1), By::Message), Verdict::Same);
        assert_eq!(verdict([Put(1), Deleted(1)], Put(1), By::Message), Verdict::Same);
        assert_eq!(verdict([Put(1), Uncounted(9)], Put(2), By::Message), Verdict::Newer);
    }

    #[test]
    fn a_hash_that_was_changed_without_counting_is_seen_by_whoever_reads_it() {
        let known = all([(Spoken::Put(1), By::Message)]);
        let other = program(77, Some(1));
        let said = |by| Said::put(&other, by).against(known.as_ref());
        assert_eq!(said(By::Read), Verdict::Newer);
        assert_eq!(said(By::Message), Verdict::Newer);
        assert_eq!(verdict([Spoken::Put(1), Spoken::Uncounted(9)], Spoken::Put(1), By::Read), Verdict::Newer);
    }
}
