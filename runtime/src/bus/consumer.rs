//! One registration at an address: a bounded mailbox, handlers in flight, and the way their replies go.
//!
//! Everything here lives on one event loop; nothing is shared but the [`Credit`] that other loops take room from.
//! No borrow of a cell is alive while user code runs, and user code is also `Drop`, `Clone` and a waker.

use std::any::Any;
use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use tokio::task::coop::has_budget_remaining;

use crate::address::Name;
use crate::error::Failure;
use crate::event_loop::LoopCore;
use crate::event_loop::watched::Whose;
use crate::message::{Headers, Message};
use crate::metrics::Gathered;
use crate::panic::{contain, panic_text};

use super::credit::Credit;
use super::envelope::{Envelope, ReplyTo, Whom};
use super::intercept::{At, Kind};
use super::mailbox::Mailbox;
use super::outbox::Outbox;
use super::replies::{Outcome, RemoteReply, Replies, ReplyKey};
use super::slots::{Polled, Running, Slots};
use super::tally::{Ledger, Tally};
use super::trail::{Trail, spans_wanted};

/// Which consumer of a loop, and which of those that had its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConsumerKey {
    pub(crate) place: u32,
    pub(crate) generation: u32,
}

/// What became of a request of this loop.
pub(crate) enum Asked<R> {
    /// The handler finished at once.
    Done(Result<R, Failure>),
    /// The caller waits under this key in this table.
    Waits(u32, ReplyKey),
    /// There is no room.
    Full,
}

/// What becomes of a published message.
pub(crate) enum Expected {
    /// The consumer waits for it: it must be handed in by the next turn, and until then nothing that comes overtakes it.
    Next,
    /// Something is before it: it must be queued now.
    Behind,
    /// There is no room.
    Full,
}

/// A consumer as its callers see it, the handler's future type forgotten.
pub(crate) trait Consume<M, R>: AnyConsumer {
    /// Asks for a reply within `timeout` nanoseconds. Runs the handler now, if that cannot be told from queueing the
    /// message and running it next.
    fn ask(&self, core: &Rc<LoopCore>, message: M, headers: Headers, timeout: u64, asking: &Waker) -> Asked<R>;
    /// Puts a message of this loop into the mailbox that nobody waits for a reply to; `false`: there is no room.
    /// It is moved out of where it is when it is taken, and not before: moving it about costs more than all the rest.
    fn offer(&self, core: &LoopCore, unsent: &mut Option<(M, Headers)>) -> bool;
    /// The same for a message that was published, behind what is queued.
    fn offer_published(&self, core: &LoopCore, message: M, headers: Headers) -> bool;
    /// A message is about to be published.
    fn expect_published(&self) -> Expected;
    /// Here is a published message that was expected next.
    fn hand_in_published(&self, core: &Rc<LoopCore>, message: M, headers: Headers);
    /// A published message that was expected next will not come.
    fn published_is_lost(&self, core: &LoopCore);
    /// How many messages of this loop there is room for.
    fn room(&self) -> usize;
    /// Puts a message into the mailbox; back it comes when there is no room.
    fn enqueue(&self, core: &LoopCore, envelope: Envelope<M>) -> Result<(), Envelope<M>>;
}

/// A consumer as its loop sees it, all types forgotten.
pub(crate) trait AnyConsumer: 'static {
    /// Starts handlers for queued messages, `budget` at most.
    fn run(&self, core: &Rc<LoopCore>, budget: usize);
    /// Goes on with a suspended handler whose waker was called.
    fn resume(&self, core: &Rc<LoopCore>, slot: u32);
    /// Where it is registered.
    #[cfg(feature = "testing")]
    fn address(&self) -> &str;
    /// No message is taken any more; those accepted are still handled, also by one that is paused.
    fn close(&self, core: &LoopCore);
    /// Whether messages are still taken.
    fn is_open(&self) -> bool;
    /// Begins no handler any more until some are asked for.
    fn pause(&self);
    /// Begins so many more handlers than were asked for before; `usize::MAX` is as many as come.
    fn fetch(&self, core: &LoopCore, handlers: usize);
    /// Drops what is queued and ends its requests; what is on its way will find nobody. Gives the number of both.
    /// Handlers in flight go on. Closed before.
    fn discard(&self, core: &Rc<LoopCore>) -> usize;
    /// Has something done when the last of its work is done; closed before, and not drained yet.
    fn at_end(&self, act: Box<dyn FnOnce()>);
    /// Another instance serves the address from now on, what waits in the mailbox too. Handlers in flight are the old one's.
    fn take_over(&self, core: &LoopCore, paused: bool);
    /// Nothing is queued, on its way or being handled; or it was given up.
    fn is_drained(&self) -> bool;
    /// Adds what was counted here, and how it stands.
    fn measure(&self, gathered: &mut Gathered);
    /// Leaves what was counted here, before it goes.
    fn retire(&self, ledger: &Ledger, name: &Name);
    /// Where one waits for that, among others.
    fn credit(&self) -> &Arc<Credit>;
    /// Drops what is queued and in flight and ends its requests; gives the number of messages given up, those on their
    /// way among them. Closed before.
    fn abandon(&self, core: &Rc<LoopCore>) -> usize;
}

