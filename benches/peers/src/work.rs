//! What every peer is asked to do.

/// Messages that may be under way between a sender and its consumer, for those that do not bound them themselves.
pub(crate) const AHEAD: u64 = 1_024;
/// Consumers of a publication.
pub(crate) const CONSUMERS: u64 = 64;
/// Deliveries made before the publisher lets the consumers run.
pub(crate) const DELIVERIES_PER_TURN: u64 = 512;

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// An operation is a message that is handled.
    Send,
    /// An operation is a request and its reply; so many are open at a time.
    Request { window: u64 },
    /// An operation is a delivery to one of the consumers.
    Publish,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Whether the other side has a loop, and so a thread, of its own.
    pub(crate) two_loops: bool,
}

impl Work {
    /// Whether both threads have work at the same time.
    pub(crate) fn two_threads(&self) -> bool {
        self.two_loops && !matches!(self.kind, Kind::Request { window: 1 })
    }
}

pub(crate) const WORK: [Work; 7] = [
    Work { name: "send, one loop", kind: Kind::Send, two_loops: false },
    Work { name: "request, one loop, one at a time", kind: Kind::Request { window: 1 }, two_loops: false },
    Work { name: "request, one loop, 256 at a time", kind: Kind::Request { window: 256 }, two_loops: false },
    Work { name: "publish to 64, one loop, a delivery", kind: Kind::Publish, two_loops: false },
    Work { name: "send, two loops", kind: Kind::Send, two_loops: true },
    Work { name: "request, two loops, one at a time", kind: Kind::Request { window: 1 }, two_loops: true },
    Work { name: "request, two loops, 256 at a time", kind: Kind::Request { window: 256 }, two_loops: true },
];
