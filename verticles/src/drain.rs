//! The end of the service in order: what it may take altogether and at which step, and whether somebody is in a hurry.

use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use vertebra::Clock;

/// The time of one end, as the settings say it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrainTimes {
    /// All of it, from the signal on.
    pub grace: Duration,
    /// The beginning of it: requests still come, and load balancers learn that they should not.
    pub delay: Duration,
}

impl DrainTimes {
    /// From the beginning on, so long requests may go on: a fifth of what is left behind the delay. A client that does not
    /// read its answer, or send its request, must not take the time that events need.
    fn requests(self) -> Duration {
        self.delay + self.grace.saturating_sub(self.delay) / 5
    }

    /// From the beginning on, so long events are sent: all but a tenth of the grace, for closing what is open.
    fn flush(self) -> Duration {
        self.grace / 10 * 9
    }
}

/// Whether this process is leaving, and how much of its time is left. Clones share it.
#[derive(Debug, Clone)]
pub struct Drain(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    times: DrainTimes,
    state: watch::Sender<State>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    begun: Option<Duration>,
    hurried: bool,
    without_delay: bool,
}

impl Drain {
    /// Nobody is leaving yet.
    pub fn new(times: DrainTimes) -> Self {
        Self(Arc::new(Shared { times, state: watch::Sender::default() }))
    }

    /// From now on this process is leaving. Saying it twice is saying it once: the time counts from the first.
    pub fn begin(&self, now: Duration) {
        self.0.state.send_if_modified(|state| {
            let first = state.begun.is_none();
            state.begun.get_or_insert(now);
            first
        });
    }

    /// Nobody has to learn that this process is leaving: there was no time in which it was there.
    pub fn skip_delay(&self) {
        self.0.state.send_modify(|state| state.without_delay = true);
    }

    /// Whether it is.
    pub fn has_begun(&self) -> bool {
        self.0.state.borrow().begun.is_some()
    }

    /// Somebody is in a hurry: whatever is waited for is given up now. What is open is closed all the same.
    pub fn hurry(&self) {
        self.0.state.send_modify(|state| state.hurried = true);
    }

    /// Waits until load balancers have had their time. Cancel safe, as the others are.
    pub async fn delay_over(&self, clock: &Clock) {
        let skipped = self.0.state.borrow().without_delay;
        self.over(clock, if skipped { Duration::ZERO } else { self.0.times.delay }).await;
    }

    /// Waits until requests are not to be waited for any more; for ever while nobody is leaving.
    pub async fn requests_over(&self, clock: &Clock) {
        self.over(clock, self.0.times.requests()).await;
    }

    /// Waits until there is no time for sending any more; for ever while nobody is leaving.
    pub async fn flush_over(&self, clock: &Clock) {
        self.over(clock, self.0.times.flush()).await;
    }

    /// What is left of the grace.
    pub fn left(&self, now: Duration) -> Duration {
        let begun = self.0.state.borrow().begun.unwrap_or(now);
        (begun + self.0.times.grace).saturating_sub(now)
    }

    async fn over(&self, clock: &Clock, after: Duration) {
        let mut state = self.0.state.subscribe();
        let Ok(begun) = state.wait_for(|state| state.begun.is_some() || state.hurried).await.map(|state| *state) else {
            // This holds the other end.
            return pending().await;
        };
        let until = begun.begun.unwrap_or_default() + after;
        let hurried = state.wait_for(|state| state.hurried);
        // Either is the end of it.
        let _either = clock.timeout(until.saturating_sub(clock.now()), hurried).await;
    }
}

/// What comes of `future`, unless `over` is over first. What is there at once counts, however late it is.
pub(crate) async fn unless<T>(over: impl Future<Output = ()>, future: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        done = future => Some(done),
        () = over => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use vertebra::testing::TestRuntime;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn drain(grace: u32, delay: u32) -> Drain {
        Drain::new(DrainTimes { grace: SECOND * grace, delay: SECOND * delay })
    }

    #[test]
    fn each_step_ends_at_its_part_of_the_grace_counted_from_the_first_signal() {
        TestRuntime::paused(|rt| async move {
            let (drain, clock) = (drain(20, 5), rt.clock());
            clock.sleep(SECOND).await;
            let begun = clock.now();
            drain.begin(begun);
            drain.begin(begun + SECOND);
            drain.delay_over(clock).await;
            assert_eq!(clock.now() - begun, SECOND * 5);
            drain.requests_over(clock).await;
            assert_eq!(clock.now() - begun, SECOND * 8, "a fifth of the 15 s behind the delay");
            drain.flush_over(clock).await;
            assert_eq!(clock.now() - begun, SECOND * 18);
            assert_eq!(drain.left(clock.now()), SECOND * 2);
            assert_eq!(drain.left(clock.now() + SECOND * 9), Duration::ZERO);
        });
    }

    #[test]
    fn nothing_is_over_while_nobody_is_leaving_and_everything_once_somebody_is_in_a_hurry() {
        TestRuntime::paused(|rt| async move {
            let (drain, clock) = (drain(20, 5), rt.clock());
            assert!(clock.timeout(SECOND * 100, drain.requests_over(clock)).await.is_err());
            assert!(!drain.has_begun());
            drain.begin(clock.now());
            let begun = clock.now();
            let hurrying = async {
                clock.sleep(SECOND).await;
                drain.hurry();
            };
            tokio::join!(hurrying, drain.delay_over(clock), drain.requests_over(clock), drain.flush_over(clock));
            assert_eq!(clock.now() - begun, SECOND);
        });
    }

    #[test]
    fn what_is_done_already_counts_however_late_it_is() {
        TestRuntime::paused(|rt| async move {
            let drain = drain(20, 0);
            drain.begin(rt.clock().now());
            drain.hurry();
            assert_eq!(unless(drain.requests_over(rt.clock()), async { 7 }).await, Some(7));
            assert_eq!(unless(drain.requests_over(rt.clock()), pending::<u8>()).await, None);
        });
    }
}
