//! One stream: its shards, who is open, and how they split and merge.

use std::collections::BTreeMap;

use super::error::{ErrorType, ServiceError};
use super::hash_key::{HashKey, even_starts};
use super::shard::{Shard, shard_id, shard_index};

/// A third of the hash keys is not exactly two sixths: divisions round. Far more than that, far less than any real shard.
const ROUNDING: u128 = 1 << 32;

/// One stream with all the shards it ever had.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    pub(crate) arn: String,
    pub(crate) created_ms: u64,
    /// By index; closed ones stay.
    pub(crate) shards: Vec<Shard>,
    /// Open shards by the first hash key of their range; together they hold every hash key exactly once.
    open: BTreeMap<u128, u32>,
}

impl Stream {
    /// A stream whose `shard_count` shards divide the hash keys evenly. At least 1.
    pub(crate) fn new(name: &str, arn: String, shard_count: u32, created_ms: u64) -> Self {
        let mut stream = Self { name: name.to_owned(), arn, created_ms, shards: Vec::new(), open: BTreeMap::new() };
        let starts: Vec<u128> = even_starts(shard_count).collect();
        for (position, first) in starts.iter().enumerate() {
            let last = starts.get(position + 1).map_or(u128::MAX, |next| next - 1);
            stream.open_shard((HashKey(*first), HashKey(last)), created_ms);
        }
        stream
    }

    /// How many shards take records.
    pub(crate) fn open_count(&self) -> u32 {
        u32::try_from(self.open.len()).unwrap_or(u32::MAX)
    }

    /// The open shard whose range holds `key`.
    pub(crate) fn route(&mut self, key: HashKey) -> Option<&mut Shard> {
        let (_first, index) = self.open.range(..=key.0).next_back()?;
        self.shards.get_mut(*index as usize)
    }

    /// The shard with this id, open or closed.
    pub(crate) fn shard(&self, id: &str) -> Result<&Shard, ServiceError> {
        let index = shard_index(id).ok_or_else(|| self.no_such_shard(id))?;
        self.shards.get(index as usize).ok_or_else(|| self.no_such_shard(&shard_id(index)))
    }

    /// Closes the shard and opens two in its place, the upper one beginning at `second_first`.
    pub(crate) fn split(&mut self, id: &str, second_first: HashKey, now_ms: u64) -> Result<(), ServiceError> {
        let shard = self.shard(id)?;
        self.must_be_open(shard)?;
        let (first, last) = shard.range;
        if second_first.0 <= first.0.saturating_add(1) || second_first >= last {
            return Err(ServiceError::new(
                ErrorType::InvalidArgument,
                format!(
                    "NewStartingHashKey {second_first} used in SplitShard() on shard {} in stream {} is not both greater than one \
                     plus the shard's StartingHashKey {first} and less than the shard's EndingHashKey {last}.",
                    shard.id, self.name
                ),
            ));
        }
        let parent = shard.index;
        self.close_shard(parent, now_ms);
        for range in [(first, HashKey(second_first.0 - 1)), (second_first, last)] {
            let child = self.open_shard(range, now_ms);
            self.relate(parent, None, child);
        }
        Ok(())
    }

    /// Closes two shards that touch and opens one in their place; `lower` must lie just below `upper`.
    pub(crate) fn merge(&mut self, lower: &str, upper: &str, now_ms: u64) -> Result<(), ServiceError> {
        let (lower, upper) = (self.shard(lower)?, self.shard(upper)?);
        self.must_be_open(lower)?;
        self.must_be_open(upper)?;
        if lower.range.1.0.checked_add(1) != Some(upper.range.0.0) {
            return Err(ServiceError::new(
                ErrorType::InvalidArgument,
                format!(
                    "Shards {} and {} in stream {} are not an adjacent pair of shards eligible for merging",
                    lower.id, upper.id, self.name
                ),
            ));
        }
        let range = (lower.range.0, upper.range.1);
        let (parent, adjacent) = (lower.index, upper.index);
        self.close_shard(parent, now_ms);
        self.close_shard(adjacent, now_ms);
        let child = self.open_shard(range, now_ms);
        self.relate(parent, Some(adjacent), child);
        Ok(())
    }

    /// Brings the stream to `target` even shards by splits and merges, so that each shard has the parents a consumer expects.
    ///
    /// At least 1. A shard that begins within [`ROUNDING`] of an even start stays as it is.
    pub(crate) fn scale_to(&mut self, target: u32, now_ms: u64) -> Result<(), ServiceError> {
        let mut starts = Vec::new();
        for even in even_starts(target) {
            starts.push(self.cut_near(even, now_ms)?);
        }
        while let Some((lower, upper)) = self.pair_within(&starts) {
            self.merge(&shard_id(lower), &shard_id(upper), now_ms)?;
        }
        Ok(())
    }

    /// Where an open shard begins at `start` or close to it, after a split if there was none.
    fn cut_near(&mut self, start: u128, now_ms: u64) -> Result<u128, ServiceError> {
        let close = start.saturating_sub(ROUNDING)..=start.saturating_add(ROUNDING);
        if let Some((begins, _)) = self.open.range(close).next() {
            return Ok(*begins);
        }
        if let Some((_, index)) = self.open.range(..start).next_back() {
            self.split(&shard_id(*index), HashKey(start), now_ms)?;
        }
        Ok(start)
    }

    /// Two open neighbours with none of `starts` (sorted) between them.
    fn pair_within(&self, starts: &[u128]) -> Option<(u32, u32)> {
        let neighbours = self.open.iter().zip(self.open.iter().skip(1));
        neighbours
            .filter(|(_, (first, _))| starts.binary_search(first).is_err())
            .map(|((_, lower), (_, upper))| (*lower, *upper))
            .next()
    }

