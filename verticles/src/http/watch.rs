//! What is known about one connection: by it the sweep keeps time, and through it a connection is told to end.

use std::cell::{Cell, RefCell};
use std::task::Waker;
use std::time::Duration;

use super::head::Refusal;
use super::metrics::Overdue;

/// How long a connection may stay in each phase.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// From a head's first byte to its last.
    pub(super) head: Duration,
    /// From a request's first byte to the last byte of its answer.
    pub(super) request: Duration,
    /// With nothing asked.
    pub(super) idle: Duration,
    /// From a refusal until the client closes.
    pub(super) closing: Duration,
}

impl Times {
    /// How often to sweep: once a second, more often only when a time is so short that a second would blur it.
    pub(super) fn sweep_interval(&self) -> Duration {
        let shortest = self.head.min(self.request).min(self.idle);
        (shortest / 4).clamp(Duration::from_millis(5), Duration::from_secs(1))
    }
}

/// What a connection is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing was sent since the last answer, or since the connection was opened.
    Idle,
    /// A head has begun.
    Head,
    /// A whole head is here and its answer is not yet written.
    Request,
    /// A refusal is written; what the client still sends is thrown away.
    Closing,
}

/// What a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Go on.
    Serve,
    /// Close when nothing is under way.
    Finish,
    /// Close now.
    Cut,
}

/// One connection, as seen by the stream under the HTTP parser, the service above it, and the sweep.
///
/// Time is the sweep's: a phase begins at the last sweep before it really did, and [`Watch::overdue`] allows for that.
#[derive(Debug)]
pub(super) struct Watch {
    phase: Cell<Phase>,
    since: Cell<Duration>,
    /// Heads passed to the parser.
    passed: Cell<u64>,
    /// Requests the service has begun.
    begun: Cell<u64>,
    /// Heads passed whose answers are not written.
    pending: Cell<u64>,
    /// Answers given to the parser and not yet written.
    unwritten: Cell<u64>,
    /// A part of a head is held back.
    partial: Cell<bool>,
    refusal: Cell<Option<Refusal>>,
    order: Cell<Order>,
    waker: RefCell<Option<Waker>>,
}

impl Watch {
    /// A connection opened now.
    pub(super) fn new(now: Duration) -> Self {
        Self {
            phase: Cell::new(Phase::Idle),
            since: Cell::new(now),
            passed: Cell::new(0),
            begun: Cell::new(0),
            pending: Cell::new(0),
            unwritten: Cell::new(0),
            partial: Cell::new(false),
            refusal: Cell::new(None),
            order: Cell::new(Order::Serve),
            waker: RefCell::new(None),
        }
    }

    fn enter(&self, phase: Phase, now: Duration) {
        self.phase.set(phase);
        self.since.set(now);
    }

    /// A whole head goes to the parser.
    pub(super) fn head_passed(&self, now: Duration) {
        self.passed.set(self.passed.get() + 1);
        self.pending.set(self.pending.get() + 1);
        match self.phase.get() {
            Phase::Idle => self.enter(Phase::Request, now),
            // The request has begun with its first byte, not with its last.
            Phase::Head => self.phase.set(Phase::Request),
            Phase::Request | Phase::Closing => {}
        }
    }

    /// Whether a part of a head is held back, now that all bytes received were looked at.
    pub(super) fn holds_part(&self, part: bool, now: Duration) {
        self.partial.set(part);
        if part && self.phase.get() == Phase::Idle {
            self.enter(Phase::Head, now);
        }
    }

    /// The next request is not handed on. The first reason stays.
    pub(super) fn refuse(&self, refusal: Refusal) {
        if self.refusal.get().is_none() {
            self.refusal.set(Some(refusal));
        }
    }

    /// Why the next request is not handed on, if it is not.
    pub(super) fn refusal(&self) -> Option<Refusal> {
        self.refusal.get()
    }

    /// The service begins a request. `Some` when it stands for the one that was refused.
    pub(super) fn begin(&self) -> Option<Refusal> {
        self.begun.set(self.begun.get() + 1);
        if self.begun.get() > self.passed.get() { self.refusal.get() } else { None }
    }

    /// The service has answered.
    pub(super) fn answered(&self) {
        self.unwritten.set(self.unwritten.get() + 1);
    }

    /// All answers given so far are written.
    pub(super) fn written(&self, now: Duration) {
        let unwritten = self.unwritten.replace(0);
        if unwritten == 0 {
            return;
        }
        self.pending.set(self.pending.get().saturating_sub(unwritten));
        match (self.pending.get(), self.partial.get()) {
            (0, false) => self.enter(Phase::Idle, now),
            (0, true) => self.enter(Phase::Head, now),
            _ => self.enter(Phase::Request, now),
        }
    }

