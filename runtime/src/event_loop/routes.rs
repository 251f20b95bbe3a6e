//! The ways a loop knows to addresses.

use std::any::Any;
use std::cell::{Cell, Ref, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use crate::address::{Address, BuildCarriedHash, Name};
use crate::bus::registry::Spoken;
use crate::bus::route::{AnyRoute, LocalRoute};
use crate::message::Message;

use super::LoopCore;

/// Routes a loop keeps before it looks for dead ones among them.
const CHECK_MIN: usize = 1_024;

/// The routes of a loop.
pub(super) struct Routes {
    pub(super) known: RefCell<HashMap<Name, Rc<dyn AnyRoute>, BuildCarriedHash>>,
    /// When so many are known, those that lead nowhere any more are looked for.
    checked_at: Cell<usize>,
}

impl Default for Routes {
    fn default() -> Self {
        Self { known: RefCell::default(), checked_at: Cell::new(CHECK_MIN) }
    }
}

/// Why there is no way to an address.
#[derive(Debug)]
pub(crate) enum NoRoute {
    NoHandlers,
    WrongType { served: &'static str },
}

impl LoopCore {
    /// The way to an address if it is known, for as long as nothing foreign runs. Always in its caller: called, it is a third
    /// dearer, and every message comes this way.
    #[inline(always)]
    pub(crate) fn lend_route<M: Message, R: Message>(
        &self,
        address: &Address<M, R>,
    ) -> Option<Ref<'_, LocalRoute<M, R>>> {
        Ref::filter_map(self.routes.known.borrow(), |routes| {
            let route: &dyn Any = &**routes.get(address.key())?;
            route.downcast_ref()
        })
        .ok()
    }

    /// The way to an address.
    pub(crate) fn route<M: Message, R: Message>(
        &self,
        address: &Address<M, R>,
    ) -> Result<Rc<LocalRoute<M, R>>, NoRoute> {
        let known = self.routes.known.borrow().get(address.key()).cloned();
        let route = match known {
            Some(route) => route,
            None => self.find_route(address)?,
        };
        let served = route.served().spoken.name();
        route.as_any().downcast().map_err(|_| NoRoute::WrongType { served })
    }

    fn find_route<M: Message, R: Message>(&self, address: &Address<M, R>) -> Result<Rc<dyn AnyRoute>, NoRoute> {
        let served = self.shared.registry.find(address.key()).ok_or(NoRoute::NoHandlers)?;
        if served.spoken != Spoken::of::<M, R>() {
            return Err(NoRoute::WrongType { served: served.spoken.name() });
        }
        self.forget_dead_routes();
        let route: Rc<dyn AnyRoute> = Rc::new(LocalRoute::<M, R>::new(self, served));
        let before = self.routes.known.borrow_mut().insert(address.key().clone(), Rc::clone(&route));
        drop(before);
        Ok(route)
    }

    /// Nobody serves it any more; should somebody do so again, it is found anew.
    pub(crate) fn forget_route(&self, name: &Name) {
        let forgotten = self.routes.known.borrow_mut().remove(name);
        let sent = forgotten.as_ref().map_or(0, |route| route.sent());
        if sent > 0 {
            self.ledger.count(name, |counted| counted.sent += sent);
        }
        drop(forgotten);
    }

    /// A message was counted as sent that is sent once more, or was found to be so.
    pub(crate) fn uncount_sent(&self, name: &Name) {
        let route = self.routes.known.borrow().get(name).cloned();
        match route {
            Some(route) => route.uncount_sent(),
            None => self.ledger.count(name, |counted| counted.sent = counted.sent.saturating_sub(1)),
        }
    }

    fn forget_dead_routes(&self) {
        if self.routes.known.borrow().len() < self.routes.checked_at.get() {
            return;
        }
        // Not looked at under the borrow: a route that finds itself dead drops its consumers, and they may be the last.
        let all: Vec<_> =
            self.routes.known.borrow().iter().map(|(name, route)| (name.clone(), Rc::clone(route))).collect();
        for (name, route) in all {
            if route.is_gone(self) {
                self.forget_route(&name);
            }
        }
        self.routes.checked_at.set(CHECK_MIN.max(self.routes.known.borrow().len() * 2));
    }
}
