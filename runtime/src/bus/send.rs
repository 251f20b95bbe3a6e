//! Sending: one consumer gets the message, nobody waits for what it makes of it.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::address::Address;
use crate::clock::Timer;
use crate::error::SendError;
use crate::event_loop::{LoopCore, NoRoute, current_of};
use crate::message::{Headers, Message};

use super::Bus;
use super::consumer::{Envelope, RemoteMessage, ReplyTo};
use super::credit::Credit;
use super::outbox;
use super::registry::{Registration, Spoken};
use super::request::find;
use super::route::Target;

/// A message on its way into a mailbox; see [`Bus::send`].
#[must_use = "a message is not sent until this is awaited"]
pub struct Sending<'b, M: Message, R: Message> {
    bus: &'b Bus,
    to: Address<M, R>,
    timeout: Duration,
    message: Option<(M, Headers)>,
    /// Made when there is no room, so that the usual send costs no timer.
    expiry: Option<Pin<Box<Timer>>>,
    /// Where this waits for room, and under which ticket.
    waits: Vec<(Arc<Credit>, u64)>,
}

impl<M: Message, R: Message> Unpin for Sending<'_, M, R> {}

impl<'b, M: Message, R: Message> Sending<'b, M, R> {
    pub(super) fn new(bus: &'b Bus, to: Address<M, R>, message: M) -> Self {
        let timeout = bus.shared.options.request_timeout;
        Self { bus, to, timeout, message: Some((message, Headers::default())), expiry: None, waits: Vec::new() }
    }

    /// How long to wait for room, counted from when there was none. The default is that of requests.
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

    fn attempt(&mut self, message: M, headers: Headers) -> Attempt<M> {
        match current_of(&self.bus.shared) {
            Some(core) => from_loop(&core, &self.to, message, headers),
            None => from_elsewhere(self.bus, &self.to, message, headers),
        }
    }

    fn wait_at(&mut self, credit: &Arc<Credit>, cx: &Context<'_>) {
        match self.waits.iter_mut().find(|(known, _)| Arc::ptr_eq(known, credit)) {
            Some((_, ticket)) => *ticket = credit.wait(Some(*ticket), cx.waker()),
            None => self.waits.push((Arc::clone(credit), credit.wait(None, cx.waker()))),
        }
    }

    fn expired(&mut self, cx: &mut Context<'_>) -> bool {
        let clock = &self.bus.shared.clock;
        let timeout = self.timeout;
        let expiry = self.expiry.get_or_insert_with(|| {
            let nanos = u64::try_from(timeout.as_nanos()).unwrap_or(u64::MAX);
            Box::pin(clock.at(clock.ticks().saturating_add(nanos)))
        });
        expiry.as_mut().poll(cx).is_ready()
    }
}

impl<M: Message, R: Message> Future for Sending<'_, M, R> {
    type Output = Result<(), SendError<M>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let budget = std::task::ready!(tokio::task::coop::poll_proceed(cx));
        let this = &mut *self;
        let mut first: Option<Arc<Credit>> = None;
        loop {
            // Polled again after it was done: there is nothing left to send, and nothing to report.
            let Some((message, headers)) = this.message.take() else { return Poll::Ready(Ok(())) };
            let full = match this.attempt(message, headers) {
                Attempt::Done(result) => {
                    budget.made_progress();
                    return Poll::Ready(result);
                }
                Attempt::Full(full) => full,
            };
            if this.expired(cx) {
                return Poll::Ready(Err(SendError::Full(full.message)));
            }
            this.message = Some((full.message, full.headers));
            // Announced first, tried once more after: room that came in between is not missed. With several consumers
            // the turn goes on, so each one is announced to before this gives up the thread.
            if first.as_ref().is_some_and(|known| Arc::ptr_eq(known, &full.credit)) {
                return Poll::Pending;
            }
            this.wait_at(&full.credit, cx);
            first.get_or_insert(full.credit);
        }
    }
}

