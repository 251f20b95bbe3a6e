//! The verticle that ships events to the stream: one instance, on a loop of its own.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use adtrack_config::KinesisConfig;
use adtrack_proto::bus::{AskHealth, EVENTS_HEALTH, Health, REPLAY, Replay, Replayed};
use vertebra::{BoxError, Clock, Context, Failure, Handler, Verticle};

use super::acks::Acks;
use super::bell::Bell;
use super::client::{PutError, StreamClient};
use super::cursor::{self, Cursor, Left, NoteError};
use super::dead_letter::DeadLetters;
use super::entry::Entry;
use super::flow::{Flow, FlowLimits};
use super::hand_over::{SHIP, ToShip};
use super::ledger::{Backlog, Place, Tally};
use super::log::EventLog;
use super::outbox::Outbox;
use super::progress::{Progress, Step};
use super::record::Record;
use super::room::Held;
use super::shard_map::ShardMap;
use super::spool::name::SegmentName;
use super::tracker::Tracker;
use super::{age, cleanup, dispatch, probe, recover, replay, shard_list};
use crate::drain::unless;

/// Ships what the intakes hand over, and what is in the log already, and removes segments the stream has completely.
///
/// * Events come in memory, a turn of a loop at a time, as long as there is room for them (a setting); an intake that
///   finds none leaves them in the log, and they are read back - the oldest first - when at most half the room is taken.
/// * Several calls are under way at a time, each with the records of one batch; failed records are sent again, with
///   growing pauses, for as long as it takes. A record the stream refuses for good goes to a `.dead` file.
/// * Delivery is at least once: what was in a call before a crash, or in one whose answer did not come, is sent again. What
///   the stream has is written down after each call, in a cursor, so that no more than that comes twice.
/// * What comes in memory goes before what is read back, so that a backlog holds nobody up.
/// * Each shard gets no more than it takes, as far as the shards are known; one that turns events away is left alone for a while,
///   and the others go on: of its events no more are kept in memory than its share of it, and the newest wait in the log until
///   it takes them. That is no outage. In an outage - calls fail as a whole - one call goes at a time, and behind it more
///   and more.
/// * Order is kept within a batch; between batches only when a setting asks for it, and then within a partition key, for
///   events of one loop that come the same way, in memory or by the log.
/// * `stop` goes on shipping what is in memory for the time that the drain gives; what is left then stays in the log.
pub struct Shipper<C> {
    pub(super) log: Arc<EventLog>,
    pub(super) client: C,
    pub(super) state: RefCell<State>,
    pub(super) work: Bell,
    pub(super) room: Bell,
    pub(super) finished: Bell,
    pub(super) shards_differ: Bell,
}

/// What changes.
#[derive(Debug)]
pub(super) struct State {
    pub(super) outbox: Outbox,
    pub(super) flow: Flow,
    pub(super) tracker: Tracker,
    pub(super) progress: Progress,
    pub(super) cursor: Cursor,
    cursor_fails: bool,
    pub(super) dead_letters: DeadLetters,
    /// What the ledger knows of segments that are to be read back.
    pub(super) backlog: Backlog,
    settling: Tally,
    pub(super) acks: Acks,
    /// Batches under way, pauses between their calls included.
    pub(super) in_flight: usize,
    /// Whether the stream has taken a record since the start, and has not refused many one after the other since.
    pub(super) proven: bool,
    /// Records it has refused for good since it took one.
    pub(super) refused_since: usize,
    /// Whether nothing is to wait for company any more.
    pub(super) flushing: bool,
    /// Whether a finished segment is being removed.
    pub(super) cleaning: bool,
    pub(super) last_call: Option<Duration>,
    known_up: Option<bool>,
    trouble: Option<PutError>,
}

