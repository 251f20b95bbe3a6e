//! One registration at an address: a bounded mailbox, handlers in flight, and the way their replies go.
//!
//! Everything here lives on one event loop; nothing is shared but the [`Credit`] that other loops take room from.
//! No borrow of a cell is alive while user code runs, and user code is also `Drop`, `Clone` and a waker.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

use tokio::task::coop::has_budget_remaining;

use crate::error::Failure;
use crate::event_loop::LoopCore;
use crate::message::{Headers, Message};
use crate::panic::{contain, panic_text};

use super::credit::Credit;
use super::outbox::Outbox;
use super::replies::{Outcome, RemoteReply, ReplyKey};
use super::slots::{Running, Slots};

/// Which consumer of a loop, and which of those that had its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct ConsumerKey {
    pub(crate) place: u32,
    pub(crate) generation: u32,
}

/// Where the outcome of a handler goes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ReplyTo {
    /// Nobody asked.
    Nobody,
    /// A request of this loop.
    Local(ReplyKey),
    /// A request of another loop.
    Remote(u32, ReplyKey),
}

/// A message in a mailbox.
pub(crate) struct Envelope<M> {
    pub(crate) message: M,
    pub(crate) headers: Headers,
    pub(crate) reply_to: ReplyTo,
    /// It came from another loop and holds one place of the credit until a handler takes it.
    pub(crate) holds_credit: bool,
}

/// What became of a call in place.
pub(crate) enum Called<M, R> {
    /// The handler finished at once.
    Done(Result<R, Failure>),
    /// The handler is suspended in this slot; it belongs to the loop now.
    Suspended(u32),
    /// It cannot be run now without overtaking somebody: queue it.
    Busy(M, Headers),
}

/// A consumer as its callers see it, the handler's future type forgotten.
pub(crate) trait Consume<M, R>: AnyConsumer {
    /// Runs the handler now, if that cannot be told from queueing the message and running it next.
    fn call(&self, core: &Rc<LoopCore>, message: M, headers: Headers) -> Called<M, R>;
    /// Says where the outcome of a suspended handler goes.
    fn reply_to(&self, slot: u32, reply_to: ReplyTo);
    /// Puts a message into the mailbox; back it comes when there is no room.
    fn enqueue(&self, core: &LoopCore, envelope: Envelope<M>) -> Result<(), Envelope<M>>;
}

/// A consumer as its loop sees it, all types forgotten.
pub(crate) trait AnyConsumer: 'static {
    /// Starts handlers for queued messages, `budget` at most.
    fn run(&self, core: &Rc<LoopCore>, budget: usize);
    /// Goes on with a suspended handler whose waker was called.
    fn resume(&self, core: &Rc<LoopCore>, slot: u32);
    /// No message is taken any more; those accepted are still handled.
    fn close(&self);
    /// Nothing is queued, on its way or being handled; or it was given up.
    fn is_drained(&self) -> bool;
    /// Where one waits for that, among others.
    fn credit(&self) -> &Credit;
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
pub(crate) struct Consumer<M, R, F, S> {
    key: Cell<ConsumerKey>,
    address: Arc<str>,
    bounds: Bounds,
    start: S,
    queue: RefCell<VecDeque<Envelope<M>>>,
    scheduled: Cell<bool>,
    slots: Slots<F>,
    credit: Arc<Credit>,
    /// By loop: the way of the replies to its requests.
    reply_outboxes: RefCell<Vec<Option<ReplyOutbox<R>>>>,
    open: Cell<bool>,
    given_up: Cell<bool>,
}

type ReplyOutbox<R> = Rc<Outbox<RemoteReply<R>>>;

/// Handlers that call handlers in place grow the stack; beyond this depth the message is queued instead.
const DEPTH_MAX: usize = 16;

