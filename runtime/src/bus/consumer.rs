//! One registration at an address: a bounded mailbox, handlers in flight, and the way their replies go.
//!
//! Everything here lives on one event loop; nothing is shared but the [`Credit`] that other loops take room from.
//! No borrow of a cell is alive while user code runs, and user code is also `Drop`, `Clone` and a waker.

mod ends;
mod handlers;
mod replying;

use std::cell::{Cell, OnceCell, RefCell};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Duration;

use crate::error::Failure;
use crate::event_loop::LoopCore;
use crate::event_loop::watched::Whose;
use crate::message::{Headers, Message};
use crate::panic::contain;
use crate::registrations::Kept;

use super::consume::{AnyConsumer, Asked, Consume, ConsumerKey, Expected};
use super::credit::Credit;
use super::envelope::{Envelope, ReplyTo};
use super::mailbox::Mailbox;
use super::registry::Served;
use super::replies::Replies;
use super::slots::Slots;
use super::tally::Tally;
use super::trail::{Trail, spans_wanted};

use handlers::Begun;
use replying::ReplyOutbox;

/// Bounds of a consumer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) mailbox: usize,
    pub(crate) in_flight: usize,
}

/// What a consumer is from the beginning to its end.
pub(crate) struct Standing {
    pub(crate) key: ConsumerKey,
    pub(crate) whose: Whose,
    pub(crate) bounds: Bounds,
    pub(crate) credit: Arc<Credit>,
    pub(crate) served: Arc<Served>,
    pub(crate) kept: Kept,
}

/// A consumer with all its types: message, reply, the handler's future, and what starts one. In the order in which a message
/// looks at it: of a million consumers, most are in no cache.
#[repr(C)]
pub(crate) struct LocalConsumer<M, R, F, S> {
    queue: Mailbox<Envelope<M>>,
    /// Handlers that may still begin; `usize::MAX` when nobody has said how many.
    demand: Cell<usize>,
    /// Published messages that are expected next, before whatever is queued.
    expected: Cell<usize>,
    /// How many in the queue are of other loops: their room is counted by the credit.
    theirs: Cell<usize>,
    slots: Slots<F>,
    /// Handlers that may be in flight: the bound, and what comes to it while those of a replaced instance go on.
    in_flight_max: Cell<usize>,
    open: Cell<bool>,
    scheduled: Cell<bool>,
    /// What arrives has come too late: what was queued is discarded.
    discarded: Cell<bool>,
    given_up: Cell<bool>,
    key: ConsumerKey,
    whose: Whose,
    bounds: Bounds,
    tally: Tally,
    start: S,
    /// How many in the queue were expected before the others came, and could not begin when they were handed in.
    ahead: Cell<usize>,
    /// Places of the credit whose messages have begun in this turn; given back together.
    owed: Cell<usize>,
    /// The requests of this loop that replies go to; known once there is one.
    replies: OnceCell<Rc<Replies<R>>>,
    /// Made when there is something in it.
    more: OnceCell<Box<More<R>>>,
    credit: Arc<Credit>,
    served: Arc<Served>,
    kept: Kept,
}

/// What most consumers never have.
struct More<R> {
    /// Of suspended handlers, by slot; empty unless somebody looks at what is handled.
    trails: RefCell<Vec<(u32, Trail)>>,
    /// By loop: the way of the replies to its requests.
    reply_outboxes: RefCell<Vec<Option<ReplyOutbox<R>>>>,
    outboxes_to_workers: RefCell<Vec<(usize, ReplyOutbox<R>)>>,
    at_end: Cell<Option<Box<dyn FnOnce()>>>,
}

