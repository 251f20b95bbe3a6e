//! The one task of an event loop that does the runtime's work there.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::task::coop::has_budget_remaining;

use crate::bus::outbox::Flush;
use crate::clock::Sleep;
use crate::panic::{contain, panic_text};

use super::LoopCore;
use super::shared::Inbox;
use super::work::Ready;

/// Parcels opened per turn, so that a flood from outside leaves the loop's own work its share.
const PARCELS_PER_TURN: usize = 128;
/// Messages handled for one consumer before the next one has its turn.
const MESSAGES_PER_TURN: usize = 256;
/// How long a batch waits for room in a full inbox before it is tried again.
const RETRY_NS: u64 = 1_000_000;
/// A driver that fails so many turns in a row will not get better.
const FAILED_TURNS_MAX: u32 = 1_000;

pub(crate) struct Driver {
    core: Rc<LoopCore>,
    inbox: Inbox,
    timer: Pin<Box<Sleep>>,
    /// When the timer fires; `u64::MAX` when it is not set.
    armed: u64,
    /// Whether the timer knows whom to wake.
    announced: bool,
    /// It has fired, and nothing was done about it yet.
    fired: bool,
    /// Parcels were left for the next turn.
    parcels_left: bool,
    /// The batches that are being sent; kept for its room.
    sending: Vec<Rc<dyn Flush>>,
    /// Batches that found a full inbox.
    retry_at: u64,
    failed_turns: u32,
}

impl Driver {
    /// Must be called on the loop's executor.
    pub(crate) fn new(core: Rc<LoopCore>, inbox: Inbox) -> Self {
        let timer = Box::pin(core.shared().clock.at(0));
        Self {
            core,
            inbox,
            timer,
            armed: u64::MAX,
            announced: false,
            fired: false,
            parcels_left: false,
            sending: Vec::new(),
            retry_at: u64::MAX,
            failed_turns: 0,
        }
    }

    /// Runs until the loop is told to stop.
    ///
    /// Within tokio's budget, which the handlers of a turn share: a handler that never suspends by itself is suspended
    /// when it is spent, and the turn ends there, so that the loop's tasks and sockets have theirs.
    pub(crate) async fn run(mut self) {
        poll_fn(|cx| self.guarded_turn(cx)).await;
        self.core.close(&self.inbox);
    }