impl<M: Message, R: Message> Drop for Sending<'_, M, R> {
    fn drop(&mut self) {
        for (credit, ticket) in &self.waits {
            credit.stop_waiting(*ticket);
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
    credit: Arc<Credit>,
}

pub(super) fn try_send<M: Message, R: Message>(
    bus: &Bus,
    to: &Address<M, R>,
    message: M,
    headers: Headers,
) -> Result<(), SendError<M>> {
    let attempt = match current_of(&bus.shared) {
        Some(core) => from_loop(&core, to, message, headers),
        None => from_elsewhere(bus, to, message, headers),
    };
    match attempt {
        Attempt::Done(result) => result,
        Attempt::Full(full) => Err(SendError::Full(full.message)),
    }
}

fn from_loop<M: Message, R: Message>(
    core: &Rc<LoopCore>,
    to: &Address<M, R>,
    message: M,
    headers: Headers,
) -> Attempt<M> {
    match find(core, to) {
        Ok(Target::Local { consumer, credit }) => {
            let envelope = Envelope { message, headers, reply_to: ReplyTo::Nobody, holds_credit: false };
            match consumer.enqueue(core, envelope) {
                Ok(()) => Attempt::Done(Ok(())),
                Err(Envelope { message, headers, .. }) => Attempt::Full(Full { message, headers, credit }),
            }
        }
        Ok(Target::Remote(remote)) => {
            if remote.credit.take(1) == 0 {
                return Attempt::Full(Full { message, headers, credit: Arc::clone(&remote.credit) });
            }
            remote.outbox.push(core, remote_message(remote.consumer, message, headers));
            Attempt::Done(Ok(()))
        }
        Err(NoRoute::NoHandlers) => Attempt::Done(Err(SendError::NoHandlers(message))),
        Err(NoRoute::WrongType { .. }) => Attempt::Done(Err(SendError::WrongType(message))),
    }
}

fn from_elsewhere<M: Message, R: Message>(bus: &Bus, to: &Address<M, R>, message: M, headers: Headers) -> Attempt<M> {
    if bus.shared.is_closed() {
        return Attempt::Done(Err(SendError::Closed(message)));
    }
    let Some(served) = bus.shared.registry.find(to.key()) else {
        return Attempt::Done(Err(SendError::NoHandlers(message)));
    };
    if served.spoken != Spoken::of::<M, R>() {
        return Attempt::Done(Err(SendError::WrongType(message)));
    }
    let (_, registrations) = served.registrations();
    if registrations.is_empty() {
        return Attempt::Done(Err(SendError::NoHandlers(message)));
    }
    let turn = served.turn.fetch_add(1, Ordering::Relaxed) % registrations.len();
    post::<M, R>(bus, &registrations[turn], message, headers)
}

/// Posts one message straight into the inbox of its consumer's loop.
pub(super) fn post_one<M: Message, R: Message>(bus: &Bus, to: &Registration, message: M, headers: Headers) -> bool {
    matches!(post::<M, R>(bus, to, message, headers), Attempt::Done(Ok(())))
}

fn post<M: Message, R: Message>(bus: &Bus, to: &Registration, message: M, headers: Headers) -> Attempt<M> {
    let event_loop = bus.shared.event_loop(to.event_loop);
    if to.credit.take(1) == 0 {
        return Attempt::Full(Full { message, headers, credit: Arc::clone(&to.credit) });
    }
    let parcel: RemoteMessage<M, R> = remote_message(to.consumer, message, headers);
    match outbox::post(event_loop, vec![parcel]).map_err(|mut unposted| unposted.pop()) {
        Ok(()) | Err(None) => Attempt::Done(Ok(())),
        Err(Some(RemoteMessage { message, headers, .. })) => {
            to.credit.give_back(1);
            Attempt::Full(Full { message, headers, credit: Arc::clone(&to.credit) })
        }
    }
}

pub(super) fn remote_message<M, R>(
    to: super::consumer::ConsumerKey,
    message: M,
    headers: Headers,
) -> RemoteMessage<M, R> {
    RemoteMessage { to, message, headers, reply_to: ReplyTo::Nobody, reply: PhantomData }
}
