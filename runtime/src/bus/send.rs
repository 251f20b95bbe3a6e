//! Sending: one consumer gets the message, nobody waits for what it makes of it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::address::Address;
use crate::error::{Failure, SendError};
use crate::event_loop::shared::LoopShared;
use crate::event_loop::{LoopCore, NoRoute, current_of};
use crate::message::{Headers, Message};

use super::Bus;
use super::consumer::{Envelope, ReplyTo};
use super::credit::Credit;
use super::delivery::RemoteMessage;
use super::elsewhere::{self, Refused};
use super::intercept::{At, Kind};
use super::route::{Reached, reach};
use super::timer::{Timer, nanos};
use super::waiters::Waiters;

/// Looks for room in one poll. Others may take it as fast as it comes; then this yields and looks again.
const LOOKS_PER_POLL: usize = 64;

/// A message on its way into a mailbox; see [`Bus::send`].
#[must_use = "a message is not sent until this is awaited"]
pub struct Sending<'b, M: Message, R: Message> {
    bus: &'b Bus,
    to: Address<M, R>,
    timeout: Duration,
    message: Option<(M, Headers)>,
    /// Made when there is no room, so that the usual send reads no clock, costs no timer and is small.
    waiting: Option<Box<Waiting>>,
}

/// A wait for room.
struct Waiting {
    deadline: u64,
    timer: Timer,
    polls: u64,
    waits: Vec<Wait>,
}

/// Where a message waits for room.
struct Wait {
    at: NoRoom,
    ticket: u64,
    /// The poll it was last announced in.
    poll: u64,
}

impl<M: Message, R: Message> Unpin for Sending<'_, M, R> {}

impl<'b, M: Message, R: Message> Sending<'b, M, R> {
    pub(super) fn new(bus: &'b Bus, to: Address<M, R>, message: M) -> Self {
        let timeout = bus.shared.options.request_timeout;
        let message = Some((message, Headers::default()));
        Self { bus, to, timeout, message, waiting: None }
    }

    /// How long to wait for room, at least a millisecond. Counted from when there was none. The default is that of
    /// requests.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout.max(Duration::from_millis(1));
        self
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Some((_, headers)) = &mut self.message {
            headers.append(name, value);
        }
        self
    }

    /// There was no room: waits for some, and tries again until there is or the time is up.
    #[cold]
    fn wait(&mut self, mut full: Full<M>, cx: &mut Context<'_>) -> Poll<Result<(), SendError<M>>> {
        let shared = &self.bus.shared;
        let waiting = self.waiting.get_or_insert_with(|| {
            let deadline = shared.clock.ticks().saturating_add(nanos(self.timeout));
            Box::new(Waiting { deadline, timer: Timer::default(), polls: 0, waits: Vec::new() })
        });
        waiting.polls += 1;
        for _ in 0..LOOKS_PER_POLL {
            if waiting.timer.is_over(shared, waiting.deadline, cx) {
                count_refused(self.bus, &self.to);
                return Poll::Ready(Err(SendError::Full(full.message)));
            }
            if !waiting.wait_at(full.at, cx) {
                self.message = Some((full.message, full.headers));
                return Poll::Pending;
            }
            uncount_sent(self.bus, &self.to);
            full = match attempt(self.bus, &self.to, full.message, full.headers) {
                Attempt::Done(result) => return Poll::Ready(result),
                Attempt::Full(full) => full,
            };
        }
        self.message = Some((full.message, full.headers));
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Waiting {
    /// Announces the wait there; gives whether it is worth another look.
    ///
    /// Announced first, looked at after: room that comes in between is not missed. With several consumers the turn goes
    /// on, so each of them is announced to before this gives up the thread.
    fn wait_at(&mut self, at: NoRoom, cx: &Context<'_>) -> bool {
        let poll = self.polls;
        let known = self.waits.iter_mut().find(|wait| std::ptr::eq(wait.at.waiters(), at.waiters()));
        let (new, worth_a_look) = match known {
            Some(wait) => {
                wait.ticket = wait.at.waiters().wait(Some(wait.ticket), cx.waker());
                (std::mem::replace(&mut wait.poll, poll) != poll, wait.at.is_worth_a_look())
            }
            None => {
                let ticket = at.waiters().wait(None, cx.waker());
                let worth_a_look = at.is_worth_a_look();
                self.waits.push(Wait { at, ticket, poll });
                (true, worth_a_look)
            }
        };
        new || worth_a_look
    }
}

impl<M: Message, R: Message> Future for Sending<'_, M, R> {
    type Output = Result<(), SendError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // No part of tokio's budget: room is bounded, and whoever sends more than there is waits for it.
        let this = &mut *self;
        // Polled again after it was done: there is nothing left to send, and nothing to report.
        let Some((message, mut headers)) = this.message.take() else { return Poll::Ready(Ok(())) };
        // Once: one that has found no room was seen then.
        if this.waiting.is_none()
            && let Err(failure) = intercept(this.bus, &this.to, &message, &mut headers)
        {
            return Poll::Ready(Err(SendError::Failed(message, failure)));
        }
        if this.waiting.is_some() {
            uncount_sent(this.bus, &this.to);
        }
        match attempt(this.bus, &this.to, message, headers) {
            Attempt::Done(result) => Poll::Ready(result),
            Attempt::Full(full) => this.wait(full, cx),
        }
    }
}

