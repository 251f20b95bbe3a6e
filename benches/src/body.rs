//! What the messages carry, and what a handler does with it.

use std::sync::Arc;

/// 200 bytes behind a count: cloned to send it, dropped by whoever gets it. That is the floor of every row.
#[derive(Debug)]
pub struct Body {
    bytes: [u8; 200],
}

impl Body {
    /// One of them.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self { bytes: [7; 200] })
    }

    /// The handler's work: one look, so that the compiler cannot leave the message out.
    #[must_use]
    pub fn look(&self) -> u64 {
        u64::from(std::hint::black_box(self.bytes[11]))
    }
}
