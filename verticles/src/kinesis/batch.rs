//! Which entries go into one call. Pure: time comes in, batches come out.

use std::collections::VecDeque;
use std::time::Duration;

use super::entry::Entry;
use super::lanes::Lanes;

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

/// Entries waiting to be sent: those that come now, and those that were read back from the log, each in the order they came.
///
/// A batch takes what comes now first and is filled up with what was read back, so that a recovery holds nobody up.
///
/// It does not bound itself: whoever pushes holds room for what is pushed.
#[derive(Debug)]
pub struct Batcher {
    limits: BatchLimits,
    live: Queue,
    backlog: Queue,
    // None: no order is kept between calls.
    lanes: Option<Lanes>,
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
        Self { limits, live: Queue::default(), backlog: Queue::default(), lanes: None }
    }

    /// The same that gives an entry away only when the one before it of the same lane is settled.
    #[must_use]
    pub fn ordered(mut self) -> Self {
        self.lanes = Some(Lanes::default());
        self
    }

    /// Appends an entry that came at `now`.
    pub fn push(&mut self, entry: Entry, now: Duration) {
        let entry = match &mut self.lanes {
            Some(lanes) => lanes.enter(entry, now),
            None => Some(entry),
        };
        if let Some(entry) = entry {
            self.queue_of(&entry).push_back(now, entry);
        }
    }

    /// Puts entries that were given away back in front, in their order; they have waited long enough.
    pub fn give_back(&mut self, entries: Vec<Entry>, now: Duration) {
        let since = now.saturating_sub(self.limits.linger);
        for entry in entries.into_iter().rev() {
            self.queue_of(&entry).push_front(since, entry);
        }
    }

    /// Takes an entry that was given away apart, and puts its records, each as an entry of its own, where it was.
    pub fn take_apart(&mut self, entry: Entry, now: Duration) {
        let lane = entry.lane();
        let apart: Vec<Entry> = entry.apart().collect();
        let Some(lanes) = &mut self.lanes else { return self.give_back(apart, now) };
        let (of_lane, others): (Vec<Entry>, Vec<Entry>) = apart.into_iter().partition(|entry| entry.lane() == lane);
        if let Some((since, first)) = lanes.come_apart(lane, of_lane, now) {
            self.queue_of(&first).push_front(since, first);
        }
        others.into_iter().for_each(|entry| self.push(entry, now));
    }

    /// An entry that was given away is settled: the next of its lane may go.
    pub fn settled(&mut self, entry: &Entry) {
        if let Some(lanes) = &mut self.lanes
            && let Some((since, next)) = lanes.leave(entry.lane())
        {
            self.queue_of(&next).push_back(since, next);
        }
    }

    /// Whether none is waiting.
    pub fn is_empty(&self) -> bool {
        self.ready() == 0 && self.lanes.as_ref().is_none_or(|lanes| lanes.waiting() == 0)
    }

    /// Takes the next batch, when one is full, when an entry has waited long enough, or when nothing is to wait any more
    /// (`flush`).
    ///
    /// A batch is within both limits; an entry that alone is above the limit on bytes goes alone.
    pub fn take(&mut self, now: Duration, flush: bool) -> Take {
        let since = [&self.live, &self.backlog].into_iter().filter_map(Queue::since).min();
        let Some(since) = since else { return Take::Nothing };
        let bytes = self.live.bytes + self.backlog.bytes;
        let full = self.ready() >= self.limits.entries_max || bytes >= self.limits.bytes_max;
        let due = since + self.limits.linger;
        if !full && !flush && now < due {
            return Take::WaitUntil(due);
        }
        let mut batch = Batch::new(self.limits, self.ready());
        if self.live.move_to(&mut batch) {
            self.backlog.move_to(&mut batch);
        }
        Take::Batch(batch.entries)
    }

    /// How many entries nothing stands in the way of.
    fn ready(&self) -> usize {
        self.live.waiting.len() + self.backlog.waiting.len()
    }

    fn queue_of(&mut self, entry: &Entry) -> &mut Queue {
        if entry.is_backlog() { &mut self.backlog } else { &mut self.live }
    }
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(Duration, Entry)>,
    bytes: usize,
}

