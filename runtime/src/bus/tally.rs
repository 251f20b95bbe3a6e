//! What is counted of messages: in plain cells where they are handled, by name where they are not.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::address::{Address, BuildCarriedHash, Name};
use crate::clock::Clock;
use crate::conversation;
use crate::histogram::Histogram;
use crate::metrics::{AddressMetrics, Gathered};

/// Names without a consumer that counts are kept for; see [`Metrics`](crate::Metrics).
const NAMES_MAX: usize = 4_096;
/// What names beyond that are counted under.
const OTHERS: &str = "(others)";

/// What a consumer counts.
pub(crate) struct Tally {
    begun: Cell<u64>,
    /// Which of the handlers are measured: those whose number has none of these bits.
    mask: u64,
    /// Made when there is something to count there; the first handler is measured.
    more: OnceCell<Box<More>>,
}

#[derive(Default)]
struct More {
    failed: Cell<u64>,
    discarded: Cell<u64>,
    times: RefCell<Times>,
}

#[derive(Default)]
struct Times {
    finished: Histogram,
    /// Suspended handlers that are measured, by slot, and when they began.
    suspended: Vec<(u32, u64)>,
}

impl Tally {
    /// `one_in` is a power of two.
    pub(crate) fn new(one_in: u64) -> Self {
        Self { begun: Cell::new(0), mask: one_in - 1, more: OnceCell::new() }
    }

    #[cold]
    fn more(&self) -> &More {
        self.more.get_or_init(Box::default)
    }

    /// A handler begins; gives whether this one is measured.
    #[inline]
    pub(super) fn begin(&self) -> bool {
        let number = self.begun.get();
        self.begun.set(number + 1);
        number & self.mask == 0
    }

    #[inline]
    pub(super) fn fail(&self) {
        let failed = &self.more().failed;
        failed.set(failed.get() + 1);
    }

    pub(super) fn discard(&self, messages: usize) {
        let discarded = &self.more().discarded;
        discarded.set(discarded.get() + messages as u64);
    }

    /// A handler that is measured has finished at once.
    #[cold]
    pub(super) fn finished(&self, nanos: u64) {
        self.more().times.borrow_mut().finished.add(nanos);
    }

    /// A handler that is measured is suspended.
    #[cold]
    pub(super) fn suspended(&self, slot: u32, began: u64) {
        self.more().times.borrow_mut().suspended.push((slot, began));
    }

    /// The handler of this slot has ended.
    pub(super) fn resumed(&self, slot: u32, clock: &Clock) {
        let Some(more) = self.more.get() else { return };
        let mut times = more.times.borrow_mut();
        if let Some(at) = times.suspended.iter().position(|(known, _)| *known == slot) {
            let (_, began) = times.suspended.swap_remove(at);
            times.finished.add(clock.ticks().saturating_sub(began));
        }
    }

    pub(super) fn has_counted(&self) -> bool {
        self.begun.get() > 0 || self.more.get().is_some()
    }

    pub(super) fn add_to(&self, metrics: &mut AddressMetrics) {
        metrics.delivered += self.begun.get();
        if let Some(more) = self.more.get() {
            metrics.failed += more.failed.get();
            metrics.discarded += more.discarded.get();
            metrics.handler_time.merge(&more.times.borrow().finished);
        }
    }
}

/// What is counted by name: messages that no consumer counts, and what is left of consumers and routes that are gone.
#[derive(Default)]
pub(crate) struct Ledger {
    names: RefCell<HashMap<Name, AddressMetrics, BuildCarriedHash>>,
}

impl Ledger {
    pub(crate) fn count(&self, name: &Name, count: impl FnOnce(&mut AddressMetrics)) {
        let mut names = self.names.borrow_mut();
        let counted_as = match name {
            name if conversation::is_one(name.as_str()) => Name::of_static(conversation::NAME),
            name if names.len() >= NAMES_MAX && !names.contains_key(name) => Name::of_static(OTHERS),
            name => name.clone(),
        };
        count(names.entry(counted_as).or_default());
    }

    pub(crate) fn add_to(&self, gathered: &mut Gathered) {
        for (name, counted) in self.names.borrow().iter() {
            gathered.at(name.as_str()).merge(counted);
        }
    }
}

/// The same for all threads that are no loop.
#[derive(Default)]
pub(crate) struct Outside(Mutex<Ledger>);

impl Outside {
    pub(crate) fn count(&self, name: &Name, count: impl FnOnce(&mut AddressMetrics)) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).count(name, count);
    }

    /// Takes over what a loop has counted that ends.
    pub(crate) fn inherit(&self, gathered: Gathered) {
        for counted in gathered.into_counted() {
            let address: Address<()> = Address::dynamic(Arc::clone(&counted.address));
            self.count(address.key(), |own| own.merge(&counted));
        }
    }

    pub(crate) fn add_to(&self, gathered: &mut Gathered) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).add_to(gathered);
    }
}
