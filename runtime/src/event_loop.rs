//! An event loop: a thread, its executor, and everything that is pinned to it.
//!
//! One driver task per loop does all the runtime's work there - incoming parcels, woken handlers, queued messages,
//! outgoing batches, overdue requests - and is woken at most once per turn.

mod consumers;
#[cfg(feature = "testing")]
mod dice;
pub(crate) mod driver;
mod instances;
#[cfg(feature = "testing")]
pub(crate) mod leaks;
mod reply_tables;
mod routes;
pub(crate) mod shared;
#[cfg(all(test, shuttle))]
mod shuttle_tests;
pub(crate) mod thread;
mod ticks;
pub(crate) mod watched;
mod work;

#[cfg(feature = "testing")]
use std::cell::OnceCell;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::Semaphore;

use crate::bus::intercept::Chains;
use crate::bus::tally::Ledger;
use crate::event::{Culprit, Event};
use crate::message::Headers;
use crate::metrics::Gathered;
use crate::panic::contain;
use crate::runtime::Shared;

use consumers::Consumers;
use instances::Instances;
use reply_tables::ReplyTables;
use routes::Routes;
use shared::{Inbox, LoopShared};
use ticks::Ticks;
use watched::Whose;
use work::Work;

pub(crate) use routes::NoRoute;

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

/// What is pinned to a loop.
pub(crate) struct LoopCore {
    own: Arc<LoopShared>,
    shared: Arc<Shared>,
    consumers: Consumers,
    routes: Routes,
    reply_tables: ReplyTables,
    instances: Instances,
    work: Work,
    /// The number of the last conversation.
    conversations: Cell<u64>,
    /// Headers that what is sent now carries on.
    carried: RefCell<Option<Rc<Headers>>>,
    /// What is counted by name.
    pub(crate) ledger: Ledger,
    /// The interceptors as they were when this version of them was seen.
    chains: RefCell<(u64, Rc<Chains>)>,
    pub(crate) blocking: Arc<Semaphore>,
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
}

impl LoopCore {
    pub(crate) fn new(own: Arc<LoopShared>, shared: &Arc<Shared>) -> Rc<Self> {
        Rc::new(Self {
            own,
            shared: Arc::clone(shared),
            consumers: Consumers::default(),
            routes: Routes::default(),
            reply_tables: ReplyTables::default(),
            instances: Instances::default(),
            work: Work::default(),
            conversations: Cell::new(0),
            carried: RefCell::default(),
            ledger: Ledger::default(),
            chains: RefCell::default(),
            blocking: Arc::new(Semaphore::new(BLOCKING_THREADS)),
            depth: Cell::new(0),
            published: Cell::new(false),
            ticks: Ticks::default(),
            deadline: Cell::new(u64::MAX),
            #[cfg(feature = "testing")]
            dice: OnceCell::new(),
            #[cfg(feature = "testing")]
            living: leaks::Living::default(),
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

    /// A number for a conversation that no other of this loop has.
    pub(crate) fn next_conversation(&self) -> u64 {
        self.conversations.set(self.conversations.get() + 1);
        self.conversations.get()
    }

    /// Adds what this loop has counted, and how its consumers stand.
    pub(crate) fn measure(&self, gathered: &mut Gathered) {
        self.ledger.add_to(gathered);
        for route in self.routes.known.borrow().values().filter(|route| route.sent() > 0) {
            gathered.at(route.served().name.as_str()).sent += route.sent();
        }
        for (_, placed) in &*self.consumers.placed.borrow() {
            placed.any.measure(gathered);
        }
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

    /// Another thread has something for this loop: it may be that interceptors were taken out.
    fn forget_old_chains(&self) {
        let seen = self.chains.borrow().0;
        if seen != 0 && seen != self.shared.interceptors.version() {
            let before = self.chains.take();
            contain(|| drop(before));
        }
    }

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
        if let Some(seat) = self.instance(deployment, index) {
            seat.panicked(incarnation, panic);
        }
    }

    pub(crate) fn count_abandoned(&self, messages: usize) {
        self.own.abandoned.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// Work in progress: queued messages, handlers in flight, messages under way.
    #[cfg(feature = "testing")]
    pub(crate) fn is_idle(&self) -> bool {
        self.consumers.placed.borrow().iter().all(|(_, placed)| placed.any.is_drained())
    }

    /// Opens all that is in the inbox, for what has found no room there and must not overtake it.
    pub(crate) fn open_inbox(self: &Rc<Self>) {
        for parcel in self.own.empty_inbox() {
            contain(|| parcel.open(self));
        }
        self.own.room.wake();
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
        let instances = self.instances.seats.take();
        for resident in instances.values() {
            self.count_abandoned(contain(|| resident.cut_off()).unwrap_or(0));
        }
        for table in self.all_reply_tables() {
            table.close();
        }
        contain(|| drop(instances));
        let ready = self.work.ready.take();
        contain(|| drop(ready));
        let mut gathered = Gathered::default();
        self.measure(&mut gathered);
        self.shared.outside.inherit(gathered);
        let placed = self.consumers.placed.take();
        contain(|| drop(placed));
        // A sender may keep a route, and be kept by what it leads to.
        let routes = self.routes.known.take();
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
            outbox.flush_last(self);
        }
        self.own.set_driver(None);
        self.work.driver.replace(None);
        let chains = self.chains.take();
        contain(|| drop(chains));
        // The last one to end finds that all have.
        if self.shared.is_closed() && self.shared.all_loops().iter().all(|event_loop| event_loop.has_ended()) {
            self.shared.interceptors.close();
        }
    }
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
