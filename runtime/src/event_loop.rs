//! An event loop: a thread, its executor, and everything that is pinned to it.
//!
//! One driver task per loop does all the runtime's work there - incoming parcels, woken handlers, queued messages,
//! outgoing batches, overdue requests - and is woken at most once per turn.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use slab::Slab;

use crate::address::{Address, BuildCarriedHash, Name};
use crate::bus::consumer::{AnyConsumer, Consume, ConsumerKey};
use crate::bus::outbox::Flush;
use crate::bus::registry::Spoken;
use crate::bus::replies::{AnyReplies, Replies};
use crate::bus::route::{AnyRoute, LocalRoute};
use crate::clock::Timer;
use crate::deployment::AnyInstance;
use crate::message::Message;
use crate::runtime::Shared;

/// Parcels an event loop's inbox holds: batches and jobs, not messages. A sender that finds it full keeps its batch.
const INBOX_PARCELS: usize = 1_024;
/// Parcels opened per turn, so that a flood from outside leaves the loop's own work its share.
const PARCELS_PER_TURN: usize = 128;
/// Messages handled for one consumer before the next one has its turn.
const MESSAGES_PER_TURN: usize = 256;
/// Routes a loop keeps before it looks for dead ones among them.
const ROUTES_CHECK_MIN: usize = 1_024;
/// Uses of one reading of the clock, in a loop that never sleeps.
const TICK_USES: u32 = 32;
/// How long a batch waits for room in a full inbox before it is tried again.
const RETRY_NS: u64 = 1_000_000;

/// Something another thread wants done on a loop.
pub(crate) trait Parcel: Send {
    fn open(self: Box<Self>, core: &Rc<LoopCore>);
    /// The content, for a sender that could not post it.
    fn into_any(self: Box<Self>) -> Box<dyn Any>;
}

struct Job<F>(F);

impl<F: FnOnce(&Rc<LoopCore>) + Send + 'static> Parcel for Job<F> {
    fn open(self: Box<Self>, core: &Rc<LoopCore>) {
        (self.0)(core);
    }

    fn into_any(self: Box<Self>) -> Box<dyn Any> {
        Box::new(())
    }
}

/// A closure to run on a loop.
pub(crate) fn job(work: impl FnOnce(&Rc<LoopCore>) + Send + 'static) -> Box<dyn Parcel> {
    Box::new(Job(work))
}

/// What every thread may touch of a loop.
pub(crate) struct LoopShared {
    pub(crate) id: usize,
    pub(crate) name: String,
    inbox: flume::Sender<Box<dyn Parcel>>,
    notified: AtomicBool,
    stopping: AtomicBool,
    driver: Mutex<Option<Waker>>,
    woken: Mutex<Vec<(ConsumerKey, u32)>>,
    /// Handlers that panicked here.
    pub(crate) panics: AtomicU64,
    /// Messages given up here because their verticle did not finish them in its time.
    pub(crate) abandoned: AtomicU64,
}

impl std::fmt::Debug for LoopShared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventLoop").field("id", &self.id).field("name", &self.name).finish_non_exhaustive()
    }
}

/// The receiving end of an inbox, on its way to the thread that will own it.
pub(crate) struct Inbox(flume::Receiver<Box<dyn Parcel>>);

impl LoopShared {
    pub(crate) fn new(id: usize, name: String) -> (Self, Inbox) {
        let (inbox, receiver) = flume::bounded(INBOX_PARCELS);
        let shared = Self {
            id,
            name,
            inbox,
            notified: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            driver: Mutex::new(None),
            woken: Mutex::default(),
            panics: AtomicU64::new(0),
            abandoned: AtomicU64::new(0),
        };
        (shared, Inbox(receiver))
    }

    /// Posts a parcel; back it comes when the inbox is full or the loop has ended.
    pub(crate) fn try_post(&self, parcel: Box<dyn Parcel>) -> Result<(), Box<dyn Parcel>> {
        match self.inbox.try_send(parcel) {
            Ok(()) => {
                self.notify();
                Ok(())
            }
            Err(flume::TrySendError::Full(parcel) | flume::TrySendError::Disconnected(parcel)) => Err(parcel),
        }
    }

    /// Posts a parcel, waiting for room; `false` when the loop has ended.
    pub(crate) async fn post(&self, parcel: Box<dyn Parcel>) -> bool {
        let posted = self.inbox.send_async(parcel).await.is_ok();
        self.notify();
        posted
    }

