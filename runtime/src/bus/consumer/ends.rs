//! A consumer as its loop sees it: what it is told, how it stands, and how it ends.

use std::any::Any;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;

use crate::address::Name;
use crate::error::Failure;
use crate::event_loop::LoopCore;
use crate::message::{Headers, Message};
use crate::metrics::Gathered;
use crate::panic::contain;
use crate::registrations::Kept;

use super::{FLOWING, LocalConsumer};
use crate::bus::consume::{AnyConsumer, Consume, ConsumerKey};
use crate::bus::credit::Credit;
use crate::bus::registry::Spoken;
use crate::bus::replies::Outcome;
use crate::bus::tally::Ledger;

impl<M, R, F, S> AnyConsumer for LocalConsumer<M, R, F, S>
where
    M: Message,
    R: Message,
    F: Future<Output = Result<R, Failure>> + 'static,
    S: Fn(M, Headers) -> F + 'static,
{
    fn run(&self, core: &Rc<LoopCore>, budget: usize) {
        self.run_queued(core, budget);
    }

    fn resume(&self, core: &Rc<LoopCore>, slot: u32) {
        self.go_on(core, slot);
    }

    fn close(&self, core: &LoopCore) {
        self.open.set(false);
        self.demand.set(FLOWING);
        self.credit.close();
        self.schedule_if_ready(core);
    }

    fn is_open(&self) -> bool {
        self.open.get()
    }

    fn key(&self) -> ConsumerKey {
        self.key
    }

    fn name(&self) -> &Name {
        &self.served.name
    }

    fn spoken(&self) -> Spoken {
        self.served.spoken
    }

    fn kept(&self) -> &Kept {
        &self.kept
    }

    fn give_typed(self: Rc<Self>, into: &mut dyn Any) {
        if let Some(into) = into.downcast_mut::<Option<Rc<dyn Consume<M, R>>>>() {
            *into = Some(self);
        }
    }

    fn pause(&self) {
        if self.open.get() {
            self.demand.set(0);
        }
    }

    fn fetch(&self, core: &LoopCore, handlers: usize) {
        self.demand.set(self.demand.get().saturating_add(handlers));
        self.schedule_if_ready(core);
    }

    fn hand_on(&self) {
        self.demand.set(0);
        self.slots.make_old();
    }

    fn take_over(&self, core: &LoopCore, paused: bool) {
        self.allow_for_old(self.slots.take_over());
        self.demand.set(if paused { 0 } else { FLOWING });
        self.schedule_if_ready(core);
    }

    fn is_drained(&self) -> bool {
        let nothing_comes = || {
            let queued = self.expected.get() > 0 || !self.queue.is_empty();
            self.discarded.get() || (!queued && self.credit.taken() == 0)
        };
        self.given_up.get() || (self.slots.in_flight() == 0 && nothing_comes())
    }

    fn measure(&self, gathered: &mut Gathered) {
        let metrics = gathered.at(self.address());
        self.tally.add_to(metrics);
        metrics.consumers += 1;
        metrics.pending += self.queued() + self.credit.taken().saturating_sub(self.owed.get());
        metrics.in_flight += self.slots.in_flight();
        metrics.room += self.room();
    }

    fn retire(&self, ledger: &Ledger) {
        if self.tally.has_counted() {
            ledger.count(self.name(), |metrics| self.tally.add_to(metrics));
        }
    }

    fn credit(&self) -> &Arc<Credit> {
        &self.credit
    }

    fn at_end(&self, act: Box<dyn FnOnce()>) {
        self.more().at_end.set(Some(act));
    }

    fn discard(&self, core: &Rc<LoopCore>) -> usize {
        if self.discarded.replace(true) {
            return 0;
        }
        let queue = self.queue.take();
        // What is expected next finds that it has come too late.
        let queued = queue.len() + self.expected.get();
        self.ahead.set(0);
        self.theirs.set(0);
        let mut returned = self.owed.take();
        while let Some(envelope) = queue.pop_front() {
            returned += usize::from(envelope.holds_credit());
            self.answer(core, envelope.reply_to, Outcome::Closed);
            contain(|| drop(envelope));
        }
        // Wakes whoever waits for the end, too.
        self.credit.give_back(returned);
        let discarded = queued + self.credit.taken();
        self.tally.discard(discarded);
        discarded
    }

    fn abandon(&self, core: &Rc<LoopCore>) -> usize {
        let mut given_up = self.discard(core);
        for slot in self.slots.occupied() {
            if let Some((running, reply_to)) = self.slots.woken(slot) {
                given_up += 1;
                self.tally.fail();
                self.tally.resumed(slot, &core.shared().clock);
                drop(self.take_trail(slot));
                self.cut_off(core, running);
                self.answer(core, reply_to, Outcome::Closed);
            }
        }
        self.given_up.set(true);
        self.credit.waiters.wake();
        given_up
    }
}
