//! Log lines that anybody outside can cause, at a bounded rate.

use std::cell::Cell;
use std::time::Duration;

/// At most one line in this time.
const PAUSE: Duration = Duration::from_secs(1);

/// Lets one line a second through and counts the others.
#[derive(Debug, Default)]
pub(super) struct LogBudget {
    next_at: Cell<Duration>,
    suppressed: Cell<u64>,
}

impl LogBudget {
    /// Whether a line may be written now; then, how many were not since the last one.
    pub(super) fn take(&self, now: Duration) -> Option<u64> {
        if now < self.next_at.get() {
            self.suppressed.set(self.suppressed.get() + 1);
            return None;
        }
        self.next_at.set(now + PAUSE);
        Some(self.suppressed.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_a_second_and_the_others_are_counted() {
        let budget = LogBudget::default();
        let at = Duration::from_millis;
        assert_eq!(budget.take(at(0)), Some(0));
        assert_eq!(budget.take(at(1)), None);
        assert_eq!(budget.take(at(999)), None);
        assert_eq!(budget.take(at(1_000)), Some(2));
        assert_eq!(budget.take(at(2_500)), Some(0));
    }
}
