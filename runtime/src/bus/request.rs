//! A request: one message there, one outcome back, within its time.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use crate::address::Address;
use crate::error::{Failure, RequestError};
use crate::event_loop::{LoopCore, NoRoute, current_of};
use crate::message::{Headers, Message};
use crate::panic::contain;

use super::Bus;
use super::ask::ask;
use super::consume::Asked;
use super::delivery::RemoteMessage;
use super::envelope::ReplyTo;
use super::intercept::{At, Kind};
use super::registry::Spoken;
use super::replies::{Outcome, ReplyKey};
use super::route::{Reached, Remote, reach};

/// A request on its way; see [`Bus::request`].
#[must_use = "a request does nothing until it is awaited"]
pub struct Request<'b, M: Message, R: Message> {
    bus: &'b Bus,
    to: Address<M, R>,
    timeout: Duration,
    /// Until it is first polled.
    unsent: Option<(M, Headers)>,
    state: State<R>,
}

enum State<R> {
    New,
    /// With the number of its table on that loop.
    Waiting {
        event_loop: u32,
        table: u32,
        key: ReplyKey,
    },
    Elsewhere(Pin<Box<dyn Future<Output = Result<R, RequestError>> + Send>>),
    Ended,
}

// Nothing in here is pinned in place: what must not move is in a box.
impl<M: Message, R: Message> Unpin for Request<'_, M, R> {}

impl<'b, M: Message, R: Message> Request<'b, M, R> {
    pub(super) fn new(bus: &'b Bus, to: Address<M, R>, timeout: Duration, message: M, headers: Headers) -> Self {
        Self { bus, to, timeout, unsent: Some((message, headers)), state: State::New }
    }

    /// How long to wait for the reply, at least a millisecond. Counted from when the request is first polled.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Some((_, headers)) = &mut self.unsent {
            headers.append(name, value);
        }
        self
    }

    /// Replaces all headers.
    pub fn headers(mut self, all: Headers) -> Self {
        if let Some((_, headers)) = &mut self.unsent {
            *headers = all;
        }
        self
    }

    fn address(&self) -> Arc<str> {
        self.to.name().into()
    }

    /// Has the message seen by the outbound interceptors; one that they fail goes nowhere.
    #[cold]
    fn intercept(&mut self) -> Result<(), Failure> {
        let Some((message, headers)) = &mut self.unsent else { return Ok(()) };
        let core = current_of(&self.bus.shared);
        let at = At::of(core.as_ref(), &self.bus.shared);
        let seen = at.outbound(self.to.name(), Kind::Sent, headers, message);
        if seen.is_err() {
            self.bus.shared.count(self.to.key(), |metrics| metrics.sent += 1);
            self.state = State::Ended;
            let failed = self.unsent.take();
            contain(|| drop(failed));
        }
        seen
    }

    /// A reply of this loop has come: the inbound interceptors see it.
    #[inline]
    fn replied(&self, core: &LoopCore, reply: Result<R, Failure>) -> Result<R, RequestError> {
        if core.shared().interceptors.any() {
            return At::Loop(core).inbound_reply(self.to.name(), reply).map_err(RequestError::Failed);
        }
        reply.map_err(RequestError::Failed)
    }

    fn error(&self, core: &LoopCore, outcome: Option<Outcome<R>>) -> Result<R, RequestError> {
        match outcome {
            Some(Outcome::Replied(result)) => self.replied(core, result),
            Some(Outcome::TimedOut) => Err(RequestError::Timeout { address: self.address(), after: self.timeout }),
            Some(Outcome::Closed) | None => Err(self.closed()),
        }
    }

    fn closed(&self) -> RequestError {
        RequestError::Closed { address: self.address() }
    }

    /// Finds the consumer and hands the message over; a handler that finishes at once ends the request here.
    fn begin(
        &mut self,
        core: &Rc<LoopCore>,
        message: M,
        headers: Headers,
        asking: &Waker,
    ) -> Poll<Result<R, RequestError>> {
        match reach(core, &self.to) {
            Ok(Reached::Local(consumer)) => {
                let mut result = None;
                match consumer.ask(core, message, headers, self.timeout, asking, &mut result) {
                    Asked::Done => {
                        return match result {
                            Some(Ok(reply)) => Poll::Ready(Ok(reply)),
                            Some(Err(failure)) => Poll::Ready(Err(RequestError::Failed(failure))),
                            None => Poll::Ready(Err(self.closed())),
                        };
                    }
                    Asked::Full => return Poll::Ready(Err(self.overloaded())),
                    Asked::Waits(table, key) => {
                        self.state = State::Waiting { event_loop: loop_number(core), table, key };
                    }
                }
                Poll::Pending
            }
            Ok(Reached::Remote(remote)) => {
                self.begin_there(core, &remote, message, headers, asking);
                Poll::Pending
            }
            Ok(Reached::Full) => Poll::Ready(Err(self.overloaded())),
            Err(NoRoute::NoHandlers) => {
                core.ledger.count(self.to.key(), |metrics| metrics.sent += 1);
                Poll::Ready(Err(RequestError::NoHandlers { address: self.address() }))
            }
            Err(NoRoute::WrongType { served }) => {
                core.ledger.count(self.to.key(), |metrics| metrics.sent += 1);
                let called = Spoken::of::<M, R>().name();
                Poll::Ready(Err(RequestError::WrongType { address: self.address(), served, called }))
            }
        }
    }

    fn begin_there(
        &mut self,
        core: &Rc<LoopCore>,
        remote: &Remote<M, R>,
        message: M,
        headers: Headers,
        asking: &Waker,
    ) {
        let replies = core.replies::<R>();
        let key = replies.wait(core, self.timeout, asking);
        self.state = State::Waiting { event_loop: loop_number(core), table: replies.table, key };
        let reply_to = ReplyTo::remote(loop_number(core), key);
        let reply = std::marker::PhantomData;
        remote.outbox.push(core, RemoteMessage { to: remote.consumer, message, headers, reply_to, reply });
    }

    fn overloaded(&self) -> RequestError {
        RequestError::Overloaded { address: self.address() }
    }

    /// Takes the request away from the loop it was begun on; that loop is told, wherever this is.
    #[cold]
    fn let_go(&mut self) {
        let State::Waiting { event_loop, key, .. } = self.state else { return };
        self.state = State::Ended;
        match current_of(&self.bus.shared) {
            Some(core) if loop_number(&core) == event_loop => core.replies::<R>().abandon(key),
            _ => {
                let home = self.bus.shared.event_loop(event_loop as usize);
                home.do_job(move |core| core.replies::<R>().abandon(key));
            }
        }
    }
}