impl<R> Default for More<R> {
    fn default() -> Self {
        Self {
            trails: RefCell::default(),
            reply_outboxes: RefCell::default(),
            outboxes_to_workers: RefCell::default(),
            at_end: Cell::default(),
        }
    }
}

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
    pub(crate) fn new(standing: Standing, tally: Tally, start: S) -> Self {
        let Standing { key, whose, bounds, credit, served, kept } = standing;
        Self {
            queue: Mailbox::default(),
            demand: Cell::new(FLOWING),
            expected: Cell::new(0),
            theirs: Cell::new(0),
            slots: Slots::default(),
            in_flight_max: Cell::new(bounds.in_flight),
            open: Cell::new(true),
            scheduled: Cell::new(false),
            discarded: Cell::new(false),
            given_up: Cell::new(false),
            key,
            whose,
            bounds,
            tally,
            start,
            ahead: Cell::new(0),
            owed: Cell::new(0),
            replies: OnceCell::new(),
            more: OnceCell::new(),
            credit,
            served,
            kept,
        }
    }

    #[cold]
    fn more(&self) -> &More<R> {
        self.more.get_or_init(Box::default)
    }

    fn address(&self) -> &str {
        self.served.name.as_str()
    }

    /// Whether another handler may begin now.
    #[inline]
    fn may_begin(&self) -> bool {
        self.slots.in_flight() < self.in_flight_max.get() && self.demand.get() > 0
    }

    /// Whether a handler may begin with what is queued.
    #[inline]
    fn may_take_next(&self) -> bool {
        self.may_begin() && self.expected.get() == 0
    }

    /// Whether a handler that begins now overtakes nobody.
    #[inline]
    fn is_free(&self) -> bool {
        self.may_take_next() && self.queue.is_empty() && self.open.get()
    }

    #[inline]
    fn has_room(&self) -> bool {
        self.open.get() && self.queued() < self.bounds.mailbox
    }

    /// Messages of this loop that wait for their handler, published ones that are not handed in yet among them.
    #[inline]
    fn queued(&self) -> usize {
        self.queue.len() - self.theirs.get() + self.expected.get()
    }

    /// A published message that was expected is here, or is lost; gives whether there was no room beside it.
    #[inline]
    fn take_expected(&self) -> bool {
        let was_full = self.queued() >= self.bounds.mailbox;
        self.expected.set(self.expected.get() - 1);
        was_full
    }

    /// The same, once it is handed in: whoever waits for its room hears of it.
    #[inline]
    fn after_expected(&self, core: &LoopCore, was_full: bool) {
        if was_full && self.has_room() {
            self.credit.waiters.wake();
        }
        self.after_work(core, 0);
    }

    /// Room has come, or the last handler has finished: whoever waits for that hears of it.
    #[inline]
    fn after_work(&self, core: &LoopCore, returned: usize) {
        if returned > 0 {
            self.credit.give_back(returned);
        }
        if !self.queue.is_empty() || !self.open.get() {
            self.go_on_or_end(core);
        }
    }

    #[cold]
    fn go_on_or_end(&self, core: &LoopCore) {
        self.schedule_if_ready(core);
        if !self.open.get() && self.is_drained() {
            self.credit.waiters.wake();
            if let Some(act) = self.more.get().and_then(|more| more.at_end.take()) {
                act();
            }
        }
    }

    /// So many handlers of replaced instances are in flight. They do not count for the new one; but there is a bound to them,
    /// too, or an instance that is replaced again and again would leave more of them each time.
    fn allow_for_old(&self, old: usize) {
        self.in_flight_max.set(self.bounds.in_flight + old.min(self.bounds.in_flight));
    }

    fn schedule_if_ready(&self, core: &LoopCore) {
        if self.may_take_next() && !self.queue.is_empty() {
            self.schedule(core);
        }
    }

    /// Puts a message of this loop behind what is queued.
    #[inline]
    fn push(&self, core: &LoopCore, message: M, headers: Headers, reply_to: ReplyTo) {
        self.queue.push_back(|| Envelope { message, headers, reply_to });
        if self.may_take_next() {
            self.schedule(core);
        }
    }

    #[inline]
    fn schedule(&self, core: &LoopCore) {
        if !self.scheduled.replace(true) {
            core.schedule(self.key);
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
    fn ask(
        &self,
        core: &Rc<LoopCore>,
        message: M,
        headers: Headers,
        timeout: Duration,
        asking: &Waker,
        result: &mut Option<Result<R, Failure>>,
    ) -> Asked {
        // What is in the queue was there first. What is being delivered has begun: it is taken out one at a time. What
        // somebody looks at on its way goes all of the way.
        if !is_looked_at(core) && self.is_free() && core.depth() < DEPTH_MAX && !core.puts_off() {
            let Begun::Suspended(slot) = self.begin(core, message, headers, ReplyTo::NOBODY, result) else {
                if !matches!(result, Some(Ok(_))) {
                    self.tally.fail();
                }
                self.after_work(core, 0);
                return Asked::Done;
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
        if !self.may_begin() || !self.queue.is_empty() {
            return Expected::Behind;
        }
        self.expected.set(self.expected.get() + 1);
        Expected::Next
    }

    fn hand_in_published(&self, core: &Rc<LoopCore>, message: M, headers: Headers) {
        let was_full = self.take_expected();
        if self.discarded.get() {
            contain(|| drop((message, headers)));
            return;
        }
        if self.may_begin() && self.ahead.get() == 0 && !is_looked_at(core) {
            let mut result = None;
            if let Begun::Finished = self.begin(core, message, headers, ReplyTo::PUBLISHED, &mut result) {
                self.reply(core, ReplyTo::PUBLISHED, &mut result);
            }
        } else {
            // Those that came later wait until nothing is expected: they are all behind it.
            let envelope = Envelope { message, headers, reply_to: ReplyTo::PUBLISHED };
            self.queue.insert(self.ahead.get(), envelope);
            self.ahead.set(self.ahead.get() + 1);
        }
        self.after_expected(core, was_full);
    }

    fn published_is_lost(&self, core: &LoopCore) {
        let was_full = self.take_expected();
        self.after_expected(core, was_full);
    }

    fn room(&self) -> usize {
        if self.open.get() { self.bounds.mailbox.saturating_sub(self.queued()) } else { 0 }
    }

    fn enqueue(&self, core: &LoopCore, envelope: Envelope<M>) -> Result<(), Envelope<M>> {
        // A message from another loop has its room already: that is what the credit is.
        let room = envelope.holds_credit() || self.has_room();
        if !room || self.discarded.get() {
            if envelope.holds_credit() {
                self.credit.give_back(1);
            }
            return Err(envelope);
        }
        self.theirs.set(self.theirs.get() + usize::from(envelope.holds_credit()));
        self.queue.push_back(|| envelope);
        if self.may_take_next() {
            self.schedule(core);
        }
        Ok(())
    }
}