/// Bounds of a consumer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) mailbox: usize,
    pub(crate) in_flight: usize,
}

/// A consumer with all its types: message, reply, the handler's future, and what starts one.
pub(crate) struct LocalConsumer<M, R, F, S> {
    key: Cell<ConsumerKey>,
    address: Arc<str>,
    whose: Whose,
    bounds: Bounds,
    start: S,
    queue: RefCell<Mailbox<Envelope<M>>>,
    scheduled: Cell<bool>,
    /// Published messages that are expected next, before whatever is queued.
    expected: Cell<usize>,
    /// How many in the queue were expected before the others came, and could not begin when they were handed in.
    ahead: Cell<usize>,
    slots: Slots<F>,
    credit: Arc<Credit>,
    tally: Tally,
    /// Of suspended handlers, by slot; empty unless somebody looks at what is handled.
    trails: RefCell<Vec<(u32, Trail)>>,
    /// Places of the credit whose messages have begun in this turn; given back together.
    owed: Cell<usize>,
    /// The requests of this loop that replies go to; known once there is one.
    replies: OnceCell<Rc<Replies<R>>>,
    /// By loop: the way of the replies to its requests.
    reply_outboxes: RefCell<Vec<Option<ReplyOutbox<R>>>>,
    outboxes_to_workers: RefCell<Vec<(usize, ReplyOutbox<R>)>>,
    open: Cell<bool>,
    /// Handlers that may still begin; `usize::MAX` when nobody has said how many.
    demand: Cell<usize>,
    /// What arrives has come too late: what was queued is discarded.
    discarded: Cell<bool>,
    given_up: Cell<bool>,
    at_end: Cell<Option<Box<dyn FnOnce()>>>,
}

type ReplyOutbox<R> = Rc<Outbox<RemoteReply<R>>>;

/// Handlers that call handlers in place grow the stack; beyond this depth the message is queued instead.
const DEPTH_MAX: usize = 16;
/// The demand of a consumer that takes what comes.
const FLOWING: usize = usize::MAX;

/// Whether anybody looks at messages on their way: then they go all of the way, and more is done for each.
#[inline]
fn is_looked_at(core: &LoopCore) -> bool {
    core.shared().interceptors.any() || spans_wanted()
}

