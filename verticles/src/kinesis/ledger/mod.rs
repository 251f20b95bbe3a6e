//! The ledger: where every event is that has come, in total and by customer.
//!
//! ```text
//! accepted + recovered + replayed = spooled + in flight + delivered + dead-lettered + dropped, by reason
//! ```
//!
//! holds at every moment, for each account. Every counter is counted where an event comes to a place or leaves it; none is worked
//! out from the others, so that an event that is lost on the way, or comes from nowhere, is a difference. The process looks for
//! one itself, see [`Ledger::check`].
//!
//! What counts:
//!
//! * *accepted*: it was written to the log - also when its answer was 503 because a level above could not be met -, or answered
//!   with 200 all the same: at the level `memory`, or to be dropped at a bound;
//! * *recovered*: found in the log of an earlier run, behind what the stream is known to have; counted as it is read;
//! * *replayed*: read back out of what was a `.dead` file;
//! * *spooled*: in the log and not in memory; where there is no stream, all that the log holds;
//! * *in flight*: in memory on the way to the stream, in a call or waiting for one;
//! * *delivered*: the stream has acknowledged it;
//! * *dead-lettered*: put into a `.dead` file because the stream refuses it;
//! * *dropped*: held by nothing, see [`Reason`].
//!
//! Of damaged segments of an earlier run it is not known how many events they held: they are counted in bytes, by
//! `adtrack_kinesis_damaged_bytes_total`.

mod account;
mod backlog;
mod count;
mod customers;
mod exposition;
mod stock;
mod tally;
mod watch;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use adtrack_proto::bus::{self, CustomerAccount};

pub(crate) use account::{Account, Place, Reason};
pub(crate) use backlog::{Backlog, Counted, Read};
pub(crate) use count::count;
pub(crate) use customers::AccountId;
pub(crate) use exposition::Exposition;
pub(crate) use stock::Stock;
pub(crate) use tally::{Part, Tally};

use self::customers::{ACCOUNTS, Customers};
use self::watch::Watch;

/// All accounts of the process. Shared by all loops; nothing in here is locked when events are counted.
#[derive(Debug)]
pub(crate) struct Ledger {
    customers: Customers,
    accounts: Box<[Account]>,
    watch: Mutex<Watch>,
    imbalance: AtomicU64,
    shown: AtomicUsize,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            customers: Customers::default(),
            accounts: (0..ACCOUNTS).map(|_| Account::default()).collect(),
            watch: Mutex::default(),
            imbalance: AtomicU64::new(0),
            shown: AtomicUsize::new(0),
        }
    }
}

impl Ledger {
    /// So many customers, those of whom most events have come, are shown by themselves.
    pub(crate) fn show(&self, customers: usize) {
        self.shown.store(customers, Ordering::Relaxed);
    }

    /// Whose account a customer's events are counted in.
    pub(crate) fn account_of(&self, customer_id: i32) -> AccountId {
        self.customers.account(customer_id)
    }

    /// Whether no event of a second customer has come yet.
    pub(crate) fn has_one_customer(&self) -> bool {
        self.customers.known() <= 1
    }

    /// An account.
    pub(crate) fn account(&self, id: AccountId) -> &Account {
        // Every id is of one of them.
        &self.accounts[id.index()]
    }

    /// Events of several customers have come to a place.
    pub(crate) fn came(&self, place: Place, parts: &[Part]) {
        for part in parts {
            self.account(part.account).add(place, part.events);
        }
    }

    /// They have left it.
    pub(crate) fn left(&self, place: Place, parts: &[Part]) {
        for part in parts {
            self.account(part.account).add(place, -part.events);
        }
    }

    /// They wait in the log for the stream, or do not any more.
    pub(crate) fn hold(&self, parts: &[Part]) {
        for part in parts {
            self.account(part.account).hold(part.bytes);
        }
    }

    /// They need the log no more.
    pub(crate) fn release(&self, parts: &[Part]) {
        for part in parts {
            self.account(part.account).hold(-part.bytes);
        }
    }

