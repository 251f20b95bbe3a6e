//! Which consumer a message goes to, as one event loop sees it.

use std::any::Any;
use std::cell::{Cell, Ref, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::address::Address;
use crate::event_loop::{LoopCore, NoRoute, current_of};
use crate::message::Message;
use crate::runtime::Shared;

use super::consume::{Consume, ConsumerKey};
use super::credit::Credit;
use super::delivery::RemoteMessage;
use super::outbox::Outbox;
use super::registry::{Registration, Served, Spoken};

/// How an address with several consumers chooses the one that gets a message. Publish reaches them all in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Route {
    /// Each in turn, wherever it lives: Vert.x's rule. The turn is kept per sending loop.
    #[default]
    RoundRobin,
    /// Those on the sender's own loop in turn; the others only when there is none. For what is deployed on every loop,
    /// so that a request never leaves its loop.
    PreferLocal,
}

/// A consumer to choose.
pub(crate) enum Target<M, R> {
    Local(Rc<dyn Consume<M, R>>),
    Remote(Rc<Remote<M, R>>),
}

impl<M, R> Clone for Target<M, R> {
    fn clone(&self) -> Self {
        match self {
            Self::Local(consumer) => Self::Local(Rc::clone(consumer)),
            Self::Remote(remote) => Self::Remote(Rc::clone(remote)),
        }
    }
}

impl<M, R> Target<M, R> {
    pub(crate) fn local(&self) -> Option<&Rc<dyn Consume<M, R>>> {
        match self {
            Self::Local(consumer) => Some(consumer),
            Self::Remote(_) => None,
        }
    }

    pub(crate) fn remote(&self) -> Option<&Remote<M, R>> {
        match self {
            Self::Local(_) => None,
            Self::Remote(remote) => Some(remote),
        }
    }
}

/// A consumer on another loop.
pub(crate) struct Remote<M, R> {
    pub(crate) consumer: ConsumerKey,
    pub(crate) credit: Arc<Credit>,
    pub(crate) outbox: Rc<Outbox<RemoteMessage<M, R>>>,
}

/// Whom a route leads to. One alone is in place: on the way to it nothing else has to be looked at.
enum Targets<M, R> {
    One(Target<M, R>),
    Many(Rc<[Target<M, R>]>),
}

impl<M, R> Targets<M, R> {
    #[inline]
    fn as_slice(&self) -> &[Target<M, R>] {
        match self {
            Self::One(target) => std::slice::from_ref(target),
            Self::Many(targets) => targets,
        }
    }

    fn shared(&self) -> Rc<[Target<M, R>]> {
        match self {
            Self::One(target) => Rc::new([Target::clone(target)]),
            Self::Many(targets) => Rc::clone(targets),
        }
    }
}

/// What one loop knows of an address. What a message looks at comes first, in one cache line.
#[repr(C)]
pub(crate) struct LocalRoute<M, R> {
    /// The registry's version at which the address was last seen to be unchanged.
    seen_all: Cell<u64>,
    /// How many of the targets, which come first, are chosen from.
    choice: Cell<u32>,
    /// Whose turn it is.
    turn: Cell<u32>,
    targets: RefCell<Targets<M, R>>,
    /// Messages that went this way.
    sent: Cell<u64>,
    /// The version that the targets belong to.
    seen: Cell<u64>,
    served: Arc<Served>,
}

impl<M: Message, R: Message> LocalRoute<M, R> {
    pub(crate) fn new(core: &LoopCore, served: Arc<Served>) -> Self {
        let route = Self {
            seen_all: Cell::new(0),
            choice: Cell::new(0),
            turn: Cell::new(0),
            targets: RefCell::new(Targets::Many(Rc::new([]))),
            sent: Cell::new(0),
            seen: Cell::new(0),
            served,
        };
        route.look_again(core);
        route
    }

    pub(crate) fn served(&self) -> &Arc<Served> {
        &self.served
    }

