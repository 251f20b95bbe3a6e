//! The registrations of an instance, and what it takes for another one to take them over.

use std::any::Any;
use std::cell::RefCell;
use std::rc::Rc;

use slab::Slab;

use crate::bus::consume::ConsumerKey;

/// The registrations of an instance, each in its place. Most have one, which is not in a box.
#[derive(Default)]
pub(crate) enum Registrations {
    #[default]
    None,
    /// In place 0.
    One(ConsumerKey),
    Many(Box<Slab<ConsumerKey>>),
}

impl Registrations {
    /// Gives the place.
    pub(crate) fn insert(&mut self, key: ConsumerKey) -> usize {
        match self {
            Self::None => {
                *self = Self::One(key);
                0
            }
            Self::One(first) => {
                let mut many = Slab::with_capacity(2);
                many.insert(*first);
                let place = many.insert(key);
                *self = Self::Many(Box::new(many));
                place
            }
            Self::Many(many) => many.insert(key),
        }
    }

    /// Whether this one is in its place.
    pub(crate) fn has(&self, place: usize, key: ConsumerKey) -> bool {
        match self {
            Self::None => false,
            Self::One(known) => place == 0 && *known == key,
            Self::Many(many) => many.get(place) == Some(&key),
        }
    }

    /// Takes it out of its place, if it is there.
    pub(crate) fn remove(&mut self, place: usize, key: ConsumerKey) {
        if !self.has(place, key) {
            return;
        }
        match self {
            Self::Many(many) => drop(many.remove(place)),
            Self::None | Self::One(_) => *self = Self::None,
        }
    }

    pub(crate) fn keys(&self) -> Vec<ConsumerKey> {
        match self {
            Self::None => Vec::new(),
            Self::One(key) => vec![*key],
            Self::Many(many) => many.iter().map(|(_, key)| *key).collect(),
        }
    }
}

/// What it takes, beside the same message and reply, for a registration to be taken over by the instance that comes after:
/// where a closure handles the messages, the same closure, whose place is taken by the new one.
pub(crate) struct Kept(Option<Box<Closure>>);

struct Closure {
    held: Rc<dyn Any>,
    swap: Swap,
}

/// Puts what is in the second in the place of what is in the first; `false` when they are of different types.
type Swap = fn(&dyn Any, &dyn Any) -> bool;

/// A handler's closure where it can be replaced.
pub(crate) type Held<H> = RefCell<Rc<H>>;

impl Kept {
    /// For a verticle's own handler.
    pub(crate) fn handler() -> Self {
        Self(None)
    }

    /// For a closure.
    pub(crate) fn closure<H: 'static>(held: &Rc<Held<H>>) -> Self {
        let swap: Swap = |old, new| match (old.downcast_ref::<Held<H>>(), new.downcast_ref::<Held<H>>()) {
            (Some(old), Some(new)) => {
                let newer = Rc::clone(&new.borrow());
                let before = old.replace(newer);
                drop(before);
                true
            }
            _ => false,
        };
        Self(Some(Box::new(Closure { held: Rc::clone(held) as Rc<dyn Any>, swap })))
    }

    /// Whether the other one can take its place, the messages and replies being the same.
    pub(crate) fn fits(&self, other: &Self) -> bool {
        let held = |kept: &Self| kept.0.as_ref().map(|closure| closure.held.as_ref().type_id());
        held(self) == held(other)
    }

    /// The other one's closure takes the place of this one's.
    pub(crate) fn replace_by(&self, other: &Self) {
        if let (Some(old), Some(new)) = (&self.0, &other.0) {
            let swapped = (old.swap)(old.held.as_ref(), new.held.as_ref());
            debug_assert!(swapped, "one that fits is of the same type");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_its_place_until_it_is_taken_out() {
        let key = |place| ConsumerKey { place, generation: place };
        let mut registrations = Registrations::default();
        let places: Vec<_> = (0..3).map(|number| registrations.insert(key(number))).collect();
        assert_eq!(registrations.keys(), [key(0), key(1), key(2)]);
        registrations.remove(places[1], key(2));
        assert!(registrations.has(places[1], key(1)), "another one is in that place");
        registrations.remove(places[0], key(0));
        assert!(!registrations.has(places[0], key(0)));
        assert_eq!(registrations.keys(), [key(1), key(2)]);
        let mut one = Registrations::default();
        let place = one.insert(key(7));
        assert!(one.has(place, key(7)) && !one.has(place, key(8)));
        one.remove(place, key(7));
        assert!(one.keys().is_empty());
        assert_eq!(one.insert(key(8)), place);
    }
}
