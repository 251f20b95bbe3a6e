//! How the hash keys are divided among the shards, or as if they were. Pure.

/// Where each range of the 2^128 hash keys begins; it ends where the next one does. The first begins at 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashRanges {
    starts: Vec<u128>,
}

/// As many ranges as are assumed of a stream whose shards are not known: enough to fill that many shards, and few enough for
/// their aggregates to fill up. A stream of more shards has its events in these many of them.
const UNKNOWN_RANGES: u32 = 32;

impl HashRanges {
    /// For a stream whose shards are not known.
    pub fn unknown() -> Self {
        Self::even(UNKNOWN_RANGES)
    }

    /// So many ranges of the same width - of at most one hash key more or less -, at least one.
    pub fn even(count: u32) -> Self {
        let count = u128::from(count.max(1));
        // 2^128 does not fit in a u128; the width of a single range is never used.
        let width = ((u128::MAX - count + 1) / count).saturating_add(1);
        Self { starts: (0..count).map(|index| width.wrapping_mul(index)).collect() }
    }

    /// The ranges that begin here, in any order. What comes before the first of them belongs to it.
    pub fn new(starts: impl IntoIterator<Item = u128>) -> Self {
        let mut starts: Vec<u128> = starts.into_iter().collect();
        starts.sort_unstable();
        starts.dedup();
        match starts.first_mut() {
            Some(first) => *first = 0,
            None => starts.push(0),
        }
        Self { starts }
    }

    /// How many there are, at least one.
    pub fn count(&self) -> usize {
        self.starts.len()
    }

    /// Where they begin, in order.
    pub fn starts(&self) -> impl Iterator<Item = u128> {
        self.starts.iter().copied()
    }

    /// The range a hash key is in: its place, counted from 0, and where it begins.
    pub fn of(&self, hash_key: u128) -> (usize, u128) {
        let place = self.starts.partition_point(|start| *start <= hash_key).saturating_sub(1);
        (place, self.starts.get(place).copied().unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn even_ranges_begin_where_those_of_a_stream_of_as_many_shards_do() {
        assert_eq!(HashRanges::even(1).starts, [0]);
        assert_eq!(HashRanges::even(4).starts, [0, 1 << 126, 1 << 127, 3 << 126]);
        assert_eq!(HashRanges::even(0), HashRanges::even(1));
    }

    #[test]
    fn a_hash_key_is_in_the_range_that_begins_at_or_before_it() {
        let ranges = HashRanges::new([20, 10, 20]);
        let found = [0, 10, 19, 20, u128::MAX].map(|hash_key| ranges.of(hash_key));
        assert_eq!(found, [(0, 0), (0, 0), (0, 0), (1, 20), (1, 20)]);
        assert_eq!((HashRanges::new([]).of(7), ranges.count()), ((0, 0), 2));
    }

    proptest! {
        #[test]
        fn every_hash_key_is_in_one_range(starts: Vec<u128>, hash_key: u128) {
            let ranges = HashRanges::new(starts);
            let (place, start) = ranges.of(hash_key);
            prop_assert!(place < ranges.count() && start <= hash_key);
            prop_assert_eq!(ranges.of(start), (place, start));
        }
    }
}