impl<M, R, F, S> LocalConsumer<M, R, F, S>
where
    M: Message,
    R: Message,
    F: Future<Output = Result<R, Failure>> + 'static,
    S: Fn(M, Headers) -> F + 'static,
{
    pub(crate) fn new(
        address: Arc<str>,
        whose: Whose,
        bounds: Bounds,
        credit: Arc<Credit>,
        tally: Tally,
        start: S,
    ) -> Self {
        Self {
            key: Cell::new(ConsumerKey { place: u32::MAX, generation: 0 }),
            address,
            whose,
            bounds,
            start,
            queue: RefCell::default(),
            scheduled: Cell::new(false),
            expected: Cell::new(0),
            ahead: Cell::new(0),
            slots: Slots::default(),
            credit,
            tally,
            trails: RefCell::default(),
            owed: Cell::new(0),
            replies: OnceCell::new(),
            reply_outboxes: RefCell::default(),
            outboxes_to_workers: RefCell::default(),
            open: Cell::new(true),
            demand: Cell::new(FLOWING),
            discarded: Cell::new(false),
            given_up: Cell::new(false),
            at_end: Cell::default(),
        }
    }

    /// Tells the consumer where it lives; before that it must not be used.
    pub(crate) fn placed(&self, key: ConsumerKey) {
        self.key.set(key);
    }

    /// Whether another handler may begin now.
    #[inline]
    fn may_begin(&self) -> bool {
        self.slots.in_flight() < self.bounds.in_flight && self.demand.get() > 0
    }

    /// Whether a handler may begin with what is queued.
    #[inline]
    fn may_take_next(&self) -> bool {
        self.may_begin() && self.expected.get() == 0
    }

    /// Whether a handler that begins now overtakes nobody.
    #[inline]
    fn is_free(&self) -> bool {
        self.may_take_next() && self.queue.borrow().is_empty() && self.open.get()
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.open.get() && self.queued() < self.bounds.mailbox
    }

    /// Messages of this loop and others that wait for their handler, published ones that are not handed in yet among them.
    #[inline]
    fn queued(&self) -> usize {
        self.queue.borrow().len() + self.expected.get()
    }

    #[inline]
    fn note_begun(&self) {
        let demand = self.demand.get();
        if demand != FLOWING {
            self.demand.set(demand.saturating_sub(1));
        }
    }

    /// Starts a handler and polls it once. Suspended, it stays in the slot that is given.
    #[inline]
    fn begin(
        &self,
        core: &Rc<LoopCore>,
        message: M,
        headers: Headers,
        reply_to: ReplyTo,
    ) -> Result<Result<R, Failure>, u32> {
        match self.tally.begin() {
            false => self.begin_now(core, message, headers, reply_to),
            true => self.begin_measured(core, message, headers, reply_to),
        }
    }

    #[cold]
    fn begin_measured(
        &self,
        core: &Rc<LoopCore>,
        message: M,
        headers: Headers,
        reply_to: ReplyTo,
    ) -> Result<Result<R, Failure>, u32> {
        let clock = &core.shared().clock;
        let began = clock.ticks();
        let begun = self.begin_now(core, message, headers, reply_to);
        match &begun {
            Ok(_) => self.tally.finished(clock.ticks().saturating_sub(began)),
            Err(slot) => self.tally.suspended(*slot, began),
        }
        begun
    }

    #[inline]
    fn begin_now(
        &self,
        core: &Rc<LoopCore>,
        message: M,
        headers: Headers,
        reply_to: ReplyTo,
    ) -> Result<Result<R, Failure>, u32> {
        self.note_begun();
        let mut running = self.slots.take(core, self.key.get());
        core.note_published(reply_to.is_published());
        let outer = core.enter_handler(self.whose);
        let polled = running.start(|| (self.start)(message, headers));
        core.leave_handler(outer);
        match polled {
            Polled::Ready(result) => {
                self.slots.give_back(running);
                Ok(result)
            }
            Polled::Pending => {
                let slot = running.slot;
                self.slots.suspend(running, reply_to);
                Err(slot)
            }
            Polled::DropPanicked(result, panic) => {
                self.drop_panicked(core, running, panic.as_ref());
                Ok(result)
            }
            Polled::Panicked(panic) => Ok(Err(self.panicked(core, running, false, panic.as_ref()))),
        }
    }

    /// The same, once the inbound interceptors have seen the message and let it pass.
    #[cold]
    fn begin_seen(&self, core: &Rc<LoopCore>, mut envelope: Envelope<M>) -> Result<Result<R, Failure>, u32> {
        let kind = if envelope.reply_to.is_published() { Kind::Published } else { Kind::Sent };
        match At::Loop(core).inbound(&self.address, kind, &mut envelope.headers, &envelope.message) {
            Ok(()) => {
                let trail = Trail::new(core, &self.address, &envelope.headers);
                let Envelope { message, headers, reply_to, .. } = envelope;
                let begun = trail.within(core, || self.begin(core, message, headers, reply_to));
                if let Err(slot) = &begun {
                    self.trails.borrow_mut().push((*slot, trail));
                }
                begun
            }
            Err(failure) => {
                self.tally.begin();
                contain(|| drop(envelope));
                Ok(Err(failure))
            }
        }
    }

    /// The outbound interceptors see a reply before it leaves.
    #[inline]
    fn seen(&self, core: &LoopCore, reply: Result<R, Failure>) -> Result<R, Failure> {
        if core.shared().interceptors.any() {
            return At::Loop(core).outbound_reply(&self.address, reply);
        }
        reply
    }

    #[cold]
    fn panicked(&self, core: &LoopCore, running: Box<Running<F>>, is_old: bool, panic: &(dyn Any + Send)) -> Failure {
        self.cut_off(core, running);
        let panic = panic_text(panic);
        core.count_panic();
        tracing::error!(address = %self.address, panic, "a handler panicked; its request fails");
        // An instance that was rebuilt meanwhile has nothing to do with it.
        core.supervise(self.whose, is_old.then_some(u32::MAX), &panic);
        Failure::new(Failure::UNSPECIFIED, format!("the handler of {} panicked: {panic}", self.address))
    }

    /// Drops a handler that has not finished.
    #[cold]
    fn cut_off(&self, core: &LoopCore, mut running: Box<Running<F>>) {
        match running.cut_off() {
            Ok(()) => self.slots.give_back(running),
            Err(panic) => self.drop_panicked(core, running, panic.as_ref()),
        }
    }

    #[cold]
    fn drop_panicked(&self, core: &LoopCore, running: Box<Running<F>>, panic: &(dyn Any + Send)) {
        let panic = panic_text(panic);
        core.count_panic();
        tracing::error!(address = %self.address, panic, "a handler panicked while it was dropped");
        self.slots.replace(running);
    }

    fn take_trail(&self, slot: u32) -> Option<Trail> {
        let mut trails = self.trails.borrow_mut();
        let at = trails.iter().position(|(known, _)| *known == slot)?;
        Some(trails.swap_remove(at).1)
    }

    fn replies(&self, core: &LoopCore) -> &Replies<R> {
        self.replies.get_or_init(|| core.replies())
    }

    /// The handler has finished.
    #[inline]
    fn reply(&self, core: &Rc<LoopCore>, reply_to: ReplyTo, result: Result<R, Failure>) {
        if result.is_err() {
            self.tally.fail();
        }
        match (reply_to.whom(), result) {
            (Whom::Nobody, Ok(reply)) if !std::mem::needs_drop::<R>() => drop(reply),
            (Whom::Nobody, unwanted) => drop(contain(|| drop(unwanted))),
            (_, result) => self.answer(core, reply_to, Outcome::Replied(self.seen(core, result))),
        }
    }

    #[inline]
    fn answer(&self, core: &Rc<LoopCore>, reply_to: ReplyTo, outcome: Outcome<R>) {
        match reply_to.whom() {
            Whom::Nobody => {}
            Whom::Local(key) => self.replies(core).end(key, outcome),
            Whom::Remote(target, to) => self.reply_outbox(core, target).push(core, RemoteReply { to, outcome }),
        }
    }

    fn reply_outbox(&self, core: &LoopCore, target: usize) -> ReplyOutbox<R> {
        if target >= core.shared().loops().len() {
            return self.reply_outbox_to_worker(core, target);
        }
        let mut outboxes = self.reply_outboxes.borrow_mut();
        if outboxes.len() <= target {
            outboxes.resize_with(target + 1, || None);
        }
        outboxes[target].get_or_insert_with(|| Outbox::new(core, target)).clone()
    }

    /// The numbers of workers only grow: those that have ended are forgotten.
    fn reply_outbox_to_worker(&self, core: &LoopCore, target: usize) -> ReplyOutbox<R> {
        let mut outboxes = self.outboxes_to_workers.borrow_mut();
        if let Some((_, known)) = outboxes.iter().find(|(known, _)| *known == target) {
            return Rc::clone(known);
        }
        outboxes.retain(|(_, outbox)| !outbox.has_ended());
        let outbox = Outbox::new(core, target);
        outboxes.push((target, Rc::clone(&outbox)));
        outbox
    }

    /// Room has come, or the last handler has finished: whoever waits for that hears of it.
    fn after_work(&self, core: &LoopCore, returned: usize) {
        if returned > 0 {
            self.credit.give_back(returned);
        }
        self.schedule_if_ready(core);
        if !self.open.get() && self.is_drained() {
            self.credit.waiters.wake();
            if let Some(act) = self.at_end.take() {
                act();
            }
        }
    }

    fn schedule_if_ready(&self, core: &LoopCore) {
        if self.may_take_next() && !self.queue.borrow().is_empty() {
            self.schedule(core);
        }
    }

    /// Puts a message of this loop behind what is queued.
    #[inline]
    fn push(&self, core: &LoopCore, message: M, headers: Headers, reply_to: ReplyTo) {
        self.queue.borrow_mut().push_back(|| Envelope { message, headers, reply_to, holds_credit: false });
        if self.may_take_next() {
            self.schedule(core);
        }
    }

    /// Takes what is next in the queue, if a handler may begin with it. `held`: places of handlers that are not running.
    #[inline]
    fn next(&self, held: usize) -> Option<Envelope<M>> {
        let may_take = self.slots.in_flight() - held < self.bounds.in_flight && self.demand.get() > 0;
        if !may_take || self.expected.get() > 0 {
            return None;
        }
        // One at a time: an empty queue must mean that nobody can be overtaken.
        let envelope = self.queue.borrow_mut().pop_front()?;
        self.ahead.set(self.ahead.get().saturating_sub(1));
        Some(envelope)
    }

    /// Handles queued messages one after the other until one suspends or panics: they share a place and a guard.
    fn run_some(&self, core: &Rc<LoopCore>, left: &mut usize, room: &mut bool) {
        let mut running = self.slots.take(core, self.key.get());
        let mut reply_to = ReplyTo::NOBODY;
        let clock = &core.shared().clock;
        let mut began = None;
        let polled = running.guarded(|place| {
            while *left > 0 && !is_looked_at(core) {
                let Some(envelope) = self.next(1) else { break };
                *left -= 1;
                self.note_taken(&envelope, room);
                self.note_begun();
                began = self.tally.begin().then(|| clock.ticks());
                reply_to = envelope.reply_to;
                core.go_on();
                core.note_published(reply_to.is_published());
                let Poll::Ready(result) = place.start(|| (self.start)(envelope.message, envelope.headers)) else {
                    return Poll::Pending;
                };
                if let Some(began) = began {
                    self.tally.finished(clock.ticks().saturating_sub(began));
                }
                self.reply(core, reply_to, result);
            }
            Poll::Ready(())
        });
        match polled {
            Polled::Pending => {
                if let Some(began) = began {
                    self.tally.suspended(running.slot, began);
                }
                self.slots.suspend(running, reply_to);
            }
            Polled::Ready(()) => {
                self.slots.give_back(running);
            }
            Polled::DropPanicked(result, panic) => {
                self.drop_panicked(core, running, panic.as_ref());
                self.reply(core, reply_to, result);
            }
            Polled::Panicked(panic) => {
                let failure = self.panicked(core, running, false, panic.as_ref());
                self.reply(core, reply_to, Err(failure));
            }
        }
    }

    /// One queued message, seen by the interceptors.
    #[cold]
    fn run_seen(&self, core: &Rc<LoopCore>, left: &mut usize, room: &mut bool) {
        let Some(envelope) = self.next(0) else { return };
        *left -= 1;
        self.note_taken(&envelope, room);
        let reply_to = envelope.reply_to;
        if let Ok(result) = self.begin_seen(core, envelope) {
            self.reply(core, reply_to, result);
        }
    }

    #[inline]
    fn note_taken(&self, envelope: &Envelope<M>, room: &mut bool) {
        if envelope.holds_credit {
            self.owed.set(self.owed.get() + 1);
        } else {
            *room = true;
        }
    }

    #[inline]
    fn schedule(&self, core: &LoopCore) {
        if !self.scheduled.replace(true) {
            core.schedule(self.key.get());
        }
    }
}