impl<C: StreamClient> Shipper<C> {
    /// A shipper of this log.
    pub fn new(log: Arc<EventLog>, client: C) -> Self {
        let config = log.kinesis();
        let flow = FlowLimits {
            calls_max: config.in_flight_max,
            backoff_min: config.backoff_min,
            backoff_max: config.backoff_max,
        };
        let state = State {
            outbox: Outbox::new(config, log.room().take(0, 0)),
            flow: Flow::new(flow),
            tracker: Tracker::default(),
            progress: Progress::default(),
            cursor: Cursor::new(log.directory().path(), Vec::new()),
            cursor_fails: false,
            dead_letters: DeadLetters::new(log.directory().path(), log.budget().kept()),
            backlog: Backlog::default(),
            settling: Tally::default(),
            acks: Acks::default(),
            in_flight: 0,
            proven: false,
            refused_since: 0,
            flushing: false,
            cleaning: false,
            last_call: None,
            known_up: None,
            trouble: None,
        };
        let state = RefCell::new(state);
        Self {
            log,
            client,
            state,
            work: Bell::default(),
            room: Bell::default(),
            finished: Bell::default(),
            shards_differ: Bell::default(),
        }
    }

    pub(super) fn config(&self) -> &KinesisConfig {
        self.log.kinesis()
    }

    /// Takes over records with the room they take. The tracker knows of them already.
    pub(super) fn take_over(&self, records: impl Iterator<Item = Record>, held: Held, now: Duration) {
        let state = &mut *self.state.borrow_mut();
        state.outbox.set_may_crowd_out(self.may_let_go(state));
        state.outbox.push(records, held, now);
        self.let_go(state, now);
        self.work.ring();
        self.gauge();
    }

    /// Whether events may be let go: as long as there is memory for their places, and room in the log. A segment stays as long as one of
    /// its events waits, so that a few events of a shard that is full for long keep the log of all.
    fn may_let_go(&self, state: &State) -> bool {
        let is_short = self.log.bytes() < self.log.bytes_max() / 2;
        is_short && !state.flushing && state.tracker.all_let_go() < self.log.let_go_events_max()
    }

    /// What was crowded out is in the log alone again, and is read back when there is room for it.
    pub(super) fn let_go(&self, state: &mut State, now: Duration) {
        let crowded_out = state.outbox.take_crowded_out();
        if crowded_out.is_empty() {
            return;
        }
        let ledger = self.log.ledger();
        let mut events = 0;
        for entry in crowded_out {
            // A segment that is not there any more, or cannot be read, does not give it back.
            if !entry.records().iter().all(|record| state.tracker.has(record.segment())) {
                state.outbox.keep(entry, now);
                continue;
            }
            for record in entry.records() {
                let (account, bytes) = (ledger.account_of(record.customer_id()), record.frame_bytes() as i64);
                state.settling.add(account, 1, bytes);
                state.backlog.let_go(record.segment(), account, bytes);
                state.tracker.let_go(record.segment(), 1);
                // It comes to the stream, but not soon.
                state.acks.refused(record.id());
            }
            events += entry.events() as u64;
        }
        let parts = state.settling.take();
        ledger.came(Place::Spooled, &parts);
        ledger.left(Place::InFlight, &parts);
        state.settling.reuse(parts);
        self.log.metrics().let_go.inc_by(events);
        self.room.ring();
    }

    /// Takes entries back that a call did not store; they go with the next ones.
    pub(super) fn give_back(&self, entries: Vec<Entry>, now: Duration) {
        self.state.borrow_mut().outbox.give_back(entries, now);
        self.work.ring();
    }

    /// The shards of the stream are these.
    pub(super) fn set_shards(&self, map: Option<ShardMap>) {
        let shards = map.as_ref().map_or(0, |map| map.shards().len());
        if self.state.borrow_mut().outbox.set_shards(map) {
            tracing::info!(shards, "the shards of the stream");
            self.log.metrics().shards.set(i64::try_from(shards).unwrap_or(i64::MAX));
            self.work.ring();
        }
    }

    /// Takes an entry apart; its records go in its place.
    pub(super) fn take_apart(&self, entry: Entry, now: Duration) {
        self.state.borrow_mut().outbox.take_apart(entry, now);
        self.work.ring();
    }

