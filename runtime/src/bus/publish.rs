//! Publishing: everybody at the address gets the message, and nobody is waited for.

use std::rc::Rc;

use crate::address::Address;
use crate::event_loop::{LoopCore, current_of};
use crate::message::{Headers, Message};
use crate::panic::contain;

use super::Bus;
use super::consume::Expected;
use super::delivery::RemoteMessage;
use super::elsewhere;
use super::fan_out::{Expecting, FanOut};
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

pub(super) fn publish<M: Message + Clone, R: Message>(
    bus: &Bus,
    to: &Address<M, R>,
    message: M,
    mut headers: Headers,
) -> Published {
    let core = current_of(&bus.shared);
    if bus.shared.interceptors.any() {
        let at = At::of(core.as_ref(), &bus.shared);
        if at.outbound(to.name(), Kind::Published, &mut headers, &message).is_err() {
            bus.shared.count(to.key(), |metrics| metrics.sent += 1);
            contain(|| drop(message));
            return Published::default();
        }
    }
    let published = match core {
        Some(core) => from_loop(&core, &targets(&core, to), message, headers),
        None => from_elsewhere(bus, to, message, &headers),
    };
    count_dropped(bus, to, published)
}

#[inline]
pub(super) fn count_dropped<M: Message, R: Message>(bus: &Bus, to: &Address<M, R>, published: Published) -> Published {
    if published.dropped > 0 {
        bus.shared.count(to.key(), |metrics| metrics.dropped += published.dropped as u64);
    }
    published
}

/// To what the route of a loop leads to. The outbound interceptors have seen it.
pub(super) fn from_loop<M: Message + Clone, R: Message>(
    core: &Rc<LoopCore>,
    targets: &Rc<[Target<M, R>]>,
    message: M,
    headers: Headers,
) -> Published {
    let mut published = Published::default();
    let (expecting, expected) = expecting(core, targets, &message, &headers, &mut published);
    // The last of them gets the message itself.
    let mut message = Some(message);
    let mut remotes = targets.iter().filter_map(Target::remote).peekable();
    while let Some(remote) = remotes.next() {
        let is_last = expected == 0 && remotes.peek().is_none();
        let clone = if is_last { message.take() } else { contain(|| message.clone()).flatten() };
        let Some(message) = clone else {
            published.count(false);
            continue;
        };
        let room = remote.credit.take(1) == 1;
        published.count(room);
        if room {
            remote.outbox.push(core, RemoteMessage::published(remote.consumer, message, headers.clone()));
        }
    }
    if expected > 0
        && let Some(message) = message
    {
        core.hand_out_later(Box::new(FanOut::new(message, headers, expecting, expected)));
    }
    published
}

/// Tells the consumers of this loop, and gives those that expect the message now, with their number. Who has something
/// before it gets it into the mailbox at once.
fn expecting<M: Message + Clone, R: Message>(
    core: &Rc<LoopCore>,
    targets: &Rc<[Target<M, R>]>,
    message: &M,
    headers: &Headers,
    published: &mut Published,
) -> (Expecting<M, R>, usize) {
    let mut expected = 0;
    // Only when they are not all alike.
    let mut some: Option<Vec<_>> = None;
    for (at, target) in targets.iter().enumerate() {
        let Target::Local(consumer) = target else { break };
        let expected_now = match core.draws() {
            false => consumer.expect_published(),
            true => Expected::Behind,
        };
        let expects = match expected_now {
            Expected::Next => true,
            Expected::Behind => {
                // A panic here must not leave the others waiting for what never comes.
                let clone = contain(|| message.clone());
                published.count(clone.is_some_and(|clone| consumer.offer_published(core, clone, headers.clone())));
                false
            }
            Expected::Full => {
                published.count(false);
                false
            }
        };
        if expects {
            published.count(true);
            expected += 1;
            if let Some(some) = &mut some {
                some.push(Rc::clone(consumer));
            }
        } else if some.is_none() {
            some = Some(targets[..at].iter().filter_map(Target::local).cloned().collect());
        }
    }
    (some.map_or_else(|| Expecting::All(Rc::clone(targets)), Expecting::Some), expected)
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
    let mut published = Published::default();
    let Some((last, others)) = registrations.split_last() else { return published };
    let post = |to, message| elsewhere::post::<M, R>(&bus.shared, to, message, headers.clone()).is_ok();
    for to in others {
        let clone = contain(|| message.clone());
        published.count(clone.is_some_and(|clone| post(to, clone)));
    }
    published.count(post(last, message));
    published
}

impl Published {
    fn count(&mut self, reached: bool) {
        match reached {
            true => self.reached += 1,
            false => self.dropped += 1,
        }
    }
}
