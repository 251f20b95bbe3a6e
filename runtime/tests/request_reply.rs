//! Promises of `request`: it always ends, once, in the reply or in a failure that says why.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::future::pending;
use std::time::Duration;

use std::future::Future as _;
use support::{Gate, Seen, eventually};

use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, RequestError, Verticle};

const DOUBLE: Address<u32, u32> = Address::new("double");
const RELAY: Address<u32, u32> = Address::new("relay");

struct Doubler;

impl Verticle for Doubler {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(DOUBLE).register()?;
        Ok(())
    }
}

impl Handler<u32> for Doubler {
    type Reply = u32;
    async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
        match number {
            0 => Err(Failure::new(22, "zero cannot be doubled")),
            13 => panic!("thirteen"),
            other => Ok(other * 2),
        }
    }
}

struct Relay;

impl Verticle for Relay {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(RELAY).register()?;
        Ok(())
    }
}

impl Handler<u32> for Relay {
    type Reply = u32;
    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<u32, Failure> {
        Ok(ctx.bus().request(DOUBLE, number).await? + 1)
    }
}

promises! {
    async fn a_request_gets_the_reply_of_its_handler(rt: &TestRuntime) {
        rt.deploy(Deploy::new(|| Doubler)).await.unwrap();
        assert_eq!(rt.bus().request(DOUBLE, 21).await, Ok(42));
    }

    async fn a_request_to_nobody_fails_at_once_and_not_by_time_out(rt: &TestRuntime) {
        let asked = rt.bus().request(DOUBLE, 1).await;
        assert!(matches!(asked, Err(RequestError::NoHandlers { address }) if &*address == "double"));
    }

    async fn a_handlers_failure_reaches_the_caller_with_code_and_text(rt: &TestRuntime) {
        rt.deploy(Deploy::new(|| Doubler)).await.unwrap();
        let failure = rt.bus().request(DOUBLE, 0).await.unwrap_err();
        assert_eq!(failure, RequestError::Failed(Failure::new(22, "zero cannot be doubled")));
    }

    async fn a_panic_fails_its_request_and_nothing_else(rt: &TestRuntime) {
        rt.deploy(Deploy::new(|| Doubler)).await.unwrap();
        let failure = rt.bus().request(DOUBLE, 13).await.unwrap_err();
        assert_eq!(failure.code(), Some(Failure::UNSPECIFIED));
        assert_eq!(rt.bus().request(DOUBLE, 4).await, Ok(8));
    }

    async fn a_failure_passes_through_a_handler_that_asks_in_turn(rt: &TestRuntime) {
        rt.deploy(Deploy::new(|| Doubler).instances(3)).await.unwrap();
        rt.deploy(Deploy::new(|| Relay).instances(2)).await.unwrap();
        for _ in 0..6 {
            assert_eq!(rt.bus().request(RELAY, 5).await, Ok(11));
        }
        assert_eq!(rt.bus().request(RELAY, 0).await.unwrap_err().code(), Some(22));
    }

    async fn a_name_with_other_types_is_refused_with_both(rt: &TestRuntime) {
        const OTHER: Address<String, u8> = Address::new("double");
        rt.deploy(Deploy::new(|| Doubler)).await.unwrap();
        let asked = rt.bus().request(OTHER, "x".to_owned()).await;
        assert!(matches!(asked, Err(RequestError::WrongType { served, called, .. })
            if served.contains("u32") && called.contains("String")));
    }

    async fn an_abandoned_request_still_runs_its_handler(rt: &TestRuntime) {
        let (gate, seen) = (Gate::default(), Seen::default());
        let (wait, note) = (gate.clone(), seen.clone());
        rt.stub(DOUBLE, move |number| {
            let (wait, note) = (wait.clone(), note.clone());
            async move {
                wait.wait().await;
                note.note(number);
                Ok(0)
            }
        }).await.unwrap();
        let asked = rt.clock().timeout(Duration::from_millis(20), rt.bus().request(DOUBLE, 7)).await;
        assert!(asked.is_err());
        gate.open();
        eventually(rt.clock(), "the handler finishes", || seen.all() == [7]).await;
    }

    async fn many_requests_at_once_each_get_their_own_reply(rt: &TestRuntime) {
        rt.deploy(Deploy::new(|| Doubler).instances(2)).await.unwrap();
        rt.deploy(Deploy::new(|| Relay).instances(4)).await.unwrap();
        let mut asked = tokio::task::JoinSet::new();
        for number in 100..600 {
            let bus = rt.bus().clone();
            asked.spawn_local(async move { (number, bus.request(RELAY, number).await) });
        }
        while let Some(done) = asked.join_next().await {
            let (number, reply) = done.unwrap();
            assert_eq!(reply, Ok(number * 2 + 1));
        }
    }
}

