//! Which entries go into one call. Pure: time comes in, batches come out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use super::entry::Entry;
use super::lanes::Lanes;
use super::pacer::ShardRate;
use super::room::Free;
use super::shard::{Shard, ShardId};
use super::shard_map::ShardMap;
use super::shard_queue::{Batch, Queue, ShardQueue};

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

/// Entries waiting to be sent: by shard, as far as the shards are known, and first those that come now, then those that were read
/// back from the log, each in the order they came.
///
/// A batch takes what comes now first and is filled up with what was read back, so that a recovery holds nobody up; and it
/// takes from each shard's no more than the shard takes, so that one that is full holds up nobody but itself.
///
/// It does not bound itself: whoever pushes holds room for what is pushed. That room is one for all; so that a shard which gets more
/// than it takes does not fill it, an entry that is offered is given back when its shard holds more than its share.
#[derive(Debug)]
pub struct Batcher {
    limits: BatchLimits,
    rate: ShardRate,
    map: Option<ShardMap>,
    // Of no shard: while the shards are not known.
    shards: BTreeMap<Option<ShardId>, ShardQueue>,
    // Whose turn it is.
    turn: Option<ShardId>,
    // None: no order is kept between calls.
    lanes: Option<Lanes>,
}

/// One in so many of what is free may wait for one shard.
const SHARE: usize = 4;

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
    /// A batcher without entries, that does not know the shards; once it does, each gets no more than this.
    pub fn new(limits: BatchLimits, rate: ShardRate) -> Self {
        Self { limits, rate, map: None, shards: BTreeMap::new(), turn: None, lanes: None }
    }

    /// The same that gives an entry away only when the one before it of the same lane is settled.
    #[must_use]
    pub fn ordered(mut self) -> Self {
        self.lanes = Some(Lanes::default());
        self
    }

    /// The shards are these, or not known any more; what waits is divided among them anew. Whether that is news.
    pub fn set_shards(&mut self, map: Option<ShardMap>) -> bool {
        if map == self.map {
            return false;
        }
        self.map = map;
        let mut before = std::mem::take(&mut self.shards);
        let waiting: Vec<_> = before.values_mut().flat_map(|queue| queue.drain().collect::<Vec<_>>()).collect();
        // A shard that stays keeps its pace.
        let stays = self.map.iter().flat_map(ShardMap::shards).map(|shard| Some(shard.id));
        self.shards = stays.filter_map(|id| before.remove_entry(&id)).collect();
        for (since, entry) in waiting {
            self.place(entry, |queue, entry| queue.push_back(since, entry));
        }
        true
    }

    /// Appends an entry that came at `now`.
    pub fn push(&mut self, entry: Entry, now: Duration) {
        let entry = match &mut self.lanes {
            Some(lanes) => lanes.enter(entry, now),
            None => Some(entry),
        };
        if let Some(entry) = entry {
            self.place(entry, |queue, entry| queue.push_back(now, entry));
        }
    }

    /// Appends an entry that came at `now`, unless its shard has more waiting than is fair while so much room is free: then it is given
    /// back.
    ///
    /// A shard may hold a quarter of what is free - dynamic thresholds, as for customers: one that takes nothing comes to hold a
    /// fifth of the room, and four of them a half. When all shards have more there is nobody to be fair to, and when the
    /// shards are not known, or order is kept, none is given back.
    pub fn offer(&mut self, mut entry: Entry, now: Duration, free: Free) -> Option<Entry> {
        if self.lanes.is_some() {
            self.push(entry, now);
            return None;
        }
        self.assign(&mut entry);
        let queue = self.shards.get(&entry.shard());
        if queue.is_some_and(|queue| queue.holds_more_than(free, SHARE)) && self.is_unfair(free, SHARE) {
            return Some(entry);
        }
        self.enqueue(entry, |queue, entry| queue.push_back(now, entry));
        None
    }

    /// Whether some shards have more waiting than one in `part` of what is free, and others have not.
    fn is_unfair(&self, free: Free, part: usize) -> bool {
        let Some(map) = &self.map else { return false };
        let over =
            |shard: &Shard| self.shards.get(&Some(shard.id)).is_some_and(|queue| queue.holds_more_than(free, part));
        !map.shards().iter().all(over)
    }

    /// What the shards hold of the room, in events and bytes, that have more waiting than half of their share: what would be read back for
    /// them might come too early. None when there is no such shard; nothing when there is no other, for which that would matter.
    pub fn crowded(&self, free: Free) -> Option<(usize, usize)> {
        let crowded = self.shards.values().filter(|queue| queue.holds_more_than(free, SHARE * 2));
        let held = crowded.map(ShardQueue::held).reduce(|sum, held| (sum.0 + held.0, sum.1 + held.1))?;
        Some(if self.is_unfair(free, SHARE * 2) { held } else { (0, 0) })
    }

    /// Puts entries that were given away back in front, in their order; they have waited long enough.
    pub fn give_back(&mut self, entries: Vec<Entry>, now: Duration) {
        let since = now.saturating_sub(self.limits.linger);
        for entry in entries.into_iter().rev() {
            self.place(entry, |queue, entry| queue.push_front(since, entry));
        }
    }

    /// An outage is over: what has waited is backlog by now, and holds up nothing that comes from here on.
    pub fn outage_ended(&mut self) {
        self.shards.values_mut().for_each(ShardQueue::becomes_backlog);
    }

    /// Takes an entry that was given away apart, and puts its records, each as an entry of its own, where it was.
    pub fn take_apart(&mut self, entry: Entry, now: Duration) {
        let lane = entry.lane();
        let apart: Vec<Entry> = entry.apart().collect();
        let Some(lanes) = &mut self.lanes else { return self.give_back(apart, now) };
        let (of_lane, others): (Vec<Entry>, Vec<Entry>) = apart.into_iter().partition(|entry| entry.lane() == lane);
        if let Some((since, first)) = lanes.come_apart(lane, of_lane, now) {
            self.place(first, |queue, entry| queue.push_front(since, entry));
        }
        others.into_iter().for_each(|entry| self.push(entry, now));
    }

    /// An entry that was given away is settled: the next of its lane may go.
    pub fn settled(&mut self, entry: &Entry) {
        if let Some(queue) = self.shards.get_mut(&entry.shard()) {
            queue.pacer.took();
        }
        if let Some(lanes) = &mut self.lanes
            && let Some((since, next)) = lanes.leave(entry.lane())
        {
            self.place(next, |queue, entry| queue.push_back(since, entry));
        }
    }

    /// The shards of these entries have turned them away, and are left alone for as long as `pause` says of the number of times
    /// they did so one after the other. Gives how many shards those are.
    pub fn turned_away(&mut self, entries: &[Entry], now: Duration, mut pause: impl FnMut(u32) -> Duration) -> usize {
        let shards: BTreeSet<ShardId> = entries.iter().filter_map(Entry::shard).collect();
        for shard in &shards {
            if let Some(queue) = self.shards.get_mut(&Some(*shard)) {
                let tries = queue.pacer.turned_away();
                queue.pacer.pause(now, now + pause(tries));
            }
        }
        shards.len()
    }

    /// Whether none is waiting.
    pub fn is_empty(&self) -> bool {
        self.shards.values().all(ShardQueue::is_empty) && self.lanes.as_ref().is_none_or(|lanes| lanes.waiting() == 0)
    }

    /// Takes the next batch, when one is full, when an entry has waited long enough, or when nothing is to wait any more
    /// (`flush`). Shards that are to be left alone are.
    ///
    /// A batch is within both limits; an entry that alone is above the limit on bytes goes alone.
    pub fn take(&mut self, now: Duration, flush: bool) -> Take {
        let (mut entries, mut bytes) = (0, 0);
        let (mut due, mut later) = (None, None);
        for queue in self.shards.values_mut() {
            let Some(since) = queue.since() else { continue };
            let ready = queue.pacer.ready_at(now);
            if ready > now {
                later = earliest(later, ready);
                continue;
            }
            entries += queue.len();
            bytes += queue.bytes();
            due = earliest(due, since + self.limits.linger);
        }
        let full = entries >= self.limits.entries_max || bytes >= self.limits.bytes_max;
        match due {
            Some(due) if full || flush || due <= now => Take::Batch(self.cut(entries, now)),
            Some(due) => Take::WaitUntil(later.map_or(due, |later: Duration| later.min(due))),
            None => later.map_or(Take::Nothing, Take::WaitUntil),
        }
    }

    fn cut(&mut self, wanted: usize, now: Duration) -> Vec<Entry> {
        let mut batch = Batch::new(self.limits, wanted);
        // Each time another one is first, so that a batch that is full with one of them leaves none out for ever.
        let order: Vec<Option<ShardId>> = {
            let behind = self.shards.range((Bound::Excluded(self.turn), Bound::Unbounded));
            behind.chain(self.shards.range(..=self.turn)).map(|(shard, _)| *shard).collect()
        };
        self.turn = order.first().copied().flatten();
        for part in [ShardQueue::live, ShardQueue::backlog] {
            for shard in &order {
                if let Some(queue) = self.shards.get_mut(shard)
                    && queue.pacer.ready_at(now) <= now
                {
                    let (queue, pacer) = part(queue);
                    queue.move_to(&mut batch, pacer);
                }
            }
        }
        batch.into_entries()
    }

    fn place(&mut self, mut entry: Entry, put: impl FnOnce(&mut Queue, Entry)) {
        self.assign(&mut entry);
        self.enqueue(entry, put);
    }

    fn assign(&self, entry: &mut Entry) {
        entry.set_shard(self.map.as_ref().and_then(|map| map.of(entry.hash_key())));
    }

    fn enqueue(&mut self, entry: Entry, put: impl FnOnce(&mut Queue, Entry)) {
        let shard = entry.shard();
        // Nobody knows what those of no shard go to.
        let rate = if shard.is_some() { self.rate } else { ShardRate::UNPACED };
        let queue = self.shards.entry(shard).or_insert_with(|| ShardQueue::new(rate));
        put(queue.queue_of(&entry), entry);
    }
}