    /// The refusal is written; the client is to close.
    pub(super) fn closing(&self, now: Duration) {
        self.enter(Phase::Closing, now);
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.phase.get() == Phase::Idle
    }

    /// Which time is up. Never early; late by two sweeps at most.
    pub(super) fn overdue(&self, now: Duration, times: &Times) -> Option<Overdue> {
        let (limit, overdue) = match self.phase.get() {
            Phase::Idle => (times.idle, Overdue::Idle),
            Phase::Head => (times.head, Overdue::Head),
            Phase::Request => (times.request, Overdue::Request),
            Phase::Closing => (times.closing, Overdue::Closing),
        };
        let passed = now.saturating_sub(self.since.get());
        (passed >= limit + times.sweep_interval()).then_some(overdue)
    }

    /// Tells the connection what to do, and wakes it. `Cut` is never taken back.
    pub(super) fn order(&self, order: Order) {
        if self.order.get() != Order::Cut {
            self.order.set(order);
        }
        self.wake();
    }

    /// What the connection was told.
    pub(super) fn ordered(&self) -> Order {
        self.order.get()
    }

    /// Wakes the connection's task.
    pub(super) fn wake(&self) {
        let waker = self.waker.borrow().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Who is to be woken.
    pub(super) fn woken_by(&self, waker: &Waker) {
        let mut known = self.waker.borrow_mut();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMES: Times = Times {
        head: Duration::from_secs(10),
        request: Duration::from_secs(20),
        idle: Duration::from_secs(75),
        closing: Duration::from_secs(2),
    };

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_phase_has_its_time() {
        let watch = Watch::new(at(0));
        assert_eq!((watch.overdue(at(75), &TIMES), watch.overdue(at(76), &TIMES)), (None, Some(Overdue::Idle)));
        watch.holds_part(true, at(50));
        assert_eq!((watch.overdue(at(60), &TIMES), watch.overdue(at(61), &TIMES)), (None, Some(Overdue::Head)));
        watch.head_passed(at(60));
        watch.holds_part(false, at(60));
        assert_eq!((watch.overdue(at(70), &TIMES), watch.overdue(at(71), &TIMES)), (None, Some(Overdue::Request)));
        watch.closing(at(60));
        assert_eq!((watch.overdue(at(62), &TIMES), watch.overdue(at(63), &TIMES)), (None, Some(Overdue::Closing)));
    }

    #[test]
    fn more_bytes_of_a_head_do_not_give_it_more_time() {
        let watch = Watch::new(at(0));
        for second in 0..11 {
            watch.holds_part(true, at(second));
        }
        assert_eq!(watch.overdue(at(11), &TIMES), Some(Overdue::Head));
    }

    #[test]
    fn a_request_lasts_until_its_answer_is_written() {
        let watch = Watch::new(at(0));
        watch.head_passed(at(0));
        assert_eq!(watch.begin(), None);
        watch.answered();
        assert_eq!(watch.overdue(at(21), &TIMES), Some(Overdue::Request));
        watch.written(at(1));
        assert!(watch.is_idle());
        assert_eq!(watch.overdue(at(75), &TIMES), None);
    }

    #[test]
    fn a_request_that_waits_behind_another_has_its_time_from_then_on() {
        let watch = Watch::new(at(0));
        watch.head_passed(at(0));
        watch.head_passed(at(0));
        watch.answered();
        watch.written(at(15));
        assert!(!watch.is_idle());
        assert_eq!((watch.overdue(at(35), &TIMES), watch.overdue(at(36), &TIMES)), (None, Some(Overdue::Request)));
    }

    #[test]
    fn the_refusal_is_told_to_the_request_behind_all_that_passed() {
        let watch = Watch::new(at(0));
        watch.head_passed(at(0));
        watch.refuse(Refusal::Host);
        watch.refuse(Refusal::TooSlow);
        assert_eq!(watch.begin(), None);
        assert_eq!(watch.begin(), Some(Refusal::Host));
    }

    #[test]
    fn the_sweep_is_once_a_second_unless_a_time_is_shorter() {
        assert_eq!(TIMES.sweep_interval(), Duration::from_secs(1));
        let short = Times { head: Duration::from_millis(100), ..TIMES };
        assert_eq!(short.sweep_interval(), Duration::from_millis(25));
    }
}