impl<M: Message, R: Message> Drop for Sending<'_, M, R> {
    fn drop(&mut self) {
        for wait in self.waiting.iter().flat_map(|waiting| &waiting.waits) {
            wait.at.waiters().stop_waiting(wait.ticket);
        }
    }
}

impl<M: Message, R: Message> fmt::Debug for Sending<'_, M, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending").field("to", &self.to).field("timeout", &self.timeout).finish_non_exhaustive()
    }
}

/// One try to send.
enum Attempt<M> {
    Done(Result<(), SendError<M>>),
    Full(Full<M>),
}

/// What comes back when there is no room, and where to wait for some.
struct Full<M> {
    message: M,
    headers: Headers,
    at: NoRoom,
}

/// Where there was no room.
enum NoRoom {
    /// In a mailbox of this loop.
    Here(Arc<Credit>),
    /// In a mailbox of another loop.
    There(Arc<Credit>),
    /// In the inbox of another loop.
    Inbox(Arc<LoopShared>),
}

impl NoRoom {
    fn waiters(&self) -> &Waiters {
        match self {
            Self::Here(credit) | Self::There(credit) => &credit.waiters,
            Self::Inbox(event_loop) => &event_loop.room,
        }
    }

    /// Whether there may be room by now.
    fn is_worth_a_look(&self) -> bool {
        match self {
            // Nothing happens on this loop while this is running.
            Self::Here(_) => false,
            Self::There(credit) => credit.is_worth_a_try(),
            Self::Inbox(event_loop) => event_loop.is_worth_a_post(),
        }
    }
}

pub(super) fn try_send<M: Message, R: Message>(
    bus: &Bus,
    to: &Address<M, R>,
    message: M,
    mut headers: Headers,
) -> Result<(), SendError<M>> {
    if let Err(failure) = intercept(bus, to, &message, &mut headers) {
        return Err(SendError::Failed(message, failure));
    }
    match attempt(bus, to, message, headers) {
        Attempt::Done(result) => result,
        Attempt::Full(full) => {
            count_refused(bus, to);
            Err(SendError::Full(full.message))
        }
    }
}

/// A message ended for want of room.
#[cold]
fn count_refused<M: Message, R: Message>(bus: &Bus, to: &Address<M, R>) {
    bus.shared.count(to.key(), |metrics| metrics.refused += 1);
}