fn earliest(one: Option<Duration>, other: Duration) -> Option<Duration> {
    Some(one.map_or(other, |one| one.min(other)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use adtrack_config::PartitionKey;
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::kinesis::entry::tests::entry;
    use crate::kinesis::record::Record;
    use crate::kinesis::record::tests::{SEGMENT, payload, record};
    use crate::kinesis::shard::Shard;

    const MS: Duration = Duration::from_millis(1);
    const LIMITS: BatchLimits = BatchLimits { entries_max: 3, bytes_max: 1_000, linger: Duration::from_millis(20) };

    fn unpaced(limits: BatchLimits) -> Batcher {
        Batcher::new(limits, ShardRate::UNPACED)
    }

    fn batch(take: Take) -> Vec<String> {
        match take {
            Take::Batch(entries) => entries.iter().map(|entry| entry.partition_key().to_owned()).collect(),
            other => panic!("no batch but {other:?}"),
        }
    }

    #[test]
    fn an_entry_waits_for_others_and_no_longer_than_the_linger_time() {
        let mut batcher = unpaced(LIMITS);
        assert_eq!(batcher.take(MS, false), Take::Nothing);
        batcher.push(entry("a"), 5 * MS);
        batcher.push(entry("b"), 15 * MS);
        assert_eq!(batcher.take(24 * MS, false), Take::WaitUntil(25 * MS));
        assert_eq!(batch(batcher.take(25 * MS, false)), ["a", "b"]);
        assert_eq!(batcher.take(25 * MS, false), Take::Nothing);
    }

    #[test]
    fn a_full_batch_does_not_wait() {
        let mut batcher = unpaced(LIMITS);
        for id in ["a", "b", "c", "d"] {
            batcher.push(entry(id), MS);
        }
        assert_eq!(batch(batcher.take(MS, false)), ["a", "b", "c"]);
        assert_eq!(batcher.take(MS, false), Take::WaitUntil(21 * MS));
        assert_eq!(batch(batcher.take(MS, true)), ["d"]);
    }

    #[test]
    fn entries_given_back_go_first_and_at_once_with_those_that_wait() {
        let mut batcher = unpaced(LIMITS);
        batcher.push(entry("c"), 50 * MS);
        batcher.give_back(vec![entry("a"), entry("b")], 50 * MS);
        batcher.push(entry("d"), 50 * MS);
        assert_eq!(batch(batcher.take(50 * MS, false)), ["a", "b", "c"]);
        batcher.give_back(vec![entry("a")], 50 * MS);
        assert_eq!(batch(batcher.take(50 * MS, false)), ["a", "d"]);
        assert_eq!(
            (batcher.take(50 * MS, false), batcher.shards.values().map(ShardQueue::bytes).sum::<usize>()),
            (Take::Nothing, 0)
        );
        batcher.give_back(Vec::new(), 50 * MS);
        assert!(batcher.is_empty());
    }

    #[test]
    fn bytes_count_with_their_keys_and_an_entry_above_the_limit_goes_alone() {
        let mut batcher = unpaced(BatchLimits { bytes_max: 2 * entry("a").bytes(), ..LIMITS });
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
        let mut batcher = unpaced(LIMITS);
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
    fn behind_an_outage_what_comes_goes_before_what_has_waited() {
        let mut batcher = unpaced(LIMITS);
        batcher.push(Entry::single(record("1").read_back()), MS);
        ["a", "b", "c", "d"].iter().for_each(|id| batcher.push(entry(id), MS));
        batcher.outage_ended();
        batcher.push(entry("now"), MS);
        assert_eq!(batch(batcher.take(MS, true)), ["now", "a", "b"]);
        assert_eq!(batch(batcher.take(MS, true)), ["c", "d", "1"]);
        assert!(batcher.is_empty());
    }

    #[test]
    fn in_order_a_batch_holds_one_entry_of_a_lane_and_the_next_goes_when_that_is_settled() {
        let mut batcher = unpaced(LIMITS).ordered();
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
    fn a_shard_has_its_share_of_what_is_free_unless_all_have_more_or_order_is_kept() {
        let halves = || {
            ShardMap::new(
                [(0, 0), (1, 1 << 127)].map(|(id, first_hash_key)| Shard { id: ShardId(id), first_hash_key }).to_vec(),
            )
        };
        let shard_of = |id: &str| halves().unwrap().of(entry(id).hash_key()).unwrap().0;
        let of = |shard: u64| (0..).map(|id: u32| id.to_string()).filter(move |id| shard_of(id) == shard);
        let free = |events| Free { events, bytes: usize::MAX };
        let offer = |batcher: &mut Batcher, id: String, free| batcher.offer(entry(&id), MS, free).is_none();

        let mut batcher = unpaced(LIMITS);
        assert!(offer(&mut batcher, "unknown".into(), free(0)) && offer(&mut batcher, "shards".into(), free(0)));
        let mut batcher = unpaced(LIMITS);
        batcher.set_shards(halves());
        let (mut left, mut right) = (of(0), of(1));
        let mut offered = |batcher: &mut Batcher, which: u64, events| {
            let id = if which == 0 { left.next() } else { right.next() };
            offer(batcher, id.unwrap(), free(events))
        };
        assert!((0..5).all(|_| offered(&mut batcher, 0, 16)));
        assert!(!offered(&mut batcher, 0, 16) && offered(&mut batcher, 1, 16));
        assert!(offered(&mut batcher, 0, 20), "more is free");
        let crowded = [40, 48].map(|events| batcher.crowded(free(events)).map(|(events, _)| events));
        assert_eq!(crowded, [Some(6), None]);
        assert!(offered(&mut batcher, 1, 0) && offered(&mut batcher, 0, 0), "there is nobody to be fair to");
        assert!(!offered(&mut batcher, 0, 20), "but there is");

        let bytes = Free { events: usize::MAX, bytes: 4 * entry("0").held_bytes() };
        let mut batcher = unpaced(LIMITS);
        batcher.set_shards(halves());
        let offers: Vec<bool> = of(0).take(3).map(|id| offer(&mut batcher, id, bytes)).collect();
        assert_eq!(offers, [true, true, false]);

        let mut batcher = unpaced(LIMITS).ordered();
        batcher.set_shards(halves());
        assert!(of(0).take(9).all(|id| offer(&mut batcher, id, free(0))));
    }

    #[test]
    fn an_entry_that_is_taken_apart_is_sent_on_in_its_place() {
        let keys = |take| batch(take).join(" ");
        for ordered in [false, true] {
            let mut batcher = unpaced(LIMITS);
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

    /// Shards of an eighth of the hash keys each.
    fn eight_shards() -> Option<ShardMap> {
        ShardMap::new((0..8).map(|id| Shard { id: ShardId(id), first_hash_key: u128::from(id) << 125 }).collect())
    }

    #[test]
    fn a_shard_that_turns_entries_away_is_left_alone_and_the_others_go_on() {
        let mut batcher = Batcher::new(BatchLimits { entries_max: 100, ..LIMITS }, ShardRate::UNPACED);
        let ids: Vec<String> = (0..40).map(|id| id.to_string()).collect();
        assert!(batcher.set_shards(eight_shards()) && !batcher.set_shards(eight_shards()));
        ids.iter().for_each(|id| batcher.push(entry(id), MS));
        let Take::Batch(sent) = batcher.take(MS, true) else { panic!("no batch") };
        let full = sent[0].shard();
        let (of_full, others): (Vec<Entry>, Vec<Entry>) = sent.into_iter().partition(|entry| entry.shard() == full);
        assert!(others.len() > 20 && of_full.len() > 1);
        for tries in 1..4 {
            let paused = batcher.turned_away(&of_full, MS, |times| times * 100 * MS);
            batcher.give_back(of_full.clone(), MS);
            batcher.give_back(others.clone(), MS);
            assert_eq!((paused, batch(batcher.take(MS, true)).len()), (1, others.len()));
            let until = MS + tries * 100 * MS;
            assert_eq!(batcher.take(until - MS, true), Take::WaitUntil(until));
            assert_eq!(batch(batcher.take(until, true)).len(), of_full.len());
        }
        batcher.settled(&of_full[0]);
        batcher.give_back(of_full.clone(), MS);
        batcher.turned_away(&of_full, MS, |times| times * 100 * MS);
        assert_eq!(batcher.take(MS, true), Take::WaitUntil(301 * MS), "the longest pause, and counted from one again");
    }

    #[test]
    fn no_shard_is_sent_more_than_it_takes_and_none_waits_for_another() {
        let rate = ShardRate { entries_per_s: 40, bytes_per_s: 1_000_000 };
        let mut batcher = Batcher::new(BatchLimits { entries_max: 100, ..LIMITS }, rate);
        batcher.set_shards(eight_shards());
        (0..200).for_each(|id| batcher.push(entry(&id.to_string()), MS));
        let Take::Batch(sent) = batcher.take(MS, true) else { panic!("no batch") };
        for shard in (0..8).map(ShardId) {
            assert_eq!(sent.iter().filter(|entry| entry.shard() == Some(shard)).count(), 10, "a quarter of a second's");
        }
        let Take::WaitUntil(later) = batcher.take(MS, true) else { panic!("too early") };
        assert!((100 * MS..150 * MS).contains(&later), "{later:?}");
        let more = batch(batcher.take(later, true)).len();
        assert!((40..=48).contains(&more), "half of that, and one for what is left over: {more}");
    }

    #[test]
    fn shards_take_turns_where_one_fills_the_batch() {
        let mut batcher = unpaced(LIMITS);
        batcher.set_shards(eight_shards());
        (0..800).for_each(|id| batcher.push(entry(&id.to_string()), MS));
        let mut first = BTreeSet::new();
        for _ in 0..8 {
            let Take::Batch(sent) = batcher.take(MS, true) else { panic!("no batch") };
            first.extend(sent.iter().filter_map(Entry::shard));
        }
        assert_eq!(first.len(), 8);
    }

    #[test]
    fn when_the_shards_change_what_waits_is_divided_anew_and_a_shard_that_stays_keeps_its_pause() {
        let mut batcher = unpaced(BatchLimits { entries_max: 100, ..LIMITS });
        (0..40).for_each(|id| batcher.push(entry(&id.to_string()), MS));
        batcher.set_shards(eight_shards());
        let Take::Batch(sent) = batcher.take(MS, true) else { panic!("no batch") };
        assert!(sent.iter().all(|entry| entry.shard().is_some()));
        let of_7: Vec<Entry> = sent.iter().filter(|entry| entry.shard() == Some(ShardId(7))).cloned().collect();
        batcher.turned_away(&of_7, MS, |_| 50 * MS);
        batcher.give_back(sent, MS);
        // All but the last one are merged into another.
        let halves = [(8, 0), (7, 7 << 125)].map(|(id, first_hash_key)| Shard { id: ShardId(id), first_hash_key });
        batcher.set_shards(ShardMap::new(halves.into()));
        let Take::Batch(sent) = batcher.take(MS, true) else { panic!("no batch") };
        assert_eq!(sent.len(), 40 - of_7.len());
        assert!(sent.iter().all(|entry| entry.shard() == Some(ShardId(8))));
        assert_eq!(batcher.take(MS, true), Take::WaitUntil(51 * MS));
        batcher.set_shards(None);
        assert_eq!(batch(batcher.take(MS, true)).len(), of_7.len());
        assert!(batcher.is_empty());
    }

    /// A stream that several calls are under way to, each of which ends when it likes and takes what it likes.
    fn ship(
        keys: &[(u8, bool)],
        ordered: bool,
        limits: BatchLimits,
        mut random: fastrand::Rng,
    ) -> Result<Vec<Entry>, TestCaseError> {
        let mut batcher = unpaced(limits);
        if ordered {
            batcher = batcher.ordered();
        }
        let mut waiting = keys.iter().enumerate().map(|(nth, (key, is_backlog))| {
            // The how-many-eth it is stands where its frame ends.
            let record =
                Record::new(Bytes::from(payload(&key.to_string())), SEGMENT, nth as u64, PartitionKey::MessageId);
            Entry::single(if *is_backlog { record.read_back() } else { record })
        });
        let (mut calls, mut stored): (Vec<Vec<Entry>>, _) = (Vec::new(), Vec::new());
        loop {
            waiting.by_ref().take(random.usize(0..6)).for_each(|entry| batcher.push(entry, MS));
            if random.u8(..10) == 0 {
                batcher.set_shards(if random.bool() { eight_shards() } else { None });
            }
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
                let mut batcher = unpaced(limits);
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
                prop_assert_eq!((batcher.is_empty(), batcher.shards.values().map(ShardQueue::bytes).sum::<usize>()), (true, 0));
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
