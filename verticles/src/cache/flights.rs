//! Reads under way, so that lookups of one program share one of them.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use adtrack_proto::ProgramId;
use tokio::sync::Notify;

/// The reads under way on one loop.
#[derive(Debug)]
pub(super) struct Flights<T> {
    under_way: RefCell<HashMap<ProgramId, Rc<Flight<T>>>>,
    followers: Cell<usize>,
    reads_max: usize,
    followers_max: usize,
}

/// One read under way.
#[derive(Debug)]
struct Flight<T> {
    result: RefCell<Option<T>>,
    landed: Notify,
}

/// Who asks the store.
pub(super) enum Seat<'f, T> {
    /// The caller does, and [lands](Lead::land) the result.
    Lead(Lead<'f, T>),
    /// Somebody does already.
    Follow(Follow<'f, T>),
    /// Nobody: a bound is reached.
    Full,
}

/// The duty to land a read. Dropped without, those who follow get nothing.
pub(super) struct Lead<'f, T> {
    flights: &'f Flights<T>,
    id: ProgramId,
    flight: Rc<Flight<T>>,
}

/// A place among those who wait for a read.
pub(super) struct Follow<'f, T> {
    flights: &'f Flights<T>,
    flight: Rc<Flight<T>>,
}

impl<T: Clone> Flights<T> {
    /// At most so many reads, and so many that wait for the read of another.
    pub(super) fn new(reads_max: usize, followers_max: usize) -> Self {
        Self { under_way: RefCell::default(), followers: Cell::new(0), reads_max, followers_max }
    }

    pub(super) fn join(&self, id: &ProgramId) -> Seat<'_, T> {
        let mut under_way = self.under_way.borrow_mut();
        if let Some(flight) = under_way.get(id) {
            if self.followers.get() >= self.followers_max {
                return Seat::Full;
            }
            self.followers.set(self.followers.get() + 1);
            return Seat::Follow(Follow { flights: self, flight: Rc::clone(flight) });
        }
        if under_way.len() >= self.reads_max {
            return Seat::Full;
        }
        let flight = Rc::new(Flight { result: RefCell::default(), landed: Notify::new() });
        under_way.insert(id.clone(), Rc::clone(&flight));
        Seat::Lead(Lead { flights: self, id: id.clone(), flight })
    }
}

impl<T: Clone> Lead<'_, T> {
    pub(super) fn land(self, result: T) {
        self.flight.result.replace(Some(result));
    }
}

impl<T> Drop for Lead<'_, T> {
    fn drop(&mut self) {
        self.flights.under_way.borrow_mut().remove(&self.id);
        self.flight.landed.notify_waiters();
    }
}

impl<T: Clone> Follow<'_, T> {
    /// What the read brought; `None` when whoever led it went away. Cancel safe.
    pub(super) async fn landed(self) -> Option<T> {
        // Nothing can land between `join` and the first poll of this: both are on one loop without an await between.
        self.flight.landed.notified().await;
        self.flight.result.borrow().clone()
    }
}

impl<T> Drop for Follow<'_, T> {
    fn drop(&mut self) {
        self.flights.followers.set(self.flights.followers.get() - 1);
    }
}
