//! The verticle that takes events in: one instance a loop.

use std::cell::{Cell, OnceCell, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adtrack_proto::Event;
use adtrack_proto::bus::{
    Accepted, AskHealth, AskLedger, AtBound, Bound, Durability, EVENTS_HEALTH, Health, LEDGER, Ledger, OVERLOADED,
    REPLAY, Replay, Replayed, TRACK, Track, UNAVAILABLE,
};
use vertebra::{BoxError, Bus, Context, Failure, Handler, Route, Verticle};

use super::acks::{self, Ack};
use super::appender::{Appender, Written};
use super::bell::Bell;
use super::budget::has_share;
use super::hand_over::{SHIP, ToShip};
use super::ledger::{AccountId, Place, Reason};
use super::log::EventLog;
use super::pending::{Pending, Turn};
use super::replay;
use super::spool::writer::Unsynced;
use super::syncs::{self, Syncs};
use crate::drain::unless;

/// Writes events to the log before they are answered. Serves [`TRACK`], on every loop.
///
/// An event is encoded into the loop's buffer at once; the first one of a turn wakes a task that writes when it runs -
/// behind everything the loop had to do already -, with one `write(2)` for all of them. Each is answered when what it asked
/// for holds it: at once, after the write, after a sync that began after the write, or when the stream has it;
/// [`UNAVAILABLE`] when that cannot be.
///
/// Refused with [`OVERLOADED`], or dropped where that is wanted, before anything is written: an event that finds as many unwritten ones as the settings
/// allow, or is to wait for the stream and finds half as many that do, or the log at its bound, or its customer holding more of either than is fair (with a stream nothing is removed that the stream does not have; without one the oldest
/// segments go, so that the bound is not reached unless that fails).
pub struct Intake {
    pub(super) log: Arc<EventLog>,
    pub(super) syncs: Syncs,
    pending: RefCell<Pending>,
    // Set by `start`, which knows the instance's number.
    appender: OnceCell<RefCell<Appender>>,
    bell: Bell,
    // Events that wait for the stream to have them.
    awaiting_stream: Cell<usize>,
}

/// An event that cannot be a record, however often it is sent.
const TOO_LARGE: i32 = 413;

const HOUSEKEEPING: Duration = Duration::from_secs(1);

/// How long to try to tell the shipper what is closed, when the instance stops.
const FAREWELL_MAX: Duration = Duration::from_secs(1);

impl Intake {
    /// An intake of this log.
    pub fn new(log: Arc<EventLog>) -> Self {
        Self {
            log,
            syncs: Syncs::default(),
            pending: RefCell::default(),
            appender: OnceCell::new(),
            bell: Bell::default(),
            awaiting_stream: Cell::new(0),
        }
    }

    /// The bound that leaves no room for another event of this customer, if one does.
    fn reached(&self, account: AccountId, instances: usize) -> Option<Bound> {
        let (log, ledger, pending) = (&self.log, self.log.ledger(), self.pending.borrow());
        let (events, events_max) = (pending.events(), log.config().loop_queue_events_max);
        if events >= events_max || pending.bytes() >= log.budget().unwritten(instances) {
            return Some(Bound::Queue);
        }
        let Some(free) = log.bytes_max().checked_sub(log.bytes() + pending.bytes() as u64).filter(|free| *free > 0)
        else {
            return Some(Bound::Log);
        };
        // Nobody else is there to be fair to.
        if ledger.has_one_customer() {
            return None;
        }
        let in_queue = has_share(pending.events_of(account), (events_max - events) as u64);
        // Without a stream nothing is undelivered: the oldest events go, whosever they are.
        let in_log = !log.is_streaming() || has_share(ledger.account(account).held_bytes(), free);
        (!in_queue || !in_log).then_some(Bound::Share)
    }

    /// Who waits for the stream waits long when it does not answer, and leaves half of the places to those who do not.
    fn awaiting_stream_max(&self) -> usize {
        (self.log.config().loop_queue_events_max / 2).max(1)
    }

    /// What becomes of an event that finds a bound reached.
    fn at_bound(&self, bound: Bound, account: AccountId, at_bound: AtBound) -> Result<Accepted, Failure> {
        let metrics = self.log.metrics();
        match at_bound {
            AtBound::Drop => {
                let account = self.log.ledger().account(account);
                account.add(Place::Dropped(Reason::Bound), 1);
                account.add(Place::Accepted, 1);
                metrics.dropped.at(bound).inc();
                Ok(Accepted::Dropped { bound })
            }
            AtBound::Refuse => {
                metrics.refused.at(bound).inc();
                Err(Failure::new(
                    OVERLOADED,
                    match bound {
                        Bound::Queue => "too many events wait to be written",
                        Bound::Log => "the event log has reached its bound",
                        Bound::Share => "the customer's share is used up",
                    },
                ))
            }
        }
    }

    /// Puts an event into the buffer; the turn tells when it is written. `ack` is told when the stream has it.
    fn gather(
        &self,
        event: &Event,
        account: AccountId,
        is_answered: bool,
        ack: Option<Ack>,
    ) -> Result<Rc<Turn>, Failure> {
        let mut pending = self.pending.borrow_mut();
        let turn = pending.push(account, |out| event.encode(out)).map_err(|error| {
            self.log.metrics().refused.too_large.inc();
            Failure::new(TOO_LARGE, error.to_string())
        })?;
        if is_answered {
            pending.answered(account);
        }
        if let Some(ack) = ack {
            pending.acknowledge(ack);
        }
        self.bell.ring();
        Ok(turn)
    }

    /// These were answered, and nothing holds them.
    fn count_unwritten(&self, answered: &[AccountId]) {
        self.log.metrics().dropped.unwritten.inc_by(answered.len() as u64);
        for account in answered.iter().map(|id| self.log.ledger().account(*id)) {
            account.add(Place::Dropped(Reason::Unwritten), 1);
            account.add(Place::Accepted, 1);
        }
    }

    /// What is written and not on the disk.
    pub(super) fn take_unsynced(&self) -> io::Result<Unsynced> {
        self.appender.get().map_or_else(|| Ok(Unsynced::default()), |appender| appender.borrow_mut().take_unsynced())
    }

    /// What is written from now on goes into another segment.
    pub(super) fn close_segment(&self, ctx: &Context<Self>) {
        if let Some(appender) = self.appender.get() {
            appender.borrow_mut().close(|message| send(ctx.bus(), message));
        }
    }

    /// Whoever waits for a level waits no longer than this, nor when the end of the service waits for no request any more.
    async fn given_up(&self, ctx: &Context<Self>, bound: Duration) {
        let (Ok(()) | Err(_)) = ctx.clock().timeout(bound, self.log.drain().requests_over(ctx.clock())).await;
    }

    /// Writes what has come, and lets whoever waits for it go on.
    fn write_turn(&self, ctx: &Context<Self>) {
        let gathered = self.pending.borrow_mut().take();
        let (Some(mut gathered), Some(appender)) = (gathered, self.appender.get()) else { return };
        let answered = Answered { intake: self, accounts: std::mem::take(&mut gathered.answered) };
        let send = |message| send(ctx.bus(), message);
        let written = {
            let mut appender = appender.borrow_mut();
            appender.write(&mut gathered, ctx.clock(), || answered.written(), send)
        };
        match written {
            Written::Yes { buffer } => {
                self.pending.borrow_mut().reuse(buffer.unwrap_or_default(), gathered.parts);
                gathered.turn.finish(true);
                // What cannot be removed now is not tried again for every event, but once a second.
                if !self.log.retention_fails() {
                    self.retain(ctx);
                }
            }
            Written::No => gathered.turn.finish(false),
        }
    }

    fn tick(&self, ctx: &Context<Self>) {
        let Some(appender) = self.appender.get() else { return };
        let vanished = appender.borrow_mut().tick(ctx.clock(), |message| send(ctx.bus(), message));
        if vanished {
            let log = Arc::clone(&self.log);
            blocking(ctx, "the event log cannot be counted", move || log.recount());
        }
        if appender.borrow().has_closed_unsynced() {
            self.syncs.ring();
        }
        if ctx.instance() == 0 {
            self.log.ledger().check();
            let log = Arc::clone(&self.log);
            blocking(ctx, "the event log's folder cannot be looked at", move || log.hold_folder());
        }
        self.retain(ctx);
        self.retain_by_age(ctx);
    }

    /// Without a stream: removes segments whose events are older than events are to be, off the loop.
    fn retain_by_age(&self, ctx: &Context<Self>) {
        let Some(age_max) = self.log.age_max().filter(|_| ctx.instance() == 0) else { return };
        if let Some(claim) = self.log.claim_retention() {
            let now_ms = u64::try_from(ctx.clock().unix_ms()).unwrap_or(0);
            let log = Arc::clone(&self.log);
            blocking(ctx, "the oldest segment of the event log cannot be removed", move || {
                let _until_done = claim;
                log.drop_aged(now_ms, age_max)
            });
        }
    }

    /// Without a stream: removes the oldest segments, off the loop.
    fn retain(&self, ctx: &Context<Self>) {
        if self.log.is_too_long()
            && let Some(claim) = self.log.claim_retention()
        {
            let log = Arc::clone(&self.log);
            blocking(ctx, "the oldest segment of the event log cannot be removed", move || {
                let _until_done = claim;
                log.drop_oldest()
            });
        }
    }
}

/// Runs work on the folder off the loop, and logs what goes wrong.
fn blocking(ctx: &Context<Intake>, trouble: &'static str, work: impl FnOnce() -> std::io::Result<()> + Send + 'static) {
    let task = ctx.clone();
    ctx.spawn(async move {
        match task.execute_blocking(work).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, trouble, "work on the event log failed"),
            Err(error) => tracing::error!(%error, trouble, "work on the event log failed"),
        }
    });
}