    /// Nobody needs the records in these any more: that is where they are now.
    pub(super) fn settle(&self, entries: &[Entry], place: Place, clock: &Clock) {
        let records = || entries.iter().flat_map(Entry::records);
        let (ledger, step) = (self.log.ledger(), Step::of(records()));
        let mut state = self.state.borrow_mut();
        entries.iter().for_each(|entry| state.outbox.settled(entry));
        for record in records() {
            state.tracker.settled(record.segment(), 1);
            state.acks.refused(record.id());
            state.settling.add(ledger.account_of(record.customer_id()), 1, record.frame_bytes() as i64);
        }
        let parts = state.settling.take();
        ledger.came(place, &parts);
        ledger.left(Place::InFlight, &parts);
        ledger.release(&parts);
        state.settling.reuse(parts);
        state.progress.settled(&step);
        let State { cursor, progress, .. } = &mut *state;
        let noted = cursor.settled(&step, progress, unix_ms(clock));
        drop(state);
        self.note_cursor(noted);
        self.gauge();
        // The next of a lane may go.
        self.work.ring();
        self.room.ring();
        self.finished.ring();
    }

    /// The segment is not in the log any more.
    pub(super) fn forget(&self, segment: SegmentName, clock: &Clock) {
        let mut state = self.state.borrow_mut();
        let State { cursor, progress, .. } = &mut *state;
        let noted = cursor.gone(segment, progress, unix_ms(clock));
        drop(state);
        self.note_cursor(noted);
    }

    /// That the cursor cannot be written stops nothing: it costs events that come twice after a crash.
    fn note_cursor(&self, noted: Result<(), NoteError>) {
        let mut state = self.state.borrow_mut();
        let failed = noted.is_err();
        self.log.metrics().cursor_failures.inc_by(u64::from(failed));
        if std::mem::replace(&mut state.cursor_fails, failed) == failed {
            return;
        }
        match noted {
            Ok(()) => tracing::info!("what the stream has can be written down again"),
            Err(error) => {
                tracing::warn!(%error, "what the stream has cannot be written down: after a crash events come twice");
            }
        }
    }

    /// Takes over what an earlier run has settled.
    fn restore(&self, left: Left, clock: &Clock) {
        self.log.metrics().cursor_failures.inc_by(left.unreadable);
        let mut cursor = Cursor::new(self.log.directory().path(), left.files);
        let begun = cursor.begin(&left.progress, unix_ms(clock));
        let mut state = self.state.borrow_mut();
        state.progress = left.progress;
        state.cursor = cursor;
        drop(state);
        self.note_cursor(begun);
    }

    /// What a call says about the stream.
    pub(super) fn note_call(&self, now: Duration, trouble: Option<PutError>) {
        // A stream at its limit, and one that refuses a record, are there.
        let up = matches!(trouble, None | Some(PutError::Throttled(_) | PutError::Refused(_)));
        let mut state = self.state.borrow_mut();
        state.last_call = Some(now);
        if state.known_up.replace(up) != Some(up) {
            match &trouble {
                Some(error) if !up => tracing::warn!(%error, "the stream cannot be used: events wait in the event log"),
                _ => tracing::info!("the stream takes events"),
            }
        }
        state.trouble = trouble;
        self.log.set_stream_up(up);
    }

    /// Whether everything in memory is shipped and everything superfluous removed.
    fn is_done(&self) -> bool {
        let state = self.state.borrow();
        let shipped = state.outbox.is_idle() && state.in_flight == 0;
        shipped && !state.cleaning && !state.tracker.has_finished()
    }

    fn gauge(&self) {
        let events = i64::try_from(self.log.room().events()).unwrap_or(i64::MAX);
        self.log.metrics().queue_events.set(events);
    }

    fn detail(&self) -> String {
        let state = self.state.borrow();
        let waiting = format!(
            "{} events in memory, {} segments to be read back, {} bytes of log",
            self.log.room().events(),
            state.tracker.unread(),
            self.log.bytes(),
        );
        match &state.trouble {
            Some(error) => format!("{error}; {waiting}"),
            None if state.last_call.is_none() => format!("no call made yet; {waiting}"),
            None => waiting,
        }
    }
}

