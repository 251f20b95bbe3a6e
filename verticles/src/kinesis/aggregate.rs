//! Which records go together into one entry. Pure: time comes in, entries come out.
//!
//! The Kinesis Client Library throws an aggregate away when one of its records belongs - by its explicit hash key, or else by the
//! MD5 of its partition key - outside the shard it was read from. Whoever trusts a map of the shards loses events that way
//! when a shard is split behind its back. So every record of an aggregate has the explicit hash key that the aggregate itself has,
//! and wherever the service puts the one, the others belong. The map decides only which events go together.
//!
//! That key is where the range of a shard begins, always the same for one range: the events of one partition key follow each
//! other into one shard, in order. When a shard is split, they go on together to the first of its children until the map is
//! renewed.

use std::time::Duration;

use adtrack_proto::aggregated::{Aggregate, UserRecord, hash_of};
use bytes::Bytes;

use super::entry::Entry;
use super::hash_ranges::HashRanges;
use super::record::Record;

/// The partition key of an aggregate, that of Amazon's own library: it says nothing, since the explicit hash key decides.
const PARTITION_KEY: &str = "a";

/// How long an aggregate may get, and how long it waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AggregateLimits {
    /// Bytes of one aggregate, its partition key included.
    pub bytes_max: usize,
    /// How long a record waits for others.
    pub linger: Duration,
}

/// Records that wait for others of their shard. Those that were read back from the log go by themselves, so that what comes now does
/// not have to wait with them.
///
/// It holds at most twice `bytes_max` for each range, and does not bound the number of records itself: whoever pushes holds
/// room for what is pushed.
#[derive(Debug)]
pub struct Aggregator {
    limits: AggregateLimits,
    ranges: HashRanges,
    // For each range those that come now.
    live: Vec<Group>,
    // For each range those that were read back.
    backlog: Vec<Group>,
    // When the record came that has waited longest, or a time before that.
    oldest: Option<Duration>,
}

impl Aggregator {
    /// One without records, for a stream whose shards have these ranges.
    pub fn new(limits: AggregateLimits, ranges: HashRanges) -> Self {
        let groups = || (0..ranges.count()).map(|_| Group::default()).collect();
        Self { limits, live: groups(), backlog: groups(), ranges, oldest: None }
    }

    /// Whether no record waits.
    pub fn is_empty(&self) -> bool {
        self.live.iter().chain(&self.backlog).all(|group| group.records.is_empty())
    }

    /// Takes a record that came at `now`. `ready` is given the entries that are full with that, and since when they wait.
    ///
    /// A record that does not fit into an aggregate goes as it is, behind those of its shard that came before it.
    pub fn push(&mut self, record: Record, now: Duration, mut ready: impl FnMut(Entry, Duration)) {
        let (place, hash_key) = self.ranges.of(hash_of(record.key()));
        let groups = if record.is_backlog() { &mut self.backlog } else { &mut self.live };
        let Some(group) = groups.get_mut(place) else { return ready(Entry::single_at(record, hash_key), now) };
        let len_max = self.limits.bytes_max.saturating_sub(PARTITION_KEY.len());
        let Some(record) = group.push(record, hash_key, len_max, now) else {
            self.oldest.get_or_insert(now);
            return;
        };
        if let Some((entry, since)) = group.close(hash_key) {
            ready(entry, since);
        }
        match group.push(record, hash_key, len_max, now) {
            None => _ = self.oldest.get_or_insert(now),
            Some(record) => ready(Entry::single_at(record, hash_key), now),
        }
    }

    /// Gives everything that waits, when one of the records has waited long enough, or when nothing is to wait any more
    /// (`flush`): what is not yet due goes along, since a call is made anyway.
    pub fn take_due(&mut self, now: Duration, flush: bool, ready: impl FnMut(Entry, Duration)) {
        if flush || self.next_due().is_some_and(|due| due <= now) {
            self.oldest = self.live.iter().chain(&self.backlog).filter_map(Group::since).min();
            if flush || self.next_due().is_some_and(|due| due <= now) {
                self.close_all(ready);
            }
        }
    }

    /// When to ask again; `None` when no record waits.
    pub fn next_due(&self) -> Option<Duration> {
        self.oldest.map(|oldest| oldest + self.limits.linger)
    }

    /// From now on the shards have other ranges. What waits is given at once.
    pub fn set_ranges(&mut self, ranges: HashRanges, ready: impl FnMut(Entry, Duration)) {
        if ranges != self.ranges {
            self.close_all(ready);
            *self = Self::new(self.limits, ranges);
        }
    }

    fn close_all(&mut self, mut ready: impl FnMut(Entry, Duration)) {
        for groups in [&mut self.live, &mut self.backlog] {
            for (group, start) in groups.iter_mut().zip(self.ranges.starts()) {
                if let Some((entry, since)) = group.close(start) {
                    ready(entry, since);
                }
            }
        }
        self.oldest = None;
    }
}

