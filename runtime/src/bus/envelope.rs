//! A message in a mailbox, and the way of its reply.

use crate::message::Headers;

use super::replies::ReplyKey;

/// A message in a mailbox.
pub(crate) struct Envelope<M> {
    pub(crate) message: M,
    pub(crate) headers: Headers,
    pub(crate) reply_to: ReplyTo,
    /// It came from another loop and holds one place of the credit until a handler takes it.
    pub(crate) holds_credit: bool,
}

/// Where the outcome of a handler goes. Two words, because it is moved with every message; [`ReplyTo::whom`] reads them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyTo {
    generation: u64,
    slot: u32,
    event_loop: u32,
}

/// Who waits for the outcome of a handler.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Whom {
    Nobody,
    /// A request of this loop.
    Local(ReplyKey),
    /// A request of another loop.
    Remote(usize, ReplyKey),
}

const NOBODY: u32 = u32::MAX;
const PUBLISHED: u32 = u32::MAX - 1;
const HERE: u32 = u32::MAX - 2;

impl ReplyTo {
    /// Nobody asked.
    pub(crate) const NOBODY: Self = Self::nobody(NOBODY);
    /// Nobody asked, and others have the message as well.
    pub(crate) const PUBLISHED: Self = Self::nobody(PUBLISHED);

    const fn nobody(event_loop: u32) -> Self {
        Self { generation: 0, slot: 0, event_loop }
    }

    /// A request of the consumer's loop.
    #[inline]
    pub(crate) fn local(key: ReplyKey) -> Self {
        Self::remote(HERE, key)
    }

    /// A request of this other loop. There are 1,024 and a few with names.
    #[inline]
    pub(crate) fn remote(event_loop: u32, key: ReplyKey) -> Self {
        Self { generation: key.generation, slot: key.slot, event_loop }
    }

    #[inline]
    pub(crate) fn is_published(self) -> bool {
        self.event_loop == PUBLISHED
    }

    #[inline]
    pub(crate) fn whom(self) -> Whom {
        let key = ReplyKey { slot: self.slot, generation: self.generation };
        match self.event_loop {
            NOBODY | PUBLISHED => Whom::Nobody,
            HERE => Whom::Local(key),
            other => Whom::Remote(other as usize, key),
        }
    }
}