    fn pick(&self) -> Option<Target<M, R>> {
        self.take_turn().map(|target| Target::clone(&target))
    }

    /// The consumer whose turn it is, for as long as nothing foreign runs; `None` when there is none, or when
    /// registrations have changed.
    #[inline]
    pub(crate) fn lend(&self, core: &LoopCore) -> Option<Ref<'_, Target<M, R>>> {
        if self.is_fresh(core) { self.take_turn() } else { None }
    }

    /// Whether nothing has changed at this address.
    #[inline]
    fn is_fresh(&self, core: &LoopCore) -> bool {
        let all = core.shared().registry.version();
        all == self.seen_all.get() || self.is_unchanged(all)
    }

    /// Something has changed somewhere.
    #[cold]
    fn is_unchanged(&self, all: u64) -> bool {
        let unchanged = self.served.version() == self.seen.get();
        if unchanged {
            self.seen_all.set(all);
        }
        unchanged
    }

    #[inline]
    fn take_turn(&self) -> Option<Ref<'_, Target<M, R>>> {
        let choice = self.choice.get();
        if choice == 0 {
            return None;
        }
        self.count_sent();
        let turn = self.turn.get();
        let turn = if turn >= choice { 0 } else { turn };
        self.turn.set(turn + 1);
        Some(Ref::map(self.targets.borrow(), |targets| &targets.as_slice()[turn as usize]))
    }

    #[inline]
    pub(crate) fn count_sent(&self) {
        self.sent.set(self.sent.get() + 1);
    }

    /// Every consumer.
    pub(crate) fn all(&self, core: &LoopCore) -> Rc<[Target<M, R>]> {
        self.refresh(core);
        self.targets.borrow().shared()
    }

    fn refresh(&self, core: &LoopCore) {
        if !self.is_fresh(core) {
            self.look_again(core);
        }
    }

    fn look_again(&self, core: &LoopCore) {
        let all = core.shared().registry.version();
        let (version, registrations) = self.served.registrations();
        let own = core.id();
        let (here, elsewhere): (Vec<_>, Vec<_>) = registrations.into_iter().partition(|known| known.event_loop == own);
        let local = here.into_iter().filter_map(|known| core.consumer::<M, R>(known.consumer).map(Target::Local));
        let mut targets: Vec<_> = local.collect();
        let here = targets.len();
        targets.extend(elsewhere.into_iter().map(|known| self.remote(core, known)));
        let choice = match self.served.route {
            Route::PreferLocal if here > 0 => here,
            Route::PreferLocal | Route::RoundRobin => targets.len(),
        };
        self.choice.set(choice as u32); // there is not memory for so many
        let targets = match targets.len() {
            1 => targets.pop().map(Targets::One),
            _ => None,
        }
        .unwrap_or_else(|| Targets::Many(targets.into()));
        let before = self.targets.replace(targets);
        self.seen.set(version);
        self.seen_all.set(all);
        drop(before);
    }

    /// The outbox of a consumer that was known before is kept: what waits in it must not be overtaken.
    fn remote(&self, core: &LoopCore, known: Registration) -> Target<M, R> {
        for target in self.targets.borrow().as_slice() {
            if let Target::Remote(remote) = target
                && Arc::ptr_eq(&remote.credit, &known.credit)
            {
                return Target::Remote(Rc::clone(remote));
            }
        }
        let outbox = Outbox::new(core, known.event_loop);
        Target::Remote(Rc::new(Remote { consumer: known.consumer, credit: known.credit, outbox }))
    }
}

/// The consumer whose turn it is. A route that has become empty is forgotten and looked up once more, because the
/// address may have been served anew since.
pub(super) fn find<M: Message, R: Message>(core: &LoopCore, to: &Address<M, R>) -> Result<Target<M, R>, NoRoute> {
    for _ in 0..2 {
        let route = core.route(to)?;
        route.refresh(core);
        match route.pick() {
            Some(target) => return Ok(target),
            None => core.forget_route(to.key()),
        }
    }
    Err(NoRoute::NoHandlers)
}

