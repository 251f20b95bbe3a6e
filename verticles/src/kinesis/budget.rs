//! The two budgets of events, memory and disk: what each is divided into, and a customer's fair share. Pure.

use adtrack_config::EventsConfig;

/// Bytes of events in memory, and of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    memory: u64,
    disk: u64,
}

/// A customer may hold this many times what is still free. With alpha = 4 one that sends without end comes to hold four fifths
/// of everything, and a fifth is there for whoever comes then; two of them come to four ninths each.
///
/// These are the dynamic thresholds of Choudhury and Hahne: the shares follow from what is free, nobody has to say who is there,
/// and what nobody else wants is not kept from the one who does - but for that fifth.
const ALPHA: u64 = 4;

/// Between two events that are settled and one that is not there is a range of settled places: 16 bytes, and as much again and more
/// for the nodes of the tree it is in.
const PLACE_BYTES: u64 = 64;

impl Budget {
    /// What the settings say.
    pub(crate) fn new(config: &EventsConfig) -> Self {
        Self { memory: config.memory_bytes_max, disk: config.disk_bytes_max }
    }

    /// In memory on the way to the stream: five eighths.
    pub(crate) fn in_flight(self) -> usize {
        usize::try_from(self.memory / 8 * 5).unwrap_or(usize::MAX)
    }

    /// Events that were on that way and are in the log again, one by one: what is remembered of them takes an eighth.
    pub(crate) fn let_go_events(self) -> u64 {
        self.memory / 8 / PLACE_BYTES
    }

    /// Not written yet: a quarter, in equal parts for so many loops.
    pub(crate) fn unwritten(self, loops: usize) -> usize {
        usize::try_from(self.memory / 4).unwrap_or(usize::MAX) / loops.max(1)
    }

    /// Files kept for a person: at most a fifth.
    pub(crate) fn kept(self) -> u64 {
        self.disk / 5
    }

    /// The log: all that is not kept.
    pub(crate) fn log(self, kept: u64) -> u64 {
        self.disk.saturating_sub(kept)
    }

    /// So long is a segment of one of so many loops at most: their open segments together never fill more than half of the
    /// budget.
    pub(crate) fn segment(self, wanted: u64, loops: usize) -> u64 {
        wanted.min(self.disk / (2 * loops.max(1) as u64))
    }
}

/// Whether a customer that holds so much of something may have more of it, when so much is free.
pub(crate) fn has_share(held: u64, free: u64) -> bool {
    held < free.saturating_mul(ALPHA)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUDGET: Budget = Budget { memory: 1_000, disk: 1_000 };

    #[test]
    fn the_parts_of_a_budget_are_within_it() {
        assert_eq!((BUDGET.in_flight(), BUDGET.unwritten(2), BUDGET.let_go_events()), (625, 125, 1));
        assert_eq!((BUDGET.kept(), BUDGET.log(200), BUDGET.log(2_000)), (200, 800, 0));
        assert_eq!((BUDGET.segment(100, 4), BUDGET.segment(1_000, 4)), (100, 125));
    }

    #[test]
    fn one_that_sends_without_end_leaves_a_fifth_and_two_leave_a_ninth() {
        let filled = |customers: usize| {
            let mut held = vec![0_u64; customers];
            for turn in 0..10_000 {
                let free = 1_000 - held.iter().sum::<u64>();
                let own = &mut held[turn % customers];
                *own += u64::from(free > 0 && has_share(*own, free));
            }
            held
        };
        assert_eq!(filled(1), [800]);
        let two = filled(2);
        assert!(two.iter().all(|held| (440..=448).contains(held)), "{two:?}");
    }

    proptest! {
        #[test]
        fn whoever_holds_nothing_may_have_some_as_long_as_there_is_any(free in 1..u64::MAX) {
            prop_assert!(has_share(0, free));
        }
    }
}