fn loop_number(core: &LoopCore) -> u32 {
    core.id() as u32 // 1,024 loops and a few with names
}

impl<M: Message, R: Message> Future for Request<'_, M, R> {
    type Output = Result<R, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Put together anew and not handed on: a result this wide is dearer to move than to make.
        match self.advance(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(reply)) => Poll::Ready(Ok(reply)),
            Poll::Ready(Err(error)) => {
                self.count(&error);
                Poll::Ready(Err(error))
            }
        }
    }
}

impl<M: Message, R: Message> Request<'_, M, R> {
    /// Counted where it was asked.
    #[cold]
    fn count(&self, error: &RequestError) {
        self.bus.shared.count(self.to.key(), |metrics| {
            metrics.reply_failures.count(error.failure_type());
            metrics.refused += u64::from(matches!(error, RequestError::Overloaded { .. }));
        });
    }

    #[inline]
    fn advance(&mut self, cx: &mut Context<'_>) -> Poll<Result<R, RequestError>> {
        let this = self;
        if matches!(this.state, State::New) {
            // Before the message is taken out: a task that only makes requests in place must yield like any other.
            let budget = ready!(tokio::task::coop::poll_proceed(cx));
            budget.made_progress();
            if this.bus.shared.interceptors.any()
                && let Err(failure) = this.intercept()
            {
                return Poll::Ready(Err(RequestError::Failed(failure)));
            }
            this.state = State::Ended;
            let Some((message, headers)) = this.unsent.take() else { return Poll::Pending };
            match current_of(&this.bus.shared) {
                Some(core) => return this.begin(&core, message, headers, cx.waker()),
                None => {
                    let (shared, to) = (Arc::clone(&this.bus.shared), this.to.clone());
                    this.state = State::Elsewhere(Box::pin(ask(shared, to, this.timeout, message, headers)));
                }
            }
        }
        let ended = match &mut this.state {
            State::Elsewhere(outcome) => ready!(outcome.as_mut().poll(cx)),
            State::Waiting { event_loop, table, key } => match current_of(&this.bus.shared) {
                Some(core) if loop_number(&core) == *event_loop => {
                    let outcome = match core.replies_at::<R>(*table) {
                        Some(replies) => ready!(replies.poll(*key, cx)),
                        None => None,
                    };
                    match outcome {
                        Some(Outcome::Replied(Ok(reply))) if !core.shared().interceptors.any() => {
                            this.state = State::Ended;
                            return Poll::Ready(Ok(reply));
                        }
                        other => this.error(&core, other),
                    }
                }
                // Begun on a loop and carried away from it: its slot is out of reach.
                _ => {
                    this.let_go();
                    Err(this.closed())
                }
            },
            State::New | State::Ended => Err(this.closed()),
        };
        this.state = State::Ended;
        Poll::Ready(ended)
    }
}

impl<M: Message, R: Message> Drop for Request<'_, M, R> {
    #[inline]
    fn drop(&mut self) {
        if matches!(self.state, State::Waiting { .. }) {
            self.let_go();
        }
    }
}

impl<M: Message, R: Message> fmt::Debug for Request<'_, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request").field("to", &self.to).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// A request that failed because of its handler, as seen by [`Failure`].
impl RequestError {
    /// The handler's code, when it is the handler that failed.
    pub fn code(&self) -> Option<i32> {
        match self {
            Self::Failed(failure) => Some(failure.code()),
            _ => None,
        }
    }

    /// The handler's failure, when it is the handler that failed.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Failed(failure) => Some(failure),
            _ => None,
        }
    }
}
