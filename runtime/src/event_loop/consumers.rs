//! The consumers of a loop, each in its place.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::rc::Rc;

use slab::Slab;

use crate::address::Name;
use crate::bus::consume::{AnyConsumer, Consume, ConsumerKey};
use crate::message::Message;

use super::LoopCore;

/// The consumers of a loop.
#[derive(Default)]
pub(super) struct Consumers {
    pub(super) placed: RefCell<Slab<Placed>>,
    generation: Cell<u32>,
}

pub(super) struct Placed {
    generation: u32,
    pub(super) any: Rc<dyn AnyConsumer>,
    /// `Rc<dyn Consume<M, R>>`, to be asked for by type.
    typed: Box<dyn Any>,
}

impl LoopCore {
    /// Gives a consumer its place. `tell` is told the key before anybody can reach it.
    pub(crate) fn place_consumer<M: Message, R: Message>(
        &self,
        any: Rc<dyn AnyConsumer>,
        typed: Rc<dyn Consume<M, R>>,
        tell: impl FnOnce(ConsumerKey),
    ) -> ConsumerKey {
        let generation = self.consumers.generation.get().wrapping_add(1);
        self.consumers.generation.set(generation);
        let mut consumers = self.consumers.placed.borrow_mut();
        let entry = consumers.vacant_entry();
        let key = ConsumerKey { place: entry.key() as u32, generation };
        tell(key);
        entry.insert(Placed { generation, any, typed: Box::new(typed) });
        key
    }

    /// Forgets a consumer that was taken out of the registry before.
    pub(crate) fn remove_consumer(&self, name: &Name, key: ConsumerKey) {
        let placed = {
            let mut consumers = self.consumers.placed.borrow_mut();
            let known = consumers.get(key.place as usize).is_some_and(|placed| placed.generation == key.generation);
            known.then(|| consumers.remove(key.place as usize))
        };
        if let Some(placed) = &placed {
            placed.any.retire(&self.ledger, name);
        }
        // The route of this loop holds its consumers, and with them their verticle: it must not wait for the next use.
        let route = self.routes.known.borrow().get(name).cloned();
        if route.as_ref().is_some_and(|route| route.is_gone(self)) {
            self.forget_route(name);
        }
        drop((placed, route));
    }

    pub(crate) fn any_consumer(&self, key: ConsumerKey) -> Option<Rc<dyn AnyConsumer>> {
        let consumers = self.consumers.placed.borrow();
        let placed = consumers.get(key.place as usize).filter(|placed| placed.generation == key.generation)?;
        Some(Rc::clone(&placed.any))
    }

    pub(crate) fn consumer<M: Message, R: Message>(&self, key: ConsumerKey) -> Option<Rc<dyn Consume<M, R>>> {
        let consumers = self.consumers.placed.borrow();
        let placed = consumers.get(key.place as usize).filter(|placed| placed.generation == key.generation)?;
        placed.typed.downcast_ref::<Rc<dyn Consume<M, R>>>().cloned()
    }
}
