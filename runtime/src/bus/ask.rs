//! Requests of threads that are no event loop: the consumer's loop keeps the slot, a channel brings the outcome back.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::address::Address;
use crate::error::{Failure, RequestError};
use crate::event_loop::NoRoute;
use crate::event_loop::shared::LoopShared;
use crate::message::{Headers, Message};
use crate::runtime::Shared;

use super::delivery::Asked;
use super::elsewhere::{self, Refused};
use super::intercept::At;
use super::registry::Spoken;
use super::replies::Outcome;
use super::timer::{Timer, nanos};

/// A request and whatever it waits for.
struct Asking<M, R> {
    shared: Arc<Shared>,
    to: Address<M, R>,
    timeout: Duration,
    deadline: u64,
    /// Until it is posted.
    message: Option<(M, Headers, oneshot::Sender<Outcome<R>>)>,
    outcome: oneshot::Receiver<Outcome<R>>,
    /// Where it waits for room, and under which ticket.
    room: Option<(Arc<LoopShared>, u64)>,
    timer: Timer,
}

/// Makes a request, from any thread, and waits for what comes of it.
pub(super) fn ask<M: Message, R: Message>(
    shared: Arc<Shared>,
    to: Address<M, R>,
    timeout: Duration,
    message: M,
    headers: Headers,
) -> impl Future<Output = Result<R, RequestError>> + Send {
    shared.outside.count(to.key(), |metrics| metrics.sent += 1);
    let (reply, outcome) = oneshot::channel();
    let deadline = shared.clock.ticks().saturating_add(nanos(timeout));
    let message = Some((message, headers, reply));
    let mut asking = Asking { shared, to, timeout, deadline, message, outcome, room: None, timer: Timer::default() };
    async move { poll_fn(|cx| asking.poll(cx)).await }
}

impl<M: Message, R: Message> Asking<M, R> {
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<R, RequestError>> {
        if let Err(refused) = self.post(cx) {
            return Poll::Ready(Err(refused));
        }
        if self.message.is_none()
            && let Poll::Ready(outcome) = Pin::new(&mut self.outcome).poll(cx)
        {
            return Poll::Ready(match outcome {
                Ok(Outcome::Replied(result)) => self.replied(result),
                Ok(Outcome::TimedOut) => Err(self.timed_out()),
                Ok(Outcome::Closed) | Err(_) => Err(RequestError::Closed { address: self.address() }),
            });
        }
        // The consumer's loop keeps the time, too; but it may be blocked, and this must end.
        if self.timer.is_over(&self.shared, self.deadline, cx) {
            return Poll::Ready(Err(self.timed_out()));
        }
        Poll::Pending
    }

    /// Posts the message; waits for room in the inbox when there is none. A full mailbox is an error.
    fn post(&mut self, cx: &mut Context<'_>) -> Result<(), RequestError> {
        while let Some((message, headers, asking)) = self.message.take() {
            let to = elsewhere::reach(&self.shared, &self.to).map_err(|why| self.refused(&why))?;
            let asked = Asked { to: to.consumer, message, headers, deadline: self.deadline, asking };
            let Err((why, asked)) = elsewhere::post_batch(&self.shared, &to, asked) else { break };
            let Refused::NoPost(event_loop) = why else { return Err(self.refused(&why)) };
            self.message = Some((asked.message, asked.headers, asked.asking));
            self.wait_at(&event_loop, cx);
            if !event_loop.is_worth_a_post() {
                break;
            }
        }
        Ok(())
    }

    fn wait_at(&mut self, event_loop: &Arc<LoopShared>, cx: &Context<'_>) {
        let ticket = match self.room.take() {
            Some((known, ticket)) if Arc::ptr_eq(&known, event_loop) => Some(ticket),
            Some((known, ticket)) => {
                known.room.stop_waiting(ticket);
                None
            }
            None => None,
        };
        self.room = Some((Arc::clone(event_loop), event_loop.room.wait(ticket, cx.waker())));
    }

    fn refused(&self, why: &Refused) -> RequestError {
        let address = self.address();
        match why {
            Refused::NoRoute(NoRoute::NoHandlers) => RequestError::NoHandlers { address },
            Refused::NoRoute(NoRoute::WrongType { served }) => {
                RequestError::WrongType { address, served, called: Spoken::of::<M, R>().name() }
            }
            Refused::NoCredit(_) | Refused::NoPost(_) => RequestError::Overloaded { address },
            Refused::Closed => RequestError::Closed { address },
        }
    }

    /// The inbound interceptors see the reply where it was asked for.
    fn replied(&self, reply: Result<R, Failure>) -> Result<R, RequestError> {
        let reply = match self.shared.interceptors.any() {
            true => At::Elsewhere(&self.shared).inbound_reply(self.to.name(), reply),
            false => reply,
        };
        reply.map_err(RequestError::Failed)
    }

    fn timed_out(&self) -> RequestError {
        RequestError::Timeout { address: self.address(), after: self.timeout }
    }

    fn address(&self) -> Arc<str> {
        self.to.name().into()
    }
}

impl<M, R> Drop for Asking<M, R> {
    fn drop(&mut self) {
        if let Some((event_loop, ticket)) = &self.room {
            event_loop.room.stop_waiting(*ticket);
        }
    }
}