/// A message that has waited is tried again, and counted once more.
#[cold]
fn uncount_sent<M: Message, R: Message>(bus: &Bus, to: &Address<M, R>) {
    match current_of(&bus.shared) {
        Some(core) => core.uncount_sent(to.key()),
        None => bus.shared.outside.count(to.key(), |metrics| metrics.sent = metrics.sent.saturating_sub(1)),
    }
}

/// Has the message seen by the outbound interceptors.
#[inline]
fn intercept<M: Message, R: Message>(
    bus: &Bus,
    to: &Address<M, R>,
    message: &M,
    headers: &mut Headers,
) -> Result<(), Failure> {
    if bus.shared.interceptors.any() {
        let core = current_of(&bus.shared);
        let seen = At::of(core.as_ref(), &bus.shared).outbound(to.name(), Kind::Sent, headers, message);
        if seen.is_err() {
            bus.shared.count(to.key(), |metrics| metrics.sent += 1);
        }
        return seen;
    }
    Ok(())
}

fn attempt<M: Message, R: Message>(bus: &Bus, to: &Address<M, R>, message: M, headers: Headers) -> Attempt<M> {
    match current_of(&bus.shared) {
        Some(core) => from_loop(&core, to, message, headers),
        None => from_elsewhere(bus, to, message, headers),
    }
}

fn from_loop<M: Message, R: Message>(
    core: &Rc<LoopCore>,
    to: &Address<M, R>,
    message: M,
    headers: Headers,
) -> Attempt<M> {
    match reach(core, to) {
        Ok(Reached::Local(consumer)) => {
            let envelope = Envelope { message, headers, reply_to: ReplyTo::Nobody, holds_credit: false };
            match consumer.enqueue(core, envelope) {
                Ok(()) => Attempt::Done(Ok(())),
                Err(Envelope { message, headers, .. }) => {
                    let at = NoRoom::Here(Arc::clone(consumer.credit()));
                    Attempt::Full(Full { message, headers, at })
                }
            }
        }
        Ok(Reached::Remote(remote)) => {
            remote.outbox.push(core, RemoteMessage::unasked(remote.consumer, message, headers));
            Attempt::Done(Ok(()))
        }
        Ok(Reached::Full(credit)) => Attempt::Full(Full { message, headers, at: NoRoom::There(credit) }),
        Err(why) => {
            core.ledger.count(to.key(), |metrics| metrics.sent += 1);
            Attempt::Done(Err(no_route(&why, message)))
        }
    }
}

fn from_elsewhere<M: Message, R: Message>(bus: &Bus, to: &Address<M, R>, message: M, headers: Headers) -> Attempt<M> {
    bus.shared.outside.count(to.key(), |metrics| metrics.sent += 1);
    let registration = match elsewhere::reach(&bus.shared, to) {
        Ok(registration) => registration,
        Err(why) => return refused(why, message, headers),
    };
    let item = RemoteMessage::<M, R>::unasked(registration.consumer, message, headers);
    match elsewhere::post_batch(&bus.shared, &registration, item) {
        Ok(()) => Attempt::Done(Ok(())),
        Err((why, RemoteMessage { message, headers, .. })) => refused(why, message, headers),
    }
}

fn refused<M>(why: Refused, message: M, headers: Headers) -> Attempt<M> {
    match why {
        Refused::NoRoute(why) => Attempt::Done(Err(no_route(&why, message))),
        Refused::Closed => Attempt::Done(Err(SendError::Closed(message))),
        Refused::NoCredit(credit) => Attempt::Full(Full { message, headers, at: NoRoom::There(credit) }),
        Refused::NoPost(event_loop) => Attempt::Full(Full { message, headers, at: NoRoom::Inbox(event_loop) }),
    }
}

fn no_route<M>(why: &NoRoute, message: M) -> SendError<M> {
    match why {
        NoRoute::NoHandlers => SendError::NoHandlers(message),
        NoRoute::WrongType { .. } => SendError::WrongType(message),
    }
}
