//! What becomes of an instance that has panicked.

use std::time::Duration;

/// What becomes of an instance when one of its handlers, tasks or timers has panicked; see
/// [`Deploy::restart`](crate::Deploy::restart).
///
/// The message that was being handled fails in any case. Unless it is told otherwise, the instance is then not trusted any
/// more: its factory builds another one in its place, up to 5 times within a minute. The addresses go on being served
/// meanwhile: messages wait in the mailboxes, and handlers in flight on the old instance go on to their end. Its tasks and
/// timers end at once, its children are undeployed, and `stop` is not called for it.
///
/// The first rebuilding within that time is immediate; before each further one there is a pause, of 10 ms at first and twice
/// as long each time, up to 1 s. A `start` that fails counts like a panic. When it has been rebuilt as often as it may be,
/// the deployment is given up as a whole: logged as an error, told to the hook as
/// [`Event::GivenUp`](crate::Event::GivenUp), undeployed; what waits for the instance ends in
/// [`Closed`](crate::RequestError::Closed).
///
/// ```
/// # use std::time::Duration;
/// # use vertebra::{Deploy, Restart, Verticle};
/// # struct Fetcher;
/// # impl Verticle for Fetcher {}
/// let patient = Deploy::new(|| Fetcher).restart(Restart::at_most(100, Duration::from_secs(3_600)));
/// let strict = Deploy::new(|| Fetcher).restart(Restart::never());
/// let stateless = Deploy::new(|| Fetcher).restart(Restart::keep());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// `None`: it is kept.
    times: Option<u32>,
    within: Duration,
}

/// The most that is remembered of an instance: when it was rebuilt.
const TIMES_MAX: u32 = 1_000;
/// The shortest time within which rebuildings are counted.
const WITHIN_MIN: Duration = Duration::from_millis(1);
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl Restart {
    /// Rebuilt so many times within any such time, 1,000 times at most; beyond that the deployment is given up. A time below
    /// 1 ms counts as that.
    pub const fn at_most(times: u32, within: Duration) -> Self {
        // Within no time nothing has happened yet: an instance that does not start would be tried again and again, without a
        // pause and without an end.
        let within = if within.as_nanos() < WITHIN_MIN.as_nanos() { WITHIN_MIN } else { within };
        Self { times: Some(if times < TIMES_MAX { times } else { TIMES_MAX }), within }
    }

    /// Never rebuilt: the deployment is given up at the first panic.
    pub const fn never() -> Self {
        Self::at_most(0, Duration::ZERO)
    }

    /// The instance goes on as it is: for one whose state no handler can leave half-changed, or that has none.
    pub const fn keep() -> Self {
        Self { times: None, within: Duration::ZERO }
    }

    pub(crate) fn keeps(self) -> bool {
        self.times.is_none()
    }

    /// How long to wait before it is rebuilt, having been so often within [`Restart::within`]; `None` when that is as often as
    /// it may be.
    pub(crate) fn pause(self, times: usize) -> Option<Duration> {
        if times >= self.times? as usize {
            return None;
        }
        let doubled = u32::try_from(times).ok().and_then(|times| times.checked_sub(1));
        Some(doubled.map_or(Duration::ZERO, |times| (FIRST_PAUSE * (1 << times.min(16))).min(PAUSE_MAX)))
    }

    pub(crate) fn within(self) -> Duration {
        self.within
    }
}

impl Default for Restart {
    /// Rebuilt 5 times within a minute.
    fn default() -> Self {
        Self::at_most(5, Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pauses_double_and_end_at_the_bound() {
        let restart = Restart::at_most(12, Duration::from_secs(60));
        let ms = |times| restart.pause(times).map(|pause| pause.as_millis());
        assert_eq!([0, 1, 2, 3, 7, 8, 11].map(ms), [0, 10, 20, 40, 640, 1_000, 1_000].map(Some));
        assert_eq!(restart.pause(12), None);
        assert_eq!(Restart::never().pause(0), None);
        assert_eq!(Restart::keep().pause(0), None);
        assert!(Restart::keep().keeps() && !Restart::never().keeps());
        assert!(Restart::at_most(u32::MAX, Duration::MAX).pause(1_000).is_none());
    }
}
