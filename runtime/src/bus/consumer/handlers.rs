//! Running a consumer's handlers: those that begin with a message, and those that go on.

use std::any::Any;
use std::future::Future;
use std::rc::Rc;
use std::task::Poll;

use tokio::task::coop::has_budget_remaining;

use crate::error::Failure;
use crate::event_loop::LoopCore;
use crate::message::{Headers, Message};
use crate::panic::{contain, panic_text};

use super::{FLOWING, LocalConsumer, is_looked_at};
use crate::bus::envelope::{Envelope, ReplyTo};
use crate::bus::intercept::{At, Kind};
use crate::bus::slots::{Polled, Running};
use crate::bus::trail::Trail;

/// What became of a handler that was started.
pub(super) enum Begun {
    Finished,
    /// It is suspended in this slot.
    Suspended(u32),
}

impl<M, R, F, S> LocalConsumer<M, R, F, S>
where
    M: Message,
    R: Message,
    F: Future<Output = Result<R, Failure>> + 'static,
    S: Fn(M, Headers) -> F + 'static,
{
    /// Starts handlers for queued messages, `budget` at most.
    pub(super) fn run_queued(&self, core: &Rc<LoopCore>, budget: usize) {
        self.scheduled.set(false);
        let (mut left, mut room) = (budget, false);
        let outer = core.enter_handler(self.whose);
        // A handler that finds the budget spent suspends, so it is asked for after each that does.
        while left > 0 && has_budget_remaining() && self.may_take_next() && !self.queue.is_empty() {
            match is_looked_at(core) {
                false => self.run_some(core, &mut left, &mut room),
                true => self.run_seen(core, &mut left, &mut room),
            }
        }
        core.leave_handler(outer);
        if room {
            self.credit.waiters.wake();
        }
        self.after_work(core, self.owed.take());
    }

    /// Goes on with a suspended handler whose waker was called.
    pub(super) fn go_on(&self, core: &Rc<LoopCore>, slot: u32) {
        // A waker that outlived its handler, or was called while the handler is being polled: nothing to do.
        let Some((mut running, reply_to)) = self.slots.woken(slot) else { return };
        let trail = self.take_trail(slot);
        let mut result = None;
        let outer = core.enter_handler(self.whose);
        let polled = match &trail {
            None => running.poll(&mut result),
            Some(trail) => trail.within(core, || running.poll(&mut result)),
        };
        core.leave_handler(outer);
        let left_over = self.slots.is_left_over(slot);
        match polled {
            Polled::Pending => {
                if let Some(trail) = trail {
                    self.more().trails.borrow_mut().push((slot, trail));
                }
                return self.slots.put_back(running);
            }
            Polled::Ready => self.slots.give_back(running),
            Polled::Panicked(panic) => {
                self.panicked(core, running, self.slots.is_old(slot), panic.as_ref(), &mut result);
            }
        }
        if left_over {
            self.allow_for_old(self.slots.old_has_ended());
        }
        self.tally.resumed(slot, &core.shared().clock);
        self.reply(core, reply_to, &mut result);
        self.after_work(core, 0);
    }

    #[inline]
    fn note_begun(&self) {
        let demand = self.demand.get();
        if demand != FLOWING {
            self.demand.set(demand.saturating_sub(1));
        }
    }

    /// Starts a handler and polls it once. What it gives is put where it is to be.
    // Always: it is called in two places that matter, and too large for the compiler to do so by itself.
    #[inline(always)]
    pub(super) fn begin(
        &self,
        core: &Rc<LoopCore>,
        message: M,
        headers: Headers,
        reply_to: ReplyTo,
        result: &mut Option<Result<R, Failure>>,
    ) -> Begun {
        self.note_begun();
        let began = self.tally.begin().then(|| core.shared().clock.ticks());
        let mut running = self.slots.take(core, self.key);
        core.note_published(reply_to.is_published());
        let outer = core.enter_handler(self.whose);
        let polled = running.start(result, || (self.start)(message, headers));
        core.leave_handler(outer);
        match polled {
            Polled::Ready => self.slots.give_back(running),
            Polled::Pending => {
                let slot = running.slot;
                if let Some(began) = began {
                    self.tally.suspended(slot, began);
                }
                self.slots.suspend(running, reply_to);
                return Begun::Suspended(slot);
            }
            Polled::Panicked(panic) => self.panicked(core, running, false, panic.as_ref(), result),
        }
        if let Some(began) = began {
            self.tally.finished(core.shared().clock.ticks().saturating_sub(began));
        }
        Begun::Finished
    }

    /// The same, once the inbound interceptors have seen the message and let it pass.
    #[cold]
    fn begin_seen(
        &self,
        core: &Rc<LoopCore>,
        mut envelope: Envelope<M>,
        result: &mut Option<Result<R, Failure>>,
    ) -> Begun {
        let kind = if envelope.reply_to.is_published() { Kind::Published } else { Kind::Sent };
        match At::Loop(core).inbound(self.address(), kind, &mut envelope.headers, &envelope.message) {
            Ok(()) => {
                let trail = Trail::new(core, self.address(), &envelope.headers);
                let Envelope { message, headers, reply_to, .. } = envelope;
                let begun = trail.within(core, || self.begin(core, message, headers, reply_to, result));
                if let Begun::Suspended(slot) = begun {
                    self.more().trails.borrow_mut().push((slot, trail));
                }
                begun
            }
            Err(failure) => {
                self.tally.begin();
                contain(|| drop(envelope));
                *result = Some(Err(failure));
                Begun::Finished
            }
        }
    }

    /// Takes what is next in the queue, if a handler may begin with it. `held`: places of handlers that are not running.
    #[inline]
    fn next(&self, held: usize) -> Option<Envelope<M>> {
        let may_take = self.slots.in_flight() - held < self.in_flight_max.get() && self.demand.get() > 0;
        if !may_take || self.expected.get() > 0 {
            return None;
        }
        // One at a time: an empty queue must mean that nobody can be overtaken.
        let envelope = self.queue.pop_front()?;
        self.ahead.set(self.ahead.get().saturating_sub(1));
        Some(envelope)
    }

    /// Handles queued messages one after the other until one suspends or panics: they share a place and a guard.
    fn run_some(&self, core: &Rc<LoopCore>, left: &mut usize, room: &mut bool) {
        let mut running = self.slots.take(core, self.key);
        let mut reply_to = ReplyTo::NOBODY;
        let clock = &core.shared().clock;
        let mut began = None;
        let mut result = None;
        let polled = running.guarded(&mut result, |place| {
            while *left > 0 && !is_looked_at(core) {
                let Some(envelope) = self.next(1) else { break };
                *left -= 1;
                self.note_taken(&envelope, room);
                self.note_begun();
                began = self.tally.begin().then(|| clock.ticks());
                reply_to = envelope.reply_to;
                core.go_on();
                core.note_published(reply_to.is_published());
                if place.start(|| (self.start)(envelope.message, envelope.headers)).is_pending() {
                    return Poll::Pending;
                }
                if let Some(began) = began {
                    self.tally.finished(clock.ticks().saturating_sub(began));
                }
                self.reply(core, reply_to, place.result);
            }
            Poll::Ready(())
        });
        match polled {
            Polled::Pending => {
                if let Some(began) = began {
                    self.tally.suspended(running.slot, began);
                }
                self.slots.suspend(running, reply_to);
            }
            Polled::Ready => self.slots.give_back(running),
            Polled::Panicked(panic) => {
                self.panicked(core, running, false, panic.as_ref(), &mut result);
                self.reply(core, reply_to, &mut result);
            }
        }
    }

    /// One queued message, seen by the interceptors.
    #[cold]
    fn run_seen(&self, core: &Rc<LoopCore>, left: &mut usize, room: &mut bool) {
        let Some(envelope) = self.next(0) else { return };
        *left -= 1;
        self.note_taken(&envelope, room);
        let reply_to = envelope.reply_to;
        let mut result = None;
        if let Begun::Finished = self.begin_seen(core, envelope, &mut result) {
            self.reply(core, reply_to, &mut result);
        }
    }

    #[inline]
    fn note_taken(&self, envelope: &Envelope<M>, room: &mut bool) {
        if envelope.holds_credit() {
            self.theirs.set(self.theirs.get() - 1);
            self.owed.set(self.owed.get() + 1);
        } else {
            *room = true;
        }
    }

    /// A handler has panicked; unless it had given something before, its failure is what it gives.
    #[cold]
    fn panicked(
        &self,
        core: &LoopCore,
        running: Box<Running<F>>,
        is_old: bool,
        panic: &(dyn Any + Send),
        result: &mut Option<Result<R, Failure>>,
    ) {
        if result.is_some() {
            return self.drop_panicked(core, running, panic);
        }
        self.cut_off(core, running);
        let panic = panic_text(panic);
        core.count_panic();
        tracing::error!(address = %self.address(), panic, "a handler panicked; its request fails");
        // An instance that was rebuilt meanwhile has nothing to do with it.
        core.supervise(self.whose, is_old.then_some(u32::MAX), &panic);
        let text = format!("the handler of {} panicked: {panic}", self.address());
        *result = Some(Err(Failure::new(Failure::UNSPECIFIED, text)));
    }

    /// Drops a handler that has not finished.
    #[cold]
    pub(super) fn cut_off(&self, core: &LoopCore, mut running: Box<Running<F>>) {
        match running.cut_off() {
            Ok(()) => self.slots.give_back(running),
            Err(panic) => self.drop_panicked(core, running, panic.as_ref()),
        }
    }

    #[cold]
    fn drop_panicked(&self, core: &LoopCore, running: Box<Running<F>>, panic: &(dyn Any + Send)) {
        let panic = panic_text(panic);
        core.count_panic();
        tracing::error!(address = %self.address(), panic, "a handler panicked while it was dropped");
        self.slots.replace(running);
    }

    pub(super) fn take_trail(&self, slot: u32) -> Option<Trail> {
        let mut trails = self.more.get()?.trails.borrow_mut();
        let at = trails.iter().position(|(known, _)| *known == slot)?;
        Some(trails.swap_remove(at).1)
    }
}
