//! Which records go into one call. Pure: time comes in, batches come out.

use std::collections::VecDeque;
use std::time::Duration;

use super::record::Record;

/// What one call may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Records.
    pub records_max: usize,
    /// Bytes, keys included.
    pub bytes_max: usize,
    /// How long a record waits for others.
    pub linger: Duration,
}

/// Records waiting to be sent, in the order they came.
///
/// It does not bound itself: whoever pushes holds room for what is pushed.
#[derive(Debug)]
pub struct Batcher {
    limits: BatchLimits,
    waiting: VecDeque<(Duration, Record)>,
    bytes: usize,
}

/// What there is to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Take {
    /// Send these; never empty.
    Batch(Vec<Record>),
    /// Ask again at this time, or when more has come.
    WaitUntil(Duration),
    /// Nothing is waiting.
    Nothing,
}

impl Batcher {
    /// A batcher without records.
    pub fn new(limits: BatchLimits) -> Self {
        Self { limits, waiting: VecDeque::new(), bytes: 0 }
    }

    /// Appends a record that came at `now`.
    pub fn push(&mut self, record: Record, now: Duration) {
        self.bytes += record.bytes();
        self.waiting.push_back((now, record));
    }

    /// Puts records back in front, in their order; they have waited long enough.
    pub fn give_back(&mut self, records: Vec<Record>, now: Duration) {
        let since = now.saturating_sub(self.limits.linger);
        for record in records.into_iter().rev() {
            self.bytes += record.bytes();
            self.waiting.push_front((since, record));
        }
    }

    /// The number of records waiting.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none is waiting.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the next batch, when one is full, when its first record has waited long enough, or when nothing is to wait
    /// any more (`flush`).
    ///
    /// A batch is within both limits; a record that alone is above the limit on bytes goes alone.
    pub fn take(&mut self, now: Duration, flush: bool) -> Take {
        let Some((since, _)) = self.waiting.front() else { return Take::Nothing };
        let full = self.waiting.len() >= self.limits.records_max || self.bytes >= self.limits.bytes_max;
        let due = *since + self.limits.linger;
        if !full && !flush && now < due {
            return Take::WaitUntil(due);
        }
        Take::Batch(self.cut())
    }

    fn cut(&mut self) -> Vec<Record> {
        let mut batch = Vec::with_capacity(self.waiting.len().min(self.limits.records_max));
        let mut bytes = 0;
        while let Some((_, record)) = self.waiting.front() {
            let fits = batch.len() < self.limits.records_max && bytes + record.bytes() <= self.limits.bytes_max;
            if !fits && !batch.is_empty() {
                break;
            }
            bytes += record.bytes();
            batch.extend(self.waiting.pop_front().map(|(_, record)| record));
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
    use crate::kinesis::record::tests::record;

    const MS: Duration = Duration::from_millis(1);
    const LIMITS: BatchLimits = BatchLimits { records_max: 3, bytes_max: 1_000, linger: Duration::from_millis(20) };

    fn batch(take: Take) -> Vec<String> {
        match take {
            Take::Batch(records) => records.iter().map(|record| record.key().to_owned()).collect(),
            other => panic!("no batch but {other:?}"),
        }
    }

    #[test]
    fn a_record_waits_for_others_and_no_longer_than_the_linger_time() {
        let mut batcher = Batcher::new(LIMITS);
        assert_eq!(batcher.take(MS, false), Take::Nothing);
        batcher.push(record("a"), 5 * MS);
        batcher.push(record("b"), 15 * MS);
        assert_eq!(batcher.take(24 * MS, false), Take::WaitUntil(25 * MS));
        assert_eq!(batch(batcher.take(25 * MS, false)), ["a", "b"]);
        assert_eq!(batcher.take(25 * MS, false), Take::Nothing);
    }

    #[test]
    fn a_full_batch_does_not_wait() {
        let mut batcher = Batcher::new(LIMITS);
        for id in ["a", "b", "c", "d"] {
            batcher.push(record(id), MS);
        }
        assert_eq!(batch(batcher.take(MS, false)), ["a", "b", "c"]);
        assert_eq!(batcher.take(MS, false), Take::WaitUntil(21 * MS));
        assert_eq!(batch(batcher.take(MS, true)), ["d"]);
    }

    #[test]
    fn records_given_back_go_first_and_at_once_with_those_that_wait() {
        let mut batcher = Batcher::new(LIMITS);
        batcher.push(record("c"), 50 * MS);
        batcher.give_back(vec![record("a"), record("b")], 50 * MS);
        batcher.push(record("d"), 50 * MS);
        assert_eq!(batch(batcher.take(50 * MS, false)), ["a", "b", "c"]);
        batcher.give_back(vec![record("a")], 50 * MS);
        assert_eq!(batch(batcher.take(50 * MS, false)), ["a", "d"]);
        assert_eq!((batcher.take(50 * MS, false), batcher.bytes), (Take::Nothing, 0));
        batcher.give_back(Vec::new(), 50 * MS);
        assert!(batcher.is_empty());
    }

    #[test]
    fn bytes_count_with_their_keys_and_a_record_above_the_limit_goes_alone() {
        let mut batcher = Batcher::new(BatchLimits { bytes_max: 2 * record("a").bytes(), ..LIMITS });
        let long = "x".repeat(100);
        for id in ["a", "b", &long, "c"] {
            batcher.push(record(id), MS);
        }
        assert_eq!(batch(batcher.take(MS, false)), ["a", "b"]);
        assert_eq!(batch(batcher.take(MS, false)), [long]);
        assert_eq!(batcher.take(MS, false), Take::WaitUntil(21 * MS));
    }

    proptest! {
        #[test]
        fn every_record_leaves_once_and_in_order_in_batches_within_the_limits(
            lengths in proptest::collection::vec(1..200_usize, 0..60),
            records_max in 1..10_usize,
            bytes_max in 1..600_usize,
        ) {
            let limits = BatchLimits { records_max, bytes_max, linger: MS };
            let mut batcher = Batcher::new(limits);
            let sent: Vec<Record> = lengths.iter().map(|length| record(&"k".repeat(*length))).collect();
            for record in &sent {
                batcher.push(record.clone(), MS);
            }
            let mut taken = Vec::new();
            while let Take::Batch(batch) = batcher.take(MS, true) {
                prop_assert!(!batch.is_empty() && batch.len() <= records_max);
                let bytes: usize = batch.iter().map(Record::bytes).sum();
                prop_assert!(bytes <= bytes_max || batch.len() == 1);
                taken.extend(batch);
            }
            prop_assert_eq!(taken, sent);
            prop_assert_eq!((batcher.len(), batcher.bytes), (0, 0));
        }
    }
}
