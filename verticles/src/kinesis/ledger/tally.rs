//! Events of several customers, added up before they go into the ledger: shared counters are touched once a customer and not
//! once an event.

use super::customers::{ACCOUNTS, AccountId};

/// The events of one customer, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Part {
    /// Whose.
    pub(crate) account: AccountId,
    /// How many.
    pub(crate) events: i64,
    /// The bytes of their frames.
    pub(crate) bytes: i64,
}

/// Parts under way, at most one a customer.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    parts: Vec<Part>,
    // The place of an account's part in `parts`, counted from 1; empty before the first event.
    places: Vec<u16>,
}

impl Tally {
    /// Adds events of a customer, with their bytes.
    pub(crate) fn add(&mut self, account: AccountId, events: i64, bytes: i64) {
        if self.places.is_empty() {
            self.places.resize(ACCOUNTS, 0);
        }
        let Some(place) = self.places.get_mut(account.index()) else { return };
        match self.parts.get_mut(usize::from(*place).wrapping_sub(1)) {
            Some(part) => {
                part.events += events;
                part.bytes += bytes;
            }
            None => {
                self.parts.push(Part { account, events, bytes });
                // There are fewer accounts than that.
                *place = u16::try_from(self.parts.len()).unwrap_or(0);
            }
        }
    }

    /// The events of a customer.
    pub(crate) fn events(&self, account: AccountId) -> i64 {
        let place = self.places.get(account.index()).copied().unwrap_or(0);
        self.parts.get(usize::from(place).wrapping_sub(1)).map_or(0, |part| part.events)
    }

    /// What has been added up.
    pub(crate) fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Gives what has been added up, and begins anew.
    pub(crate) fn take(&mut self) -> Vec<Part> {
        for part in &self.parts {
            if let Some(place) = self.places.get_mut(part.account.index()) {
                *place = 0;
            }
        }
        std::mem::take(&mut self.parts)
    }

    /// Gives the room of parts back, to be filled again.
    pub(crate) fn reuse(&mut self, mut parts: Vec<Part>) {
        if self.parts.capacity() == 0 {
            parts.clear();
            self.parts = parts;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::customers::Customers;
    use super::*;

    #[test]
    fn events_are_added_up_by_customer_and_begin_anew_when_they_are_taken() {
        let customers = Customers::default();
        let (one, two) = (customers.account(1), customers.account(2));
        let mut tally = Tally::default();
        assert_eq!(tally.events(one), 0);
        for (account, bytes) in [(one, 10), (two, 20), (one, 30)] {
            tally.add(account, 1, bytes);
        }
        assert_eq!((tally.events(one), tally.events(two)), (2, 1));
        let parts = tally.take();
        assert_eq!(parts, [Part { account: one, events: 2, bytes: 40 }, Part { account: two, events: 1, bytes: 20 }]);
        assert_eq!((tally.events(one), tally.parts()), (0, &[][..]));
        tally.reuse(parts);
        tally.add(two, 1, 1);
        assert_eq!((tally.events(one), tally.events(two)), (0, 1));
    }
}