impl<M, R, F, S> Consume<M, R> for LocalConsumer<M, R, F, S>
where
    M: Message,
    R: Message,
    F: Future<Output = Result<R, Failure>> + 'static,
    S: Fn(M, Headers) -> F + 'static,
{
    fn ask(&self, core: &Rc<LoopCore>, message: M, headers: Headers, timeout: u64, asking: &Waker) -> Asked<R> {
        // What is in the queue was there first. What is being delivered has begun: it is taken out one at a time. What
        // somebody looks at on its way goes all of the way.
        if !is_looked_at(core) && self.is_free() && core.depth() < DEPTH_MAX && !core.puts_off() {
            let slot = match self.begin(core, message, headers, ReplyTo::NOBODY) {
                Ok(result) => {
                    if result.is_err() {
                        self.tally.fail();
                    }
                    self.after_work(core, 0);
                    return Asked::Done(result);
                }
                Err(slot) => slot,
            };
            let replies = self.replies(core);
            let key = replies.wait(core, timeout, asking);
            self.slots.set_reply_to(slot, ReplyTo::local(key));
            return Asked::Waits(replies.table, key);
        }
        if !self.has_room() || self.discarded.get() {
            return Asked::Full;
        }
        let replies = self.replies(core);
        let key = replies.wait(core, timeout, asking);
        self.push(core, message, headers, ReplyTo::local(key));
        Asked::Waits(replies.table, key)
    }

    fn offer(&self, core: &LoopCore, unsent: &mut Option<(M, Headers)>) -> bool {
        if !self.has_room() || self.discarded.get() {
            return false;
        }
        if let Some((message, headers)) = unsent.take() {
            self.push(core, message, headers, ReplyTo::NOBODY);
        }
        true
    }

    fn offer_published(&self, core: &LoopCore, message: M, headers: Headers) -> bool {
        let takes = self.has_room() && !self.discarded.get();
        if takes {
            self.push(core, message, headers, ReplyTo::PUBLISHED);
        }
        takes
    }

    fn expect_published(&self) -> Expected {
        if self.discarded.get() || !self.has_room() {
            return Expected::Full;
        }
        if !self.may_begin() || !self.queue.borrow().is_empty() {
            return Expected::Behind;
        }
        self.expected.set(self.expected.get() + 1);
        Expected::Next
    }

    fn hand_in_published(&self, core: &Rc<LoopCore>, message: M, headers: Headers) {
        self.expected.set(self.expected.get() - 1);
        if self.discarded.get() {
            contain(|| drop((message, headers)));
            return;
        }
        if self.may_begin() && self.ahead.get() == 0 && !is_looked_at(core) {
            if let Ok(result) = self.begin(core, message, headers, ReplyTo::PUBLISHED) {
                self.reply(core, ReplyTo::PUBLISHED, result);
            }
        } else {
            // Those that came later wait until nothing is expected: they are all behind it.
            let envelope = Envelope { message, headers, reply_to: ReplyTo::PUBLISHED, holds_credit: false };
            self.queue.borrow_mut().insert(self.ahead.get(), envelope);
            self.ahead.set(self.ahead.get() + 1);
        }
        self.after_work(core, 0);
    }

    fn published_is_lost(&self, core: &LoopCore) {
        self.expected.set(self.expected.get() - 1);
        self.after_work(core, 0);
    }

    fn room(&self) -> usize {
        if self.open.get() { self.bounds.mailbox.saturating_sub(self.queued()) } else { 0 }
    }

    fn enqueue(&self, core: &LoopCore, envelope: Envelope<M>) -> Result<(), Envelope<M>> {
        // A message from another loop has its room already: that is what the credit is.
        let room = envelope.holds_credit || self.has_room();
        if !room || self.discarded.get() {
            if envelope.holds_credit {
                self.credit.give_back(1);
            }
            return Err(envelope);
        }
        self.queue.borrow_mut().push_back(|| envelope);
        if self.may_take_next() {
            self.schedule(core);
        }
        Ok(())
    }
}

