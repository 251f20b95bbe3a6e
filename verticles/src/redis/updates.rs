//! The core-data listener: what is published on the channel is in memory at once.
//!
//! It has a connection of its own, with RESP3 pushes instead of the driver's RESP2 pub/sub: pushes are given to a closure
//! here, which puts them into a bounded queue, where the driver's own would be unbounded. The driver is not asked to
//! reconnect or resubscribe, since it gives up after some seconds; this does, for ever, with a new connection each time.
//!
//! Pub/sub keeps nothing for the absent; the stream of changes does. After every subscription the changes behind the last one
//! that was seen are taken from there, if that is still in it, and in the order in which they were made. Which one was seen is
//! asked every second on the same connection: what was published before the answer has come before it.
//!
//! Who changes programs by other means than the writers of this crate leaves nothing in the stream. So after every subscription,
//! and whenever a push may have been missed, the caches are told to revalidate all the same: nothing is forgotten, but nothing
//! is trusted before the store was asked again. A connection that is dead without having been closed is found by a PING every
//! second that stays unanswered.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ::redis::aio::MultiplexedConnection;
use ::redis::{AsyncConnectionConfig, Client, ProtocolVersion, PushInfo, PushKind, RedisError, Value};
use adtrack_config::RedisConfig;
use adtrack_proto::bus::Change;
use adtrack_proto::program::Update;
use tokio::sync::mpsc;
use vertebra::{BoxError, Context, Verticle};

use super::backoff::Backoff;
use super::log_budget::LogBudget;
use super::payload::{self, Rejected};
use super::replay::{self, Entry};
use super::{Metrics, commands, connect};
use crate::changes::{self, NotTold, Told};

/// Pushes that wait for their turn. Beyond it they are dropped, and the caches told to revalidate.
const QUEUE_PUSHES_MAX: usize = 1_024;
/// An unanswered PING means a dead connection after this time. Longer than any command of a sane server takes: a false
/// alarm has every program asked for again.
const PONG_TIMEOUT: Duration = Duration::from_secs(4);

/// The listener verticle: one instance, on the loop that does not serve requests.
///
/// It starts whether or not Redis is there. Payloads that are no programs are counted by reason and logged once a second
/// at most; the connection is kept and nothing in memory changes.
#[derive(Debug)]
pub struct Updates {
    config: RedisConfig,
    metrics: Metrics,
    log: LogBudget,
    /// Why the last session ended, to log each reason once.
    last_end: RefCell<Option<String>>,
    /// The last entry of the stream of changes that was seen; `None`: it is not known.
    seen: RefCell<Option<String>>,
}

/// Why a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("not connected within {} ms", .0.as_millis())]
    ConnectTimeout(Duration),
    #[error("no answer to a ping within {} ms", PONG_TIMEOUT.as_millis())]
    Silent,
    #[error("the connection was closed")]
    Closed,
    #[error("{0}")]
    NotTold(#[from] NotTold),
}

/// What the driver hands over.
enum Push {
    Payload(Vec<u8>),
    Rejected(Rejected),
    /// Every change up to this entry of the stream has come.
    Seen(String),
}

/// What the stream of changes had of the time between two sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Replay {
    /// All of it.
    Whole { changes: u64 },
    /// Not all of it.
    Broken,
    /// It is not known where to begin: it is the first one.
    First,
    /// The user may not read it.
    Refused,
}

impl Updates {
    /// A listener that connects when it is deployed.
    pub fn new(config: RedisConfig, metrics: Metrics) -> Self {
        Self { config, metrics, log: LogBudget::default(), last_end: RefCell::default(), seen: RefCell::default() }
    }

    fn note_heard(&self, ctx: &Context<Self>) {
        self.metrics.heard_at_seconds.set(ctx.clock().unix_ms() / 1_000);
    }
}

impl Verticle for Updates {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let client = connect::client(&self.config, ProtocolVersion::RESP3)?;
        ctx.spawn(listen(ctx.clone(), client));
        Ok(())
    }

    async fn stop(&self, _: &Context<Self>) -> Result<(), BoxError> {
        self.metrics.subscribed.set(0);
        Ok(())
    }
}