#[test]
fn a_request_on_the_consumers_own_loop_is_answered_inside_the_call() {
    TestRuntime::paused(|rt| async move {
        rt.deploy(Deploy::new(|| Doubler)).await.unwrap();
        let mut asked = Box::pin(rt.bus().request(DOUBLE, 4));
        let first = std::future::poll_fn(|cx| std::task::Poll::Ready(asked.as_mut().poll(cx))).await;
        assert_eq!(first, std::task::Poll::Ready(Ok(8)));
    });
}

#[test]
fn virtual_time_stands_still_while_anything_can_run() {
    TestRuntime::paused(|rt| async move {
        rt.stub(DOUBLE, |number| async move {
            tokio::task::yield_now().await;
            Ok(number)
        })
        .await
        .unwrap();
        let clock = rt.clock().clone();
        let timer = tokio::task::spawn_local(async move { clock.sleep(Duration::from_millis(1)).await });
        for number in 0..1_000 {
            assert_eq!(rt.bus().request(DOUBLE, number).await, Ok(number));
        }
        assert_eq!(rt.elapsed(), Duration::ZERO);
        timer.await.unwrap();
        assert_eq!(rt.elapsed(), Duration::from_millis(1));
    });
}

#[test]
fn a_time_out_comes_exactly_when_it_was_asked_for() {
    TestRuntime::paused(|rt| async move {
        let stuck = rt.stub(DOUBLE, |_| pending()).await.unwrap();
        for (timeout_ms, passed_ms) in [(50, 50), (1, 51), (30_000, 30_051)] {
            let asked = rt.bus().request(DOUBLE, 1).timeout(Duration::from_millis(timeout_ms)).await;
            let after = Duration::from_millis(timeout_ms);
            assert_eq!(asked, Err(RequestError::Timeout { address: "double".into(), after }));
            assert_eq!(rt.elapsed(), Duration::from_millis(passed_ms));
        }
        let report = stuck.undeploy_within(Duration::ZERO).await.unwrap();
        assert_eq!(report.abandoned, 3);
    });
}

#[test]
fn a_request_times_out_after_thirty_seconds_unless_told_otherwise() {
    TestRuntime::paused(|rt| async move {
        let stuck = rt.stub(DOUBLE, |_| pending()).await.unwrap();
        assert!(matches!(rt.bus().request(DOUBLE, 1).await, Err(RequestError::Timeout { .. })));
        assert_eq!(rt.elapsed(), Duration::from_secs(30));
        stuck.undeploy_within(Duration::ZERO).await.unwrap();
    });
}

#[test]
fn a_late_reply_is_ignored_and_later_requests_are_not_confused_by_it() {
    TestRuntime::paused(|rt| async move {
        let clock = rt.clock().clone();
        rt.stub(DOUBLE, move |number| {
            let clock = clock.clone();
            async move {
                clock.sleep(Duration::from_millis(u64::from(number))).await;
                Ok(number)
            }
        })
        .await
        .unwrap();
        let late = rt.bus().request(DOUBLE, 100).timeout(Duration::from_millis(50)).await;
        assert!(matches!(late, Err(RequestError::Timeout { .. })));
        assert_eq!(rt.bus().request(DOUBLE, 60).await, Ok(60));
        assert_eq!(rt.elapsed(), Duration::from_millis(110));
    });
}

#[test]
fn a_held_request_does_not_keep_its_handler_from_finishing() {
    // The handler belongs to its loop: a caller that polls once and then waits for something else must not stall it.
    TestRuntime::paused(|rt| async move {
        let clock = rt.clock().clone();
        let seen = Seen::default();
        let note = seen.clone();
        rt.stub(DOUBLE, move |number| {
            let (clock, note) = (clock.clone(), note.clone());
            async move {
                clock.sleep(Duration::from_millis(5)).await;
                note.note(number);
                Ok(number)
            }
        })
        .await
        .unwrap();
        let mut held = Box::pin(rt.bus().request(DOUBLE, 3));
        std::future::poll_fn(|cx| {
            assert!(held.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        })
        .await;
        eventually(rt.clock(), "the handler finishes", || seen.all() == [3]).await;
        assert_eq!(held.await, Ok(3));
    });
}
