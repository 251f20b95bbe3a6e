//! An event loop: a thread, its executor, and everything that is pinned to it.
//!
//! One driver task per loop does all the runtime's work there - incoming parcels, woken handlers, queued messages,
//! outgoing batches, overdue requests - and is woken at most once per turn.

#[cfg(feature = "testing")]
mod dice;
pub(crate) mod driver;
#[cfg(feature = "testing")]
pub(crate) mod leaks;
pub(crate) mod shared;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
pub(crate) mod thread;
mod ticks;
pub(crate) mod watched;

use std::any::{Any, TypeId};
#[cfg(feature = "testing")]
use std::cell::OnceCell;
use std::cell::{Cell, Ref, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Waker;

use slab::Slab;
use tokio::sync::Semaphore;

use crate::address::{Address, BuildCarriedHash, Name};
use crate::bus::consumer::{AnyConsumer, Consume, ConsumerKey};
use crate::bus::fan_out::HandOut;
use crate::bus::intercept::Chains;
use crate::bus::outbox::Flush;
use crate::bus::registry::Spoken;
use crate::bus::replies::{AnyReplies, Replies};
use crate::bus::route::{AnyRoute, LocalRoute};
use crate::bus::tally::Ledger;
use crate::event::{Culprit, Event};
use crate::message::{Headers, Message};
use crate::metrics::Gathered;
use crate::panic::contain;
use crate::runtime::Shared;
use crate::seat::AnySeat;

use shared::{Inbox, LoopShared};
use ticks::Ticks;
use watched::Whose;

/// Routes a loop keeps before it looks for dead ones among them.
const ROUTES_CHECK_MIN: usize = 1_024;
/// Threads of a loop for blocking work; further work waits for one of them.
pub(crate) const BLOCKING_THREADS: usize = 64;

thread_local! {
    static CURRENT: RefCell<Option<Rc<LoopCore>>> = const { RefCell::new(None) };
}

/// Tokio's park hook of every loop's executor: what the loop has done until now must not be mistaken for sleep.
pub(crate) fn before_sleep() {
    with_current(|core| {
        core.own.watched.set_asleep(true);
        if core.ticks.is_deadline_made() {
            core.read_clock();
        }
    });
}

/// Tokio's unpark hook of every loop's executor.
pub(crate) fn note_sleep() {
    with_current(|core| {
        core.own.watched.set_asleep(false);
        core.ticks.note_sleep();
    });
}

/// Runs the closure with the loop of this thread, if it is one.
#[inline]
pub(crate) fn with_current<T>(act: impl FnOnce(&Rc<LoopCore>) -> T) -> Option<T> {
    // `try_with`: wakers are called while a thread's locals are being destroyed, too.
    CURRENT.try_with(|current| current.borrow().as_ref().map(act)).ok().flatten()
}

/// The loop of this thread, if it is one of this runtime.
#[inline]
pub(crate) fn current_of(shared: &Arc<Shared>) -> Option<Rc<LoopCore>> {
    with_current(Rc::clone).filter(|core| Arc::ptr_eq(&core.shared, shared))
}

/// Whose turn it is.
enum Ready {
    /// One that has messages queued.
    Consumer(ConsumerKey),
    /// Those who expect a published message.
    Published(Box<dyn HandOut>),
}

struct Placed {
    generation: u32,
    any: Rc<dyn AnyConsumer>,
    /// `Rc<dyn Consume<M, R>>`, to be asked for by type.
    typed: Box<dyn Any>,
}

/// The waiting requests with one reply type: an `Rc<Replies<R>>` to be asked for by type, and to be swept without it.
type ReplyTable = (Box<dyn Any>, Rc<dyn AnyReplies>);

/// What is pinned to a loop.
pub(crate) struct LoopCore {
    own: Arc<LoopShared>,
    shared: Arc<Shared>,
    consumers: RefCell<Slab<Placed>>,
    generation: Cell<u32>,
    routes: RefCell<HashMap<Name, Rc<dyn AnyRoute>, BuildCarriedHash>>,
    /// The number of the last conversation.
    conversations: Cell<u64>,
    /// Headers that what is sent now carries on.
    carried: RefCell<Option<Rc<Headers>>>,
    /// What is counted by name.
    pub(crate) ledger: Ledger,
    /// The interceptors as they were when this version of them was seen.
    chains: RefCell<(u64, Rc<Chains>)>,
    /// One for each reply type that was ever waited for here. None is ever taken out: their numbers are kept.
    replies: RefCell<Vec<ReplyTable>>,
    reply_types: RefCell<HashMap<TypeId, u32, BuildCarriedHash>>,
    ready: RefCell<VecDeque<Ready>>,
    woken: RefCell<VecDeque<(ConsumerKey, u32)>>,
    outgoing: RefCell<Vec<Rc<dyn Flush>>>,
    /// Those that found a full inbox; tried again each turn, and by the driver's timer.
    refused: RefCell<Vec<Rc<dyn Flush>>>,
    instances: RefCell<HashMap<(u64, usize), Rc<dyn AnySeat>>>,
    pub(crate) blocking: Arc<Semaphore>,
    driver: RefCell<Option<Waker>>,
    driver_woken: Cell<bool>,
    depth: Cell<usize>,
    /// Whether the message whose handler is being started was published.
    published: Cell<bool>,
    ticks: Ticks,
    /// The earliest deadline of a waiting request, `u64::MAX` when there is none.
    deadline: Cell<u64>,
    /// Set when what runs next is drawn.
    #[cfg(feature = "testing")]
    dice: OnceCell<dice::Dice>,
    #[cfg(feature = "testing")]
    living: leaks::Living,
    /// When so many routes are known, those that lead nowhere any more are looked for.
    routes_checked_at: Cell<usize>,
}

impl LoopCore {
    pub(crate) fn new(own: Arc<LoopShared>, shared: &Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            own,
            shared: Arc::clone(shared),
            consumers: RefCell::default(),
            generation: Cell::new(0),
            routes: RefCell::default(),
            conversations: Cell::new(0),
            carried: RefCell::default(),
            ledger: Ledger::default(),
            chains: RefCell::default(),
            replies: RefCell::default(),
            reply_types: RefCell::default(),
            ready: RefCell::default(),
            woken: RefCell::default(),
            outgoing: RefCell::default(),
            refused: RefCell::default(),
            instances: RefCell::default(),
            blocking: Arc::new(Semaphore::new(BLOCKING_THREADS)),
            driver: RefCell::default(),
            driver_woken: Cell::new(false),
            depth: Cell::new(0),
            published: Cell::new(false),
            ticks: Ticks::default(),
            deadline: Cell::new(u64::MAX),
            #[cfg(feature = "testing")]
            dice: OnceCell::new(),
            #[cfg(feature = "testing")]
            living: leaks::Living::default(),
            routes_checked_at: Cell::new(ROUTES_CHECK_MIN),
        })
    }

    #[inline]
    pub(crate) fn id(&self) -> usize {
        self.own.id
    }

    pub(crate) fn own(&self) -> &Arc<LoopShared> {
        &self.own
    }

    #[inline]
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    // ---- consumers

    /// Gives a consumer its place. `tell` is told the key before anybody can reach it.
    pub(crate) fn place_consumer<M: Message, R: Message>(
        &self,
        any: Rc<dyn AnyConsumer>,
        typed: Rc<dyn Consume<M, R>>,
        tell: impl FnOnce(ConsumerKey),
    ) -> ConsumerKey {
        let generation = self.generation.get().wrapping_add(1);
        self.generation.set(generation);
        let mut consumers = self.consumers.borrow_mut();
        let entry = consumers.vacant_entry();
        let key = ConsumerKey { place: entry.key() as u32, generation };
        tell(key);
        entry.insert(Placed { generation, any, typed: Box::new(typed) });
        key
    }

    /// Forgets a consumer that was taken out of the registry before.
    pub(crate) fn remove_consumer(&self, name: &Name, key: ConsumerKey) {
        let placed = {
            let mut consumers = self.consumers.borrow_mut();
            let known = consumers.get(key.place as usize).is_some_and(|placed| placed.generation == key.generation);
            known.then(|| consumers.remove(key.place as usize))
        };
        if let Some(placed) = &placed {
            placed.any.retire(&self.ledger, name);
        }
        // The route of this loop holds its consumers, and with them their verticle: it must not wait for the next use.
        let route = self.routes.borrow().get(name).cloned();
        if route.as_ref().is_some_and(|route| route.is_gone(self)) {
            self.forget_route(name);
        }
        drop((placed, route));
    }

    pub(crate) fn any_consumer(&self, key: ConsumerKey) -> Option<Rc<dyn AnyConsumer>> {
        let consumers = self.consumers.borrow();
        let placed = consumers.get(key.place as usize).filter(|placed| placed.generation == key.generation)?;
        Some(Rc::clone(&placed.any))
    }

    pub(crate) fn consumer<M: Message, R: Message>(&self, key: ConsumerKey) -> Option<Rc<dyn Consume<M, R>>> {
        let consumers = self.consumers.borrow();
        let placed = consumers.get(key.place as usize).filter(|placed| placed.generation == key.generation)?;
        placed.typed.downcast_ref::<Rc<dyn Consume<M, R>>>().cloned()
    }

    /// A number for a conversation that no other of this loop has.
    pub(crate) fn next_conversation(&self) -> u64 {
        self.conversations.set(self.conversations.get() + 1);
        self.conversations.get()
    }

    // ---- routes and replies

    /// The way to an address if it is known, for as long as nothing foreign runs.
    #[inline]
    pub(crate) fn lend_route<M: Message, R: Message>(
        &self,
        address: &Address<M, R>,
    ) -> Option<Ref<'_, LocalRoute<M, R>>> {
        Ref::filter_map(self.routes.borrow(), |routes| {
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
        let known = self.routes.borrow().get(address.key()).cloned();
        let route = match known {
            Some(route) => route,
            None => self.find_route(address)?,
        };
        let served = route.served().spoken.name;
        route.as_any().downcast().map_err(|_| NoRoute::WrongType { served })
    }

    fn find_route<M: Message, R: Message>(&self, address: &Address<M, R>) -> Result<Rc<dyn AnyRoute>, NoRoute> {
        let served = self.shared.registry.find(address.key()).ok_or(NoRoute::NoHandlers)?;
        if served.spoken != Spoken::of::<M, R>() {
            return Err(NoRoute::WrongType { served: served.spoken.name });
        }
        self.forget_dead_routes();
        let route: Rc<dyn AnyRoute> = Rc::new(LocalRoute::<M, R>::new(self, served));
        let before = self.routes.borrow_mut().insert(address.key().clone(), Rc::clone(&route));
        drop(before);
        Ok(route)
    }

    /// Nobody serves it any more; should somebody do so again, it is found anew.
    pub(crate) fn forget_route(&self, name: &Name) {
        let forgotten = self.routes.borrow_mut().remove(name);
        let sent = forgotten.as_ref().map_or(0, |route| route.sent());
        if sent > 0 {
            self.ledger.count(name, |counted| counted.sent += sent);
        }
        drop(forgotten);
    }

    /// A message was counted as sent that is sent once more, or was found to be so.
    pub(crate) fn uncount_sent(&self, name: &Name) {
        let route = self.routes.borrow().get(name).cloned();
        match route {
            Some(route) => route.uncount_sent(),
            None => self.ledger.count(name, |counted| counted.sent = counted.sent.saturating_sub(1)),
        }
    }

    /// Adds what this loop has counted, and how its consumers stand.
    pub(crate) fn measure(&self, gathered: &mut Gathered) {
        self.ledger.add_to(gathered);
        for route in self.routes.borrow().values().filter(|route| route.sent() > 0) {
            gathered.at(&route.served().text).sent += route.sent();
        }
        for (_, placed) in &*self.consumers.borrow() {
            placed.any.measure(gathered);
        }
    }

    fn forget_dead_routes(&self) {
        if self.routes.borrow().len() < self.routes_checked_at.get() {
            return;
        }
        // Not looked at under the borrow: a route that finds itself dead drops its consumers, and they may be the last.
        let all: Vec<_> = self.routes.borrow().iter().map(|(name, route)| (name.clone(), Rc::clone(route))).collect();
        for (name, route) in all {
            if route.is_gone(self) {
                self.forget_route(&name);
            }
        }
        self.routes_checked_at.set(ROUTES_CHECK_MIN.max(self.routes.borrow().len() * 2));
    }

    /// The requests of this loop that wait for a reply of this type.
    pub(crate) fn replies<R: Message>(&self) -> Rc<Replies<R>> {
        let known = self.reply_types.borrow().get(&TypeId::of::<R>()).copied();
        if let Some(table) = known.and_then(|number| self.replies_at(number)) {
            return table;
        }
        let mut tables = self.replies.borrow_mut();
        let number = tables.len() as u32; // there are not so many types
        let table = Rc::new(Replies::<R>::new(number));
        tables.push((Box::new(Rc::clone(&table)), Rc::clone(&table) as Rc<dyn AnyReplies>));
        self.reply_types.borrow_mut().insert(TypeId::of::<R>(), number);
        table
    }

    /// The same by the number of the table, which spares looking for it.
    #[inline]
    pub(crate) fn replies_at<R: Message>(&self, number: u32) -> Option<Rc<Replies<R>>> {
        let tables = self.replies.borrow();
        let (typed, _) = tables.get(number as usize)?;
        typed.downcast_ref::<Rc<Replies<R>>>().cloned()
    }

    fn reply_tables(&self) -> Vec<Rc<dyn AnyReplies>> {
        self.replies.borrow().iter().map(|(_, table)| Rc::clone(table)).collect()
    }

    /// The interceptors there are.
    pub(crate) fn chains(&self) -> Rc<Chains> {
        let interceptors = &self.shared.interceptors;
        let version = interceptors.version();
        let (seen, known) = self.chains.borrow().clone();
        if seen == version {
            return known;
        }
        let chains = Rc::new(interceptors.chains());
        let before = self.chains.replace((version, Rc::clone(&chains)));
        // Interceptors that are gone are foreign code; this may be the last that kept them.
        contain(|| drop((before, known)));
        chains
    }

    // ---- work of the next turn

    /// The consumer has messages to handle.
    #[inline]
    pub(crate) fn schedule(&self, consumer: ConsumerKey) {
        self.ready.borrow_mut().push_back(Ready::Consumer(consumer));
        self.wake_driver();
    }

    /// A published message waits for consumers of this loop.
    pub(crate) fn hand_out_later(&self, published: Box<dyn HandOut>) {
        self.ready.borrow_mut().push_back(Ready::Published(published));
        self.wake_driver();
    }

    /// A handler's waker was called on this loop.
    pub(crate) fn resume_later(&self, consumer: ConsumerKey, slot: u32) {
        self.woken.borrow_mut().push_back((consumer, slot));
        self.wake_driver();
    }

    /// The outbox has something to send when the turn ends.
    pub(crate) fn flush_later(&self, outbox: Rc<dyn Flush>) {
        self.outgoing.borrow_mut().push(outbox);
        self.wake_driver();
    }

    /// A request must have ended by then.
    pub(crate) fn deadline_at(&self, tick: u64) {
        if tick < self.deadline.get() {
            self.deadline.set(tick);
            self.wake_driver();
        }
    }

    #[inline]
    fn wake_driver(&self) {
        if !self.driver_woken.replace(true) {
            self.wake_idle_driver();
        }
    }

    fn wake_idle_driver(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    // ---- for the driver

    /// Gives whether another thread has left something to do.
    fn begin_turn(&self, waker: &Waker) -> bool {
        let known = self.driver.borrow().as_ref().is_some_and(|driver| driver.will_wake(waker));
        if !known {
            self.driver.replace(Some(waker.clone()));
            self.own.set_driver(Some(waker.clone()));
        }
        self.own.watched.go_on();
        // Set during the turn, so that nothing wakes the driver for work it is about to see anyway.
        self.driver_woken.set(true);
        self.own.take_notified()
    }

    fn end_turn(&self, parcels_left: bool) {
        self.driver_woken.set(false);
        let work_left =
            !self.ready.borrow().is_empty() || !self.woken.borrow().is_empty() || !self.outgoing.borrow().is_empty();
        if work_left || parcels_left {
            self.wake_driver();
        }
    }

    fn gather_woken(&self) {
        let from_elsewhere = self.own.take_woken();
        self.woken.borrow_mut().extend(from_elsewhere);
    }

    fn woken_count(&self) -> usize {
        self.woken.borrow().len()
    }

    fn next_woken(&self) -> Option<(ConsumerKey, u32)> {
        self.draw(&self.woken)
    }

    fn ready_count(&self) -> usize {
        self.ready.borrow().len()
    }

    fn next_ready(&self) -> Option<Ready> {
        self.draw(&self.ready)
    }

    #[cfg(not(feature = "testing"))]
    fn draw<T>(&self, queue: &RefCell<VecDeque<T>>) -> Option<T> {
        queue.borrow_mut().pop_front()
    }

    /// Only the test kit draws what runs next.
    #[cfg(not(feature = "testing"))]
    pub(crate) fn draws(&self) -> bool {
        false
    }

    /// Only the test kit puts anything off.
    #[cfg(not(feature = "testing"))]
    pub(crate) fn puts_off(&self) -> bool {
        false
    }

    #[cfg(not(feature = "testing"))]
    fn messages_per_turn(&self, usual: usize) -> usize {
        usual
    }

    /// Not handed to everybody yet: what was published after it must not overtake it.
    fn hand_out_next(&self, published: Box<dyn HandOut>) {
        self.ready.borrow_mut().push_front(Ready::Published(published));
    }

    /// Whether there was any.
    fn take_outgoing(&self, into: &mut Vec<Rc<dyn Flush>>) -> bool {
        into.append(&mut self.refused.borrow_mut());
        into.append(&mut self.outgoing.borrow_mut());
        !into.is_empty()
    }

    fn flush_when_retried(&self, outbox: Rc<dyn Flush>) {
        self.refused.borrow_mut().push(outbox);
    }

    fn deadline(&self) -> u64 {
        self.deadline.get()
    }

    /// Ends the requests that are overdue.
    fn sweep(&self) {
        let now = self.ticks.last();
        if self.deadline.get() > now {
            return;
        }
        let tables = self.reply_tables();
        self.deadline.set(u64::MAX);
        let earliest = tables.iter().map(|table| table.sweep(now)).min().unwrap_or(u64::MAX);
        self.deadline.set(self.deadline.get().min(earliest));
    }

    // ---- time

    /// A turn begins. The clock is read when it may be time for something, and often enough that deadlines made meanwhile
    /// are not far off.
    fn note_turn(&self, timer_fired: bool) {
        if timer_fired || self.ticks.note_turn() {
            self.read_clock();
            self.sweep();
        }
    }

    /// The instant from which a request of now counts its time, and which reading of the clock that is.
    #[inline]
    pub(crate) fn tick_for_deadline(&self) -> (u64, u64) {
        if self.ticks.is_stale() {
            self.read_clock();
        }
        let (tick, reading) = self.ticks.for_deadline();
        (tick.saturating_add(self.shared.clock.tick_error_ns()), reading)
    }

    fn read_clock(&self) {
        let read = self.ticks.read(self.shared.clock.ticks());
        if let Some((reading, passed)) = read
            && passed > self.shared.clock.tick_error_ns()
        {
            // Something kept the loop: requests made since the last reading were made later than it says, by as much as
            // has passed. A late time-out is the loop's own lateness; an early one would be wrong.
            for table in self.reply_tables() {
                table.put_off(reading, passed);
            }
        }
    }

    // ---- handlers in place

    /// From now on what is sent carries these headers on; gives those before.
    pub(crate) fn carry(&self, headers: Option<Rc<Headers>>) -> Option<Rc<Headers>> {
        self.carried.replace(headers)
    }

    pub(crate) fn carried(&self) -> Option<Rc<Headers>> {
        self.carried.borrow().clone()
    }

    #[inline]
    pub(crate) fn depth(&self) -> usize {
        self.depth.get()
    }

    /// Said before a handler is started, and asked while it is.
    #[inline]
    pub(crate) fn note_published(&self, published: bool) {
        self.published.set(published);
    }

    #[inline]
    pub(crate) fn is_published(&self) -> bool {
        self.published.get()
    }

    /// The next of several handlers of one consumer is started.
    #[inline]
    pub(crate) fn go_on(&self) {
        self.own.watched.go_on();
    }

    /// A handler of this instance is polled from now on; what is given goes to [`LoopCore::leave_handler`].
    #[inline]
    pub(crate) fn enter_handler(&self, whose: Whose) -> (usize, Whose) {
        let depth = self.depth.get();
        self.depth.set(depth + 1);
        (depth, self.own.watched.enter(whose))
    }

    #[inline]
    pub(crate) fn leave_handler(&self, (depth, whose): (usize, Whose)) {
        self.depth.set(depth);
        self.own.watched.leave(whose);
    }

    pub(crate) fn count_panic(&self) {
        self.own.panics.fetch_add(1, Ordering::Relaxed);
    }

    /// Code of this instance has panicked: of the one that has the place now, or of the incarnation of this number.
    pub(crate) fn supervise(&self, whose: Whose, incarnation: Option<u32>, panic: &str) {
        let Some((deployment, index)) = whose.instance() else { return };
        self.shared.hook.tell(|| {
            let verticle = self.shared.deployments.name(deployment).unwrap_or_else(|| "an undeployed verticle".into());
            let by = Culprit { verticle: verticle.to_string(), deployment, instance: index };
            Event::Panicked { by, panic: panic.to_owned() }
        });
        if let Some(seat) = self.instance(deployment.0, index) {
            seat.panicked(incarnation, panic);
        }
    }

    pub(crate) fn count_abandoned(&self, messages: usize) {
        self.own.abandoned.fetch_add(messages as u64, Ordering::Relaxed);
    }

    // ---- instances

    pub(crate) fn keep_instance(&self, deployment: u64, instance: usize, resident: Rc<dyn AnySeat>) {
        let before = self.instances.borrow_mut().insert((deployment, instance), resident);
        drop(before);
    }

    pub(crate) fn instance(&self, deployment: u64, instance: usize) -> Option<Rc<dyn AnySeat>> {
        self.instances.borrow().get(&(deployment, instance)).cloned()
    }

    pub(crate) fn take_instance(&self, deployment: u64, instance: usize) -> Option<Rc<dyn AnySeat>> {
        self.instances.borrow_mut().remove(&(deployment, instance))
    }

    /// Work in progress: queued messages, handlers in flight, messages under way.
    #[cfg(feature = "testing")]
    pub(crate) fn is_idle(&self) -> bool {
        self.consumers.borrow().iter().all(|(_, placed)| placed.any.is_drained())
    }

    /// Ends what waits and gives up what is queued: the last thing a loop does.
    fn close(self: &Rc<Self>, inbox: &Inbox) {
        #[cfg(feature = "testing")]
        self.note_leaks();
        self.shared.registry.remove_loop(self.id());
        let late_jobs = self.own.end();
        contain(|| drop(late_jobs));
        self.own.room.wake();
        // Consumers and instances point at the loop that owns them; they go now, or none of the three ever would.
        let instances = self.instances.take();
        for resident in instances.values() {
            self.count_abandoned(contain(|| resident.cut_off()).unwrap_or(0));
        }
        for table in self.reply_tables() {
            table.close();
        }
        contain(|| drop(instances));
        let ready = self.ready.take();
        contain(|| drop(ready));
        let mut gathered = Gathered::default();
        self.measure(&mut gathered);
        self.shared.outside.inherit(gathered);
        let placed = self.consumers.take();
        contain(|| drop(placed));
        // A sender may keep a route, and be kept by what it leads to.
        let routes = self.routes.take();
        for route in routes.values() {
            contain(|| route.is_gone(self));
        }
        contain(|| drop(routes));
        // With its consumers gone, a message that waits in the inbox is given up, and who waits for its reply is told.
        while let Some(parcel) = inbox.take() {
            contain(|| parcel.open(self));
        }
        let mut outgoing = Vec::new();
        self.take_outgoing(&mut outgoing);
        for outbox in outgoing {
            outbox.flush(self);
        }
        self.own.set_driver(None);
        self.driver.replace(None);
    }
}

/// Why there is no way to an address.
#[derive(Debug)]
pub(crate) enum NoRoute {
    NoHandlers,
    WrongType { served: &'static str },
}

/// Makes this thread the loop's, for as long as the guard lives.
#[must_use]
pub(crate) struct OnLoop;

impl OnLoop {
    pub(crate) fn enter(core: &Rc<LoopCore>) -> Self {
        CURRENT.with(|current| current.replace(Some(Rc::clone(core))));
        Self
    }
}

impl Drop for OnLoop {
    fn drop(&mut self) {
        let last = CURRENT.with(|current| current.replace(None));
        drop(last);
    }
}