impl<M, R, F, S> AnyConsumer for LocalConsumer<M, R, F, S>
where
    M: Message,
    R: Message,
    F: Future<Output = Result<R, Failure>> + 'static,
    S: Fn(M, Headers) -> F + 'static,
{
    fn run(&self, core: &Rc<LoopCore>, budget: usize) {
        self.scheduled.set(false);
        let (mut left, mut room) = (budget, false);
        let outer = core.enter_handler(self.whose);
        // A handler that finds the budget spent suspends, so it is asked for after each that does.
        while left > 0 && has_budget_remaining() && self.may_take_next() && !self.queue.borrow().is_empty() {
            match is_looked_at(core) {
                false => self.run_some(core, &mut left, &mut room),
                true => self.run_seen(core, &mut left, &mut room),
            }
        }
        core.leave_handler(outer);
        if room {
            self.credit.waiters.wake();
        }
        self.after_work(core, self.owed.take());
    }

    fn resume(&self, core: &Rc<LoopCore>, slot: u32) {
        // A waker that outlived its handler, or was called while the handler is being polled: nothing to do.
        let Some((mut running, reply_to)) = self.slots.woken(slot) else { return };
        let trail = self.take_trail(slot);
        let outer = core.enter_handler(self.whose);
        let polled = match &trail {
            None => running.poll(),
            Some(trail) => trail.within(core, || running.poll()),
        };
        core.leave_handler(outer);
        let result = match polled {
            Polled::Pending => {
                self.trails.borrow_mut().extend(trail.map(|trail| (slot, trail)));
                return self.slots.put_back(running);
            }
            Polled::Ready(result) => {
                self.slots.give_back(running);
                result
            }
            Polled::DropPanicked(result, panic) => {
                self.drop_panicked(core, running, panic.as_ref());
                result
            }
            Polled::Panicked(panic) => Err(self.panicked(core, running, self.slots.is_old(slot), panic.as_ref())),
        };
        self.tally.resumed(slot, &core.shared().clock);
        self.reply(core, reply_to, result);
        self.after_work(core, 0);
    }

    fn close(&self, core: &LoopCore) {
        self.open.set(false);
        self.demand.set(FLOWING);
        self.credit.close();
        self.schedule_if_ready(core);
    }

    fn is_open(&self) -> bool {
        self.open.get()
    }

    #[cfg(feature = "testing")]
    fn address(&self) -> &str {
        &self.address
    }

    fn pause(&self) {
        if self.open.get() {
            self.demand.set(0);
        }
    }

    fn fetch(&self, core: &LoopCore, handlers: usize) {
        self.demand.set(self.demand.get().saturating_add(handlers));
        self.schedule_if_ready(core);
    }

    fn take_over(&self, core: &LoopCore, paused: bool) {
        self.slots.make_old();
        self.demand.set(if paused { 0 } else { FLOWING });
        self.schedule_if_ready(core);
    }

    fn is_drained(&self) -> bool {
        let nothing_comes = || {
            let queued = self.expected.get() > 0 || !self.queue.borrow().is_empty();
            self.discarded.get() || (!queued && self.credit.taken() == 0)
        };
        self.given_up.get() || (self.slots.in_flight() == 0 && nothing_comes())
    }

    fn measure(&self, gathered: &mut Gathered) {
        let metrics = gathered.at(&self.address);
        self.tally.add_to(metrics);
        let here = self.queue.borrow().iter().filter(|envelope| !envelope.holds_credit).count();
        metrics.consumers += 1;
        metrics.pending += here + self.expected.get() + self.credit.taken().saturating_sub(self.owed.get());
        metrics.in_flight += self.slots.in_flight();
        metrics.room += self.room();
    }

    fn retire(&self, ledger: &Ledger, name: &Name) {
        if self.tally.has_counted() {
            ledger.count(name, |metrics| self.tally.add_to(metrics));
        }
    }

    fn credit(&self) -> &Arc<Credit> {
        &self.credit
    }

    fn at_end(&self, act: Box<dyn FnOnce()>) {
        self.at_end.set(Some(act));
    }

    fn discard(&self, core: &Rc<LoopCore>) -> usize {
        if self.discarded.replace(true) {
            return 0;
        }
        let mut queue = self.queue.take();
        // What is expected next finds that it has come too late.
        let queued = queue.len() + self.expected.get();
        self.ahead.set(0);
        let mut returned = self.owed.take();
        while let Some(envelope) = queue.pop_front() {
            returned += usize::from(envelope.holds_credit);
            self.answer(core, envelope.reply_to, Outcome::Closed);
            contain(|| drop(envelope));
        }
        // Wakes whoever waits for the end, too.
        self.credit.give_back(returned);
        let discarded = queued + self.credit.taken();
        self.tally.discard(discarded);
        discarded
    }

    fn abandon(&self, core: &Rc<LoopCore>) -> usize {
        let mut given_up = self.discard(core);
        for slot in self.slots.occupied() {
            if let Some((running, reply_to)) = self.slots.woken(slot) {
                given_up += 1;
                self.tally.fail();
                self.tally.resumed(slot, &core.shared().clock);
                drop(self.take_trail(slot));
                self.cut_off(core, running);
                self.answer(core, reply_to, Outcome::Closed);
            }
        }
        self.given_up.set(true);
        self.credit.waiters.wake();
        given_up
    }
}
