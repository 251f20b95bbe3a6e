//! One shard: a range of hash keys and the records that fell into it.

use bytes::Bytes;

use super::hash_key::HashKey;
use super::limits::Bucket;
use super::sequence_number::SequenceNumber;

/// One stored record.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) sequence_number: SequenceNumber,
    pub(crate) partition_key: Box<str>,
    pub(crate) data: Bytes,
    pub(crate) arrived_ms: u64,
}

/// How a shard ended: no record is added after it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Closed {
    pub(crate) ending: SequenceNumber,
    pub(crate) at_ms: u64,
}

/// One shard; its index in the stream never changes and is part of its id.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) index: u32,
    pub(crate) id: String,
    /// First and last hash key, both inside.
    pub(crate) range: (HashKey, HashKey),
    /// The shard that was split, or the lower one of two that were merged.
    pub(crate) parent: Option<u32>,
    /// The upper one of two that were merged.
    pub(crate) adjacent_parent: Option<u32>,
    pub(crate) children: Vec<u32>,
    pub(crate) created_ms: u64,
    pub(crate) closed: Option<Closed>,
    /// Empty when records are counted and not kept.
    pub(crate) records: Vec<Record>,
    /// Records stored, kept or not.
    pub(crate) stored: u64,
    /// Their bytes, partition keys included.
    pub(crate) stored_bytes: u64,
    /// Records turned away because of its limits.
    pub(crate) throttled: u64,
    pub(crate) bucket: Bucket,
}

impl Shard {
    /// An open shard without records.
    pub(crate) fn new(index: u32, range: (HashKey, HashKey), created_ms: u64) -> Self {
        Self {
            index,
            id: shard_id(index),
            range,
            parent: None,
            adjacent_parent: None,
            children: Vec::new(),
            created_ms,
            closed: None,
            records: Vec::new(),
            stored: 0,
            stored_bytes: 0,
            throttled: 0,
            bucket: Bucket::default(),
        }
    }

    /// The number below every record's.
    pub(crate) fn starting(&self) -> SequenceNumber {
        SequenceNumber::starting(self.created_ms / 1_000, self.index)
    }

    /// Adds a record that arrives at `now_ms`, and gives its number.
    pub(crate) fn append(&mut self, partition_key: &str, data: Bytes, now_ms: u64) -> SequenceNumber {
        let sequence_number = self.count(partition_key.len() + data.len(), now_ms);
        let arrived_ms = self.arrival(now_ms);
        self.records.push(Record { sequence_number, partition_key: partition_key.into(), data, arrived_ms });
        sequence_number
    }

    /// Counts a record of so many bytes without keeping it, and gives its number.
    pub(crate) fn count(&mut self, bytes: usize, now_ms: u64) -> SequenceNumber {
        debug_assert!(self.closed.is_none(), "a closed shard takes no record");
        self.stored += 1;
        self.stored_bytes += bytes as u64;
        SequenceNumber::new(self.created_ms / 1_000, self.index, self.stored, self.arrival(now_ms) / 1_000)
    }

    /// A clock that was set back must not order arrivals before the shard itself.
    fn arrival(&self, now_ms: u64) -> u64 {
        now_ms.max(self.created_ms)
    }

    /// Takes no more records.
    pub(crate) fn close(&mut self, now_ms: u64) {
        let at_ms = now_ms.max(self.created_ms);
        let ending = SequenceNumber::ending(self.created_ms / 1_000, self.index, at_ms / 1_000);
        self.closed = Some(Closed { ending, at_ms });
    }

    /// How many records lie before `sequence_number`: the position of the first that does not.
    pub(crate) fn position_of(&self, sequence_number: SequenceNumber) -> usize {
        self.records.partition_point(|record| record.sequence_number < sequence_number)
    }

    /// How many records lie after `sequence_number` or at it, taken away from the front: the position behind it.
    pub(crate) fn position_after(&self, sequence_number: SequenceNumber) -> usize {
        self.records.partition_point(|record| record.sequence_number <= sequence_number)
    }

    /// The position of the first record that arrived at `at_ms` or later.
    pub(crate) fn position_at(&self, at_ms: u64) -> usize {
        // Arrival times are not sorted when the clock was set back, so this is a search from the front.
        self.records.iter().position(|record| record.arrived_ms >= at_ms).unwrap_or(self.records.len())
    }

    /// Whether `sequence_number` came from this very shard.
    pub(crate) fn gave_out(&self, sequence_number: SequenceNumber) -> bool {
        sequence_number.origin() == (self.created_ms / 1_000, self.index)
    }

    /// Whether `key` belongs here.
    #[cfg(test)]
    pub(crate) fn holds(&self, key: HashKey) -> bool {
        self.range.0 <= key && key <= self.range.1
    }
}

/// The id of the shard at `index`.
pub(crate) fn shard_id(index: u32) -> String {
    format!("shardId-{index:012}")
}

/// The index in a shard's id; the number alone is taken too, as the service does.
pub(crate) fn shard_index(id: &str) -> Option<u32> {
    let digits = id.strip_prefix("shardId-").unwrap_or(id);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if plain { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> (HashKey, HashKey) {
        (HashKey(0), HashKey(u128::MAX))
    }

    #[test]
    fn numbers_grow_strictly_even_when_the_clock_is_set_back() {
        let mut shard = Shard::new(0, whole(), 1_000_000);
        let numbers = [5_000_000, 4_000_000, 10, 6_000_000].map(|now| shard.append("k", Bytes::new(), now));
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        assert!(shard.starting() < numbers[0]);
    }

    #[test]
    fn a_position_is_found_by_number_and_by_time() {
        let mut shard = Shard::new(0, whole(), 1_000);
        let numbers = [2_000, 3_000, 4_000].map(|now| shard.append("k", Bytes::new(), now));
        assert_eq!(numbers.map(|n| shard.position_of(n)), [0, 1, 2]);
        assert_eq!(numbers.map(|n| shard.position_after(n)), [1, 2, 3]);
        assert_eq!([1, 2_000, 2_001, 4_001].map(|at| shard.position_at(at)), [0, 0, 1, 3]);
    }

    #[test]
    fn a_closed_shard_ends_above_all_its_records() {
        let mut shard = Shard::new(7, whole(), 1_000);
        let last = shard.append("k", Bytes::new(), 9_000_000);
        shard.close(2_000);
        assert!(shard.closed.is_some_and(|closed| closed.ending > last));
    }

    #[test]
    fn a_number_is_known_by_the_shard_that_gave_it_out_alone() {
        let mut shard = Shard::new(0, whole(), 1_000);
        let number = shard.append("k", Bytes::new(), 1_000);
        assert!(shard.gave_out(number) && shard.gave_out(shard.starting()));
        assert!(!Shard::new(1, whole(), 1_000).gave_out(number), "another index");
        assert!(!Shard::new(0, whole(), 9_000).gave_out(number), "another creation");
    }

    #[test]
    fn an_id_is_read_back_with_and_without_its_prefix() {
        assert_eq!(shard_id(12), "shardId-000000000012");
        assert_eq!(shard_index("shardId-000000000012"), Some(12));
        assert_eq!(shard_index("12"), Some(12));
        for bad in ["", "shardId-", "shardId-x", "shard-1", "-1", "99999999999"] {
            assert_eq!(shard_index(bad), None, "{bad:?}");
        }
    }
}
