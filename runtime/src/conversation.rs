//! Conversations: the answer to a reply, without an address that all the world knows.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{Notify, oneshot};

use crate::address::Address;
use crate::clock::Clock;
use crate::consumer::Consumer;
use crate::context::Context;
use crate::error::{ConversationError, Failure};
use crate::message::Message;
use crate::panic::contain;
use crate::verticle::Verticle;

/// What the addresses of conversations begin with, and what all of them are counted under: each lives for a moment, and
/// there is no end of them.
pub(crate) const NAME: &str = "vertebra.conversation";

/// Whether an address of this name is that of a conversation.
pub(crate) fn is_one(name: &str) -> bool {
    name.strip_prefix(NAME).is_some_and(|number| number.starts_with('.'))
}

/// Messages of a conversation that wait to be taken; the next is refused.
const WAITING_MAX: usize = 16;

/// One side of a conversation: takes what the other side sends to the address; see [`Context::conversation`].
///
/// Dropped, the address is gone: what waits there and what comes later ends as with any address that nobody serves.
pub struct Conversation<M, R> {
    /// None when the instance was stopping already.
    consumer: Option<Consumer>,
    waiting: Rc<Waiting<M, R>>,
    clock: Clock,
    timeout: Duration,
}

struct Waiting<M, R> {
    messages: RefCell<VecDeque<(M, Answer<R>)>>,
    arrived: Notify,
}

/// Answers one message of a conversation. Dropped without that, a request fails with [`Failure::UNSPECIFIED`].
pub struct Answer<R>(oneshot::Sender<Result<R, Failure>>);

impl<R> Answer<R> {
    /// Answers it. Whoever asked may be gone; then nobody reads it.
    pub fn reply(self, reply: R) {
        drop(self.0.send(Ok(reply)));
    }

    /// Says no.
    pub fn fail(self, failure: Failure) {
        drop(self.0.send(Err(failure)));
    }
}

impl<M: Message, R: Message> Conversation<M, R> {
    /// Opens an address of its own for it.
    pub(crate) fn open<V: Verticle>(ctx: &Context<V>, timeout: Duration) -> (Address<M, R>, Self) {
        let core = &ctx.instance.life.core;
        let number = core.next_conversation();
        let address = Address::dynamic(format!("{NAME}.{}.{number}", core.id()));
        let waiting = Rc::new(Waiting { messages: RefCell::default(), arrived: Notify::new() });
        let arriving = Rc::clone(&waiting);
        let consumer = ctx
            .serve_fn(address.clone(), move |message| {
                let (answer, answered) = oneshot::channel();
                arriving.messages.borrow_mut().push_back((message, Answer(answer)));
                arriving.arrived.notify_one();
                async move {
                    let nobody =
                        |_| Err(Failure::new(Failure::UNSPECIFIED, "the conversation ended without an answer"));
                    answered.await.unwrap_or_else(nobody)
                }
            })
            .mailbox(WAITING_MAX)
            .in_flight(WAITING_MAX)
            .register()
            .ok();
        let clock = ctx.clock().clone();
        (address, Self { consumer, waiting, clock, timeout })
    }

    /// Waits for the next message and gives it with what answers it, at most for the time the conversation was given, counted anew each time.
    ///
    /// Cancel safe: a message that has come is not lost.
    ///
    /// # Errors
    /// [`ConversationError::Timeout`] when none came in time, [`ConversationError::Closed`] when the instance is stopping.
    /// The address is gone after either.
    pub async fn next(&mut self) -> Result<(M, Answer<R>), ConversationError> {
        let Some(consumer) = &self.consumer else { return Err(ConversationError::Closed) };
        let ended = consumer.ended();
        let arrived = async {
            loop {
                let next = self.waiting.messages.borrow_mut().pop_front();
                match next {
                    Some(next) => return next,
                    None => self.waiting.arrived.notified().await,
                }
            }
        };
        let first = async {
            tokio::select! {
                biased;
                next = arrived => Ok(next),
                () = ended => Err(ConversationError::Closed),
            }
        };
        let outcome = self.clock.timeout(self.timeout, first).await;
        let outcome = outcome.unwrap_or(Err(ConversationError::Timeout { after: self.timeout }));
        if outcome.is_err() {
            consumer.unregister_now();
        }
        outcome
    }
}

impl<M, R> Drop for Conversation<M, R> {
    fn drop(&mut self) {
        if let Some(consumer) = &self.consumer {
            consumer.unregister_now();
        }
        // What has arrived and was not taken ends now, and not when the last of its handlers goes.
        let left = self.waiting.messages.take();
        contain(|| drop(left));
    }
}

impl<M, R> fmt::Debug for Conversation<M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let address = self.consumer.as_ref().map(Consumer::address);
        f.debug_tuple("Conversation").field(&address).finish()
    }
}

impl<R> fmt::Debug for Answer<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer").finish_non_exhaustive()
    }
}
