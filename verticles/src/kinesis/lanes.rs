//! Order within a partition key: entries of one lane are sent one after the other. Pure.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::entry::Entry;

/// The lanes that are taken: by an entry that is to be sent or being sent, and behind it those that wait for it.
///
/// A lane is a number made from what decides on the shard, so that entries of one partition key have the same. Two keys may
/// share one by chance, and then wait for each other, as 1 in 65,536 does.
#[derive(Debug, Default)]
pub struct Lanes {
    taken: BTreeMap<u16, VecDeque<(Duration, Entry)>>,
    waiting: usize,
}

impl Lanes {
    /// Takes the lane of an entry that came at `since` and gives the entry back; none while the lane is taken: it waits.
    pub fn enter(&mut self, entry: Entry, since: Duration) -> Option<Entry> {
        match self.taken.get_mut(&entry.lane()) {
            Some(behind) => {
                behind.push_back((since, entry));
                self.waiting += 1;
                None
            }
            None => {
                self.taken.insert(entry.lane(), VecDeque::new());
                Some(entry)
            }
        }
    }

    /// The entry that had taken the lane is settled: gives the next one, which takes it now.
    pub fn leave(&mut self, lane: u16) -> Option<(Duration, Entry)> {
        let next = self.taken.get_mut(&lane)?.pop_front();
        match next {
            Some(_) => self.waiting -= 1,
            None => _ = self.taken.remove(&lane),
        }
        next
    }

    /// The entry that had taken the lane has come apart into these, which came at `since`: they go before those behind it, and
    /// the first of them takes the lane. All must be of the lane.
    pub fn come_apart(&mut self, lane: u16, entries: Vec<Entry>, since: Duration) -> Option<(Duration, Entry)> {
        let behind = self.taken.entry(lane).or_default();
        self.waiting += entries.len();
        entries.into_iter().rev().for_each(|entry| behind.push_front((since, entry)));
        self.leave(lane)
    }

    /// How many entries wait for another one of their lane.
    pub fn waiting(&self) -> usize {
        self.waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinesis::entry::tests::entry;

    #[test]
    fn entries_of_one_lane_go_one_after_the_other_and_those_of_others_beside_them() {
        let mut lanes = Lanes::default();
        let enter = |lanes: &mut Lanes, id: &str, ms| lanes.enter(entry(id), Duration::from_millis(ms)).is_some();
        assert!(enter(&mut lanes, "a", 1) && !enter(&mut lanes, "a", 2) && !enter(&mut lanes, "a", 3));
        assert!(enter(&mut lanes, "b", 4));
        assert_eq!(lanes.waiting(), 2);
        let lane = entry("a").lane();
        assert_eq!(lanes.leave(lane), Some((Duration::from_millis(2), entry("a"))));
        assert_eq!(lanes.leave(lane), Some((Duration::from_millis(3), entry("a"))));
        assert_eq!((lanes.leave(lane), lanes.waiting()), (None, 0));
        assert!(enter(&mut lanes, "a", 5));
        assert_eq!(lanes.leave(entry("nobody").lane()), None);
    }
}