    /// Looks whether every account comes out even. To be called about once a second: a difference counts when five looks in a
    /// row have found it, and is told in a log line when it grows.
    pub(crate) fn check(&self) {
        let differences = self.accounts.iter().map(Account::difference);
        let found = self.watch.lock().unwrap_or_else(PoisonError::into_inner).look(differences);
        self.imbalance.store(found.events, Ordering::Relaxed);
        if found.is_new {
            tracing::error!(events = found.events, "the ledger does not come out even: see /admin/ledger");
        }
    }

    /// What every account that does not come out even lacks, or has too much of.
    #[cfg(test)]
    pub(crate) fn differences(&self) -> Vec<i64> {
        let all = self.accounts.iter().map(|account| account.difference().events);
        all.filter(|difference| *difference != 0).collect()
    }

    /// Events by which it did not come out even when that was looked at last.
    pub(crate) fn imbalance(&self) -> u64 {
        self.imbalance.load(Ordering::Relaxed)
    }

    /// What it says now.
    pub(crate) fn report(&self) -> bus::Ledger {
        let mut known: Vec<(i64, AccountId, i32)> = self
            .customers
            .all()
            .map(|(id, customer_id)| (came(self.account(id)), id, customer_id))
            .filter(|(came, ..)| *came > 0)
            .collect();
        known.sort_unstable_by_key(|(came, _, customer_id)| (-came, *customer_id));
        let shown = self.shown.load(Ordering::Relaxed).min(known.len());
        let (first, others) = known.split_at(shown);
        let customers: Vec<CustomerAccount> = first
            .iter()
            .map(|(_, id, customer_id)| CustomerAccount { customer_id: *customer_id, account: told(self.account(*id)) })
            .collect();
        let other = others
            .iter()
            .map(|(_, id, _)| told(self.account(*id)))
            .fold(told(self.account(AccountId::OTHERS)), |sum, each| sum + each);
        let total = customers.iter().fold(other, |sum, customer| sum + customer.account);
        bus::Ledger { total, customers, other, imbalance: self.imbalance() }
    }
}

fn came(account: &Account) -> i64 {
    account.at(Place::Accepted) + account.at(Place::Recovered) + account.at(Place::Replayed)
}

fn told(account: &Account) -> bus::Account {
    let at = |place| account.at(place);
    let dropped = |reason| at(Place::Dropped(reason));
    bus::Account {
        accepted: at(Place::Accepted),
        recovered: at(Place::Recovered),
        replayed: at(Place::Replayed),
        spooled: at(Place::Spooled),
        in_flight: at(Place::InFlight),
        delivered: at(Place::Delivered),
        dead_lettered: at(Place::DeadLettered),
        dropped: bus::Dropped {
            unwritten: dropped(Reason::Unwritten),
            bound: dropped(Reason::Bound),
            retention: dropped(Reason::Retention),
            damaged: dropped(Reason::Damaged),
            gone: dropped(Reason::Gone),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_is_miscounted_is_found_told_once_and_forgotten_when_it_is_made_good() {
        let ledger = Ledger::default();
        let account = ledger.account(ledger.account_of(7));
        account.add(Place::Accepted, 10);
        account.add(Place::InFlight, 9);
        for _ in 0..4 {
            ledger.check();
            assert_eq!(ledger.imbalance(), 0);
        }
        ledger.check();
        assert_eq!(ledger.imbalance(), 1);
        account.add(Place::Delivered, 1);
        ledger.check();
        assert_eq!(ledger.imbalance(), 0);
    }

    #[test]
    fn the_customers_of_whom_most_has_come_are_shown_and_the_others_added_up() {
        let ledger = Ledger::default();
        ledger.show(2);
        for (customer_id, events) in [(1, 5), (2, 50), (3, 10), (4, 7)] {
            let account = ledger.account(ledger.account_of(customer_id));
            account.add(Place::Accepted, events);
            account.add(Place::Spooled, events);
        }
        ledger.account(AccountId::OTHERS).add(Place::Accepted, 1);
        let report = ledger.report();
        let shown: Vec<_> = report.customers.iter().map(|each| (each.customer_id, each.account.accepted)).collect();
        assert_eq!(shown, [(2, 50), (3, 10)]);
        assert_eq!((report.other.accepted, report.other.spooled), (13, 12));
        assert_eq!((report.total.accepted, report.total.spooled), (73, 72));
    }
}