/// The records of one range.
#[derive(Debug, Default)]
struct Group {
    aggregate: Aggregate,
    records: Vec<Record>,
    // When the first of them came.
    since: Duration,
}

impl Group {
    fn since(&self) -> Option<Duration> {
        if self.records.is_empty() { None } else { Some(self.since) }
    }

    /// Gives the record back when it does not fit.
    fn push(&mut self, record: Record, hash_key: u128, len_max: usize, now: Duration) -> Option<Record> {
        let user_record =
            UserRecord { partition_key: record.key(), hash_key: Some(hash_key), data: record.payload().as_ref() };
        if !self.aggregate.push_within(user_record, len_max) {
            return Some(record);
        }
        if self.records.is_empty() {
            self.since = now;
        }
        self.records.push(record);
        None
    }

    /// One record alone goes as it is: nobody has to take it apart.
    fn close(&mut self, hash_key: u128) -> Option<(Entry, Duration)> {
        let since = self.since()?;
        // The next one will have about as many.
        let next = Vec::with_capacity(self.records.len());
        let mut records = std::mem::replace(&mut self.records, next);
        if records.len() > 1 {
            let data = Bytes::from(self.aggregate.finish());
            return Some((Entry::aggregate(PARTITION_KEY, hash_key, data, records), since));
        }
        self.aggregate.clear();
        records.pop().map(|record| (Entry::single_at(record, hash_key), since))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::HashMap;

    use adtrack_proto::aggregated::{Deaggregated, deaggregate};
    use proptest::prelude::*;

    use super::*;
    use crate::kinesis::record::tests::record;

    const MS: Duration = Duration::from_millis(1);
    const LIMITS: AggregateLimits = AggregateLimits { bytes_max: 51_200, linger: Duration::from_millis(20) };

    /// A key that belongs to this quarter of the hash keys.
    fn key_in(quarter: u128, name: &str) -> String {
        let fits = |key: &String| hash_of(key) >> 126 == quarter;
        (0..).map(|index| format!("{name}{index}")).find(fits).unwrap()
    }

    fn ids(entry: &Entry) -> Vec<&str> {
        entry.records().iter().map(Record::id).collect()
    }

    /// What an entry holds for whoever reads it from the stream: keys, hash keys and payloads.
    fn read(entry: &Entry) -> Vec<(String, u128, Vec<u8>)> {
        match deaggregate(entry.data()) {
            Deaggregated::Aggregate(records) => records
                .map(|record| (record.partition_key.to_owned(), record.hash_key.unwrap(), record.data.to_owned()))
                .collect(),
            Deaggregated::Single(data) => {
                vec![(entry.partition_key().to_owned(), entry.explicit_hash_key().unwrap(), data.to_owned())]
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn records_of_one_shard_go_together_and_belong_where_their_aggregate_goes() {
        let mut aggregator = Aggregator::new(LIMITS, HashRanges::even(4));
        let [a, b, c] = [key_in(0, "a"), key_in(3, "b"), key_in(3, "c")];
        for (key, at) in [(&a, 1), (&b, 2), (&c, 3)] {
            aggregator.push(record(key), at * MS, |entry, _| panic!("{entry:?} before it is due"));
        }
        aggregator.take_due(20 * MS, false, |entry, _| panic!("{entry:?} before it is due"));
        assert_eq!(aggregator.next_due(), Some(21 * MS));
        let mut entries = Vec::new();
        aggregator.take_due(21 * MS, false, |entry, since| entries.push((entry, since)));
        let [(first, first_since), (second, second_since)] = entries.as_slice() else { panic!("{entries:?}") };
        assert_eq!((ids(first), ids(second)), (vec![a.as_str()], vec![b.as_str(), c.as_str()]));
        assert_eq!((*first_since, *second_since), (MS, 2 * MS));
        // One alone goes as it is, and to the shard where the others of its key go.
        assert_eq!(
            (first.partition_key(), first.data(), first.explicit_hash_key()),
            (a.as_str(), record(&a).payload(), Some(0))
        );
        assert_eq!((second.partition_key(), second.explicit_hash_key()), ("a", Some(3 << 126)));
        let expected = [&b, &c].map(|key| (key.clone(), 3 << 126, record(key).payload().to_vec()));
        assert_eq!(read(second), expected);
        assert!(aggregator.is_empty() && aggregator.next_due().is_none());
    }

    #[test]
    fn a_full_aggregate_does_not_wait_and_the_next_waits_from_its_own_first_record() {
        let mut aggregator = Aggregator::new(AggregateLimits { bytes_max: 200, ..LIMITS }, HashRanges::even(1));
        let mut full = None;
        for at in 1.. {
            aggregator.push(record(&format!("{at}")), at * MS, |entry, since| full = Some((entry, since)));
            if let Some((entry, since)) = full.take() {
                assert_eq!((since, entry.events()), (MS, at as usize - 1));
                assert!(entry.bytes() <= 200 && entry.bytes() + record("1").bytes() + 12 > 200, "{}", entry.bytes());
                // The time of the first one is known to be over only when it comes.
                aggregator.take_due(21 * MS, false, |entry, _| panic!("{entry:?} before it is due"));
                assert_eq!(aggregator.next_due(), Some(at * MS + LIMITS.linger));
                break;
            }
        }
    }

    #[test]
    fn a_record_that_fits_no_aggregate_goes_as_it_is_behind_those_before_it() {
        let mut aggregator = Aggregator::new(AggregateLimits { bytes_max: 200, ..LIMITS }, HashRanges::even(1));
        let (long, mut entries) = ("x".repeat(200), Vec::new());
        for id in ["1", "2", &long, "3"] {
            aggregator.push(record(id), MS, |entry, _| entries.push(entry));
        }
        aggregator.take_due(MS, true, |entry, _| entries.push(entry));
        assert_eq!(entries.iter().map(ids).collect::<Vec<_>>(), [vec!["1", "2"], vec![&long], vec!["3"]]);
    }

    #[test]
    fn what_was_read_back_does_not_go_with_what_comes_now() {
        let mut aggregator = Aggregator::new(LIMITS, HashRanges::even(1));
        for id in ["1", "2"] {
            aggregator.push(record(id).read_back(), MS, |_, _| ());
            aggregator.push(record(&format!("now {id}")), MS, |_, _| ());
        }
        let mut entries = Vec::new();
        aggregator.take_due(MS, true, |entry, _| entries.push(entry));
        let told: Vec<_> = entries.iter().map(|entry| (ids(entry), entry.is_backlog())).collect();
        assert_eq!(told, [(vec!["now 1", "now 2"], false), (vec!["1", "2"], true)]);
    }

    #[test]
    fn other_ranges_give_what_waits_and_the_same_ones_do_not() {
        let mut aggregator = Aggregator::new(LIMITS, HashRanges::even(4));
        let (key, mut entries) = (key_in(1, "k"), Vec::new());
        aggregator.push(record(&key), MS, |_, _| ());
        aggregator.set_ranges(HashRanges::even(4), |entry, _| panic!("{entry:?} before it is due"));
        aggregator.set_ranges(HashRanges::even(2), |entry, _| entries.push(entry));
        aggregator.push(record(&key), MS, |_, _| ());
        aggregator.take_due(MS, true, |entry, _| entries.push(entry));
        assert_eq!(entries.iter().map(|entry| entry.explicit_hash_key().unwrap()).collect::<Vec<_>>(), [1 << 126, 0]);
    }

    proptest! {
        #[test]
        fn every_record_leaves_once_readable_in_its_shard_and_those_of_a_key_in_order(
            keys in prop::collection::vec((0..40_usize, 0..2_000_usize), 0..200), shards in 1..9_u32, bytes_max in 1..4_000_usize,
        ) {
            let limits = AggregateLimits { bytes_max, ..LIMITS };
            let mut aggregator = Aggregator::new(limits, HashRanges::even(shards));
            let sent: Vec<Record> = keys.iter().enumerate().map(|(at, (key, len))| keyed(&format!("key-{key}"), at, *len)).collect();
            let mut entries = Vec::new();
            for (at, record) in sent.iter().enumerate() {
                let now = at as u32 * MS;
                aggregator.push(record.clone(), now, |entry, _| entries.push(entry));
                aggregator.take_due(now, false, |entry, _| entries.push(entry));
            }
            aggregator.take_due(Duration::ZERO, true, |entry, _| entries.push(entry));
            prop_assert!(aggregator.is_empty());

            let mut by_key: HashMap<String, Vec<Record>> = HashMap::new();
            for entry in &entries {
                prop_assert!(entry.bytes() <= bytes_max || entry.events() == 1);
                let place = entry.explicit_hash_key().unwrap();
                let told = read(entry);
                prop_assert_eq!(told.len(), entry.events());
                for (record, (key, hash_key, data)) in entry.records().iter().zip(told) {
                    prop_assert_eq!((record.key(), &record.payload()[..], hash_key), (&*key, &data[..], place));
                    prop_assert_eq!(HashRanges::even(shards).of(hash_of(&key)).1, place);
                    by_key.entry(key).or_default().push(record.clone());
                }
            }
            for (key, records) in by_key {
                let expected: Vec<Record> = sent.iter().filter(|record| record.key() == key).cloned().collect();
                prop_assert_eq!(records, expected);
            }
            prop_assert_eq!(entries.iter().map(Entry::events).sum::<usize>(), sent.len());
        }
    }

    /// The how-many-eth record, under a key that others have, too.
    fn keyed(key: &str, nth: usize, len: usize) -> Record {
        use adtrack_config::PartitionKey;
        use adtrack_proto::wire::TrackingEvent;
        use prost::Message;
        let event = TrackingEvent {
            programid: key.into(),
            message_id: nth.to_string(),
            referer: "r".repeat(len),
            ..TrackingEvent::default()
        };
        Record::new(
            Bytes::from(event.encode_to_vec()),
            crate::kinesis::record::tests::SEGMENT,
            0,
            PartitionKey::Program,
        )
    }
}
