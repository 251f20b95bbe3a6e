//! Time, as the runtime tells it. The only place that reads a clock.

use std::future::Future;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// What [`Clock::at`] gives.
pub(crate) use tokio::time::Sleep;

/// The runtime's time: real in production, virtual in the test kit.
///
/// Everything in a verticle that waits or stamps takes its time from here, so that a test can make an hour pass at
/// once and state how long something waited as an equality.
#[derive(Debug, Clone)]
pub struct Clock {
    started: Instant,
    // Set for virtual time: the wall clock then follows the virtual one, from the moment the test began.
    wall_at_start: Option<Duration>,
}

/// A wait was longer than it was allowed to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not finished within the time allowed")]
pub struct Elapsed;

impl Clock {
    /// The system's time, without a runtime: for a command that has an executor and no event loops. Verticles take theirs
    /// from the context.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn system() -> Self {
        Self { started: Instant::now(), wall_at_start: None }
    }

    /// Must be called on a tokio runtime whose time is paused.
    #[cfg(feature = "testing")]
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub(crate) fn virtual_time() -> Self {
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Whole milliseconds, so that stamps and waits of whole milliseconds add up exactly.
        Self { started: Instant::now(), wall_at_start: Some(Duration::from_millis(wall.as_millis() as u64)) }
    }

    /// How long the runtime has been there. Never steps back.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub fn now(&self) -> Duration {
        Instant::now().saturating_duration_since(self.started)
    }

    /// The wall clock: it may step, in either direction. For stamps, never for measuring.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    fn system_time(&self) -> SystemTime {
        match self.wall_at_start {
            None => SystemTime::now(),
            Some(wall) => UNIX_EPOCH + wall + self.now(),
        }
    }

    /// The wall clock in milliseconds since the Unix epoch; negative before it.
    pub fn unix_ms(&self) -> i64 {
        let wall = self.system_time();
        match wall.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_millis()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |ms| -ms),
        }
    }

    /// Waits; at least this long, in steps of a millisecond.
    ///
    /// Cancel safe. Must be awaited on an event loop, on a worker or inside [`Runtime::block_on`](crate::Runtime::block_on).
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Waits for the future, at most this long; the future is dropped when the time is up.
    ///
    /// # Errors
    /// [`Elapsed`] when it was not ready in time.
    #[expect(clippy::disallowed_methods, reason = "this is the clock")]
    pub async fn timeout<F: Future>(&self, duration: Duration, future: F) -> Result<F::Output, Elapsed> {
        tokio::time::timeout(duration, future).await.map_err(|_| Elapsed)
    }

    /// Nanoseconds since the start: what deadlines are kept in.
    pub(crate) fn ticks(&self) -> u64 {
        u64::try_from(self.now().as_nanos()).unwrap_or(u64::MAX)
    }

    /// How old a reading may be that a deadline is made from. Virtual time stands still while anything runs.
    pub(crate) fn tick_error_ns(&self) -> u64 {
        if self.wall_at_start.is_some() { 0 } else { 1_000_000 }
    }

    /// A timer that fires at a tick.
    pub(crate) fn at(&self, tick: u64) -> Sleep {
        tokio::time::sleep_until(self.instant(tick))
    }

    pub(crate) fn instant(&self, tick: u64) -> Instant {
        self.started + Duration::from_nanos(tick)
    }
}
