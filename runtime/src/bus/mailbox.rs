//! The queue of a consumer: a ring that grows with what is in it, up to the bound its consumer keeps.
//!
//! Not the standard library's: there an element is put together elsewhere and copied into its place, which costs more than
//! all the rest of a send. Here it is put together in its place.

/// What waits, first in, first out.
pub(super) struct Mailbox<T> {
    /// None, or a power of two.
    places: Vec<Option<T>>,
    first: usize,
    len: usize,
}

/// Places of a mailbox that has something in it.
const PLACES_MIN: usize = 4;

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        Self { places: Vec::new(), first: 0, len: 0 }
    }
}

impl<T> Mailbox<T> {
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    #[inline]
    fn place(&self, at: usize) -> usize {
        (self.first + at) & self.places.len().wrapping_sub(1)
    }

    /// Puts in what `make` makes; it must not panic and runs nothing foreign.
    #[inline]
    pub(super) fn push_back(&mut self, make: impl FnOnce() -> T) {
        if self.len == self.places.len() {
            self.grow();
        }
        let place = self.place(self.len);
        self.len += 1;
        let place = &mut self.places[place];
        // Free places are empty: there is nothing to drop, and saying so lets the value be made in its place.
        std::mem::forget(place.replace(make()));
    }

    #[inline]
    pub(super) fn pop_front(&mut self) -> Option<T> {
        if self.len == 0 {
            return None;
        }
        let place = self.first;
        self.first = self.place(1);
        self.len -= 1;
        self.places[place].take()
    }

    /// Puts one in before what is at `at`, or behind all.
    pub(super) fn insert(&mut self, at: usize, value: T) {
        self.push_back(|| value);
        for behind in (at + 1..self.len).rev() {
            let (a, b) = (self.place(behind - 1), self.place(behind));
            self.places.swap(a, b);
        }
    }

    #[cfg(test)]
    fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).filter_map(|at| self.places[self.place(at)].as_ref())
    }

    #[cold]
    fn grow(&mut self) {
        self.places.rotate_left(self.first);
        self.first = 0;
        let places = (self.places.len() * 2).max(PLACES_MIN);
        self.places.resize_with(places, || None);
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
            let (mut own, mut known) = (Mailbox::default(), VecDeque::new());
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
                prop_assert!(own.iter().eq(&known));
                prop_assert_eq!((own.len(), own.is_empty()), (known.len(), known.is_empty()));
            }
            while let Some(next) = own.pop_front() {
                prop_assert_eq!(Some(next), known.pop_front());
            }
            prop_assert!(known.is_empty());
        }
    }
}
