//! Which entries go into one call. Pure: time comes in, batches come out.

use std::collections::VecDeque;
use std::time::Duration;

use super::entry::Entry;

/// What one call may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Entries.
    pub entries_max: usize,
    /// Bytes, keys included.
    pub bytes_max: usize,
    /// How long an entry waits for others.
    pub linger: Duration,
}

/// Entries waiting to be sent, in the order they came.
///
/// It does not bound itself: whoever pushes holds room for what is pushed.
#[derive(Debug)]
pub struct Batcher {
    limits: BatchLimits,
    waiting: VecDeque<(Duration, Entry)>,
    bytes: usize,
}

/// What there is to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Take {
    /// Send these; never empty.
    Batch(Vec<Entry>),
    /// Ask again at this time, or when more has come.
    WaitUntil(Duration),
    /// Nothing is waiting.
    Nothing,
}

impl Batcher {
    /// A batcher without entries.
    pub fn new(limits: BatchLimits) -> Self {
        Self { limits, waiting: VecDeque::new(), bytes: 0 }
    }

    /// Appends an entry that came at `now`.
    pub fn push(&mut self, entry: Entry, now: Duration) {
        self.bytes += entry.bytes();
        self.waiting.push_back((now, entry));
    }

    /// Puts entries back in front, in their order; they have waited long enough.
    pub fn give_back(&mut self, entries: Vec<Entry>, now: Duration) {
        let since = now.saturating_sub(self.limits.linger);
        for entry in entries.into_iter().rev() {
            self.bytes += entry.bytes();
            self.waiting.push_front((since, entry));
        }
    }

    /// The number of entries waiting.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none is waiting.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the next batch, when one is full, when its first entry has waited long enough, or when nothing is to wait
    /// any more (`flush`).
    ///
    /// A batch is within both limits; an entry that alone is above the limit on bytes goes alone.
    pub fn take(&mut self, now: Duration, flush: bool) -> Take {
        let Some((since, _)) = self.waiting.front() else { return Take::Nothing };
        let full = self.waiting.len() >= self.limits.entries_max || self.bytes >= self.limits.bytes_max;
        let due = *since + self.limits.linger;
        if !full && !flush && now < due {
            return Take::WaitUntil(due);
        }
        Take::Batch(self.cut())
    }

    fn cut(&mut self) -> Vec<Entry> {
        let mut batch = Vec::with_capacity(self.waiting.len().min(self.limits.entries_max));
        let mut bytes = 0;
        while let Some((_, entry)) = self.waiting.front() {
            let fits = batch.len() < self.limits.entries_max && bytes + entry.bytes() <= self.limits.bytes_max;
            if !fits && !batch.is_empty() {
                break;
            }
            bytes += entry.bytes();
            batch.extend(self.waiting.pop_front().map(|(_, entry)| entry));
        }
        self.bytes -= bytes;
        batch
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::kinesis::entry::tests::entry;

    const MS: Duration = Duration::from_millis(1);
    const LIMITS: BatchLimits = BatchLimits { entries_max: 3, bytes_max: 1_000, linger: Duration::from_millis(20) };

    fn batch(take: Take) -> Vec<String> {
        match take {
            Take::Batch(entries) => entries.iter().map(|entry| entry.partition_key().to_owned()).collect(),
            other => panic!("no batch but {other:?}"),
        }
    }

    #[test]
    fn an_entry_waits_for_others_and_no_longer_than_the_linger_time() {
        let mut batcher = Batcher::new(LIMITS);
        assert_eq!(batcher.take(MS, false), Take::Nothing);
        batcher.push(entry("a"), 5 * MS);
        batcher.push(entry("b"), 15 * MS);
        assert_eq!(batcher.take(24 * MS, false), Take::WaitUntil(25 * MS));
        assert_eq!(batch(batcher.take(25 * MS, false)), ["a", "b"]);
        assert_eq!(batcher.take(25 * MS, false), Take::Nothing);
    }

    #[test]
    fn a_full_batch_does_not_wait() {
        let mut batcher = Batcher::new(LIMITS);
        for id in ["a", "b", "c", "d"] {
            batcher.push(entry(id), MS);
        }
        assert_eq!(batch(batcher.take(MS, false)), ["a", "b", "c"]);
        assert_eq!(batcher.take(MS, false), Take::WaitUntil(21 * MS));
        assert_eq!(batch(batcher.take(MS, true)), ["d"]);
    }

    #[test]
    fn entries_given_back_go_first_and_at_once_with_those_that_wait() {
        let mut batcher = Batcher::new(LIMITS);
        batcher.push(entry("c"), 50 * MS);
        batcher.give_back(vec![entry("a"), entry("b")], 50 * MS);
        batcher.push(entry("d"), 50 * MS);
        assert_eq!(batch(batcher.take(50 * MS, false)), ["a", "b", "c"]);
        batcher.give_back(vec![entry("a")], 50 * MS);
        assert_eq!(batch(batcher.take(50 * MS, false)), ["a", "d"]);
        assert_eq!((batcher.take(50 * MS, false), batcher.bytes), (Take::Nothing, 0));
        batcher.give_back(Vec::new(), 50 * MS);
        assert!(batcher.is_empty());
    }

    #[test]
    fn bytes_count_with_their_keys_and_an_entry_above_the_limit_goes_alone() {
        let mut batcher = Batcher::new(BatchLimits { bytes_max: 2 * entry("a").bytes(), ..LIMITS });
        let long = "x".repeat(100);
        for id in ["a", "b", &long, "c"] {
            batcher.push(entry(id), MS);
        }
        assert_eq!(batch(batcher.take(MS, false)), ["a", "b"]);
        assert_eq!(batch(batcher.take(MS, false)), [long]);
        assert_eq!(batcher.take(MS, false), Take::WaitUntil(21 * MS));
    }

    proptest! {
        #[test]
        fn every_entry_leaves_once_and_in_order_in_batches_within_the_limits(
            lengths in proptest::collection::vec(1..200_usize, 0..60),
            entries_max in 1..10_usize,
            bytes_max in 1..600_usize,
        ) {
            let limits = BatchLimits { entries_max, bytes_max, linger: MS };
            let mut batcher = Batcher::new(limits);
            let sent: Vec<Entry> = lengths.iter().map(|length| entry(&"k".repeat(*length))).collect();
            for entry in &sent {
                batcher.push(entry.clone(), MS);
            }
            let mut taken = Vec::new();
            while let Take::Batch(batch) = batcher.take(MS, true) {
                prop_assert!(!batch.is_empty() && batch.len() <= entries_max);
                let bytes: usize = batch.iter().map(Entry::bytes).sum();
                prop_assert!(bytes <= bytes_max || batch.len() == 1);
                taken.extend(batch);
            }
            prop_assert_eq!(taken, sent);
            prop_assert_eq!((batcher.len(), batcher.bytes), (0, 0));
        }
    }
}
