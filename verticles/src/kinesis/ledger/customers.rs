//! Which account of the ledger is whose.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// The accounts of customers; one more is for all others.
pub(crate) const CUSTOMERS_MAX: usize = 1024;
/// All accounts.
pub(crate) const ACCOUNTS: usize = CUSTOMERS_MAX + 1;

/// So many places are looked at before a customer counts among the others.
const PROBES_MAX: usize = 16;

/// A place is taken by a customer id and this, so that no customer looks like an empty place.
const TAKEN: u64 = 1 << 32;

/// The account of a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct AccountId(u16);

impl AccountId {
    /// Of all who have none of their own.
    pub(crate) const OTHERS: Self = Self(CUSTOMERS_MAX as u16);

    /// Its place.
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// Who has which account. No lock: a place is given once and never taken back, so that every counter of a customer, on every
/// loop and from the first event to the last, is in the same account.
#[derive(Debug)]
pub(crate) struct Customers {
    places: Box<[AtomicU64]>,
    known: AtomicUsize,
}

impl Default for Customers {
    fn default() -> Self {
        Self { places: (0..CUSTOMERS_MAX).map(|_| AtomicU64::new(0)).collect(), known: AtomicUsize::new(0) }
    }
}

impl Customers {
    /// The account of a customer, which gets one if there is none yet; that of the others when the places it could have are
    /// taken.
    pub(crate) fn account(&self, customer_id: i32) -> AccountId {
        let key = u64::from(customer_id.cast_unsigned()) | TAKEN;
        let first = spread(customer_id);
        for index in (0..PROBES_MAX).map(|probe| (first + probe) % CUSTOMERS_MAX) {
            let Some(place) = self.places.get(index) else { break };
            let mut known = place.load(Ordering::Relaxed);
            if known == 0 {
                let taken = place.compare_exchange(0, key, Ordering::Relaxed, Ordering::Relaxed);
                self.known.fetch_add(usize::from(taken.is_ok()), Ordering::Relaxed);
                known = taken.map_or_else(|by_another| by_another, |_| key);
            }
            if known == key {
                return AccountId(u16::try_from(index).unwrap_or(AccountId::OTHERS.0));
            }
        }
        AccountId::OTHERS
    }

    /// How many accounts are given.
    pub(crate) fn known(&self) -> usize {
        self.known.load(Ordering::Relaxed)
    }

    /// Every account that is given, with its customer.
    pub(crate) fn all(&self) -> impl Iterator<Item = (AccountId, i32)> {
        self.places.iter().enumerate().filter_map(|(index, place)| {
            let key = place.load(Ordering::Relaxed);
            let id = u16::try_from(index).ok().filter(|_| key != 0)?;
            Some((AccountId(id), u32::try_from(key & !TAKEN).unwrap_or(0).cast_signed()))
        })
    }
}

/// Neighbours are far from one another.
fn spread(customer_id: i32) -> usize {
    // The golden ratio of 32 bits; the upper bits are the ones that are mixed.
    (customer_id.cast_unsigned().wrapping_mul(0x9e37_79b9) >> 16) as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_customer_has_one_account_and_no_other_customer_has_it() {
        let customers = Customers::default();
        let ids = [0, -1, 1, 9_124, i32::MAX, i32::MIN];
        let accounts = ids.map(|id| customers.account(id));
        assert_eq!(ids.map(|id| customers.account(id)), accounts);
        assert_eq!(accounts.iter().collect::<BTreeSet<_>>().len(), ids.len());
        assert_eq!(customers.all().map(|(_, id)| id).collect::<BTreeSet<_>>(), ids.into_iter().collect());
    }

    #[test]
    fn who_finds_no_place_counts_among_the_others_from_the_first_event_to_the_last() {
        let customers = Customers::default();
        let first: Vec<_> = (0..3_000).map(|id| customers.account(id)).collect();
        let again: Vec<_> = (0..3_000).rev().map(|id| customers.account(id)).collect();
        assert!(first.iter().eq(again.iter().rev()));
        let own: BTreeSet<_> = first.iter().filter(|account| **account != AccountId::OTHERS).collect();
        assert_eq!((own.len(), own.len()), (customers.all().count(), customers.known()));
        assert!(own.len() > CUSTOMERS_MAX * 3 / 4, "{} have one of their own", own.len());
    }

    #[test]
    fn two_loops_that_meet_a_customer_at_the_same_time_give_it_one_account() {
        let customers = Customers::default();
        let give = || (0..900).map(|id| customers.account(id)).collect::<Vec<_>>();
        let (one, other) = std::thread::scope(|scope| {
            let (one, other) = (scope.spawn(give), scope.spawn(give));
            (one.join(), other.join())
        });
        assert_eq!(one.ok(), other.ok());
    }
}
