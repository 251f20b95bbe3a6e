//! Looking again and again whether the ledger comes out even. Pure.

use super::account::Difference;
use super::customers::ACCOUNTS;

/// A difference is one when it is found so often in a row: once it may be an event that was moving.
const LOOKS: u8 = 5;

/// What earlier looks have found.
#[derive(Debug)]
pub(crate) struct Watch {
    suspects: Vec<Suspect>,
    reported: i64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Suspect {
    // The least that every look in a row has found; its sign is that of all of them.
    least: i64,
    looks: u8,
}

/// What a look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Found {
    /// Events by which the ledger does not come out even, over all customers.
    pub(crate) events: u64,
    /// Whether that is news.
    pub(crate) is_new: bool,
}

impl Default for Watch {
    fn default() -> Self {
        Self { suspects: vec![Suspect::default(); ACCOUNTS], reported: 0 }
    }
}

impl Watch {
    /// A look at every account, in their order.
    pub(crate) fn look(&mut self, accounts: impl Iterator<Item = Difference>) -> Found {
        let mut events = 0;
        for (suspect, difference) in self.suspects.iter_mut().zip(accounts) {
            suspect.seen(difference.events);
            if suspect.looks >= LOOKS {
                events += suspect.least.abs();
            }
        }
        let is_new = events > self.reported;
        self.reported = events;
        Found { events: events.unsigned_abs(), is_new }
    }
}

impl Suspect {
    fn seen(&mut self, events: i64) {
        if events == 0 || (self.least != 0 && self.least.signum() != events.signum()) {
            *self = Self::default();
        }
        if events == 0 {
            return;
        }
        let is_less = self.least == 0 || events.abs() < self.least.abs();
        self.least = if is_less { events } else { self.least };
        self.looks = self.looks.saturating_add(1).min(LOOKS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looks(watch: &mut Watch, account: usize, differences: &[i64]) -> Found {
        let mut found = Found { events: 0, is_new: false };
        for events in differences {
            let others = std::iter::repeat_n(Difference::default(), account);
            let own = std::iter::once(Difference { events: *events });
            found = watch.look(others.chain(own).chain(std::iter::repeat_n(Difference::default(), ACCOUNTS)));
        }
        found
    }

    #[test]
    fn a_difference_that_stays_is_found_and_is_news_once() {
        let mut watch = Watch::default();
        assert_eq!(looks(&mut watch, 7, &[3, 3, 3, 3]).events, 0);
        assert_eq!(looks(&mut watch, 7, &[3]), Found { events: 3, is_new: true });
        assert_eq!(looks(&mut watch, 7, &[3]), Found { events: 3, is_new: false });
        assert_eq!(looks(&mut watch, 7, &[0]), Found { events: 0, is_new: false });
    }

    #[test]
    fn events_that_move_are_no_difference_and_what_is_below_them_is() {
        let mut watch = Watch::default();
        assert_eq!(looks(&mut watch, 0, &[3, -3, 3, -3, 3, -3, 3, -3]).events, 0);
        assert_eq!(looks(&mut watch, 0, &[9, 0, 9, 0, 9, 0, 9, 0, 9]).events, 0);
        assert_eq!(looks(&mut watch, 0, &[0, -9, -2, -5, -7, -2]).events, 2);
    }

    #[test]
    fn one_customer_too_few_and_another_too_many_do_not_cancel_out() {
        let mut watch = Watch::default();
        let differences = [4, -4].map(|events| Difference { events });
        let found = (0..5).map(|_| watch.look(differences.into_iter())).last();
        assert_eq!(found, Some(Found { events: 8, is_new: true }));
    }
}
