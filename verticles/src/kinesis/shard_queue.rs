//! What waits to be sent to one shard. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use super::batch::BatchLimits;
use super::entry::Entry;
use super::pacer::{Pacer, ShardRate};
use super::room::Free;

/// Entries for one shard - or, while the shards are not known, for any -: those that come now, and those that were read back from
/// the log, each in the order they came.
#[derive(Debug)]
pub struct ShardQueue {
    live: Queue,
    backlog: Queue,
    /// How fast they may go.
    pub pacer: Pacer,
}

impl ShardQueue {
    /// An empty one of a shard that takes so much.
    pub fn new(rate: ShardRate) -> Self {
        Self { live: Queue::default(), backlog: Queue::default(), pacer: Pacer::new(rate) }
    }

    /// The queue this entry belongs to.
    pub fn queue_of(&mut self, entry: &Entry) -> &mut Queue {
        if entry.is_backlog() { &mut self.backlog } else { &mut self.live }
    }

    /// What comes now, and the pace.
    pub fn live(&mut self) -> (&mut Queue, &mut Pacer) {
        (&mut self.live, &mut self.pacer)
    }

    /// What was read back, and the pace.
    pub fn backlog(&mut self) -> (&mut Queue, &mut Pacer) {
        (&mut self.backlog, &mut self.pacer)
    }

    /// How many entries wait.
    pub fn len(&self) -> usize {
        self.live.waiting.len() + self.backlog.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Their bytes.
    pub fn bytes(&self) -> usize {
        self.live.bytes + self.backlog.bytes
    }

    /// What the records in them hold of the room: so many events, and bytes.
    pub fn held(&self) -> (usize, usize) {
        (self.live.events + self.backlog.events, self.live.held_bytes + self.backlog.held_bytes)
    }

    /// Whether that is more than this part of what is free: one in so many.
    pub fn holds_more_than(&self, free: Free, part: usize) -> bool {
        let (events, bytes) = self.held();
        events > free.events / part || bytes > free.bytes / part
    }

    /// Since when the one waits that has waited longest.
    pub fn since(&self) -> Option<Duration> {
        [&self.live, &self.backlog].into_iter().filter_map(Queue::since).min()
    }

    /// What came until now has waited long enough to wait a little more: it is in front of what was read back.
    pub fn becomes_backlog(&mut self) {
        let behind = std::mem::replace(&mut self.backlog, std::mem::take(&mut self.live));
        behind.waiting.into_iter().for_each(|(since, entry)| self.backlog.push_back(since, entry));
    }

    /// Everything that waits, in order, with the time since when.
    pub fn drain(&mut self) -> impl Iterator<Item = (Duration, Entry)> {
        let (live, backlog) = (std::mem::take(&mut self.live), std::mem::take(&mut self.backlog));
        live.waiting.into_iter().chain(backlog.waiting)
    }
}

/// Entries in order.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: VecDeque<(Duration, Entry)>,
    bytes: usize,
    events: usize,
    held_bytes: usize,
}

impl Queue {
    /// Appends an entry that waits since then.
    pub fn push_back(&mut self, since: Duration, entry: Entry) {
        self.count(&entry);
        self.waiting.push_back((since, entry));
    }

    /// Puts an entry in front.
    pub fn push_front(&mut self, since: Duration, entry: Entry) {
        self.count(&entry);
        self.waiting.push_front((since, entry));
    }

    /// Moves what fits, as fast as it may.
    pub fn move_to(&mut self, batch: &mut Batch, pacer: &mut Pacer) {
        while pacer.has_room()
            && let Some((_, entry)) = self.waiting.pop_front_if(|(_, entry)| batch.has_room_for(entry))
        {
            self.bytes -= entry.bytes();
            self.events -= entry.events();
            self.held_bytes -= entry.held_bytes();
            pacer.sent(entry.bytes());
            batch.push(entry);
        }
    }

    fn count(&mut self, entry: &Entry) {
        self.bytes += entry.bytes();
        self.events += entry.events();
        self.held_bytes += entry.held_bytes();
    }

    fn since(&self) -> Option<Duration> {
        self.waiting.front().map(|(since, _)| *since)
    }
}

/// A batch that is being filled.
#[derive(Debug)]
pub struct Batch {
    limits: BatchLimits,
    entries: Vec<Entry>,
    bytes: usize,
}

impl Batch {
    /// An empty one, for `wanted` entries if there is room for so many.
    pub fn new(limits: BatchLimits, wanted: usize) -> Self {
        Self { limits, entries: Vec::with_capacity(wanted.min(limits.entries_max)), bytes: 0 }
    }

    /// What is in it.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
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
