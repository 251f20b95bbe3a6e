//! What the ledger knows of segments that are to be read back.

use std::collections::BTreeMap;

use super::tally::{Part, Tally};
use super::{AccountId, Ledger, Place, Reason};
use crate::kinesis::spool::name::SegmentName;

/// The events of one segment that are counted as spooled: those behind an offset.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    from: Option<u64>,
    parts: BTreeMap<AccountId, Part>,
}

impl Counted {
    /// Events from this offset on are in the log alone.
    pub(crate) fn add(&mut self, offset: u64, parts: &[Part]) {
        self.from.get_or_insert(offset);
        for part in parts {
            let known = self.parts.entry(part.account).or_insert(Part { account: part.account, events: 0, bytes: 0 });
            known.events += part.events;
            known.bytes += part.bytes;
        }
    }

    /// Whose they are.
    pub(crate) fn parts(&self) -> Vec<Part> {
        self.parts.values().copied().collect()
    }

    fn take(&mut self, parts: &[Part]) {
        for part in parts {
            if let Some(known) = self.parts.get_mut(&part.account) {
                known.events -= part.events;
                known.bytes -= part.bytes;
            }
        }
    }

    /// Whether a record that ends at this offset is one of them.
    fn has(&self, end: u64) -> bool {
        self.from.is_some_and(|from| end > from)
    }
}

/// Every segment that is being read back, or is to be: bounded by what the log can hold, and a segment by its events.
#[derive(Debug, Default)]
pub(crate) struct Backlog {
    segments: BTreeMap<SegmentName, Segment>,
    let_go: BTreeMap<SegmentName, Counted>,
}

#[derive(Debug, Default)]
struct Segment {
    counted: Counted,
    is_replayed: bool,
}

/// A record that has been read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read {
    /// Whose it is.
    pub(crate) account: AccountId,
    /// Where it ends in its segment.
    pub(crate) end: u64,
    /// The bytes of its frame.
    pub(crate) bytes: i64,
}

impl Backlog {
    /// A segment of this run is closed; so much of it is counted as spooled. Said twice, the first word counts.
    pub(crate) fn closed(&mut self, segment: SegmentName, counted: Counted) {
        self.segments.entry(segment).or_insert(Segment { counted, is_replayed: false });
    }

    /// A segment holds what was in a `.dead` file.
    pub(crate) fn replayed(&mut self, segment: SegmentName) {
        self.segments.insert(segment, Segment { counted: Counted::default(), is_replayed: true });
    }

    /// Records have been read: they are in memory now. What was not counted before comes into the ledger by that.
    pub(crate) fn read(&mut self, ledger: &Ledger, segment: SegmentName, records: impl Iterator<Item = Read>) {
        let segment = self.segments.entry(segment).or_default();
        let came = if segment.is_replayed { Place::Replayed } else { Place::Recovered };
        let (mut known, mut found) = (Tally::default(), Tally::default());
        for record in records {
            if segment.counted.has(record.end) {
                known.add(record.account, 1, record.bytes);
            } else {
                found.add(record.account, 1, record.bytes);
            }
        }
        segment.counted.take(known.parts());
        ledger.came(Place::InFlight, known.parts());
        ledger.left(Place::Spooled, known.parts());
        ledger.came(Place::InFlight, found.parts());
        ledger.came(came, found.parts());
        ledger.hold(found.parts());
    }

    /// A record that was in memory is in the log alone again; the caller counts it as spooled.
    pub(crate) fn let_go(&mut self, segment: SegmentName, account: AccountId, bytes: i64) {
        self.let_go.entry(segment).or_default().add(0, &[Part { account, events: 1, bytes }]);
    }

    /// It is read once more, for what was let go.
    pub(crate) fn again(&mut self, segment: SegmentName) {
        if let Some(counted) = self.let_go.remove(&segment) {
            self.segments.insert(segment, Segment { counted, is_replayed: false });
        }
    }

    /// It has been read to its end, or cannot be read any more: what was counted and did not come is dropped.
    pub(crate) fn ended(&mut self, ledger: &Ledger, segment: SegmentName, reason: Reason) {
        let Some(segment) = self.segments.remove(&segment) else { return };
        let rest = segment.counted.parts();
        ledger.came(Place::Dropped(reason), &rest);
        ledger.left(Place::Spooled, &rest);
        ledger.release(&rest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT: SegmentName = SegmentName { created_ms: 1, event_loop: 0, seq: 1 };

    /// A segment with five records of 10 bytes, of which the last three are counted as spooled.
    fn half_counted(ledger: &Ledger) -> Backlog {
        let account = ledger.account_of(7);
        let parts = [Part { account, events: 3, bytes: 30 }];
        ledger.came(Place::Accepted, &parts);
        ledger.came(Place::Spooled, &parts);
        ledger.hold(&parts);
        let mut counted = Counted::default();
        counted.add(36, &parts);
        let mut backlog = Backlog::default();
        backlog.closed(SEGMENT, counted);
        backlog
    }

    fn read(ledger: &Ledger, backlog: &mut Backlog, ends: &[u64]) {
        let account = ledger.account_of(7);
        backlog.read(ledger, SEGMENT, ends.iter().map(|end| Read { account, end: *end, bytes: 10 }));
    }

    #[test]
    fn what_was_spooled_comes_back_into_memory_and_what_was_not_counted_is_recovered() {
        let ledger = Ledger::default();
        let mut backlog = half_counted(&ledger);
        let account = ledger.account(ledger.account_of(7));
        read(&ledger, &mut backlog, &[26, 36, 46]);
        assert_eq!((account.at(Place::Recovered), account.at(Place::Spooled), account.at(Place::InFlight)), (2, 2, 3));
        read(&ledger, &mut backlog, &[56, 66]);
        backlog.ended(&ledger, SEGMENT, Reason::Damaged);
        assert_eq!((account.at(Place::Recovered), account.at(Place::Spooled), account.at(Place::InFlight)), (2, 0, 5));
        assert_eq!((account.difference().events, account.held_bytes()), (0, 50));
        assert!(backlog.segments.is_empty());
    }

    #[test]
    fn what_was_spooled_and_cannot_be_read_is_dropped() {
        let ledger = Ledger::default();
        let mut backlog = half_counted(&ledger);
        let account = ledger.account(ledger.account_of(7));
        read(&ledger, &mut backlog, &[26, 36, 46]);
        backlog.ended(&ledger, SEGMENT, Reason::Damaged);
        assert_eq!((account.at(Place::Dropped(Reason::Damaged)), account.at(Place::Spooled)), (2, 0));
        assert_eq!((account.difference().events, account.held_bytes()), (0, 30));
    }

    #[test]
    fn a_segment_of_an_earlier_run_is_recovered_and_one_that_was_dead_replayed() {
        let ledger = Ledger::default();
        let mut backlog = Backlog::default();
        let account = ledger.account(ledger.account_of(7));
        read(&ledger, &mut backlog, &[26, 36]);
        backlog.ended(&ledger, SEGMENT, Reason::Gone);
        backlog.replayed(SEGMENT);
        read(&ledger, &mut backlog, &[26]);
        backlog.ended(&ledger, SEGMENT, Reason::Gone);
        assert_eq!((account.at(Place::Recovered), account.at(Place::Replayed), account.at(Place::InFlight)), (2, 1, 3));
        assert_eq!(account.difference().events, 0);
    }
}
