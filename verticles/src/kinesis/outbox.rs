//! What is in memory on its way to the stream: put together where the format says so, in a queue for each shard, and with the room it
//! takes. Pure.

use std::time::Duration;

use adtrack_config::{KinesisConfig, RecordFormat};

use super::aggregate::{AggregateLimits, Aggregator};
use super::batch::{BatchLimits, Batcher, Take};
use super::entry::Entry;
use super::hash_ranges::HashRanges;
use super::pacer::ShardRate;
use super::record::Record;
use super::room::Held;
use super::shard_map::ShardMap;

/// Records, from where they are taken over to where they are settled.
///
/// It does not bound itself: whoever pushes brings the room for what is pushed. What is put together is there twice, as records and as
/// what is sent, and takes room for both.
///
/// An entry of a shard that has more waiting than its share of what is free is crowded out: it is not kept, and whoever pushed takes
/// it back to the log.
#[derive(Debug)]
pub struct Outbox {
    // In the format that puts records together: those that wait for that.
    aggregator: Option<Aggregator>,
    batcher: Batcher,
    held: Held,
    crowded_out: Vec<Entry>,
    may_crowd_out: bool,
}

impl Outbox {
    /// An empty one, which takes its room where `held` has it.
    pub fn new(config: &KinesisConfig, held: Held) -> Self {
        let limits = BatchLimits {
            entries_max: config.batch_records_max,
            bytes_max: config.batch_bytes_max,
            linger: config.linger,
        };
        let aggregates = AggregateLimits { bytes_max: config.aggregate_bytes_max, linger: config.linger };
        let aggregator =
            (config.format == RecordFormat::Aggregated).then(|| Aggregator::new(aggregates, HashRanges::unknown()));
        let rate = ShardRate { entries_per_s: config.shard_records_per_s, bytes_per_s: config.shard_bytes_per_s };
        let batcher = Batcher::new(limits, rate);
        let batcher = if config.ordered { batcher.ordered() } else { batcher };
        Self { aggregator, batcher, held, crowded_out: Vec::new(), may_crowd_out: true }
    }

    /// Whether entries may be crowded out from now on, or are kept whatever they are.
    pub fn set_may_crowd_out(&mut self, may: bool) {
        self.may_crowd_out = may;
    }

    /// Takes records over, with the room they take.
    pub fn push(&mut self, records: impl Iterator<Item = Record>, held: Held, now: Duration) {
        self.held.absorb(held);
        let Self { aggregator, batcher, held, crowded_out, may_crowd_out } = self;
        let mut queue = |entry, since| enter(batcher, held, crowded_out, *may_crowd_out, entry, since);
        for record in records {
            match aggregator {
                Some(aggregator) => aggregator.push(record, now, &mut queue),
                None => queue(Entry::single(record), now),
            }
        }
    }

    /// Takes an entry back that was crowded out, whatever its shard has waiting.
    pub fn keep(&mut self, entry: Entry, since: Duration) {
        self.held.take(entry.events(), entry.held_bytes());
        self.batcher.push(entry, since);
    }

    /// Takes the next batch, see [`Batcher::take`].
    ///
    /// What waits to be put together goes into the queue when it is due, and only when this is asked: until then there is time for
    /// company.
    pub fn take(&mut self, now: Duration, flush: bool) -> Take {
        let Self { aggregator, batcher, held, crowded_out, may_crowd_out } = self;
        let mut due = None;
        if let Some(aggregator) = aggregator {
            let queue = |entry, since| enter(batcher, held, crowded_out, *may_crowd_out, entry, since);
            aggregator.take_due(now, flush, queue);
            due = aggregator.next_due();
        }
        match (batcher.take(now, flush), due) {
            (Take::WaitUntil(one), Some(other)) => Take::WaitUntil(one.min(other)),
            (Take::Nothing, Some(due)) => Take::WaitUntil(due),
            (take, _) => take,
        }
    }

    /// Gives what was crowded out since it was asked last; the room is free already.
    pub fn take_crowded_out(&mut self) -> Vec<Entry> {
        std::mem::take(&mut self.crowded_out)
    }

    /// What the shards hold, in events and bytes, that hold so much of their share that more of it is not to be read back.
    pub fn crowded(&self) -> Option<(usize, usize)> {
        self.batcher.crowded(self.held.free())
    }

    /// Takes entries back that were given and not stored; they go with the next ones.
    pub fn give_back(&mut self, entries: Vec<Entry>, now: Duration) {
        self.batcher.give_back(entries, now);
    }

    /// Takes an entry back and apart; its records go in its place.
    pub fn take_apart(&mut self, entry: Entry, now: Duration) {
        self.held.release(0, entry.copied_bytes());
        self.batcher.take_apart(entry, now);
    }

    /// An entry that was given is settled: its room is free, and the next of its lane may go.
    pub fn settled(&mut self, entry: &Entry) {
        self.held.release(entry.events(), entry.held_bytes());
        self.batcher.settled(entry);
    }

    /// The shards are these, or not known any more. Whether that is news.
    pub fn set_shards(&mut self, map: Option<ShardMap>) -> bool {
        let ranges = map.as_ref().map(|map| HashRanges::new(map.shards().iter().map(|shard| shard.first_hash_key)));
        if !self.batcher.set_shards(map) {
            return false;
        }
        // Shards that are not known any more are taken to be as they were.
        if let (Some(aggregator), Some(ranges)) = (&mut self.aggregator, ranges) {
            let (batcher, held) = (&mut self.batcher, &mut self.held);
            aggregator.set_ranges(ranges, |entry, since| enter(batcher, held, &mut Vec::new(), false, entry, since));
        }
        true
    }

    /// These shards have turned entries away, see [`Batcher::turned_away`].
    pub fn turned_away(&mut self, entries: &[Entry], now: Duration, pause: impl FnMut(u32) -> Duration) -> usize {
        self.batcher.turned_away(entries, now, pause)
    }

    /// An outage is over, see [`Batcher::outage_ended`].
    pub fn outage_ended(&mut self) {
        self.batcher.outage_ended();
    }

    /// Whether no record waits to be sent.
    pub fn is_idle(&self) -> bool {
        self.batcher.is_empty() && self.aggregator.as_ref().is_none_or(Aggregator::is_empty)
    }
}

/// Puts an entry into the queue, unless it is crowded out.
fn enter(
    batcher: &mut Batcher,
    held: &mut Held,
    crowded_out: &mut Vec<Entry>,
    may_crowd_out: bool,
    entry: Entry,
    since: Duration,
) {
    if !may_crowd_out {
        held.take(0, entry.copied_bytes());
        return batcher.push(entry, since);
    }
    let copied_bytes = entry.copied_bytes();
    match batcher.offer(entry, since, held.free()) {
        None => held.take(0, copied_bytes),
        Some(entry) => {
            held.release(entry.events(), entry.held_bytes() - copied_bytes);
            crowded_out.push(entry);
        }
    }
}
