//! Which segments still hold something the stream does not have. Pure.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::progress::Progress;
use super::spool::name::SegmentName;

/// Every segment that is not finished: how many of its records have come, how many are settled, what is to be read yet.
///
/// A record that has come can be let go again: it is in the log alone then. When all others of its segment are settled or let go, the
/// segment is read once more, and what is not settled is what was let go.
#[derive(Debug, Default)]
pub struct Tracker {
    segments: BTreeMap<SegmentName, Segment>,
    unread: BTreeSet<SegmentName>,
    // To be read, too, but later. Each is in one of the two at most.
    postponed: VecDeque<Postponed>,
    let_go: u64,
    finished: VecDeque<(SegmentName, Fate)>,
}

#[derive(Debug, Default)]
struct Segment {
    came: u64,
    settled: u64,
    // Of those settled: what was let go, and is to be read again.
    let_go: u64,
    closed: bool,
    read_from: u64,
    failures: u32,
    is_to_be_read: bool,
    is_read_again: bool,
    // Where it is damaged: bounded by its length, and by how often reading finds its way again.
    damages: BTreeSet<u64>,
}

#[derive(Debug)]
struct Postponed {
    name: SegmentName,
    why: Why,
}

#[derive(Debug, Clone, Copy)]
enum Why {
    LetGo,
    Failed { not_before: Duration },
}

/// What is known of damage that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// It is the first of its segment.
    First,
    /// There is other damage in its segment.
    Another,
    /// It was found before: the segment is read again.
    Known,
}

/// What becomes of a finished segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The stream has everything in it.
    Remove,
    /// It is damaged, and the stream has everything else: the file is for a person.
    SetAside,
}

impl Tracker {
    /// A segment left by an earlier run: closed, and to be read from this offset on, in bytes.
    pub fn found(&mut self, name: SegmentName, read_from: u64) {
        self.closed(name, Some(read_from));
    }

    /// Its writer has closed it. What stands from `unread_from` on was not handed over and must be read back.
    ///
    /// Saying it twice is saying it once.
    pub fn closed(&mut self, name: SegmentName, unread_from: Option<u64>) {
        let segment = self.segments.entry(name).or_default();
        if segment.closed {
            return;
        }
        segment.closed = true;
        if let Some(offset) = unread_from {
            segment.read_from = offset;
            segment.is_to_be_read = true;
            self.unread.insert(name);
        }
        self.finish(name);
    }

    /// Whether it is known, and not finished.
    pub fn has(&self, name: SegmentName) -> bool {
        self.segments.contains_key(&name)
    }

    /// So many of its records have been handed over.
    pub fn came(&mut self, name: SegmentName, records: u64) {
        self.segments.entry(name).or_default().came += records;
    }

    /// The oldest segment that is to be read, and from where.
    pub fn next_unread(&self) -> Option<(SegmentName, u64)> {
        let name = self.unread.first()?;
        self.segments.get(name).map(|segment| (*name, segment.read_from))
    }

    /// Puts one that was postponed, and is older than all that are to be read now, among these: one that could not be read when its time
    /// has come, and, if they may, one whose records were let go. Gives it when it is one of the latter.
    pub fn resume(&mut self, now: Duration, let_go_may: bool, progress: &Progress) -> Option<SegmentName> {
        let first = self.unread.first().copied();
        let may = |postponed: &Postponed| {
            let is_time = match postponed.why {
                Why::LetGo => let_go_may,
                Why::Failed { not_before } => now >= not_before,
            };
            is_time && first.is_none_or(|first| postponed.name < first)
        };
        let place = self.postponed.iter().position(may)?;
        let Postponed { name, why } = self.postponed.remove(place)?;
        self.unread.insert(name);
        let Why::LetGo = why else { return None };
        let segment = self.segments.get_mut(&name)?;
        segment.read_from = progress.read_from(name);
        segment.is_read_again = true;
        self.let_go -= std::mem::take(&mut segment.let_go);
        Some(name)
    }

