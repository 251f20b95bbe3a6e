//! The pauses between attempts to reconnect.

use std::time::Duration;

/// The pause after the first failure.
const FIRST: Duration = Duration::from_millis(50);

/// Doubles the pause up to a bound.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(super) fn new(max: Duration) -> Self {
        Self { next: FIRST.min(max), max }
    }

    /// The next pause, between half of it and all of it as `share` says, 0 to 1: many nodes that lost the same server
    /// shall not come back to it in one moment.
    pub(super) fn pause(&mut self, share: f64) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.max);
        pause.mul_f64(0.5 + 0.5 * share.clamp(0.0, 1.0))
    }

    /// It worked: the next failure begins anew.
    pub(super) fn reset(&mut self) {
        self.next = FIRST.min(self.max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_begin_anew_after_a_success() {
        let mut backoff = Backoff::new(Duration::from_millis(300));
        let pauses: Vec<_> = (0..5).map(|_| backoff.pause(1.0).as_millis()).collect();
        assert_eq!(pauses, [50, 100, 200, 300, 300]);
        backoff.reset();
        assert_eq!(backoff.pause(0.0).as_millis(), 25);
    }
}
