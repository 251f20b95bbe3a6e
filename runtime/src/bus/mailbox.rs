//! The queue of a consumer: a ring that grows with what is in it, up to the bound its consumer keeps.
//!
//! Not the standard library's: there an element is put together elsewhere and copied into its place, which costs more than
//! all the rest of a send. Here it is put together in its place.

use std::cell::{Cell, RefCell};

/// What waits, first in, first out. How much there is can be asked without a look into it.
pub(super) struct Mailbox<T> {
    /// None, or a power of two.
    places: RefCell<Vec<Option<T>>>,
    first: Cell<usize>,
    len: Cell<usize>,
}

/// Places of a mailbox that has something in it.
const PLACES_MIN: usize = 4;

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { places: RefCell::default(), first: Cell::new(0), len: Cell::new(0) }
    }
}

impl<T> Mailbox<T> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len.get()
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len.get() == 0
    }

    /// The place of what is at `at`, among so many.
    #[inline]
    fn place(&self, at: usize, places: usize) -> usize {
        (self.first.get() + at) & places.wrapping_sub(1)
    }

    /// Puts in what `make` makes; it must not panic and runs nothing foreign.
    #[inline]
    pub(super) fn push_back(&self, make: impl FnOnce() -> T) {
        let mut places = self.places.borrow_mut();
        let len = self.len.get();
        if len == places.len() {
            self.grow(&mut places);
        }
        let place = self.place(len, places.len());
        self.len.set(len + 1);
        // Free places are empty: there is nothing to drop, and saying so lets the value be made in its place.
        std::mem::forget(places[place].replace(make()));
    }

    #[inline]
    pub(super) fn pop_front(&self) -> Option<T> {
        let len = self.len.get();
        if len == 0 {
            return None;
        }
        let mut places = self.places.borrow_mut();
        let first = self.first.get();
        self.first.set(self.place(1, places.len()));
        self.len.set(len - 1);
        places[first].take()
    }

    /// Puts one in before what is at `at`, or behind all.
    pub(super) fn insert(&self, at: usize, value: T) {
        self.push_back(|| value);
        let mut places = self.places.borrow_mut();
        for behind in (at + 1..self.len()).rev() {
            let (a, b) = (self.place(behind - 1, places.len()), self.place(behind, places.len()));
            places.swap(a, b);
        }
    }

    /// Takes all of it away.
    pub(super) fn take(&self) -> Self {
        Self {
            places: RefCell::new(self.places.take()),
            first: Cell::new(self.first.take()),
            len: Cell::new(self.len.take()),
        }
    }

    #[cfg(test)]
    fn all(&self) -> Vec<T>
    where
        T: Clone,
    {
        let places = self.places.borrow();
        (0..self.len()).filter_map(|at| places[self.place(at, places.len())].clone()).collect()
    }

    #[cold]
    fn grow(&self, places: &mut Vec<Option<T>>) {
        places.rotate_left(self.first.take());
        let more = (places.len() * 2).max(PLACES_MIN);
        places.resize_with(more, || None);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Push,
        Pop,
        Insert(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![3 => Just(Step::Push), 2 => Just(Step::Pop), 1 => (0..8_usize).prop_map(Step::Insert)]
    }

    proptest! {
        #[test]
        fn it_holds_the_same_as_a_queue_of_the_standard_library(steps in prop::collection::vec(step(), 0..200)) {
            let (own, mut known) = (Mailbox::default(), VecDeque::new());
            for (number, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Push => {
                        own.push_back(|| number);
                        known.push_back(number);
                    }
                    Step::Pop => prop_assert_eq!(own.pop_front(), known.pop_front()),
                    Step::Insert(at) => {
                        own.insert(at.min(known.len()), number);
                        known.insert(at.min(known.len()), number);
                    }
                }
                prop_assert!(own.all().iter().eq(&known));
                prop_assert_eq!((own.len(), own.is_empty()), (known.len(), known.is_empty()));
            }
            while let Some(next) = own.pop_front() {
                prop_assert_eq!(Some(next), known.pop_front());
            }
            prop_assert!(known.is_empty());
        }
    }
}
