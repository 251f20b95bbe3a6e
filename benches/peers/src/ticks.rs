//! What a handler does with a message that nobody waits for.

use std::cell::Cell;

use adtrack_benches::Body;

thread_local! {
    static TICKS: Cell<u64> = const { Cell::new(0) };
}

/// Looks at the message and counts it.
pub(crate) fn tick(body: &Body) {
    std::hint::black_box(body.look());
    TICKS.set(TICKS.get() + 1);
}

/// Messages handled on this thread.
pub(crate) fn ticks() -> u64 {
    TICKS.get()
}
