//! How many calls may be under way: all of them in good times, one at a time in an outage, and more and more behind it. Pure:
//! time comes in.

use std::time::Duration;

use super::retry;

/// The state of the way to the service.
#[derive(Debug)]
pub struct Flow {
    limits: FlowLimits,
    allowed: usize,
    tries: u32,
    not_before: Duration,
    failed_at: Option<Duration>,
}

/// What is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowLimits {
    /// Calls under way at a time.
    pub calls_max: usize,
    /// The shortest pause in an outage.
    pub backoff_min: Duration,
    /// The longest.
    pub backoff_max: Duration,
}

/// Whether a call may begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permit {
    /// Now.
    Now,
    /// At this time.
    At(Duration),
    /// When another one has ended.
    Later,
}

impl Flow {
    /// In good times.
    pub fn new(limits: FlowLimits) -> Self {
        Self { limits, allowed: limits.calls_max, tries: 0, not_before: Duration::ZERO, failed_at: None }
    }

    /// Whether a call may begin while so many are under way.
    pub fn may_begin(&self, under_way: usize, now: Duration) -> Permit {
        if under_way >= self.allowed {
            Permit::Later
        } else if now < self.not_before {
            Permit::At(self.not_before)
        } else {
            Permit::Now
        }
    }

    /// Whether the last call failed as a whole, and none has been answered since.
    pub fn is_failing(&self) -> bool {
        self.tries > 0
    }

    /// A call was answered: one more may be under way than before, up to the limit, which makes twice as many when all are.
    /// Whether that ended an outage.
    pub fn answered(&mut self) -> bool {
        let ended = std::mem::take(&mut self.tries) > 0;
        self.not_before = Duration::ZERO;
        self.allowed = self.allowed.saturating_add(1).min(self.limits.calls_max);
        ended
    }

    /// A call that began at `begun` failed as a whole: the next one goes alone, after a pause that grows from one to the next.
    /// Those that were under way together fail together, and count as one. `random` is any number.
    pub fn failed(&mut self, begun: Duration, now: Duration, random: u32) {
        self.allowed = 1;
        if self.failed_at.is_none_or(|failed_at| begun >= failed_at) || self.tries == 0 {
            self.tries = self.tries.saturating_add(1);
            self.failed_at = Some(now);
            self.not_before = now + retry::pause(self.tries, self.limits.backoff_min, self.limits.backoff_max, random);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const LIMITS: FlowLimits =
        FlowLimits { calls_max: 6, backoff_min: Duration::from_millis(50), backoff_max: Duration::from_secs(5) };

    #[test]
    fn an_outage_lets_one_call_through_at_a_time_after_pauses_that_grow() {
        let mut flow = Flow::new(LIMITS);
        assert_eq!((flow.may_begin(5, SECOND), flow.may_begin(6, SECOND)), (Permit::Now, Permit::Later));
        for _ in 0..6 {
            flow.failed(SECOND, 2 * SECOND, u32::MAX);
        }
        let first = 2 * SECOND + Duration::from_millis(100);
        assert_eq!(flow.may_begin(0, 2 * SECOND), Permit::At(first), "they failed together");
        assert_eq!((flow.may_begin(0, first), flow.may_begin(1, first)), (Permit::Now, Permit::Later));
        flow.failed(first, first, u32::MAX);
        assert_eq!(flow.may_begin(0, first), Permit::At(first + Duration::from_millis(200)));
        assert!(flow.is_failing() && flow.answered() && !flow.is_failing());
    }

    #[test]
    fn behind_an_outage_each_answer_lets_one_call_more_through() {
        let mut flow = Flow::new(LIMITS);
        flow.failed(SECOND, SECOND, 0);
        let allowed = |flow: &Flow| (0..10).take_while(|calls| flow.may_begin(*calls, SECOND) == Permit::Now).count();
        let mut seen = Vec::new();
        for _ in 0..6 {
            flow.answered();
            seen.push(allowed(&flow));
        }
        assert_eq!(seen, [2, 3, 4, 5, 6, 6]);
        flow.failed(SECOND, 2 * SECOND, u32::MAX);
        assert_eq!(
            flow.may_begin(0, 2 * SECOND),
            Permit::At(2 * SECOND + Duration::from_millis(100)),
            "it begins anew"
        );
    }

    proptest! {
        #[test]
        fn whatever_happens_a_call_may_begin_within_the_longest_pause(
            calls in proptest::collection::vec((any::<bool>(), 0..3_000_u64, 0..3_000_u64, any::<u32>()), 0..60),
        ) {
            let mut flow = Flow::new(LIMITS);
            let mut now = SECOND;
            for (answered, later_ms, lasting_ms, random) in calls {
                now += Duration::from_millis(later_ms);
                if answered {
                    flow.answered();
                } else {
                    flow.failed(now.saturating_sub(Duration::from_millis(lasting_ms)), now, random);
                }
                prop_assert_eq!(flow.may_begin(0, now + LIMITS.backoff_max), Permit::Now);
                prop_assert_eq!(flow.may_begin(LIMITS.calls_max, now), Permit::Later);
            }
        }
    }
}
