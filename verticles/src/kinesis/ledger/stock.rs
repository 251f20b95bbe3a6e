//! What each closed segment of a log without a stream holds, so that it can be counted when it goes.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::tally::{Part, Tally};
use super::{Ledger, Place, Reason};
use crate::kinesis::spool::name::SegmentName;

/// Every closed segment that is counted. Bounded by what the log can hold, and a segment by its events.
#[derive(Debug, Default)]
pub(crate) struct Stock {
    segments: Mutex<BTreeMap<SegmentName, Vec<Part>>>,
    // One counts at a time: a segment is not removed while it is being counted. Never taken on an event loop.
    counting: Mutex<()>,
}

impl Stock {
    /// A segment of this run is closed; what it holds is counted as spooled already.
    pub(crate) fn closed(&self, segment: SegmentName, parts: Vec<Part>) {
        self.segments().insert(segment, parts);
    }

    /// Counts a segment that was not written by this run, and how its events `came`; `count` reads it, and gives nothing when it
    /// is gone. Blocks.
    pub(crate) fn found(
        &self,
        ledger: &Ledger,
        segment: SegmentName,
        came: Place,
        count: impl FnOnce() -> Option<Tally>,
    ) {
        let _alone = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        if self.segments().contains_key(&segment) {
            return;
        }
        let Some(mut tally) = count() else { return };
        ledger.came(Place::Spooled, tally.parts());
        ledger.came(came, tally.parts());
        self.segments().insert(segment, tally.take());
    }

    /// Removes a segment by `remove`, and counts what goes with it. Blocks.
    ///
    /// # Errors
    /// Those of `remove`; nothing is counted then.
    pub(crate) fn dropped<T, E>(
        &self,
        ledger: &Ledger,
        segment: SegmentName,
        remove: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        let _alone = self.counting.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = remove()?;
        let parts = self.segments().remove(&segment).unwrap_or_default();
        count_dropped(ledger, Reason::Retention, &parts);
        Ok(removed)
    }

    /// Every segment that is counted.
    pub(crate) fn names(&self) -> Vec<SegmentName> {
        self.segments().keys().copied().collect()
    }

    /// Somebody else has removed these.
    pub(crate) fn gone(&self, ledger: &Ledger, names: &[SegmentName]) {
        for name in names {
            let parts = self.segments().remove(name).unwrap_or_default();
            count_dropped(ledger, Reason::Gone, &parts);
        }
    }

    fn segments(&self) -> MutexGuard<'_, BTreeMap<SegmentName, Vec<Part>>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn count_dropped(ledger: &Ledger, reason: Reason, parts: &[Part]) {
    ledger.came(Place::Dropped(reason), parts);
    ledger.left(Place::Spooled, parts);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(seq: u32) -> SegmentName {
        SegmentName { created_ms: 1, event_loop: 0, seq }
    }

    fn tally(ledger: &Ledger, events: i64) -> Tally {
        let mut tally = Tally::default();
        tally.add(ledger.account_of(7), events, 0);
        tally
    }

    #[test]
    fn what_goes_with_a_segment_is_counted_whoever_removes_it() {
        let (ledger, stock) = (Ledger::default(), Stock::default());
        let account = ledger.account(ledger.account_of(7));
        let own = tally(&ledger, 3).take();
        ledger.came(Place::Accepted, &own);
        ledger.came(Place::Spooled, &own);
        stock.closed(name(2), own);
        stock.found(&ledger, name(1), Place::Recovered, || Some(tally(&ledger, 2)));
        stock.found(&ledger, name(1), Place::Recovered, || panic!("it is counted"));
        stock.found(&ledger, name(9), Place::Recovered, || None);
        assert_eq!((account.at(Place::Recovered), account.at(Place::Spooled)), (2, 5));
        assert_eq!(
            stock.dropped(&ledger, name(1), || Err::<(), _>("it cannot be removed")),
            Err("it cannot be removed")
        );
        assert_eq!(stock.dropped(&ledger, name(1), || Ok::<_, ()>(7)), Ok(7));
        assert_eq!((account.at(Place::Dropped(Reason::Retention)), account.at(Place::Spooled)), (2, 3));
        assert_eq!(stock.names(), [name(2)]);
        stock.gone(&ledger, &[name(2), name(7)]);
        assert_eq!((account.at(Place::Dropped(Reason::Gone)), account.at(Place::Spooled)), (3, 0));
        assert_eq!(account.difference().events, 0);
    }
}
