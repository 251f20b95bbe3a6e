//! The connection for commands, and its supervisor.
//!
//! The driver's `ConnectionManager` reconnects when a command finds the connection broken. It gives up after a number
//! of attempts, it notices nothing while nobody asks, and a server that does not answer is a time-out to it, not a broken
//! connection. So the supervisor asks every second, and after two failures it takes the link down - from then on commands
//! fail at once instead of waiting - and tries with a new manager until one answers, for as long as that takes.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use ::redis::aio::{ConnectionManager, ConnectionManagerConfig};
use ::redis::{Client, ProtocolVersion, RedisError, RedisResult};
use adtrack_config::RedisConfig;
use tokio::sync::Notify;
use vertebra::Clock;

use super::backoff::Backoff;
use super::connect::{self, ClientError};
use super::{Metrics, commands};

/// So many questions in a row without an answer take the link down.
const FAILURES_MAX: u32 = 2;

/// Why a command has no result.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommandError {
    /// There is no connection; nothing was sent.
    #[error("redis is not connected: {0}")]
    Down(String),
    /// No answer in time. It may have been carried out.
    #[error("redis did not answer within {} ms", .0.as_millis())]
    Timeout(Duration),
    /// The connection broke, or the server refused.
    #[error("redis: {0}")]
    Redis(#[from] RedisError),
}

/// How the link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Up { since: Duration },
    Down { since: Duration, error: String },
}

/// The connection for commands.
pub(super) struct Link {
    client: Client,
    manager: RefCell<ConnectionManager>,
    settings: ConnectionManagerConfig,
    state: RefCell<State>,
    doubted: Notify,
    was_up: Cell<bool>,
    connect_timeout: Duration,
    response_timeout: Duration,
    ping_interval: Duration,
    reconnect_delay_max: Duration,
    metrics: Metrics,
}

impl Link {
    /// A link that is down until it is [probed](Link::probe) or supervised. To be called on the loop it stays on.
    pub(super) fn new(config: &RedisConfig, longest: Duration, metrics: Metrics) -> Result<Self, ClientError> {
        let client = connect::client(config, ProtocolVersion::RESP2)?;
        let settings = ConnectionManagerConfig::new()
            .set_connection_timeout(Some(config.connect_timeout))
            // The longest that any command may take; each has its own time besides.
            .set_response_timeout(Some(longest))
            // One attempt at a time: when the next one comes is for the supervisor to say.
            .set_number_of_retries(0);
        let manager = manager(&client, &settings)?;
        Ok(Self {
            client,
            manager: RefCell::new(manager),
            settings,
            state: RefCell::new(State::Down { since: Duration::ZERO, error: "not connected yet".to_owned() }),
            doubted: Notify::new(),
            was_up: Cell::new(false),
            connect_timeout: config.connect_timeout,
            response_timeout: config.response_timeout,
            ping_interval: config.ping_interval,
            reconnect_delay_max: config.reconnect_delay_max,
            metrics,
        })
    }

    pub(super) fn state(&self) -> State {
        self.state.borrow().clone()
    }

    /// Sends a command, or fails at once when the link is down.
    pub(super) async fn run<T>(
        &self,
        clock: &Clock,
        timeout: Duration,
        command: impl AsyncFnOnce(ConnectionManager) -> RedisResult<T>,
    ) -> Result<T, CommandError> {
        if let State::Down { error, .. } = &*self.state.borrow() {
            return Err(CommandError::Down(error.clone()));
        }
        let manager = self.manager.borrow().clone();
        self.metrics.commands.inc();
        let error = match clock.timeout(timeout, command(manager)).await {
            Ok(Ok(result)) => return Ok(result),
            Ok(Err(error)) => CommandError::Redis(error),
            Err(_) => CommandError::Timeout(timeout),
        };
        self.metrics.command_errors.inc();
        if error.casts_doubt() {
            self.doubted.notify_one();
        }
        Err(error)
    }

    /// Asks once whether the server answers, and notes what comes of it.
    pub(super) async fn probe(&self, clock: &Clock) {
        match self.ask(clock).await {
            Ok(()) => self.note_up(clock.now()),
            Err(error) => self.note_down(clock.now(), error),
        }
    }

    /// Keeps the link as it can be. Never done.
    pub(super) async fn supervise(&self, clock: &Clock) {
        let mut backoff = Backoff::new(self.reconnect_delay_max);
        let mut failures = 0;
        loop {
            match self.ask(clock).await {
                Ok(()) => {
                    self.note_up(clock.now());
                    failures = 0;
                    backoff.reset();
                    // Doubt ends the pause early; that it does not come is the normal case.
                    let (Ok(()) | Err(_)) = clock.timeout(self.ping_interval, self.doubted.notified()).await;
                }
                Err(_) if self.is_up() && failures + 1 < FAILURES_MAX => failures += 1,
                Err(error) => {
                    self.note_down(clock.now(), error);
                    self.renew();
                    clock.sleep(backoff.pause(fastrand::f64())).await;
                }
            }
        }
    }

    async fn ask(&self, clock: &Clock) -> Result<(), String> {
        let timeout = if self.is_up() { self.response_timeout } else { self.connect_timeout + self.response_timeout };
        let mut manager = self.manager.borrow().clone();
        match clock.timeout(timeout, commands::ping(&mut manager)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", timeout.as_millis())),
        }
    }

    /// A manager whose server does not answer would go on waiting for it on the old connection.
    fn renew(&self) {
        match manager(&self.client, &self.settings) {
            Ok(new) => drop(self.manager.replace(new)),
            Err(error) => tracing::error!(%error, "redis cannot be connected to"),
        }
    }

    fn is_up(&self) -> bool {
        matches!(*self.state.borrow(), State::Up { .. })
    }

    fn note_up(&self, now: Duration) {
        let State::Down { since, .. } = *self.state.borrow() else { return };
        let down_ms = u64::try_from(now.saturating_sub(since).as_millis()).unwrap_or(u64::MAX);
        tracing::info!(down_ms, "redis connected");
        self.state.replace(State::Up { since: now });
        self.metrics.connected.set(1);
        if self.was_up.replace(true) {
            self.metrics.reconnects.inc();
        }
    }

    /// A link that is down already keeps the time since when, and is logged again only when the reason is another.
    fn note_down(&self, now: Duration, error: String) {
        let since = match &*self.state.borrow() {
            State::Down { error: known, .. } if *known == error => return,
            State::Down { since, .. } => *since,
            State::Up { .. } => now,
        };
        tracing::warn!(%error, "redis is not connected");
        self.state.replace(State::Down { since, error });
        self.metrics.connected.set(0);
    }
}

impl CommandError {
    /// Whether the connection may be the reason.
    fn casts_doubt(&self) -> bool {
        match self {
            Self::Down(_) => false,
            Self::Timeout(_) => true,
            Self::Redis(error) => error.is_io_error(),
        }
    }
}

fn manager(client: &Client, settings: &ConnectionManagerConfig) -> Result<ConnectionManager, ClientError> {
    ConnectionManager::new_lazy_with_config(client.clone(), settings.clone()).map_err(ClientError::Settings)
}