    /// Foreign code is guarded where it is called; what gets through to here must not take the whole loop with it.
    fn guarded_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match catch_unwind(AssertUnwindSafe(|| self.turn(cx))) {
            Ok(polled) => {
                self.failed_turns = 0;
                polled
            }
            Err(panic) => {
                self.failed_turns += 1;
                let (name, panic) = (&self.core.own().name, panic_text(panic.as_ref()));
                self.core.count_panic();
                tracing::error!(event_loop = %name, failed_turns = self.failed_turns, panic, "a turn of an event loop failed");
                if self.failed_turns >= FAILED_TURNS_MAX {
                    tracing::error!(event_loop = %name, "the event loop is given up");
                    return Poll::Ready(());
                }
                cx.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let core = Rc::clone(&self.core);
        if core.puts_off() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let notified = core.begin_turn(cx.waker());
        core.note_turn(std::mem::take(&mut self.fired) || (self.armed != u64::MAX && self.timer.is_elapsed()));
        if notified {
            for job in core.own().take_jobs() {
                contain(|| job(&core));
            }
            core.gather_woken();
            core.forget_old_chains();
        }
        if notified || self.parcels_left {
            self.open_parcels(&core);
        }
        resume_woken(&core);
        run_ready(&core);
        // Last of what may run foreign code: whatever was sent in this turn leaves with it.
        self.flush(&core);
        if core.own().is_stopping() {
            return Poll::Ready(());
        }
        self.arm(&core, cx);
        core.end_turn(self.parcels_left);
        Poll::Pending
    }

    fn open_parcels(&mut self, core: &Rc<LoopCore>) {
        let mut opened = 0;
        // As long as it is not known to be empty: a parcel that fails its turn leaves others behind it.
        self.parcels_left = true;
        while opened < PARCELS_PER_TURN {
            let Some(parcel) = self.inbox.take() else {
                self.parcels_left = false;
                break;
            };
            opened += 1;
            parcel.open(core);
        }
        if opened > 0 {
            core.own().room.wake();
        }
    }

    fn flush(&mut self, core: &LoopCore) {
        if !core.take_outgoing(&mut self.sending) {
            return;
        }
        self.retry_at = u64::MAX;
        for outbox in self.sending.drain(..) {
            if !outbox.flush(core) {
                core.flush_when_retried(outbox);
                self.retry_at = 0;
            }
        }
        if self.retry_at == 0 {
            core.read_clock();
            self.retry_at = core.ticks.last().saturating_add(RETRY_NS);
        }
    }

    /// Sets the timer to what comes first. Touched only when that changes: the timer costs more than a request.
    fn arm(&mut self, core: &LoopCore, cx: &mut Context<'_>) {
        let first = core.deadline().min(self.retry_at);
        if first != u64::MAX && (first < self.armed || self.timer.is_elapsed()) {
            self.armed = first;
            self.announced = false;
            self.timer.as_mut().reset(core.shared().clock.instant(first));
        }
        if self.armed == u64::MAX || (self.announced && !self.timer.is_elapsed()) {
            return;
        }
        // Within the budget, or it would only say that there is none left; it asks for another turn in that case.
        self.announced = has_budget_remaining();
        if self.timer.as_mut().poll(cx).is_ready() {
            self.armed = u64::MAX;
            self.fired = first != u64::MAX;
            if self.fired {
                cx.waker().wake_by_ref();
            }
        }
    }
}

fn resume_woken(core: &Rc<LoopCore>) {
    // Those woken by what is resumed now have their turn in the next one.
    for _ in 0..core.woken_count() {
        if !has_budget_remaining() {
            break;
        }
        let Some((consumer, slot)) = core.next_woken() else { break };
        if let Some(consumer) = core.any_consumer(consumer) {
            consumer.resume(core, slot);
        }
    }
}

fn run_ready(core: &Rc<LoopCore>) {
    for _ in 0..core.ready_count() {
        if !has_budget_remaining() {
            break;
        }
        match core.next_ready() {
            None => break,
            Some(Ready::Consumer(consumer)) => {
                if let Some(consumer) = core.any_consumer(consumer) {
                    consumer.run(core, core.messages_per_turn(MESSAGES_PER_TURN));
                }
            }
            Some(Ready::Published(published)) => {
                if !published.hand_out(core, core.messages_per_turn(MESSAGES_PER_TURN)) {
                    core.hand_out_next(published);
                }
            }
        }
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::any::Any;
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::event_loop::shared::Parcel;
    use crate::runtime::Shared;
    use crate::testing::TestRuntime;
    use crate::{Address, RequestError, SendError};

    const ECHO: Address<u32, u32> = Address::new("echo");

    /// A fault of the runtime itself.
    struct Fault;

    impl Parcel for Fault {
        fn open(self: Box<Self>, _: &Rc<LoopCore>) {
            panic!("a fault");
        }

        fn into_any(self: Box<Self>) -> Box<dyn Any> {
            Box::new(())
        }

        fn lost(self: Box<Self>, _: &Arc<Shared>) {}
    }

    #[test]
    fn a_turn_that_fails_does_not_end_its_loop() {
        TestRuntime::on_loops(1, |rt| async move {
            rt.stub(ECHO, |number| async move { Ok(number) }).await.unwrap();
            for number in 0..10 {
                assert!(rt.bus().shared.event_loop(0).try_post(Box::new(Fault)).is_ok());
                assert_eq!(rt.bus().request(ECHO, number).await, Ok(number));
            }
        });
    }

    #[test]
    fn a_loop_that_does_nothing_but_fail_ends_and_everybody_is_told() {
        TestRuntime::on_loops(1, |rt| async move {
            let stuck = rt.stub(ECHO, |_| std::future::pending()).await.unwrap();
            let bus = rt.bus().clone();
            let asking = tokio::task::spawn_local(async move { bus.request(ECHO, 1).await });
            rt.clock().sleep(Duration::from_millis(20)).await;
            let event_loop = rt.bus().shared.event_loop(0);
            // Held until all of them are there: a turn that finds none of them would be one that does not fail.
            let (release, held) = std::sync::mpsc::sync_channel::<()>(1);
            event_loop.do_job(move |_| {
                let _released = held.recv();
            });
            for _ in 0..FAILED_TURNS_MAX {
                assert!(event_loop.try_post(Box::new(Fault)).is_ok());
            }
            drop(release);
            while !event_loop.has_ended() {
                assert!(rt.elapsed() < Duration::from_secs(20));
                rt.clock().sleep(Duration::from_millis(1)).await;
            }
            assert_eq!(asking.await.unwrap(), Err(RequestError::Closed { address: "echo".into() }));
            assert_eq!(rt.bus().send(ECHO, 2).await, Err(SendError::NoHandlers(2)));
            assert!(rt.stub(ECHO, |number| async move { Ok(number) }).await.is_err());
            stuck.undeploy().await.unwrap();
        });
    }
}
