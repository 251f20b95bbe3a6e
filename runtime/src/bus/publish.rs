//! Publishing: everybody at the address gets the message, and nobody is waited for.

use std::rc::Rc;

use crate::address::Address;
use crate::event_loop::{LoopCore, current_of};
use crate::message::{Headers, Message};
use crate::panic::contain;

use super::Bus;
use super::consumer::{Envelope, ReplyTo};
use super::delivery::RemoteMessage;
use super::elsewhere;
use super::intercept::{At, Kind};
use super::registry::Spoken;
use super::route::Target;

/// How far a published message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Published {
    /// Consumers whose mailbox has it.
    pub reached: usize,
    /// Consumers that had no room for it and miss it.
    pub dropped: usize,
}

pub(super) fn publish<M: Message + Clone, R: Message>(bus: &Bus, to: &Address<M, R>, message: M) -> Published {
    let core = current_of(&bus.shared);
    let mut headers = Headers::default();
    if bus.shared.interceptors.any() {
        let at = At::of(core.as_ref(), &bus.shared);
        if at.outbound(to.name(), Kind::Published, &mut headers, &message).is_err() {
            bus.shared.count(to.key(), |metrics| metrics.sent += 1);
            contain(|| drop(message));
            return Published::default();
        }
    }
    let published = match core {
        Some(core) => from_loop(&core, to, message, &headers),
        None => from_elsewhere(bus, to, message, &headers),
    };
    if published.dropped > 0 {
        bus.shared.count(to.key(), |metrics| metrics.dropped += published.dropped as u64);
    }
    published
}

fn from_loop<M: Message + Clone, R: Message>(
    core: &Rc<LoopCore>,
    to: &Address<M, R>,
    message: M,
    headers: &Headers,
) -> Published {
    let targets = targets(core, to);
    hand_out(&targets, message, |target, message| match target {
        Target::Local(consumer) => {
            let envelope =
                Envelope { message, headers: headers.clone(), reply_to: ReplyTo::Published, holds_credit: false };
            consumer.enqueue(core, envelope).is_ok()
        }
        Target::Remote(remote) => {
            let room = remote.credit.take(1) == 1;
            if room {
                remote.outbox.push(core, RemoteMessage::published(remote.consumer, message, headers.clone()));
            }
            room
        }
    })
}

/// Every consumer. A route that has become empty is looked up once more: the address may be served anew.
fn targets<M: Message, R: Message>(core: &Rc<LoopCore>, to: &Address<M, R>) -> Rc<[Target<M, R>]> {
    for _ in 0..2 {
        let Ok(route) = core.route(to) else { break };
        let targets = route.all(core);
        if !targets.is_empty() {
            route.count_sent();
            return targets;
        }
        core.forget_route(to.key());
    }
    core.ledger.count(to.key(), |metrics| metrics.sent += 1);
    Rc::new([])
}

fn from_elsewhere<M: Message + Clone, R: Message>(
    bus: &Bus,
    to: &Address<M, R>,
    message: M,
    headers: &Headers,
) -> Published {
    bus.shared.outside.count(to.key(), |metrics| metrics.sent += 1);
    let served = bus.shared.registry.find(to.key()).filter(|served| served.spoken == Spoken::of::<M, R>());
    let registrations = served.map(|served| served.registrations().1).unwrap_or_default();
    hand_out(&registrations, message, |to, message| {
        elsewhere::post::<M, R>(&bus.shared, to, message, headers.clone()).is_ok()
    })
}

/// A clone to each, the message itself to the last.
fn hand_out<T, M: Clone>(targets: &[T], message: M, mut give: impl FnMut(&T, M) -> bool) -> Published {
    let mut published = Published::default();
    let mut count = |reached| match reached {
        true => published.reached += 1,
        false => published.dropped += 1,
    };
    if let Some((last, others)) = targets.split_last() {
        for target in others {
            count(give(target, message.clone()));
        }
        count(give(last, message));
    }
    published
}