fn send(bus: &Bus, message: ToShip) -> bool {
    bus.try_send(SHIP, message).is_ok()
}

async fn write_turns(ctx: Context<Intake>) {
    let _left = Left(ctx.clone());
    loop {
        ctx.verticle().bell.rung().await;
        ctx.verticle().write_turn(&ctx);
    }
}

/// An event that waits for the stream to have it; its place is free again when this is dropped.
struct AwaitingStream<'i>(&'i Cell<usize>);

impl<'i> AwaitingStream<'i> {
    /// None when as many wait already.
    fn begin(waiting: &'i Cell<usize>, max: usize) -> Option<Self> {
        let is_free = waiting.get() < max;
        is_free.then(|| {
            waiting.set(waiting.get() + 1);
            Self(waiting)
        })
    }
}

impl Drop for AwaitingStream<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// Events that are answered, and not written yet. Dropped before they are - because they could not be, or by a panic -, they
/// are counted as held by nothing.
struct Answered<'i> {
    intake: &'i Intake,
    accounts: Vec<AccountId>,
}

impl Answered<'_> {
    fn written(mut self) {
        self.accounts.clear();
    }
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        if !self.accounts.is_empty() {
            self.intake.count_unwritten(&self.accounts);
        }
    }
}

/// What is not written when nobody writes any more - the instance is being replaced after a panic - is not written: whoever
/// waits for it is told.
struct Left(Context<Intake>);