impl<M, R, F, S> Consumer<M, R, F, S>
where
    M: Message,
    R: Message,
    F: Future<Output = Result<R, Failure>> + 'static,
    S: Fn(M, Headers) -> F + 'static,
{
    pub(crate) fn new(address: Arc<str>, bounds: Bounds, credit: Arc<Credit>, start: S) -> Self {
        Self {
            key: Cell::new(ConsumerKey { place: u32::MAX, generation: 0 }),
            address,
            bounds,
            start,
            queue: RefCell::default(),
            scheduled: Cell::new(false),
            slots: Slots::default(),
            credit,
            reply_outboxes: RefCell::default(),
            open: Cell::new(true),
            given_up: Cell::new(false),
        }
    }

    /// Tells the consumer where it lives; before that it must not be used.
    pub(crate) fn placed(&self, key: ConsumerKey) {
        self.key.set(key);
    }

    /// Starts a handler and polls it once. Suspended, it stays in the slot that is given.
    fn begin(&self, core: &Rc<LoopCore>, message: M, headers: Headers) -> Result<Result<R, Failure>, u32> {
        // A closure may do things - and panic - before it has a future to give. No place is taken until it has.
        let future = match catch_unwind(AssertUnwindSafe(|| (self.start)(message, headers))) {
            Ok(future) => future,
            Err(panic) => return Ok(Err(self.panicked(core, panic.as_ref()))),
        };
        let (slot, mut running) = self.slots.take(core, self.key.get(), future);
        match self.poll(core, &mut running) {
            Poll::Ready(result) => {
                self.release(slot, running);
                Ok(result)
            }
            Poll::Pending => {
                self.slots.put_back(slot, running);
                Err(slot)
            }
        }
    }

    fn poll(&self, core: &LoopCore, running: &mut Running<F>) -> Poll<Result<R, Failure>> {
        let depth = core.enter_handler();
        let polled = running.poll();
        core.leave_handler(depth);
        polled.unwrap_or_else(|panic| Poll::Ready(Err(self.panicked(core, panic.as_ref()))))
    }

    fn panicked(&self, core: &LoopCore, panic: &(dyn Any + Send)) -> Failure {
        let panic = panic_text(panic);
        core.count_panic();
        tracing::error!(address = %self.address, panic, "a handler panicked; its request fails, its verticle goes on");
        Failure::new(Failure::UNSPECIFIED, format!("the handler of {} panicked: {panic}", self.address))
    }

    fn release(&self, slot: u32, running: Running<F>) {
        if !self.slots.release(slot, running) {
            tracing::error!(address = %self.address, "a handler panicked while it was dropped");
        }
    }

    fn answer(&self, core: &Rc<LoopCore>, reply_to: ReplyTo, outcome: Outcome<R>) {
        match reply_to {
            ReplyTo::Nobody => {}
            ReplyTo::Local(key) => core.replies::<R>().end(key, outcome),
            ReplyTo::Remote(target, to) => self.reply_outbox(target as usize).push(core, RemoteReply { to, outcome }),
        }
    }

    fn reply_outbox(&self, target: usize) -> ReplyOutbox<R> {
        let mut outboxes = self.reply_outboxes.borrow_mut();
        if outboxes.len() <= target {
            outboxes.resize_with(target + 1, || None);
        }
        outboxes[target].get_or_insert_with(|| Outbox::new(target)).clone()
    }

    /// Room has come, or the last handler has finished: whoever waits for that hears of it.
    fn after_work(&self, core: &LoopCore, returned: usize) {
        if returned > 0 {
            self.credit.give_back(returned);
        }
        if !self.queue.borrow().is_empty() && self.slots.in_flight() < self.bounds.in_flight {
            self.schedule(core);
        }
        if !self.open.get() && self.is_drained() {
            self.credit.waiters.wake();
        }
    }

    fn schedule(&self, core: &LoopCore) {
        if !self.scheduled.replace(true) {
            core.schedule(self.key.get());
        }
    }
}