    /// Whether a segment was postponed.
    pub fn has_postponed(&self) -> bool {
        !self.postponed.is_empty()
    }

    /// Whether it is read for what was let go of it, and nothing else is news.
    pub fn is_read_again(&self, name: SegmentName) -> bool {
        self.segments.get(&name).is_some_and(|segment| segment.is_read_again)
    }

    /// It could not be read now: others go first until `not_before` says, which is told how often that has happened to this one.
    pub fn failed(&mut self, name: SegmentName, not_before: impl FnOnce(u32) -> Duration) -> u32 {
        let Some(segment) = self.segments.get_mut(&name) else { return 0 };
        segment.failures = segment.failures.saturating_add(1);
        if self.unread.remove(&name) {
            self.postponed.push_back(Postponed { name, why: Why::Failed { not_before: not_before(segment.failures) } });
        }
        segment.failures
    }

    /// It is damaged at this offset, in bytes.
    pub fn damaged(&mut self, name: SegmentName, offset: u64) -> Damage {
        let Some(segment) = self.segments.get_mut(&name) else { return Damage::Known };
        let is_first = segment.damages.is_empty();
        match (segment.damages.insert(offset), is_first) {
            (true, true) => Damage::First,
            (true, false) => Damage::Another,
            (false, _) => Damage::Known,
        }
    }

    /// A piece of it has been read: so many records, up to `next_offset`, and perhaps to its end.
    pub fn read(&mut self, name: SegmentName, records: u64, next_offset: u64, at_end: bool) {
        let Some(segment) = self.segments.get_mut(&name) else { return };
        segment.came += records;
        segment.read_from = next_offset;
        segment.failures = 0;
        if at_end {
            segment.is_to_be_read = false;
            self.unread.remove(&name);
            self.finish(name);
        }
    }

    /// So many of its records need it no more: the stream has them, or will never take them.
    pub fn settled(&mut self, name: SegmentName, records: u64) {
        if let Some(segment) = self.segments.get_mut(&name) {
            segment.settled += records;
            self.finish(name);
        }
    }

    /// So many of its records that had come are in the log alone again.
    pub fn let_go(&mut self, name: SegmentName, records: u64) {
        if let Some(segment) = self.segments.get_mut(&name) {
            segment.let_go += records;
            self.let_go += records;
            self.settled(name, records);
        }
    }

    /// How many records have been let go, and are not being read again yet.
    pub fn all_let_go(&self) -> u64 {
        self.let_go
    }

    /// It cannot be read: it stays as it is until the next start.
    pub fn leave(&mut self, name: SegmentName) {
        self.unread.remove(&name);
        if let Some(segment) = self.segments.remove(&name) {
            self.let_go -= segment.let_go;
        }
    }

    /// The next segment that has become superfluous; each is given once.
    pub fn take_finished(&mut self) -> Option<(SegmentName, Fate)> {
        self.finished.pop_front()
    }

    /// A finished segment could not be dealt with: it is given again.
    pub fn put_back(&mut self, name: SegmentName, fate: Fate) {
        self.finished.push_back((name, fate));
    }

    /// The oldest segment that holds something unsettled, or may.
    pub fn oldest(&self) -> Option<SegmentName> {
        let is_unsettled = |segment: &Segment| segment.came > segment.settled || segment.let_go > 0;
        let unsettled = self.segments.iter().find(|(_, segment)| is_unsettled(segment) || segment.is_to_be_read);
        unsettled.map(|(name, _)| *name)
    }

    /// How many segments are to be read yet.
    pub fn unread(&self) -> usize {
        self.unread.len() + self.postponed.len()
    }

