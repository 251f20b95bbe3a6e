//! Sending from threads that are no event loop: straight into the inbox of the consumer's loop.
//!
//! Whatever the verb, a message of such a thread takes the same way, so that its order is kept.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::address::Address;
use crate::event_loop::NoRoute;
use crate::event_loop::shared::LoopShared;
use crate::message::{Headers, Message};
use crate::runtime::Shared;

use super::credit::Credit;
use super::delivery::RemoteMessage;
use super::outbox::{self, Batch, Unposted};
use super::registry::{Registration, Spoken};
use super::route::CLOSING_TRIES;

/// Why a message was not handed over.
pub(super) enum Refused {
    /// Nobody serves the address, or not with these types.
    NoRoute(NoRoute),
    /// The runtime has shut down.
    Closed,
    /// The mailbox is full.
    NoCredit(Arc<Credit>),
    /// The inbox of the consumer's loop is full.
    NoPost(Arc<LoopShared>),
}

/// The consumer whose turn it is. A place of its credit is taken.
pub(super) fn reach<M: Message, R: Message>(shared: &Shared, to: &Address<M, R>) -> Result<Registration, Refused> {
    if shared.is_closed() {
        return Err(Refused::Closed);
    }
    for _ in 0..CLOSING_TRIES {
        let served = shared.registry.find(to.key()).ok_or(Refused::NoRoute(NoRoute::NoHandlers))?;
        if served.spoken != Spoken::of::<M, R>() {
            return Err(Refused::NoRoute(NoRoute::WrongType { served: served.spoken.name() }));
        }
        let (_, mut registrations) = served.registrations();
        if registrations.is_empty() {
            // Taken back between the two looks; the address may be served anew already.
            continue;
        }
        let turn = served.turn.fetch_add(1, Ordering::Relaxed) % registrations.len();
        let registration = registrations.swap_remove(turn);
        if registration.credit.take(1) == 1 {
            return Ok(registration);
        }
        if !registration.credit.is_closed() {
            return Err(Refused::NoCredit(registration.credit));
        }
    }
    Err(Refused::NoRoute(NoRoute::NoHandlers))
}

/// Posts one copy of a published message to this consumer, if it has room; back it comes if not.
pub(super) fn post<M: Message, R: Message>(
    shared: &Arc<Shared>,
    to: &Registration,
    message: M,
    headers: Headers,
) -> Result<(), (M, Headers)> {
    if to.credit.take(1) == 0 {
        return Err((message, headers));
    }
    post_batch(shared, to, RemoteMessage::<M, R>::published(to.consumer, message, headers))
        .map_err(|(_, unposted)| (unposted.message, unposted.headers))
}

/// Posts what has its place of the credit already; if it cannot be posted the place is given back.
pub(super) fn post_batch<T: Batch>(shared: &Arc<Shared>, to: &Registration, item: T) -> Result<(), (Refused, T)> {
    let event_loop = shared.event_loop(to.event_loop);
    let (why, mut items) = match outbox::post(shared, &event_loop, vec![item]) {
        Ok(()) => return Ok(()),
        Err(Unposted::Full(items)) => (Refused::NoPost(Arc::clone(&event_loop)), items),
        Err(Unposted::Ended(items)) => (Refused::Closed, items),
    };
    to.credit.give_back(1);
    // One went in; one comes back.
    match items.pop() {
        Some(item) => Err((why, item)),
        None => Ok(()),
    }
}