impl<M, R, F, S> Consume<M, R> for Consumer<M, R, F, S>
where
    M: Message,
    R: Message,
    F: Future<Output = Result<R, Failure>> + 'static,
    S: Fn(M, Headers) -> F + 'static,
{
    fn call(&self, core: &Rc<LoopCore>, message: M, headers: Headers) -> Called<M, R> {
        // What is in the queue was there first. What is being delivered has begun: it is taken out one at a time.
        if !self.queue.borrow().is_empty()
            || self.slots.in_flight() >= self.bounds.in_flight
            || core.depth() >= DEPTH_MAX
            || !self.open.get()
        {
            return Called::Busy(message, headers);
        }
        match self.begin(core, message, headers) {
            Ok(result) => {
                self.after_work(core, 0);
                Called::Done(result)
            }
            Err(slot) => Called::Suspended(slot),
        }
    }

    fn reply_to(&self, slot: u32, reply_to: ReplyTo) {
        self.slots.set_reply_to(slot, reply_to);
    }

    fn enqueue(&self, core: &LoopCore, envelope: Envelope<M>) -> Result<(), Envelope<M>> {
        // A message from another loop has its room already: that is what the credit is.
        let room = envelope.holds_credit || (self.open.get() && self.queue.borrow().len() < self.bounds.mailbox);
        if !room {
            return Err(envelope);
        }
        self.queue.borrow_mut().push_back(envelope);
        if self.slots.in_flight() < self.bounds.in_flight {
            self.schedule(core);
        }
        Ok(())
    }
}

impl<M, R, F, S> AnyConsumer for Consumer<M, R, F, S>
where
    M: Message,
    R: Message,
    F: Future<Output = Result<R, Failure>> + 'static,
    S: Fn(M, Headers) -> F + 'static,
{
    fn run(&self, core: &Rc<LoopCore>, budget: usize) {
        self.scheduled.set(false);
        let mut returned = 0;
        let mut room = false;
        for _ in 0..budget {
            if self.slots.in_flight() >= self.bounds.in_flight || !has_budget_remaining() {
                break;
            }
            // One at a time: an empty queue must mean that nobody can be overtaken.
            let Some(envelope) = self.queue.borrow_mut().pop_front() else { break };
            if envelope.holds_credit {
                returned += 1;
            } else {
                room = true;
            }
            let reply_to = envelope.reply_to;
            match self.begin(core, envelope.message, envelope.headers) {
                Ok(result) => self.answer(core, reply_to, Outcome::Replied(result)),
                Err(slot) => self.reply_to(slot, reply_to),
            }
        }
        if room {
            self.credit.waiters.wake();
        }
        self.after_work(core, returned);
    }

    fn resume(&self, core: &Rc<LoopCore>, slot: u32) {
        // A waker that outlived its handler, or was called while the handler is being polled: nothing to do.
        let Some(mut running) = self.slots.suspended(slot) else { return };
        match self.poll(core, &mut running) {
            Poll::Pending => self.slots.put_back(slot, running),
            Poll::Ready(result) => {
                let reply_to = self.slots.reply_to(slot);
                self.release(slot, running);
                self.answer(core, reply_to, Outcome::Replied(result));
                self.after_work(core, 0);
            }
        }
    }

    fn close(&self) {
        self.open.set(false);
        self.credit.close();
    }

    fn is_drained(&self) -> bool {
        self.given_up.get()
            || (self.queue.borrow().is_empty() && self.slots.in_flight() == 0 && self.credit.taken() == 0)
    }

    fn credit(&self) -> &Credit {
        &self.credit
    }

    fn abandon(&self, core: &Rc<LoopCore>) -> usize {
        let queue = self.queue.take();
        let mut given_up = queue.len();
        let mut returned = 0;
        for envelope in queue {
            returned += usize::from(envelope.holds_credit);
            self.answer(core, envelope.reply_to, Outcome::Closed);
            contain(|| drop(envelope));
        }
        for slot in self.slots.occupied() {
            if let Some(running) = self.slots.suspended(slot) {
                given_up += 1;
                let reply_to = self.slots.reply_to(slot);
                self.release(slot, running);
                self.answer(core, reply_to, Outcome::Closed);
            }
        }
        self.given_up.set(true);
        self.credit.give_back(returned);
        // What is taken now is on its way, and will find nobody.
        given_up + self.credit.taken()
    }
}