impl Drop for Left {
    fn drop(&mut self) {
        let intake = self.0.verticle();
        let left = intake.pending.borrow_mut().take();
        if let Some(left) = &left {
            intake.count_unwritten(&left.answered);
        }
        drop(left);
    }
}

async fn keep_house(ctx: Context<Intake>) {
    loop {
        ctx.clock().sleep(HOUSEKEEPING).await;
        ctx.verticle().tick(&ctx);
    }
}

impl Verticle for Intake {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let appender = Appender::new(Arc::clone(&self.log), ctx.instance(), ctx.instances());
        self.appender.get_or_init(|| RefCell::new(appender));
        let in_flight = self.log.config().loop_queue_events_max;
        ctx.serve(TRACK).route(Route::PreferLocal).in_flight(in_flight).register()?;
        // With a stream the shipper knows more.
        if !self.log.is_streaming() && ctx.instance() == 0 {
            ctx.serve(EVENTS_HEALTH).register()?;
            ctx.serve(REPLAY).register()?;
            let log = Arc::clone(&self.log);
            // Not in line with the others: it reads all there is, and nothing may wait for that.
            let task = ctx.clone();
            ctx.spawn(async move {
                if let Err(error) = task.execute_blocking_unordered(move || log.count_found()).await {
                    tracing::error!(%error, "the events of earlier runs cannot be counted");
                }
            });
        }
        if ctx.instance() == 0 {
            ctx.serve(LEDGER).register()?;
        }
        ctx.spawn(write_turns(ctx.clone()));
        ctx.spawn(keep_house(ctx.clone()));
        if self.log.may_sync() {
            ctx.spawn(syncs::run(ctx.clone()));
        }
        Ok(())
    }

    async fn stop(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        // Every handler has been answered; an event may be left whose caller went away.
        self.write_turn(ctx);
        let Some(appender) = self.appender.get() else { return Ok(()) };
        appender.borrow_mut().close(|message| send(ctx.bus(), message));
        let until = ctx.clock().now() + FAREWELL_MAX;
        while !appender.borrow().is_told() && ctx.clock().now() < until {
            ctx.clock().sleep(Duration::from_millis(10)).await;
            appender.borrow_mut().announce(|message| send(ctx.bus(), message));
        }
        if !appender.borrow().is_told() {
            tracing::warn!("events stay in the event log: the shipper could not be told of them");
        }
        Ok(())
    }
}