    fn open_shard(&mut self, range: (HashKey, HashKey), created_ms: u64) -> u32 {
        // CreateStream and the shard limit keep the count far below 2^32.
        let index = u32::try_from(self.shards.len()).unwrap_or(u32::MAX);
        self.shards.push(Shard::new(index, range, created_ms));
        self.open.insert(range.0.0, index);
        index
    }

    fn close_shard(&mut self, index: u32, now_ms: u64) {
        if let Some(shard) = self.shards.get_mut(index as usize) {
            shard.close(now_ms);
            self.open.remove(&shard.range.0.0);
        }
    }

    fn relate(&mut self, parent: u32, adjacent: Option<u32>, child: u32) {
        for index in [Some(parent), adjacent].into_iter().flatten() {
            if let Some(shard) = self.shards.get_mut(index as usize) {
                shard.children.push(child);
            }
        }
        if let Some(shard) = self.shards.get_mut(child as usize) {
            shard.parent = Some(parent);
            shard.adjacent_parent = adjacent;
        }
    }

    fn must_be_open(&self, shard: &Shard) -> Result<(), ServiceError> {
        if shard.closed.is_none() {
            return Ok(());
        }
        let message = format!("Shard {} in stream {} is closed", shard.id, self.name);
        Err(ServiceError::new(ErrorType::InvalidArgument, message))
    }

    fn no_such_shard(&self, id: &str) -> ServiceError {
        let message = format!("Could not find shard {id} in stream {}.", self.name);
        ServiceError::new(ErrorType::ResourceNotFound, message)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    const NOW_MS: u64 = 1_900_000_000_000;

    fn stream(shards: u32) -> Stream {
        Stream::new("s", "arn".to_owned(), shards, NOW_MS)
    }

    /// The open ranges in order, after checking that they hold every hash key exactly once.
    fn open_ranges(stream: &Stream) -> Vec<(u128, u128)> {
        let ranges: Vec<_> = stream
            .open
            .values()
            .map(|index| &stream.shards[*index as usize])
            .map(|shard| (shard.range.0.0, shard.range.1.0))
            .collect();
        assert_eq!(ranges.first().unwrap().0, 0);
        assert_eq!(ranges.last().unwrap().1, u128::MAX);
        assert!(ranges.windows(2).all(|pair| pair[0].1 + 1 == pair[1].0), "{ranges:?}");
        ranges
    }

    #[test]
    fn a_new_stream_divides_the_hash_keys_among_its_shards() {
        for count in [1, 2, 3, 7, 100] {
            assert_eq!(open_ranges(&stream(count)).len(), count as usize);
        }
    }

    #[test]
    fn a_record_goes_to_the_shard_whose_range_holds_its_key() {
        let mut stream = stream(5);
        for key in [0, 1, u128::MAX / 5, u128::MAX / 2, u128::MAX] {
            assert!(stream.route(HashKey(key)).unwrap().holds(HashKey(key)));
        }
    }

    #[test]
    fn a_split_closes_the_parent_and_names_its_children() {
        let mut stream = stream(1);
        stream.split("shardId-000000000000", HashKey(1 << 127), NOW_MS).unwrap();
        assert_eq!(open_ranges(&stream).len(), 2);
        assert!(stream.shards[0].closed.is_some());
        assert_eq!(stream.shards[0].children, [1, 2]);
        assert_eq!(stream.shards[2].parent, Some(0));
    }

    #[test]
    fn a_merge_closes_both_parents_and_names_their_child() {
        let mut stream = stream(2);
        stream.merge("shardId-000000000000", "shardId-000000000001", NOW_MS).unwrap();
        assert_eq!(open_ranges(&stream), [(0, u128::MAX)]);
        assert_eq!((stream.shards[2].parent, stream.shards[2].adjacent_parent), (Some(0), Some(1)));
        assert_eq!(stream.shards[1].children, [2]);
    }

    #[test]
    fn shards_that_do_not_touch_are_not_merged() {
        let mut stream = stream(3);
        for (lower, upper) in [("0", "2"), ("1", "0"), ("2", "0"), ("0", "0")] {
            assert!(stream.merge(lower, upper, NOW_MS).is_err(), "{lower} {upper}");
        }
        assert_eq!(open_ranges(&stream).len(), 3);
    }

    #[test]
    fn a_closed_shard_is_neither_split_nor_merged() {
        let mut stream = stream(1);
        stream.split("0", HashKey(1 << 127), NOW_MS).unwrap();
        assert!(stream.split("0", HashKey(1 << 126), NOW_MS).is_err());
        assert!(stream.merge("0", "1", NOW_MS).is_err());
    }

    #[test]
    fn a_split_outside_the_shards_range_is_refused() {
        let mut stream = stream(2);
        for key in [0, 1, (1 << 127) - 1, 1 << 127, u128::MAX] {
            assert!(stream.split("0", HashKey(key), NOW_MS).is_err(), "{key}");
        }
    }

    #[test]
    fn scaling_gives_even_shards_whose_parents_are_known() {
        for (from, to) in [(1, 2), (2, 1), (3, 5), (5, 3), (3, 6), (6, 3), (4, 4), (2, 8), (7, 1)] {
            let mut stream = stream(from);
            stream.scale_to(to, NOW_MS).unwrap();
            let starts: Vec<u128> = open_ranges(&stream).iter().map(|range| range.0).collect();
            assert_eq!(starts.len(), to as usize, "{from} to {to}");
            let off = starts.iter().zip(even_starts(to)).map(|(start, even)| start.abs_diff(even)).max();
            assert!(off <= Some(ROUNDING), "{from} to {to}: {off:?}");
            assert!(stream.shards.iter().skip(from as usize).all(|shard| shard.parent.is_some()));
        }
    }
}
