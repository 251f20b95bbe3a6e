//! What goes with a message through its handler, and from there to what the handler sends: a span, and carried headers.

use std::rc::Rc;

use tracing::{Level, Span};

use crate::event_loop::LoopCore;
use crate::message::Headers;

/// Kept for one message that is being handled, if anything is.
pub(super) struct Trail {
    span: Span,
    carried: Option<Rc<Headers>>,
}

/// Whether anybody wants spans of what is handled.
#[inline]
pub(super) fn spans_wanted() -> bool {
    tracing::level_enabled!(Level::DEBUG)
}

impl Trail {
    pub(super) fn new(core: &LoopCore, address: &str, headers: &Headers) -> Self {
        let span = match spans_wanted() {
            true => tracing::debug_span!(target: "vertebra", "handle", address),
            false => Span::none(),
        };
        let carried = headers.of_names(&core.shared().options.carried);
        Self { span, carried: (!carried.is_empty()).then(|| Rc::new(carried)) }
    }

    /// Polls a handler within it.
    pub(super) fn within<T>(&self, core: &LoopCore, poll: impl FnOnce() -> T) -> T {
        let before = core.carry(self.carried.clone());
        let polled = self.span.in_scope(poll);
        core.carry(before);
        polled
    }
}

/// Adds what the message that is being handled carries, where the new one has no value of its own.
pub(super) fn carry_on(core: &LoopCore, headers: &mut Headers) {
    let Some(carried) = core.carried() else { return };
    let missing: Vec<_> = carried.iter().filter(|(name, _)| headers.get(name).is_none()).collect();
    for (name, value) in missing {
        headers.append(name, value);
    }
}
