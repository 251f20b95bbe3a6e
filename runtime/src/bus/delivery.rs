//! Messages on their way to a consumer of another loop, and how they get into its mailbox.

use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::oneshot;

use crate::event_loop::{LoopCore, current_of};
use crate::message::{Headers, Message};
use crate::panic::contain;
use crate::runtime::Shared;

use super::consume::ConsumerKey;
use super::envelope::{Envelope, ReplyTo, Whom};
use super::outbox::{Batch, Outbox};
use super::replies::{Outcome, RemoteReply};

/// A message on its way to a consumer of another loop.
pub(crate) struct RemoteMessage<M, R> {
    pub(crate) to: ConsumerKey,
    pub(crate) message: M,
    pub(crate) headers: Headers,
    pub(crate) reply_to: ReplyTo,
    pub(crate) reply: std::marker::PhantomData<fn() -> R>,
}

impl<M, R> RemoteMessage<M, R> {
    /// One of several that are the same.
    pub(crate) fn published(to: ConsumerKey, message: M, headers: Headers) -> Self {
        Self { reply_to: ReplyTo::PUBLISHED, ..Self::unasked(to, message, headers) }
    }

    /// One that nobody waits for a reply to.
    pub(crate) fn unasked(to: ConsumerKey, message: M, headers: Headers) -> Self {
        Self { to, message, headers, reply_to: ReplyTo::NOBODY, reply: std::marker::PhantomData }
    }
}

impl<M: Message, R: Message> Batch for RemoteMessage<M, R> {
    fn deliver(items: Vec<Self>, core: &Rc<LoopCore>) {
        for item in items {
            let envelope =
                Envelope { message: item.message, headers: item.headers, reply_to: item.reply_to.with_credit() };
            hand_in::<M, R>(core, item.to, envelope);
        }
    }

    fn lost(items: Vec<Self>, shared: &Arc<Shared>) {
        for item in items {
            if let Whom::Remote(asking, to) = item.reply_to.whom() {
                let end = move |core: &Rc<LoopCore>| core.replies::<R>().end(to, Outcome::Closed);
                match current_of(shared).filter(|core| core.id() == asking) {
                    Some(core) => end(&core),
                    None => shared.event_loop(asking).do_job(end),
                }
            }
            contain(|| drop(item));
        }
    }
}

/// A request of a thread that is no event loop.
pub(crate) struct Asked<M, R> {
    pub(crate) to: ConsumerKey,
    pub(crate) message: M,
    pub(crate) headers: Headers,
    /// In the clock's nanoseconds.
    pub(crate) deadline: u64,
    pub(crate) asking: oneshot::Sender<Outcome<R>>,
}

impl<M: Message, R: Message> Batch for Asked<M, R> {
    fn deliver(items: Vec<Self>, core: &Rc<LoopCore>) {
        for item in items {
            let key = core.replies::<R>().wait_for(core, item.deadline, item.asking);
            let reply_to = ReplyTo::local(key).with_credit();
            let envelope = Envelope { message: item.message, headers: item.headers, reply_to };
            hand_in::<M, R>(core, item.to, envelope);
        }
    }

    /// Dropping it tells whoever asks.
    fn lost(items: Vec<Self>, _: &Arc<Shared>) {
        for item in items {
            contain(|| drop(item));
        }
    }
}

/// Puts a message that holds credit into its mailbox.
fn hand_in<M: Message, R: Message>(core: &Rc<LoopCore>, to: ConsumerKey, envelope: Envelope<M>) {
    let refused = match core.consumer::<M, R>(to) {
        Some(consumer) => consumer.enqueue(core, envelope).err(),
        None => Some(envelope),
    };
    // Its verticle was given up before this arrived, and counted then; a waiting caller must hear of it.
    if let Some(envelope) = refused {
        match envelope.reply_to.whom() {
            Whom::Nobody => {}
            Whom::Local(key) => core.replies::<R>().end(key, Outcome::Closed),
            Whom::Remote(target, to) => {
                Outbox::new(core, target).push(core, RemoteReply::<R> { to, outcome: Outcome::Closed });
            }
        }
        contain(|| drop(envelope));
    }
}
