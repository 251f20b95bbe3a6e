//! The consumers of a loop, each in its place.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use slab::Slab;

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
}

impl LoopCore {
    /// The key of the consumer that is placed next.
    pub(crate) fn next_consumer(&self) -> ConsumerKey {
        let place = self.consumers.placed.borrow().vacant_key() as u32;
        ConsumerKey { place, generation: self.consumers.generation.get().wrapping_add(1) }
    }

    /// Gives a consumer the place it was made for.
    pub(crate) fn place_consumer(&self, key: ConsumerKey, any: Rc<dyn AnyConsumer>) {
        self.consumers.generation.set(key.generation);
        let place = self.consumers.placed.borrow_mut().insert(Placed { generation: key.generation, any });
        debug_assert_eq!(place, key.place as usize, "placed as soon as it has its key");
    }

    /// Nobody finds this consumer any more.
    pub(crate) fn take_back(&self, consumer: &dyn AnyConsumer) {
        self.shared.registry.remove(consumer.name(), self.id(), consumer.key());
    }

    /// Forgets a consumer that was taken back.
    pub(crate) fn remove_consumer(&self, consumer: Rc<dyn AnyConsumer>) {
        let (name, key) = (consumer.name(), consumer.key());
        let placed = {
            let mut consumers = self.consumers.placed.borrow_mut();
            let known = consumers.get(key.place as usize).is_some_and(|placed| placed.generation == key.generation);
            known.then(|| consumers.remove(key.place as usize))
        };
        if let Some(placed) = &placed {
            placed.any.retire(&self.ledger);
        }
        // The route of this loop holds its consumers, and with them their verticle: it must not wait for the next use.
        let route = self.routes.known.borrow().get(name).cloned();
        if route.as_ref().is_some_and(|route| route.is_gone(self)) {
            self.forget_route(name);
        }
        drop((placed, route));
        drop(consumer);
    }

    pub(crate) fn any_consumer(&self, key: ConsumerKey) -> Option<Rc<dyn AnyConsumer>> {
        let consumers = self.consumers.placed.borrow();
        let placed = consumers.get(key.place as usize).filter(|placed| placed.generation == key.generation)?;
        Some(Rc::clone(&placed.any))
    }

    pub(crate) fn consumer<M: Message, R: Message>(&self, key: ConsumerKey) -> Option<Rc<dyn Consume<M, R>>> {
        let consumers = self.consumers.placed.borrow();
        let placed = consumers.get(key.place as usize).filter(|placed| placed.generation == key.generation)?;
        let mut found: Option<Rc<dyn Consume<M, R>>> = None;
        Rc::clone(&placed.any).give_typed(&mut found);
        found
    }
}
