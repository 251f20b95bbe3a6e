//! The way of what handlers give back.

use std::future::Future;
use std::rc::Rc;

use crate::error::Failure;
use crate::event_loop::LoopCore;
use crate::message::{Headers, Message};
use crate::panic::contain;

use super::LocalConsumer;
use crate::bus::envelope::{ReplyTo, Whom};
use crate::bus::intercept::At;
use crate::bus::outbox::Outbox;
use crate::bus::replies::{Outcome, RemoteReply, Replies};

pub(super) type ReplyOutbox<R> = Rc<Outbox<RemoteReply<R>>>;

impl<M, R, F, S> LocalConsumer<M, R, F, S>
where
    M: Message,
    R: Message,
    F: Future<Output = Result<R, Failure>> + 'static,
    S: Fn(M, Headers) -> F + 'static,
{
    pub(super) fn replies(&self, core: &LoopCore) -> &Replies<R> {
        self.replies.get_or_init(|| core.replies())
    }

    /// The handler has finished. Always in its caller: most have nobody to tell, and a call would be all that is done.
    #[inline(always)]
    pub(super) fn reply(&self, core: &Rc<LoopCore>, reply_to: ReplyTo, result: &mut Option<Result<R, Failure>>) {
        let has_failed = !matches!(result, Some(Ok(_)));
        if has_failed {
            self.tally.fail();
        }
        match reply_to.whom() {
            // Nothing that needs to be dropped.
            Whom::Nobody if !has_failed && !std::mem::needs_drop::<R>() => std::mem::forget(result.take()),
            Whom::Nobody => drop(contain(|| drop(result.take()))),
            _ => {
                if let Some(result) = result.take() {
                    self.answer(core, reply_to, Outcome::Replied(self.seen(core, result)));
                }
            }
        }
    }

    #[inline]
    pub(super) fn answer(&self, core: &Rc<LoopCore>, reply_to: ReplyTo, outcome: Outcome<R>) {
        match reply_to.whom() {
            Whom::Nobody => {}
            Whom::Local(key) => self.replies(core).end(key, outcome),
            Whom::Remote(target, to) => self.reply_outbox(core, target).push(core, RemoteReply { to, outcome }),
        }
    }

    fn reply_outbox(&self, core: &LoopCore, target: usize) -> ReplyOutbox<R> {
        if target >= core.shared().loops().len() {
            return self.reply_outbox_to_worker(core, target);
        }
        let mut outboxes = self.more().reply_outboxes.borrow_mut();
        if outboxes.len() <= target {
            outboxes.resize_with(target + 1, || None);
        }
        outboxes[target].get_or_insert_with(|| Outbox::new(core, target)).clone()
    }

    /// The numbers of workers only grow: those that have ended are forgotten.
    fn reply_outbox_to_worker(&self, core: &LoopCore, target: usize) -> ReplyOutbox<R> {
        let mut outboxes = self.more().outboxes_to_workers.borrow_mut();
        if let Some((_, known)) = outboxes.iter().find(|(known, _)| *known == target) {
            return Rc::clone(known);
        }
        outboxes.retain(|(_, outbox)| !outbox.has_ended());
        let outbox = Outbox::new(core, target);
        outboxes.push((target, Rc::clone(&outbox)));
        outbox
    }

    /// The outbound interceptors see a reply before it leaves.
    #[inline]
    fn seen(&self, core: &LoopCore, reply: Result<R, Failure>) -> Result<R, Failure> {
        if core.shared().interceptors.any() {
            return At::Loop(core).outbound_reply(self.address(), reply);
        }
        reply
    }
}