impl Handler<Track> for Intake {
    type Reply = Accepted;

    async fn handle(&self, message: Track, ctx: &Context<Self>) -> Result<Accepted, Failure> {
        let account = self.log.ledger().account_of(message.event.program.customer_id);
        if let Some(bound) = self.reached(account, ctx.instances()) {
            return self.at_bound(bound, account, message.at_bound);
        }
        let durability = message.durability;
        // The others wait for the write and are told; this one would be answered, and held by nothing.
        if durability == Durability::Memory
            && self.appender.get().is_some_and(|appender| appender.borrow().is_failing())
        {
            return Err(Failure::new(UNAVAILABLE, "the event log cannot be written"));
        }
        let _awaiting_stream = match durability {
            Durability::Stream => match AwaitingStream::begin(&self.awaiting_stream, self.awaiting_stream_max()) {
                None => return self.at_bound(Bound::Queue, account, message.at_bound),
                awaiting => awaiting,
            },
            _ => None,
        };
        let (ack, told) = match durability {
            Durability::Stream => Some(acks::ack(&message.event.message_id)).unzip(),
            _ => (None, None),
        };
        let failures = self.syncs.failures();
        let turn = self.gather(&message.event, account, durability == Durability::Memory, ack)?;
        // It is in the buffer: nothing of it is held while this waits.
        drop(message);
        // Whoever asked may wait no longer than this; the handler's place is for others then.
        let bound = self.log.config().durability_timeout;
        let failure = match durability {
            Durability::Memory => None,
            _ if !turn.written().await => Some("the event log cannot be written"),
            Durability::Spool => None,
            Durability::Sync if !self.log.may_sync() => Some("the settings allow no sync"),
            Durability::Sync => {
                let synced = unless(self.given_up(ctx, bound), self.syncs.synced(failures)).await;
                (!synced.unwrap_or(false)).then_some("the event log cannot be synced")
            }
            Durability::Stream => match told {
                Some(told) => {
                    let told = unless(self.given_up(ctx, bound), told).await;
                    (!matches!(told, Some(Ok(())))).then_some("the stream does not take the event now")
                }
                None => Some("there is no stream"),
            },
        };
        match failure {
            None => Ok(Accepted::Held { durability }),
            Some(why) => Err(Failure::new(UNAVAILABLE, why)),
        }
    }
}

impl Handler<AskHealth> for Intake {
    type Reply = Health;

    async fn handle(&self, _: AskHealth, _: &Context<Self>) -> Result<Health, Failure> {
        let accepting = self.log.accepting();
        let detail = match &accepting {
            Ok(()) => format!("no stream is configured: events stay here, {} bytes of them", self.log.bytes()),
            Err(reason) => reason.clone(),
        };
        Ok(Health { name: "event log", up: accepting.is_ok(), accepting: accepting.is_ok(), detail })
    }
}

impl Handler<Replay> for Intake {
    type Reply = Replayed;

    /// Without a stream: they are where events stay. Nobody writes to a `.dead` file then.
    async fn handle(&self, _: Replay, ctx: &Context<Self>) -> Result<Replayed, Failure> {
        let log = Arc::clone(&self.log);
        let revived = ctx.execute_blocking(move || {
            let names = replay::dead_letters(log.directory());
            let (revived, error) = match names {
                Ok(names) => replay::revive_in(&log, &names),
                Err(error) => (Vec::new(), Some(error)),
            };
            for each in &revived {
                log.count_replayed(each.segment);
            }
            (revived, error)
        });
        let (revived, error) = revived.await.unwrap_or_else(|error| (Vec::new(), Some(io::Error::other(error))));
        replay::answer(&revived, error)
    }
}

impl Handler<AskLedger> for Intake {
    type Reply = Ledger;

    async fn handle(&self, _: AskLedger, _: &Context<Self>) -> Result<Ledger, Failure> {
        Ok(self.log.ledger().report())
    }
}

impl fmt::Debug for Intake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Intake").field("log", &self.log.directory().path()).finish_non_exhaustive()
    }
}