    /// Whether finished segments wait to be dealt with.
    pub fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    fn finish(&mut self, name: SegmentName) {
        let Some(segment) = self.segments.get_mut(&name) else { return };
        if !segment.closed || segment.came != segment.settled || segment.is_to_be_read {
            return;
        }
        if segment.let_go > 0 {
            segment.is_to_be_read = true;
            return self.postponed.push_back(Postponed { name, why: Why::LetGo });
        }
        let fate = if !segment.damages.is_empty() { Fate::SetAside } else { Fate::Remove };
        self.segments.remove(&name);
        self.finished.push_back((name, fate));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kinesis::progress::Step;
    use crate::kinesis::record::tests::record;

    fn name(seq: u32) -> SegmentName {
        SegmentName { created_ms: 1, event_loop: 0, seq }
    }

    #[test]
    fn a_segment_goes_when_it_is_closed_and_everything_in_it_is_settled() {
        let mut tracker = Tracker::default();
        tracker.came(name(1), 3);
        tracker.settled(name(1), 3);
        assert_eq!(tracker.take_finished(), None, "it is still written to");
        tracker.came(name(1), 2);
        tracker.closed(name(1), None);
        tracker.settled(name(1), 1);
        assert_eq!(tracker.take_finished(), None);
        tracker.settled(name(1), 1);
        assert_eq!(tracker.take_finished(), Some((name(1), Fate::Remove)));
        assert_eq!(tracker.take_finished(), None);
    }

    #[test]
    fn what_was_not_handed_over_is_read_from_where_it_begins() {
        let mut tracker = Tracker::default();
        tracker.came(name(1), 3);
        tracker.closed(name(1), Some(100));
        tracker.settled(name(1), 3);
        assert_eq!(tracker.take_finished(), None);
        assert_eq!(tracker.next_unread(), Some((name(1), 100)));
        tracker.read(name(1), 2, 150, false);
        assert_eq!(tracker.next_unread(), Some((name(1), 150)));
        tracker.read(name(1), 1, 170, true);
        assert_eq!((tracker.next_unread(), tracker.take_finished()), (None, None));
        tracker.settled(name(1), 3);
        assert_eq!(tracker.take_finished(), Some((name(1), Fate::Remove)));
    }

    #[test]
    fn segments_are_read_oldest_first_and_a_damaged_one_is_set_aside() {
        let mut tracker = Tracker::default();
        tracker.found(name(2), 0);
        tracker.found(name(1), 0);
        assert_eq!(tracker.next_unread(), Some((name(1), 0)));
        let found = [20, 50, 20].map(|offset| tracker.damaged(name(1), offset));
        assert_eq!(found, [Damage::First, Damage::Another, Damage::Known]);
        tracker.read(name(1), 1, 30, true);
        assert_eq!(tracker.next_unread(), Some((name(2), 0)));
        tracker.settled(name(1), 1);
        assert_eq!(tracker.take_finished(), Some((name(1), Fate::SetAside)));
    }

    #[test]
    fn an_empty_segment_goes_at_once_and_a_second_word_about_it_changes_nothing() {
        let mut tracker = Tracker::default();
        tracker.found(name(1), 0);
        tracker.closed(name(1), None);
        assert_eq!(tracker.next_unread(), Some((name(1), 0)));
        tracker.read(name(1), 0, 16, true);
        assert_eq!(tracker.take_finished(), Some((name(1), Fate::Remove)));
    }

    #[test]
    fn the_oldest_is_the_first_with_something_unsettled_or_unread() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.oldest(), None);
        tracker.came(name(1), 1);
        tracker.came(name(2), 1);
        assert_eq!(tracker.oldest(), Some(name(1)));
        tracker.settled(name(1), 1);
        assert_eq!(tracker.oldest(), Some(name(2)), "the first is open, and nothing in it waits");
        tracker.closed(name(1), Some(100));
        assert_eq!(tracker.oldest(), Some(name(1)));
    }

    #[test]
    fn a_segment_that_cannot_be_read_is_left_and_its_records_are_forgotten() {
        let mut tracker = Tracker::default();
        tracker.came(name(1), 2);
        tracker.closed(name(1), Some(9));
        tracker.leave(name(1));
        tracker.settled(name(1), 2);
        assert_eq!((tracker.next_unread(), tracker.take_finished()), (None, None));
    }

    #[test]
    fn what_was_let_go_is_read_once_more_when_the_others_are_settled() {
        let (mut tracker, mut progress) = (Tracker::default(), Progress::default());
        tracker.came(name(1), 5);
        tracker.let_go(name(1), 2);
        assert_eq!((tracker.all_let_go(), tracker.oldest()), (2, Some(name(1))));
        tracker.closed(name(1), None);
        tracker.settled(name(1), 2);
        assert_eq!(tracker.resume(Duration::MAX, true, &progress), None, "one is on its way yet");
        tracker.settled(name(1), 1);
        assert_eq!((tracker.take_finished(), tracker.unread(), tracker.has_postponed()), (None, 1, true));
        assert_eq!((tracker.resume(Duration::MAX, false, &progress), tracker.next_unread()), (None, None));
        progress.settled(&Step::of([record("a")].iter()));
        assert_eq!(tracker.resume(Duration::ZERO, true, &progress), Some(name(1)));
        assert_eq!((tracker.next_unread(), tracker.all_let_go()), (Some((name(1), progress.read_from(name(1)))), 0));
        assert!(tracker.is_read_again(name(1)));
        tracker.read(name(1), 2, 99, true);
        tracker.let_go(name(1), 1);
        tracker.settled(name(1), 1);
        assert_eq!(tracker.resume(Duration::ZERO, true, &progress), Some(name(1)), "and once more");
        tracker.read(name(1), 1, 99, true);
        tracker.settled(name(1), 1);
        assert_eq!((tracker.take_finished(), tracker.all_let_go()), (Some((name(1), Fate::Remove)), 0));
    }

    #[test]
    fn one_that_cannot_be_read_waits_for_its_time_and_others_go_first() {
        let (mut tracker, progress) = (Tracker::default(), Progress::default());
        tracker.found(name(1), 7);
        tracker.found(name(2), 0);
        let second = Duration::from_secs(1);
        assert_eq!(tracker.failed(name(1), |failures| failures * second), 1);
        tracker.resume(Duration::ZERO, true, &progress);
        assert_eq!(tracker.next_unread(), Some((name(2), 0)));
        tracker.resume(second, false, &progress);
        assert_eq!((tracker.next_unread(), tracker.has_postponed()), (Some((name(1), 7)), false));
        assert_eq!(tracker.failed(name(1), |failures| failures * second), 2);
        tracker.resume(second, true, &progress);
        assert_eq!((tracker.next_unread(), tracker.unread()), (Some((name(2), 0)), 2));
        tracker.resume(2 * second, true, &progress);
        tracker.read(name(1), 0, 9, true);
        assert_eq!(
            (tracker.take_finished(), tracker.next_unread()),
            (Some((name(1), Fate::Remove)), Some((name(2), 0)))
        );
    }

    proptest! {
        #[test]
        fn whatever_the_order_a_segment_goes_exactly_when_the_last_record_is_settled(
            came in 0..20_u64, unread in 0..20_u64, mut order in Just(vec![0_u8, 1, 2]).prop_shuffle(),
        ) {
            let mut tracker = Tracker::default();
            tracker.came(name(1), came);
            tracker.closed(name(1), (unread > 0).then_some(50));
            if unread > 0 {
                tracker.read(name(1), unread, 99, true);
            }
            let total = came + unread;
            let mut left = total;
            while let Some(step) = order.pop() {
                let part = if order.is_empty() { left } else { (total / 3 + u64::from(step)).min(left) };
                prop_assert!(left == 0 || !tracker.has_finished(), "it went while {} were missing", left);
                tracker.settled(name(1), part);
                left -= part;
            }
            prop_assert_eq!(tracker.take_finished(), Some((name(1), Fate::Remove)));
            prop_assert_eq!(tracker.take_finished(), None);
        }
    }
}
