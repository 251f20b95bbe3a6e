//! What is counted of one customer.

use std::sync::atomic::{AtomicI64, Ordering};

/// Where an event is, or how it came. Each is counted where it happens, none is worked out from the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// It was taken: written to the log, or answered with 200 all the same.
    Accepted,
    /// It stood in the log of an earlier run, and the stream was not known to have it.
    Recovered,
    /// It stood in a `.dead` file, and somebody has sent it back into the log.
    Replayed,
    /// The stream has it.
    Delivered,
    /// It is in memory on its way to the stream.
    InFlight,
    /// It is in the log alone: not read back yet, or to stay there where there is no stream.
    Spooled,
    /// The stream refuses it: it was put into a `.dead` file.
    DeadLettered,
    /// Nothing holds it any more.
    Dropped(Reason),
}

/// Why an event was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It was answered at the level `memory`, and could not be written.
    Unwritten,
    /// It found a bound reached, and was to be dropped then.
    Bound,
    /// The log without a stream keeps only so much.
    Retention,
    /// It was in a part of the log that is damaged.
    Damaged,
    /// Its segment was removed from outside.
    Gone,
}

impl Reason {
    /// Every reason.
    pub(crate) const ALL: [Self; 5] = [Self::Unwritten, Self::Bound, Self::Retention, Self::Damaged, Self::Gone];
}

/// How many places there are.
const PLACES: usize = 7 + Reason::ALL.len();

impl Place {
    /// How events come.
    const IN: [Self; 3] = [Self::Accepted, Self::Recovered, Self::Replayed];
    /// Where they are then, in the order in which an event moves.
    const HELD: [Self; 5] =
        [Self::Spooled, Self::InFlight, Self::Delivered, Self::DeadLettered, Self::Dropped(Reason::Unwritten)];

    fn index(self) -> usize {
        match self {
            Self::Accepted => 0,
            Self::Recovered => 1,
            Self::Replayed => 2,
            Self::Delivered => 3,
            Self::InFlight => 4,
            Self::Spooled => 5,
            Self::DeadLettered => 6,
            Self::Dropped(reason) => 7 + reason as usize,
        }
    }
}

/// The counters of one customer, over all loops.
#[derive(Debug, Default)]
pub(crate) struct Account {
    events: [AtomicI64; PLACES],
    bytes: AtomicI64,
}

/// How an account that does not come out even is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Difference {
    /// Events that came and are nowhere, when positive; events that are somewhere and never came, when negative.
    pub(crate) events: i64,
}

impl Account {
    /// So many events have come to this place, or have left it when negative.
    pub(crate) fn add(&self, place: Place, events: i64) {
        if let Some(counter) = self.events.get(place.index()) {
            counter.fetch_add(events, Ordering::Relaxed);
        }
    }

    /// How many are there.
    pub(crate) fn at(&self, place: Place) -> i64 {
        self.events.get(place.index()).map_or(0, |counter| counter.load(Ordering::Acquire))
    }

    /// So many bytes more, or less, wait in the log for the stream.
    pub(crate) fn hold(&self, bytes: i64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    /// The bytes that wait in the log for the stream.
    pub(crate) fn held_bytes(&self) -> u64 {
        u64::try_from(self.bytes.load(Ordering::Relaxed)).unwrap_or(0)
    }

    /// Whether it comes out even. Events move while this looks: what it finds is certain only for as long as they do so within
    /// the look, so that a difference counts when it is found again and again.
    pub(crate) fn difference(&self) -> Difference {
        // Against the stream of events, or along it: an event that moves meanwhile is counted twice at most, or missed at most.
        let came_before = self.came();
        let most: i64 = self.held(Place::HELD.into_iter());
        let least: i64 = self.held(Place::HELD.into_iter().rev());
        let came_after = self.came();
        let missing = (came_before - most).max(0);
        let surplus = (least - came_after).max(0);
        Difference { events: if missing > 0 { missing } else { -surplus } }
    }

    fn came(&self) -> i64 {
        Place::IN.into_iter().map(|place| self.at(place)).sum()
    }

    fn held(&self, places: impl Iterator<Item = Place>) -> i64 {
        places
            .map(|place| match place {
                Place::Dropped(_) => Reason::ALL.into_iter().map(|reason| self.at(Place::Dropped(reason))).sum(),
                place => self.at(place),
            })
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_comes_out_even_wherever_its_events_are() {
        let account = Account::default();
        account.add(Place::Accepted, 20);
        account.add(Place::Recovered, 5);
        account.add(Place::Replayed, 1);
        for (place, events) in
            [(Place::Spooled, 6), (Place::InFlight, 7), (Place::Delivered, 5), (Place::DeadLettered, 3)]
        {
            account.add(place, events);
        }
        for reason in Reason::ALL {
            assert_ne!(account.difference(), Difference::default());
            account.add(Place::Dropped(reason), 1);
        }
        assert_eq!(account.difference(), Difference::default());
    }

    #[test]
    fn every_place_has_a_counter_of_its_own() {
        let account = Account::default();
        let dropped = Reason::ALL.map(Place::Dropped);
        let places = Place::IN.into_iter().chain(Place::HELD.into_iter().take(4)).chain(dropped);
        for (events, place) in (1..).zip(places.clone()) {
            account.add(place, events);
        }
        for (events, place) in (1..).zip(places) {
            assert_eq!(account.at(place), events, "{place:?}");
        }
    }

    #[test]
    fn what_is_missing_and_what_never_came_are_told_apart() {
        let account = Account::default();
        account.add(Place::Accepted, 3);
        account.add(Place::Delivered, 1);
        assert_eq!(account.difference().events, 2);
        account.add(Place::Delivered, 4);
        assert_eq!(account.difference().events, -2);
    }
}