    /// The loop ends with its next turn.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.notify();
    }

    /// Makes the driver run. The flag spares the wake-up - a system call - when one is on its way already.
    fn notify(&self) {
        if !self.notified.swap(true, Ordering::AcqRel) {
            let driver = lock(&self.driver).clone();
            if let Some(driver) = driver {
                driver.wake();
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The waker of one handler's slot. Numbers only, because wakers travel to other threads and handlers do not.
pub(crate) struct SlotWaker {
    home: Arc<LoopShared>,
    consumer: ConsumerKey,
    slot: u32,
    called: AtomicBool,
}

impl SlotWaker {
    pub(crate) fn new(home: &Arc<LoopShared>, consumer: ConsumerKey, slot: u32) -> Arc<Self> {
        Arc::new(Self { home: Arc::clone(home), consumer, slot, called: AtomicBool::new(false) })
    }

    /// From now on a call counts again.
    pub(crate) fn about_to_poll(&self) {
        self.called.store(false, Ordering::SeqCst);
    }
}

impl Wake for SlotWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.called.swap(true, Ordering::SeqCst) {
            return;
        }
        let here = with_current(|core| {
            let here = Arc::ptr_eq(&core.own, &self.home);
            if here {
                core.woken.borrow_mut().push_back((self.consumer, self.slot));
                core.wake_driver();
            }
            here
        });
        if here != Some(true) {
            lock(&self.home.woken).push((self.consumer, self.slot));
            self.home.notify();
        }
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<LoopCore>>> = const { RefCell::new(None) };
    /// Set when the thread has slept: the time it knows is old.
    static SLEPT: Cell<bool> = const { Cell::new(true) };
}

/// Tokio's unpark hook of every loop's executor.
pub(crate) fn note_sleep() {
    SLEPT.set(true);
}

/// Runs the closure with the loop of this thread, if it is one.
pub(crate) fn with_current<T>(act: impl FnOnce(&Rc<LoopCore>) -> T) -> Option<T> {
    // `try_with`: wakers are called while a thread's locals are being destroyed, too.
    CURRENT.try_with(|current| current.borrow().as_ref().map(act)).ok().flatten()
}

/// The loop of this thread, if it is one of this runtime.
pub(crate) fn current_of(shared: &Arc<Shared>) -> Option<Rc<LoopCore>> {
    with_current(Rc::clone).filter(|core| Arc::ptr_eq(&core.shared, shared))
}

struct Placed {
    generation: u32,
    any: Rc<dyn AnyConsumer>,
    /// `Rc<dyn Consume<M, R>>`, to be asked for by type.
    typed: Box<dyn Any>,
}

/// The waiting requests with one reply type: to be asked for by type, and to be swept without it.
type ReplyTable = (Rc<dyn Any>, Rc<dyn AnyReplies>);

/// What is pinned to a loop.
pub(crate) struct LoopCore {
    own: Arc<LoopShared>,
    shared: Arc<Shared>,
    consumers: RefCell<Slab<Placed>>,
    generation: Cell<u32>,
    routes: RefCell<HashMap<Name, Rc<dyn AnyRoute>, BuildCarriedHash>>,
    replies: RefCell<HashMap<TypeId, ReplyTable>>,
    ready: RefCell<VecDeque<ConsumerKey>>,
    woken: RefCell<VecDeque<(ConsumerKey, u32)>>,
    outgoing: RefCell<Vec<Rc<dyn Flush>>>,
    instances: RefCell<HashMap<(u64, usize), Rc<dyn AnyInstance>>>,
    driver: RefCell<Option<Waker>>,
    driver_woken: Cell<bool>,
    depth: Cell<usize>,
    tick: Cell<u64>,
    tick_uses: Cell<u32>,
    /// The earliest deadline of a waiting request, `u64::MAX` when there is none.
    deadline: Cell<u64>,
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
            replies: RefCell::default(),
            ready: RefCell::default(),
            woken: RefCell::default(),
            outgoing: RefCell::default(),
            instances: RefCell::default(),
            driver: RefCell::default(),
            driver_woken: Cell::new(false),
            depth: Cell::new(0),
            tick: Cell::new(0),
            tick_uses: Cell::new(0),
            deadline: Cell::new(u64::MAX),
            routes_checked_at: Cell::new(ROUTES_CHECK_MIN),
        })
    }

    pub(crate) fn id(&self) -> usize {
        self.own.id
    }

    pub(crate) fn own(&self) -> &Arc<LoopShared> {
        &self.own
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    // ---- consumers

    /// Gives a consumer its place. `place` is told the key before anybody can reach it.
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

    pub(crate) fn remove_consumer(&self, key: ConsumerKey) {
        let placed = {
            let mut consumers = self.consumers.borrow_mut();
            let known = consumers.get(key.place as usize).is_some_and(|placed| placed.generation == key.generation);
            known.then(|| consumers.remove(key.place as usize))
        };
        drop(placed);
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

    // ---- routes and replies

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
        self.routes.borrow_mut().insert(address.key().clone(), Rc::clone(&route));
        Ok(route)
    }

    /// Nobody serves it any more; should somebody do so again, it is found anew.
    pub(crate) fn forget_route(&self, name: &Name) {
        self.routes.borrow_mut().remove(name);
    }

    fn forget_dead_routes(&self) {
        let mut routes = self.routes.borrow_mut();
        if routes.len() >= self.routes_checked_at.get() {
            routes.retain(|_, route| !route.is_gone(self));
            self.routes_checked_at.set(ROUTES_CHECK_MIN.max(routes.len() * 2));
        }
    }

    /// The requests of this loop that wait for a reply of this type.
    pub(crate) fn replies<R: Message>(&self) -> Rc<Replies<R>> {
        let mut tables = self.replies.borrow_mut();
        let (any, _) = tables.entry(TypeId::of::<R>()).or_insert_with(|| {
            let table = Rc::new(Replies::<R>::new());
            (Rc::clone(&table) as Rc<dyn Any>, table as Rc<dyn AnyReplies>)
        });
        match Rc::clone(any).downcast() {
            Ok(table) => table,
            Err(_) => unreachable!("the table is kept under the id of its type"),
        }
    }

    // ---- work of the next turn

    /// The consumer has messages to handle.
    pub(crate) fn schedule(&self, consumer: ConsumerKey) {
        self.ready.borrow_mut().push_back(consumer);
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

    fn wake_driver(&self) {
        if !self.driver_woken.replace(true)
            && let Some(driver) = &*self.driver.borrow()
        {
            driver.wake_by_ref();
        }
    }

    /// About now: reading the clock costs more than a request, so one reading serves for some uses between two sleeps.
    pub(crate) fn tick(&self) -> u64 {
        let uses = self.tick_uses.get();
        if SLEPT.replace(false) || uses >= TICK_USES {
            return self.read_clock();
        }
        self.tick_uses.set(uses + 1);
        self.tick.get()
    }

    fn read_clock(&self) -> u64 {
        let tick = self.shared.clock.ticks();
        self.tick.set(tick);
        self.tick_uses.set(0);
        tick
    }

    // ---- handlers in place

    pub(crate) fn depth(&self) -> usize {
        self.depth.get()
    }

    pub(crate) fn enter_handler(&self) -> usize {
        let depth = self.depth.get();
        self.depth.set(depth + 1);
        depth
    }

    pub(crate) fn leave_handler(&self, depth: usize) {
        self.depth.set(depth);
    }

    pub(crate) fn count_panic(&self) {
        self.own.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count_abandoned(&self) {
        self.own.abandoned.fetch_add(1, Ordering::Relaxed);
    }

    // ---- instances

    pub(crate) fn keep_instance(&self, deployment: u64, instance: usize, what: Rc<dyn AnyInstance>) {
        self.instances.borrow_mut().insert((deployment, instance), what);
    }

    pub(crate) fn take_instance(&self, deployment: u64, instance: usize) -> Option<Rc<dyn AnyInstance>> {
        self.instances.borrow_mut().remove(&(deployment, instance))
    }

    /// Work in progress: queued messages, handlers in flight, messages under way.
    #[cfg(feature = "testing")]
    pub(crate) fn is_idle(&self) -> bool {
        self.consumers.borrow().iter().all(|(_, placed)| placed.any.is_drained())
    }

    /// Ends what waits and gives up what is queued: the last thing a loop does.
    fn close(self: &Rc<Self>) {
        let tables: Vec<_> = self.replies.borrow().values().map(|(_, table)| Rc::clone(table)).collect();
        tables.iter().for_each(|table| table.close());
        let consumers: Vec<_> = self.consumers.borrow().iter().map(|(_, placed)| Rc::clone(&placed.any)).collect();
        for consumer in consumers {
            consumer.close();
            consumer.abandon(self);
        }
        // Consumers and instances point at the loop that owns them; both go now, or none of the three ever would.
        let placed = self.consumers.take();
        let instances = self.instances.take();
        let routes = self.routes.take();
        drop((placed, instances, routes));
    }
}

/// Why there is no way to an address.
#[derive(Debug)]
pub(crate) enum NoRoute {
    NoHandlers,
    WrongType { served: &'static str },
}

/// The one task that does the runtime's work on a loop.
pub(crate) struct Driver {
    core: Rc<LoopCore>,
    inbox: Inbox,
    timer: Pin<Box<Timer>>,
    armed: u64,
    /// Batches that found a full inbox.
    retry_at: u64,
}

impl Driver {
    /// Must be called on the loop's executor.
    pub(crate) fn new(core: Rc<LoopCore>, inbox: Inbox) -> Self {
        let timer = Box::pin(core.shared.clock.at(0));
        Self { core, inbox, timer, armed: u64::MAX, retry_at: u64::MAX }
    }

    /// Runs until the loop is told to stop.
    pub(crate) async fn run(mut self) {
        // Outside tokio's budget: its own bounds per turn are the fairness here, and handlers that shared its budget
        // would all be told to wait once it is spent.
        tokio::task::coop::unconstrained(poll_fn(|cx| self.turn(cx))).await;
        self.core.close();
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let core = Rc::clone(&self.core);
        self.remember(cx);
        // Set during the turn, so that nothing wakes the driver for work it is about to see anyway.
        core.driver_woken.set(true);
        // Cleared before the inbox is looked at: who posts after this wakes the driver again.
        core.own.notified.swap(false, Ordering::SeqCst);
        core.read_clock();
        self.open_parcels(&core);
        resume_woken(&core);
        run_ready(&core);
        self.flush(&core);
        sweep(&core);
        if core.own.stopping.load(Ordering::SeqCst) {
            return Poll::Ready(());
        }
        self.arm(&core, cx);
        core.driver_woken.set(false);
        if !core.ready.borrow().is_empty() || !core.woken.borrow().is_empty() || !self.inbox.0.is_empty() {
            core.wake_driver();
        }
        Poll::Pending
    }

    fn remember(&self, cx: &Context<'_>) {
        let known = self.core.driver.borrow().as_ref().is_some_and(|driver| driver.will_wake(cx.waker()));
        if !known {
            *self.core.driver.borrow_mut() = Some(cx.waker().clone());
            *lock(&self.core.own.driver) = Some(cx.waker().clone());
        }
    }

    fn open_parcels(&self, core: &Rc<LoopCore>) {
        for _ in 0..PARCELS_PER_TURN {
            let Ok(parcel) = self.inbox.0.try_recv() else { break };
            parcel.open(core);
        }
    }

    fn flush(&mut self, core: &LoopCore) {
        let outgoing = core.outgoing.take();
        self.retry_at = u64::MAX;
        for outbox in outgoing {
            if !outbox.flush(core) {
                self.retry_at = core.tick.get() + RETRY_NS;
                core.outgoing.borrow_mut().push(outbox);
            }
        }
    }

    /// Sets the timer to what comes first. Touched only when that changes: the timer costs more than a request.
    fn arm(&mut self, core: &LoopCore, cx: &mut Context<'_>) {
        let first = core.deadline.get().min(self.retry_at);
        if first != u64::MAX && (first < self.armed || self.timer.is_elapsed()) {
            self.armed = first;
            self.timer.as_mut().reset(core.shared.clock.instant(first));
        }
        if self.armed != u64::MAX && self.timer.as_mut().poll(cx).is_ready() {
            self.armed = u64::MAX;
            if first != u64::MAX {
                cx.waker().wake_by_ref();
            }
        }
    }
}

fn resume_woken(core: &Rc<LoopCore>) {
    let from_elsewhere = std::mem::take(&mut *lock(&core.own.woken));
    core.woken.borrow_mut().extend(from_elsewhere);
    // Those woken by what is resumed now have their turn in the next one.
    let count = core.woken.borrow().len();
    for _ in 0..count {
        let Some((consumer, slot)) = core.woken.borrow_mut().pop_front() else { break };
        if let Some(consumer) = core.any_consumer(consumer) {
            consumer.resume(core, slot);
        }
    }
}

fn run_ready(core: &Rc<LoopCore>) {
    let count = core.ready.borrow().len();
    for _ in 0..count {
        let Some(consumer) = core.ready.borrow_mut().pop_front() else { break };
        if let Some(consumer) = core.any_consumer(consumer) {
            consumer.run(core, MESSAGES_PER_TURN);
        }
    }
}

fn sweep(core: &LoopCore) {
    let now = core.tick.get();
    if core.deadline.get() > now {
        return;
    }
    let tables: Vec<_> = core.replies.borrow().values().map(|(_, table)| Rc::clone(table)).collect();
    core.deadline.set(u64::MAX);
    let earliest = tables.iter().map(|table| table.sweep(now)).min().unwrap_or(u64::MAX);
    core.deadline.set(core.deadline.get().min(earliest));
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