/// One session after the other, as long as the verticle lives.
async fn listen(ctx: Context<Updates>, client: Client) {
    let updates = ctx.verticle();
    let mut backoff = Backoff::new(updates.config.reconnect_delay_max);
    loop {
        let began = ctx.clock().now();
        let Err(error) = session(&ctx, &client).await;
        if updates.metrics.subscribed.set(0) == 1 {
            backoff.reset();
        }
        let error = error.to_string();
        if updates.last_end.replace(Some(error.clone())).as_ref() != Some(&error) {
            let lasted_ms = u64::try_from(ctx.clock().now().saturating_sub(began).as_millis()).unwrap_or(u64::MAX);
            tracing::warn!(%error, lasted_ms, "not subscribed to the channel");
        }
        ctx.clock().sleep(backoff.pause(fastrand::f64())).await;
    }
}

enum Never {}

/// Connects, subscribes, and hands on what comes, until that ends.
async fn session(ctx: &Context<Updates>, client: &Client) -> Result<Never, SessionError> {
    let updates = ctx.verticle();
    let (queue, mut pushes) = mpsc::channel(QUEUE_PUSHES_MAX);
    // Weak: the driver drops the queue when the connection ends, and that must be the end of it.
    let marks = queue.downgrade();
    let missed = Arc::new(AtomicBool::new(false));
    let bytes_max = updates.config.payload_bytes_max;
    let sender = {
        let missed = Arc::clone(&missed);
        move |info: PushInfo| {
            if let Some(push) = push_of(info, bytes_max)
                && queue.try_send(push).is_err()
            {
                missed.store(true, Ordering::Release);
            }
            Ok::<(), ()>(())
        }
    };
    let mut connection = connect(ctx, client, sender).await?;
    connection.subscribe(&updates.config.channel).await?;
    updates.metrics.subscriptions.inc();
    updates.metrics.subscribed.set(1);
    updates.last_end.take();
    updates.note_heard(ctx);
    let replay = catch_up(ctx, &mut connection).await?;
    tracing::info!(channel = %updates.config.channel, ?replay, "subscribed to the channel");
    changes::revalidate(ctx.bus(), ctx.clock()).await?;
    let marks = (replay != Replay::Refused).then_some(marks);
    tokio::select! {
        ended = hand_on(ctx, &mut pushes, &missed) => ended,
        ended = keep_alive(ctx, connection, marks) => ended,
    }
}

async fn connect(
    ctx: &Context<Updates>,
    client: &Client,
    sender: impl ::redis::aio::AsyncPushSender,
) -> Result<MultiplexedConnection, SessionError> {
    let config = &ctx.verticle().config;
    let settings = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(config.connect_timeout))
        .set_response_timeout(Some(PONG_TIMEOUT))
        .set_push_sender(sender);
    // The driver bounds each step; a name server that does not answer is a step of its own.
    let timeout = config.connect_timeout + config.response_timeout;
    let connected = ctx.clock().timeout(timeout, client.get_multiplexed_async_connection_with_config(&settings)).await;
    Ok(connected.map_err(|_| SessionError::ConnectTimeout(timeout))??)
}

/// What of a push concerns us. Runs on the driver's task: the size is looked at here, so that nothing large is queued.
fn push_of(info: PushInfo, bytes_max: usize) -> Option<Push> {
    if info.kind != PushKind::Message {
        return None;
    }
    Some(match info.data.into_iter().nth(1) {
        Some(Value::BulkString(payload)) if payload.len() > bytes_max => {
            Push::Rejected(Rejected::Oversized { bytes: payload.len(), bytes_max })
        }
        Some(Value::BulkString(payload)) => Push::Payload(payload),
        _ => Push::Rejected(Rejected::NotText),
    })
}

/// Takes from the stream of changes what is behind the last one seen, and notes where it ends now.
async fn catch_up(ctx: &Context<Updates>, connection: &mut MultiplexedConnection) -> Result<Replay, SessionError> {
    match replay_behind_seen(ctx, connection).await {
        // What the server refuses it will refuse again; without the stream there is still the revalidation.
        Err(SessionError::Redis(error)) if !error.is_io_error() => {
            tracing::warn!(%error, "the stream of changes cannot be read: what is missed is not replayed but asked for");
            Ok(Replay::Refused)
        }
        replayed => replayed,
    }
}