impl<C: StreamClient> Verticle for Shipper<C> {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.log.new_shipper();
        let log = Arc::clone(&self.log);
        let looked = move || log.closed_segments().map(|found| (found, cursor::read(log.directory().path())));
        let (found, left) = ctx.execute_blocking(looked).await??;
        self.restore(left?, ctx.clock());
        if !found.is_empty() {
            tracing::info!(segments = found.len(), "events of an earlier run are shipped");
        }
        for name in found {
            let mut state = self.state.borrow_mut();
            let read_from = state.progress.read_from(name);
            state.tracker.found(name, read_from);
        }
        ctx.serve(SHIP).register()?;
        ctx.serve(EVENTS_HEALTH).register()?;
        ctx.serve(REPLAY).register()?;
        ctx.spawn(dispatch::run(ctx.clone()));
        ctx.spawn(recover::run(ctx.clone()));
        ctx.spawn(cleanup::run(ctx.clone()));
        ctx.spawn(probe::run(ctx.clone()));
        ctx.spawn(shard_list::run(ctx.clone()));
        ctx.spawn(age::run(ctx.clone()));
        Ok(())
    }

    async fn stop(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.state.borrow_mut().flushing = true;
        self.work.ring();
        self.finished.ring();
        let drain = self.log.drain();
        drain.begin(ctx.clock().now());
        let shipped = async {
            while !self.is_done() {
                ctx.clock().sleep(Duration::from_millis(10)).await;
            }
        };
        let (Some(()) | None) = unless(drain.flush_over(ctx.clock()), shipped).await;
        let events = self.log.room().events();
        let segments = self.state.borrow().tracker.unread();
        if events > 0 || segments > 0 {
            tracing::warn!(
                events,
                segments,
                bytes = self.log.bytes(),
                "events stay in the event log until the next start"
            );
        }
        Ok(())
    }
}

impl<C: StreamClient> Handler<ToShip> for Shipper<C> {
    type Reply = ();

    async fn handle(&self, message: ToShip, ctx: &Context<Self>) -> Result<(), Failure> {
        match message {
            ToShip::Events { segment, offset, frames, held, acks } => {
                let mut state = self.state.borrow_mut();
                state.acks.add(acks);
                state.tracker.came(segment, held.events() as u64);
                drop(state);
                let records = Record::all_in(frames, segment, offset, self.config().partition_key);
                self.take_over(records, held, ctx.clock().now());
            }
            ToShip::Closed { segment, unread_from, counted } => {
                let mut state = self.state.borrow_mut();
                if unread_from.is_some() {
                    state.backlog.closed(segment, counted);
                }
                // Of a segment that was handed to an earlier shipper that one may have settled a part.
                let unread_from = unread_from.map(|from| from.max(state.progress.read_from(segment)));
                state.tracker.closed(segment, unread_from);
                drop(state);
                self.room.ring();
                self.finished.ring();
            }
        }
        Ok(())
    }
}

impl<C: StreamClient> Handler<Replay> for Shipper<C> {
    type Reply = Replayed;

    async fn handle(&self, _: Replay, ctx: &Context<Self>) -> Result<Replayed, Failure> {
        let log = Arc::clone(&self.log);
        let names = ctx.execute_blocking(move || replay::dead_letters(log.directory())).await;
        let names = match names.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
            Ok(names) => names,
            Err(error) => return replay::answer(&[], Some(error)),
        };
        // One of them may be written to. What is refused from here on goes to a file that is not among them.
        self.state.borrow_mut().dead_letters.close();
        let log = Arc::clone(&self.log);
        let revived = ctx.execute_blocking(move || replay::revive_in(&log, &names)).await;
        let (revived, error) = revived.unwrap_or_else(|error| (Vec::new(), Some(std::io::Error::other(error))));
        let mut state = self.state.borrow_mut();
        for each in &revived {
            state.backlog.replayed(each.segment);
            state.tracker.found(each.segment, 0);
        }
        drop(state);
        self.room.ring();
        // Less is kept for a person than before, or was counted wrongly: the cleaner looks.
        self.finished.ring();
        replay::answer(&revived, error)
    }
}

impl<C: StreamClient> Handler<AskHealth> for Shipper<C> {
    type Reply = Health;

    async fn handle(&self, _: AskHealth, _: &Context<Self>) -> Result<Health, Failure> {
        let accepting = self.log.accepting();
        let detail = match &accepting {
            Ok(()) => self.detail(),
            Err(reason) => format!("{reason}; {}", self.detail()),
        };
        Ok(Health { name: "kinesis", up: self.log.is_stream_up(), accepting: accepting.is_ok(), detail })
    }
}

impl<C> fmt::Debug for Shipper<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shipper").field("stream", &self.log.kinesis().stream).finish_non_exhaustive()
    }
}

fn unix_ms(clock: &Clock) -> u64 {
    u64::try_from(clock.unix_ms()).unwrap_or(0)
}
