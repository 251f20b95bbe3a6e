//! What time an event loop thinks it is. Reading the clock costs more than a request, so one reading serves for some uses
//! between two sleeps; what was made a deadline by a reading that turns out to have been old is put off.

use std::cell::Cell;

use super::LoopCore;

/// Uses of one reading of the clock, in a loop that never sleeps.
const USES_MAX: u32 = 32;

pub(super) struct Ticks {
    /// In nanoseconds of the runtime's clock.
    last: Cell<u64>,
    uses: Cell<u32>,
    /// Which reading `last` is; none has number 0.
    reading: Cell<u64>,
    deadline_made: Cell<bool>,
    slept: Cell<bool>,
}

impl Default for Ticks {
    fn default() -> Self {
        Self {
            last: Cell::new(0),
            uses: Cell::new(0),
            reading: Cell::new(1),
            deadline_made: Cell::new(false),
            slept: Cell::new(true),
        }
    }
}

impl Ticks {
    /// The last reading.
    pub(super) fn last(&self) -> u64 {
        self.last.get()
    }

    /// Whether a deadline needs a new reading first.
    #[inline]
    pub(super) fn is_stale(&self) -> bool {
        self.slept.get() || self.uses.get() >= USES_MAX
    }

    /// A turn of the loop begins; gives whether the last reading has served long enough.
    pub(super) fn note_turn(&self) -> bool {
        if !self.deadline_made.get() {
            return false;
        }
        self.uses.set(self.uses.get() + 1);
        self.is_stale()
    }

    /// The last reading, to make a deadline from, and its number.
    #[inline]
    pub(super) fn for_deadline(&self) -> (u64, u64) {
        self.uses.set(self.uses.get() + 1);
        self.deadline_made.set(true);
        (self.last.get(), self.reading.get())
    }

    /// Whether a deadline was made from the last reading.
    pub(super) fn is_deadline_made(&self) -> bool {
        self.deadline_made.get()
    }

    /// The thread has slept: the time it knows is old.
    pub(super) fn note_sleep(&self) {
        self.slept.set(true);
    }

    /// Takes a new reading. When deadlines were made from the one before: its number, and how old it has become.
    pub(super) fn read(&self, now: u64) -> Option<(u64, u64)> {
        let before = (self.reading.get(), now.saturating_sub(self.last.get()));
        self.last.set(now);
        self.uses.set(0);
        self.slept.set(false);
        self.reading.set(before.0 + 1);
        self.deadline_made.replace(false).then_some(before)
    }
}

impl LoopCore {
    /// A request must have ended by then.
    pub(crate) fn deadline_at(&self, tick: u64) {
        if tick < self.deadline.get() {
            self.deadline.set(tick);
            self.wake_driver();
        }
    }

    pub(super) fn deadline(&self) -> u64 {
        self.deadline.get()
    }

    /// Ends the requests that are overdue.
    pub(super) fn sweep(&self) {
        let now = self.ticks.last();
        if self.deadline.get() > now {
            return;
        }
        let tables = self.all_reply_tables();
        self.deadline.set(u64::MAX);
        let earliest = tables.iter().map(|table| table.sweep(now)).min().unwrap_or(u64::MAX);
        self.deadline.set(self.deadline.get().min(earliest));
    }

    /// A turn begins. The clock is read when it may be time for something, and often enough that deadlines made meanwhile
    /// are not far off.
    pub(super) fn note_turn(&self, timer_fired: bool) {
        if timer_fired || self.ticks.note_turn() {
            self.read_clock();
            self.sweep();
        }
    }

    /// The instant from which a request of now counts its time, and which reading of the clock that is.
    #[inline]
    pub(crate) fn tick_for_deadline(&self) -> (u64, u64) {
        if self.ticks.is_stale() {
            self.read_clock();
        }
        let (tick, reading) = self.ticks.for_deadline();
        (tick.saturating_add(self.shared.clock.tick_error_ns()), reading)
    }

    pub(super) fn read_clock(&self) {
        let read = self.ticks.read(self.shared.clock.ticks());
        if let Some((reading, passed)) = read
            && passed > self.shared.clock.tick_error_ns()
        {
            // Something kept the loop: requests made since the last reading were made later than it says, by as much as
            // has passed. A late time-out is the loop's own lateness; an early one would be wrong.
            for table in self.all_reply_tables() {
                table.put_off(reading, passed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reading_serves_for_some_uses_and_not_beyond_a_sleep() {
        let ticks = Ticks::default();
        assert!(ticks.is_stale());
        assert_eq!(ticks.read(100), None);
        for _ in 0..USES_MAX {
            assert!(!ticks.is_stale());
            assert_eq!(ticks.for_deadline(), (100, 2));
        }
        assert!(ticks.is_stale());
        assert_eq!(ticks.read(150), Some((2, 50)));
        assert_eq!(ticks.for_deadline(), (150, 3));
        ticks.note_sleep();
        assert!(ticks.is_stale());
    }

    #[test]
    fn a_reading_that_a_deadline_was_made_from_does_not_outlive_so_many_turns() {
        let ticks = Ticks::default();
        ticks.read(100);
        assert!((0..2 * USES_MAX).all(|_| !ticks.note_turn()), "nobody relies on it");
        ticks.for_deadline();
        assert_eq!((0..).take_while(|_| !ticks.note_turn()).count() as u32, USES_MAX - 2);
    }

    #[test]
    fn a_reading_that_no_deadline_was_made_from_does_not_matter_however_old_it_is() {
        let ticks = Ticks::default();
        assert_eq!((ticks.read(1), ticks.read(1_000_000)), (None, None));
    }
}
