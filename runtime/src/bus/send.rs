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
use super::credit::Credit;
use super::delivery::RemoteMessage;
use super::elsewhere::{self, Refused};
use super::intercept::{At, Kind};
use super::route::{CLOSING_TRIES, Target, find};
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
    /// Until it is sent.
    unsent: Option<(M, Headers)>,
    /// The outbound interceptors have seen it, and it was counted.
    seen: bool,
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
        Self { bus, to, timeout, unsent: Some((message, Headers::default())), seen: false, waiting: None }
    }

    /// One that found no room a moment ago.
    pub(super) fn not_yet(bus: &'b Bus, to: Address<M, R>, timeout: Duration, unsent: Option<(M, Headers)>) -> Self {
        Self { bus, to, timeout, unsent, seen: true, waiting: None }
    }

    /// How long to wait for room, at least a millisecond. Counted from when there was none. The default is that of
    /// requests.
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

    /// There was no room: waits for some, and tries again until there is or the time is up.
    #[cold]
    fn wait(&mut self, mut at: NoRoom, cx: &mut Context<'_>) -> Poll<Result<(), SendError<M>>> {
        let shared = &self.bus.shared;
        let waiting = self.waiting.get_or_insert_with(|| {
            let deadline = shared.clock.ticks().saturating_add(nanos(self.timeout));
            Box::new(Waiting { deadline, timer: Timer::default(), polls: 0, waits: Vec::new() })
        });
        waiting.polls += 1;
        for _ in 0..LOOKS_PER_POLL {
            if waiting.timer.is_over(shared, waiting.deadline, cx) {
                count_refused(self.bus, &self.to);
                return Poll::Ready(give_back(&mut self.unsent, SendError::Full));
            }
            if !waiting.wait_at(at, cx) {
                return Poll::Pending;
            }
            uncount_sent(self.bus, &self.to);
            at = match attempt(self.bus, &self.to, &mut self.unsent) {
                Attempt::Sent => return Poll::Ready(Ok(())),
                Attempt::Failed(why) => return Poll::Ready(give_back(&mut self.unsent, |message| why.with(message))),
                Attempt::Full(at) => at,
            };
        }
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
        // Polled again after it was done: there is nothing left to send, and nothing to report.
        let this = &mut *self;
        // Once: one that has found no room was seen then.
        let seen = match this.seen {
            false => intercept(this.bus, &this.to, &mut this.unsent),
            true => {
                uncount_sent(this.bus, &this.to);
                None
            }
        };
        this.seen = true;
        match seen.unwrap_or_else(|| attempt(this.bus, &this.to, &mut this.unsent)) {
            Attempt::Sent => Poll::Ready(Ok(())),
            Attempt::Failed(why) => Poll::Ready(give_back(&mut this.unsent, |message| why.with(message))),
            Attempt::Full(at) => this.wait(at, cx),
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

/// One try to send. The message stays where it is unless it was sent.
pub(super) enum Attempt {
    Sent,
    Failed(Unsendable),
    Full(NoRoom),
}

/// Why a message cannot be sent.
pub(super) enum Unsendable {
    NoHandlers,
    WrongType,
    Closed,
    /// An interceptor has failed it.
    Failed(Failure),
}

impl Unsendable {
    fn with<M>(self, message: M) -> SendError<M> {
        match self {
            Self::NoHandlers => SendError::NoHandlers(message),
            Self::WrongType => SendError::WrongType(message),
            Self::Closed => SendError::Closed(message),
            Self::Failed(failure) => SendError::Failed(message, failure),
        }
    }
}

impl From<&NoRoute> for Unsendable {
    fn from(why: &NoRoute) -> Self {
        match why {
            NoRoute::NoHandlers => Self::NoHandlers,
            NoRoute::WrongType { .. } => Self::WrongType,
        }
    }
}

/// The message, if it was not sent, in the error that says why.
#[cold]
pub(super) fn give_back<M>(
    unsent: &mut Option<(M, Headers)>,
    why: impl FnOnce(M) -> SendError<M>,
) -> Result<(), SendError<M>> {
    match unsent.take() {
        Some((message, _)) => Err(why(message)),
        None => Ok(()),
    }
}

/// Where there was no room.
pub(super) enum NoRoom {
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
    headers: Headers,
) -> Result<(), SendError<M>> {
    let mut unsent = Some((message, headers));
    let seen = intercept(bus, to, &mut unsent);
    seen.unwrap_or_else(|| attempt(bus, to, &mut unsent)).at_once(bus, to, &mut unsent)
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

/// Has the message seen by the outbound interceptors; `None`: it may be sent.
#[inline]
pub(super) fn intercept<M: Message, R: Message>(
    bus: &Bus,
    to: &Address<M, R>,
    unsent: &mut Option<(M, Headers)>,
) -> Option<Attempt> {
    if !bus.shared.interceptors.any() {
        return None;
    }
    let (message, headers) = unsent.as_mut()?;
    let core = current_of(&bus.shared);
    let seen = At::of(core.as_ref(), &bus.shared).outbound(to.name(), Kind::Sent, headers, message);
    let failure = seen.err()?;
    bus.shared.count(to.key(), |metrics| metrics.sent += 1);
    Some(Attempt::Failed(Unsendable::Failed(failure)))
}

impl Attempt {
    /// For who does not wait.
    pub(super) fn at_once<M: Message, R: Message>(
        self,
        bus: &Bus,
        to: &Address<M, R>,
        unsent: &mut Option<(M, Headers)>,
    ) -> Result<(), SendError<M>> {
        match self {
            Self::Sent => Ok(()),
            Self::Failed(why) => give_back(unsent, |message| why.with(message)),
            Self::Full(_) => {
                count_refused(bus, to);
                give_back(unsent, SendError::Full)
            }
        }
    }
}

#[inline]
pub(super) fn attempt<M: Message, R: Message>(
    bus: &Bus,
    to: &Address<M, R>,
    unsent: &mut Option<(M, Headers)>,
) -> Attempt {
    match current_of(&bus.shared) {
        Some(core) => from_loop(&core, to, unsent),
        None => from_elsewhere(bus, to, unsent),
    }
}

#[inline]
fn from_loop<M: Message, R: Message>(
    core: &Rc<LoopCore>,
    to: &Address<M, R>,
    unsent: &mut Option<(M, Headers)>,
) -> Attempt {
    if let Some(route) = core.lend_route(to)
        && let Some(target) = route.lend(core)
        && let Some(attempt) = offer_to(core, to, &target, unsent)
    {
        return attempt;
    }
    find_and_offer(core, to, unsent)
}

/// The way is not known, or it has changed.
#[cold]
fn find_and_offer<M: Message, R: Message>(
    core: &Rc<LoopCore>,
    to: &Address<M, R>,
    unsent: &mut Option<(M, Headers)>,
) -> Attempt {
    for _ in 0..CLOSING_TRIES {
        match find(core, to) {
            Err(why) => {
                core.ledger.count(to.key(), |metrics| metrics.sent += 1);
                return Attempt::Failed(Unsendable::from(&why));
            }
            Ok(target) => {
                if let Some(attempt) = offer_to(core, to, &target, unsent) {
                    return attempt;
                }
            }
        }
    }
    Attempt::Failed(Unsendable::NoHandlers)
}

/// Hands it to this consumer, if there is room. `None`: the consumer was closed after it was found; it is out of the
/// registry already, the next look finds another one or none. Runs nothing foreign.
#[inline]
pub(super) fn offer_to<M: Message, R: Message>(
    core: &LoopCore,
    to: &Address<M, R>,
    target: &Target<M, R>,
    unsent: &mut Option<(M, Headers)>,
) -> Option<Attempt> {
    match target {
        Target::Local(consumer) if consumer.offer(core, unsent) => Some(Attempt::Sent),
        Target::Local(consumer) => Some(Attempt::Full(NoRoom::Here(Arc::clone(consumer.credit())))),
        Target::Remote(remote) if remote.credit.take(1) == 1 => {
            if let Some((message, headers)) = unsent.take() {
                remote.outbox.push(core, RemoteMessage::unasked(remote.consumer, message, headers));
            }
            Some(Attempt::Sent)
        }
        Target::Remote(remote) if remote.credit.is_closed() => {
            core.uncount_sent(to.key());
            None
        }
        Target::Remote(remote) => Some(Attempt::Full(NoRoom::There(Arc::clone(&remote.credit)))),
    }
}

fn from_elsewhere<M: Message, R: Message>(bus: &Bus, to: &Address<M, R>, unsent: &mut Option<(M, Headers)>) -> Attempt {
    bus.shared.outside.count(to.key(), |metrics| metrics.sent += 1);
    let registration = match elsewhere::reach(&bus.shared, to) {
        Ok(registration) => registration,
        Err(why) => return why.into(),
    };
    let Some((message, headers)) = unsent.take() else { return Attempt::Sent };
    let item = RemoteMessage::<M, R>::unasked(registration.consumer, message, headers);
    match elsewhere::post_batch(&bus.shared, &registration, item) {
        Ok(()) => Attempt::Sent,
        Err((why, RemoteMessage { message, headers, .. })) => {
            *unsent = Some((message, headers));
            why.into()
        }
    }
}

impl From<Refused> for Attempt {
    fn from(why: Refused) -> Self {
        match why {
            Refused::NoRoute(why) => Self::Failed(Unsendable::from(&why)),
            Refused::Closed => Self::Failed(Unsendable::Closed),
            Refused::NoCredit(credit) => Self::Full(NoRoom::There(credit)),
            Refused::NoPost(event_loop) => Self::Full(NoRoom::Inbox(event_loop)),
        }
    }
}
