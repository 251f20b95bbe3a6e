//! A message in a mailbox, and the way of its reply.

use std::num::NonZeroU64;

use crate::message::Headers;

use super::replies::ReplyKey;

/// A message in a mailbox. It and an empty place are whole words: what is put together of less is dear to move on.
pub(crate) struct Envelope<M> {
    pub(crate) message: M,
    pub(crate) headers: Headers,
    pub(crate) reply_to: ReplyTo,
}

impl<M> Envelope<M> {
    /// It came from another loop and holds one place of the credit until a handler takes it.
    #[inline]
    pub(crate) fn holds_credit(&self) -> bool {
        self.reply_to.event_loop & CREDIT != 0
    }
}

/// Where the outcome of a handler goes. Two words, because it is moved with every message; [`ReplyTo::whom`] reads them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReplyTo {
    /// Never 0, which is what an empty place of a mailbox is known by.
    generation: NonZeroU64,
    slot: u32,
    /// And whether the message holds credit.
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

const CREDIT: u32 = 1 << 31;
const NOBODY: u32 = CREDIT - 1;
const PUBLISHED: u32 = CREDIT - 2;
const HERE: u32 = CREDIT - 3;

impl ReplyTo {
    /// Nobody asked.
    pub(crate) const NOBODY: Self = Self::nobody(NOBODY);
    /// Nobody asked, and others have the message as well.
    pub(crate) const PUBLISHED: Self = Self::nobody(PUBLISHED);

    const fn nobody(event_loop: u32) -> Self {
        Self { generation: NonZeroU64::MIN, slot: 0, event_loop }
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

    /// The same, of a message that holds credit.
    pub(crate) fn with_credit(self) -> Self {
        Self { event_loop: self.event_loop | CREDIT, ..self }
    }

    #[inline]
    pub(crate) fn is_published(self) -> bool {
        self.event_loop & !CREDIT == PUBLISHED
    }

    #[inline]
    pub(crate) fn whom(self) -> Whom {
        let key = ReplyKey { slot: self.slot, generation: self.generation };
        match self.event_loop & !CREDIT {
            NOBODY | PUBLISHED => Whom::Nobody,
            HERE => Whom::Local(key),
            other => Whom::Remote(other as usize, key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whether_a_message_holds_credit_changes_nothing_about_its_reply() {
        let key = ReplyKey { slot: 7, generation: NonZeroU64::MAX };
        for reply_to in [ReplyTo::NOBODY, ReplyTo::PUBLISHED, ReplyTo::local(key), ReplyTo::remote(3, key)] {
            let held = reply_to.with_credit();
            assert_eq!(format!("{:?}", held.whom()), format!("{:?}", reply_to.whom()));
            assert_eq!(held.is_published(), reply_to.is_published());
            let envelope = |reply_to| Envelope { message: (), headers: Headers::default(), reply_to };
            assert!(envelope(held).holds_credit() && !envelope(reply_to).holds_credit());
        }
    }

    #[test]
    fn an_empty_place_of_a_mailbox_is_no_wider_than_a_message() {
        assert_eq!(size_of::<Option<Envelope<u64>>>(), 32);
    }
}