/// The places that the consumers of an address have for messages of this thread.
pub(super) fn room<M: Message, R: Message>(shared: &Arc<Shared>, at: &Address<M, R>) -> usize {
    let Some(core) = current_of(shared) else {
        let served = shared.registry.find(at.key()).filter(|served| served.spoken == Spoken::of::<M, R>());
        let registrations = served.map(|served| served.registrations().1).unwrap_or_default();
        return registrations.iter().map(|known| known.credit.free()).sum();
    };
    let Ok(route) = core.route(at) else { return 0 };
    let room = |target: &Target<M, R>| match target {
        Target::Local(consumer) => consumer.room(),
        Target::Remote(remote) => remote.credit.free(),
    };
    route.all(&core).iter().map(room).sum()
}

/// A consumer that can be handed a message.
pub(crate) enum Reached<M, R> {
    /// On this loop.
    Local(Rc<dyn Consume<M, R>>),
    /// On another one. A place of its credit is taken.
    Remote(Rc<Remote<M, R>>),
    /// On another one, and there is no room.
    Full,
}

/// Finds the consumer whose turn it is and, where it lives on another loop, takes a place there.
#[inline]
pub(crate) fn reach<M: Message, R: Message>(core: &LoopCore, to: &Address<M, R>) -> Result<Reached<M, R>, NoRoute> {
    if let Some(route) = core.lend_route(to)
        && let Some(target) = route.lend(core)
        && let Some(reached) = reach_target(core, to, &target)
    {
        return Ok(reached);
    }
    find_and_reach(core, to)
}

/// The way is not known, or it has changed.
#[cold]
fn find_and_reach<M: Message, R: Message>(core: &LoopCore, to: &Address<M, R>) -> Result<Reached<M, R>, NoRoute> {
    for _ in 0..CLOSING_TRIES {
        if let Some(reached) = reach_target(core, to, &find(core, to)?) {
            return Ok(reached);
        }
    }
    Err(NoRoute::NoHandlers)
}

/// `None`: it was closed after it was found. It is out of the registry already, the next look finds another one or none.
#[inline]
fn reach_target<M, R>(core: &LoopCore, to: &Address<M, R>, target: &Target<M, R>) -> Option<Reached<M, R>> {
    match target {
        Target::Local(consumer) => Some(Reached::Local(Rc::clone(consumer))),
        Target::Remote(remote) if remote.credit.take(1) == 1 => Some(Reached::Remote(Rc::clone(remote))),
        Target::Remote(remote) if remote.credit.is_closed() => {
            core.uncount_sent(to.key());
            None
        }
        Target::Remote(_) => Some(Reached::Full),
    }
}

/// Consumers that may close under a sender's hands before it gives up finding one that does not.
pub(super) const CLOSING_TRIES: usize = 64;

/// A route with its types forgotten.
pub(crate) trait AnyRoute: Any {
    fn served(&self) -> &Arc<Served>;
    fn as_any(self: Rc<Self>) -> Rc<dyn Any>;
    /// Messages that went this way.
    fn sent(&self) -> u64;
    /// One of them was counted twice.
    fn uncount_sent(&self);
    /// Whether the loop may forget it: nobody serves the address.
    fn is_gone(&self, core: &LoopCore) -> bool;
}

impl<M: Message, R: Message> AnyRoute for LocalRoute<M, R> {
    fn served(&self) -> &Arc<Served> {
        self.served()
    }

    fn sent(&self) -> u64 {
        self.sent.get()
    }

    fn uncount_sent(&self) {
        self.sent.set(self.sent.get().saturating_sub(1));
    }

    fn as_any(self: Rc<Self>) -> Rc<dyn Any> {
        self
    }

    fn is_gone(&self, core: &LoopCore) -> bool {
        self.refresh(core);
        self.targets.borrow().as_slice().is_empty()
    }
}