async fn replay_behind_seen(
    ctx: &Context<Updates>,
    connection: &mut MultiplexedConnection,
) -> Result<Replay, SessionError> {
    let updates = ctx.verticle();
    let (stream, bytes_max) = (&updates.config.changes_key, updates.config.payload_bytes_max);
    let mut changes = 0;
    loop {
        let Some(seen) = updates.seen.borrow().clone() else {
            // What is behind this will be pushed, or replayed after the next cut; what is before it is revalidated.
            updates.note_seen(replay::newest(connection, stream).await?);
            return Ok(Replay::First);
        };
        let page = replay::page(connection, stream, &seen).await?;
        if page.first().is_none_or(|first| first.id != seen) {
            updates.metrics.replays_broken.inc();
            tracing::warn!(stream, seen, changes, "the stream of changes does not reach back to what was seen");
            updates.note_seen(replay::newest(connection, stream).await?);
            return Ok(Replay::Broken);
        }
        if page.len() == 1 {
            return Ok(Replay::Whole { changes });
        }
        for Entry { id, change } in page.into_iter().skip(1) {
            let checked = change.map_or(Err(Rejected::NotText), |change| payload::update(&change, bytes_max));
            updates.take(ctx, checked).await?;
            updates.metrics.changes_replayed.inc();
            updates.note_seen(Some(id));
            changes += 1;
        }
    }
}

async fn hand_on(
    ctx: &Context<Updates>,
    pushes: &mut mpsc::Receiver<Push>,
    missed: &AtomicBool,
) -> Result<Never, SessionError> {
    let updates = ctx.verticle();
    // The driver drops its end when the connection ends.
    while let Some(push) = pushes.recv().await {
        updates.note_heard(ctx);
        match push {
            Push::Payload(payload) => {
                let checked = payload::update(&payload, updates.config.payload_bytes_max);
                updates.metrics.pushes.inc_by(u64::from(checked.is_ok()));
                updates.take(ctx, checked).await?;
            }
            Push::Rejected(rejected) => updates.reject(ctx, &rejected),
            Push::Seen(id) => updates.note_seen(Some(id)),
        }
        if missed.swap(false, Ordering::AcqRel) {
            updates.metrics.pushes_missed.inc();
            changes::revalidate(ctx.bus(), ctx.clock()).await?;
        }
    }
    Err(SessionError::Closed)
}

impl Updates {
    /// Hands a change to the caches, or counts why it is none.
    async fn take(&self, ctx: &Context<Self>, checked: Result<Update, Rejected>) -> Result<(), NotTold> {
        let change = match checked {
            Ok(Update::Put(program)) => Change::Put(Arc::new(program)),
            Ok(Update::Deleted(deletion)) => Change::Deleted(deletion),
            Err(rejected) => {
                self.reject(ctx, &rejected);
                return Ok(());
            }
        };
        if changes::tell(ctx.bus(), ctx.clock(), [change]).await? == Told::Revalidated {
            self.metrics.pushes_missed.inc();
        }
        Ok(())
    }

    fn note_seen(&self, id: Option<String>) {
        if let Some(seconds) = id.as_deref().and_then(replay::seconds_of) {
            self.metrics.last_change_seconds.set(seconds);
        }
        self.seen.replace(id);
    }

    fn reject(&self, ctx: &Context<Self>, rejected: &Rejected) {
        self.metrics.rejected(rejected).inc();
        if let Some(suppressed) = self.log.take(ctx.clock().now()) {
            tracing::warn!(error = %rejected, suppressed, "a push is no program");
        }
    }
}

/// Asks again and again whether the server lives and, where the stream can be read, up to where everything has come.
async fn keep_alive(
    ctx: &Context<Updates>,
    mut connection: MultiplexedConnection,
    marks: Option<mpsc::WeakSender<Push>>,
) -> Result<Never, SessionError> {
    let updates = ctx.verticle();
    loop {
        ctx.clock().sleep(updates.config.ping_interval).await;
        let pong = ctx.clock().timeout(PONG_TIMEOUT, commands::ping(&mut connection)).await;
        pong.map_err(|_| SessionError::Silent)??;
        updates.note_heard(ctx);
        let Some(marks) = &marks else { continue };
        let newest =
            ctx.clock().timeout(PONG_TIMEOUT, replay::newest(&mut connection, &updates.config.changes_key)).await;
        if let (Some(newest), Some(queue)) = (newest.map_err(|_| SessionError::Silent)??, marks.upgrade()) {
            // Behind what was pushed before. No room: there will be some next time.
            drop(queue.try_send(Push::Seen(newest)));
        }
    }
}