impl Queue {
    fn push_back(&mut self, since: Duration, entry: Entry) {
        self.bytes += entry.bytes();
        self.waiting.push_back((since, entry));
    }

    fn push_front(&mut self, since: Duration, entry: Entry) {
        self.bytes += entry.bytes();
        self.waiting.push_front((since, entry));
    }

    /// Since when the first one waits.
    fn since(&self) -> Option<Duration> {
        self.waiting.front().map(|(since, _)| *since)
    }

    /// Moves what fits; whether that was all.
    fn move_to(&mut self, batch: &mut Batch) -> bool {
        while let Some((_, entry)) = self.waiting.pop_front_if(|(_, entry)| batch.has_room_for(entry)) {
            self.bytes -= entry.bytes();
            batch.push(entry);
        }
        self.waiting.is_empty()
    }
}

struct Batch {
    limits: BatchLimits,
    entries: Vec<Entry>,
    bytes: usize,
}

impl Batch {
    fn new(limits: BatchLimits, wanted: usize) -> Self {
        Self { limits, entries: Vec::with_capacity(wanted.min(limits.entries_max)), bytes: 0 }
    }

    fn has_room_for(&self, entry: &Entry) -> bool {
        let fits = self.entries.len() < self.limits.entries_max && self.bytes + entry.bytes() <= self.limits.bytes_max;
        fits || self.entries.is_empty()
    }

    fn push(&mut self, entry: Entry) {
        self.bytes += entry.bytes();
        self.entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::collections::BTreeSet;

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::kinesis::entry::tests::entry;
    use crate::kinesis::record::Record;
    use crate::kinesis::record::tests::{SEGMENT, payload, record};

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
        assert_eq!((batcher.take(50 * MS, false), batcher.live.bytes), (Take::Nothing, 0));
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

    #[test]
    fn what_comes_now_goes_first_and_a_batch_is_filled_up_with_what_was_read_back() {
        let read_back = |id: &str| Entry::single(record(id).read_back());
        let mut batcher = Batcher::new(LIMITS);
        for id in ["1", "2", "3", "4", "5"] {
            batcher.push(read_back(id), MS);
        }
        batcher.push(entry("a"), 2 * MS);
        assert_eq!(batch(batcher.take(2 * MS, false)), ["a", "1", "2"]);
        batcher.give_back(vec![read_back("2")], 2 * MS);
        for id in ["b", "c", "d", "e"] {
            batcher.push(entry(id), 2 * MS);
        }
        assert_eq!(batch(batcher.take(2 * MS, false)), ["b", "c", "d"]);
        assert_eq!(batch(batcher.take(2 * MS, false)), ["e", "2", "3"]);
    }

    #[test]
    fn in_order_a_batch_holds_one_entry_of_a_lane_and_the_next_goes_when_that_is_settled() {
        let mut batcher = Batcher::new(LIMITS).ordered();
        for id in ["a", "a", "b", "a"] {
            batcher.push(entry(id), MS);
        }
        assert_eq!(batch(batcher.take(MS, true)), ["a", "b"]);
        assert_eq!((batcher.take(MS, true), batcher.is_empty()), (Take::Nothing, false));
        batcher.give_back(vec![entry("a")], MS);
        assert_eq!(batch(batcher.take(MS, true)), ["a"]);
        batcher.settled(&entry("b"));
        assert_eq!(batcher.take(MS, true), Take::Nothing);
        batcher.settled(&entry("a"));
        assert_eq!(batch(batcher.take(MS, true)), ["a"]);
        batcher.settled(&entry("a"));
        assert_eq!(batch(batcher.take(MS, true)), ["a"]);
        batcher.settled(&entry("a"));
        assert!(batcher.is_empty());
    }

    #[test]
    fn an_entry_that_is_taken_apart_is_sent_on_in_its_place() {
        let keys = |take| batch(take).join(" ");
        for ordered in [false, true] {
            let mut batcher = Batcher::new(LIMITS);
            if ordered {
                batcher = batcher.ordered();
            }
            let several = Entry::aggregate("x", 7, Bytes::from_static(b"data"), vec![record("a"), record("b")]);
            batcher.push(several.clone(), MS);
            assert_eq!(keys(batcher.take(MS, true)), "x");
            batcher.push(Entry::aggregate("later", 7, Bytes::new(), vec![record("c")]), MS);
            batcher.take_apart(several, MS);
            let mut sent = Vec::new();
            while let Take::Batch(batch) = batcher.take(MS, true) {
                batch.iter().for_each(|entry| batcher.settled(entry));
                sent.extend(batch.iter().map(|entry| entry.partition_key().to_owned()));
            }
            sent.sort_by_key(|key| key == "later");
            assert_eq!(sent, ["a", "b", "later"]);
            assert!(batcher.is_empty());
        }
    }

    /// A stream that several calls are under way to, each of which ends when it likes and takes what it likes.
    fn ship(
        keys: &[(u8, bool)],
        ordered: bool,
        limits: BatchLimits,
        mut random: fastrand::Rng,
    ) -> Result<Vec<Entry>, TestCaseError> {
        let mut batcher = Batcher::new(limits);
        if ordered {
            batcher = batcher.ordered();
        }
        let mut waiting = keys.iter().enumerate().map(|(nth, (key, is_backlog))| {
            // The how-many-eth it is stands where its frame ends.
            let record = Record::new(Bytes::from(payload(&key.to_string())), SEGMENT, nth as u64);
            Entry::single(if *is_backlog { record.read_back() } else { record })
        });
        let (mut calls, mut stored): (Vec<Vec<Entry>>, _) = (Vec::new(), Vec::new());
        loop {
            waiting.by_ref().take(random.usize(0..6)).for_each(|entry| batcher.push(entry, MS));
            while calls.len() < 3
                && let Take::Batch(batch) = batcher.take(MS, true)
            {
                let bytes: usize = batch.iter().map(Entry::bytes).sum();
                prop_assert!(!batch.is_empty() && batch.len() <= limits.entries_max);
                prop_assert!(bytes <= limits.bytes_max || batch.len() == 1);
                calls.push(batch);
                let lanes: Vec<u16> = calls.iter().flatten().map(Entry::lane).collect();
                let distinct: BTreeSet<&u16> = lanes.iter().collect();
                prop_assert!(!ordered || distinct.len() == lanes.len(), "two of a lane are under way");
            }
            if calls.is_empty() {
                if waiting.len() == 0 {
                    prop_assert!(batcher.is_empty());
                    return Ok(stored);
                }
                continue;
            }
            let answered = calls.swap_remove(random.usize(..calls.len()));
            let (taken, failed): (Vec<Entry>, Vec<Entry>) = answered.into_iter().partition(|_| random.bool());
            for entry in &taken {
                batcher.settled(entry);
            }
            stored.extend(taken);
            batcher.give_back(failed, MS);
        }
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
                prop_assert_eq!((batcher.is_empty(), batcher.live.bytes), (true, 0));
            }

            #[test]
            fn whatever_fails_nothing_is_lost_or_sent_again_and_in_order_each_key_keeps_its_order(
                keys in proptest::collection::vec((0..8_u8, any::<bool>()), 0..80),
                entries_max in 1..10_usize, bytes_max in 1..60_usize, ordered: bool, seed: u64,
            ) {
                let limits = BatchLimits { entries_max, bytes_max, linger: MS };
                let stored = ship(&keys, ordered, limits, fastrand::Rng::with_seed(seed))?;
                let place = |entry: &Entry| entry.records()[0].place().end;
                let mut places: Vec<u64> = stored.iter().map(place).collect();
                for key in 0..8_u8 {
                    let of_key = stored.iter().filter(|entry| entry.partition_key() == key.to_string());
                    prop_assert!(!ordered || of_key.is_sorted_by_key(place));
                }
                places.sort_unstable();
                prop_assert_eq!(places, (0..keys.len() as u64).collect::<Vec<_>>());
            }
    }
}
