//! What is counted, where, and how it is read.

use std::time::Duration;

use vertebra::testing::TestRuntime;
use vertebra::{Address, AddressMetrics, Failure, Published, ReplyFailures, RequestError, Runtime, SendError};

use super::tap::{self, NUMBERS, Tap, Turn, WAITS, ask, send, turn};
use crate::promises;
use crate::support::{Gate, Seen, eventually, on_a_loop};

async fn at(rt: &TestRuntime, address: &str) -> AddressMetrics {
    rt.metrics().await.address(address).cloned().unwrap_or_default()
}

promises! {
    /// A send, a request or a publish is counted once at its address, whoever makes it, also when nobody serves it.
    async fn v201_what_is_sent_is_counted_once_also_when_nobody_serves_it(rt: &TestRuntime) {
        const NOBODY: Address<u32> = Address::new("nobody");
        assert!(rt.metrics().await.address("nobody").is_none());
        let verbs = |bus: vertebra::Bus, _| async move {
            assert_eq!(bus.send(NOBODY, 1).await, Err(SendError::NoHandlers(1)));
            assert_eq!(bus.try_send(NOBODY, 2), Err(SendError::NoHandlers(2)));
            assert_eq!(bus.publish(NOBODY, 3), Published::default());
            assert!(bus.request(NOBODY, 4).await.is_err());
        };
        verbs(rt.bus().clone(), rt.clock().clone()).await;
        assert_eq!(at(&rt, "nobody").await.sent, 4);
        on_a_loop(&rt, verbs).await;
        assert_eq!((at(&rt, "nobody").await.sent, at(&rt, "nobody").await.delivered), (8, 0));
        let handler = |_| async { Ok(()) };
        let (first, second) = (rt.stub(NOBODY, handler).await.unwrap(), rt.stub(NOBODY, handler).await.unwrap());
        let verbs = |bus: vertebra::Bus, _| async move {
            bus.send(NOBODY, 1).await.unwrap();
            assert_eq!(bus.publish(NOBODY, 3).reached, 2);
            bus.request(NOBODY, 4).await.unwrap();
        };
        verbs(rt.bus().clone(), rt.clock().clone()).await;
        on_a_loop(&rt, verbs).await;
        assert_eq!(at(&rt, "nobody").await.sent, 14);
        first.undeploy().await.unwrap();
        second.undeploy().await.unwrap();
        let after = at(&rt, "nobody").await;
        assert_eq!((after.sent, after.delivered, after.consumers), (14, 8, 0), "kept when its consumers are gone");
    }

    /// A send that waits for room is counted once, however often it looks for some.
    async fn v201_a_send_that_waits_is_counted_once(rt: &TestRuntime) {
        let tap = Tap::shut(&rt, 1).await;
        send(&rt, [0]).await;
        let bus = rt.bus().clone();
        let waiting = tokio::task::spawn_local(async move { bus.send(NUMBERS, 1).await });
        turn(&rt, Turn::Nothing).await;
        let in_vain = rt.bus().send(NUMBERS, 2).timeout(Duration::from_millis(5)).await;
        assert_eq!(in_vain, Err(SendError::Full(2)));
        turn(&rt, Turn::Resume).await;
        waiting.await.unwrap().unwrap();
        eventually(rt.clock(), "both", || tap.seen.len() == 2).await;
        let counted = at(&rt, NUMBERS.name()).await;
        assert_eq!((counted.sent, counted.refused, counted.delivered), (3, 1, 2));
    }

    /// A delivery is counted for each consumer it reaches: one for a send, all for a publish, none for nobody.
    async fn v202_a_delivery_is_counted_for_each_consumer(rt: &TestRuntime) {
        let seen = Seen::default();
        for _ in 0..3 {
            let seen = seen.clone();
            rt.stub(NUMBERS, move |number| { seen.note(number); async move { Ok(number) } }).await.unwrap();
        }
        send(&rt, [1]).await;
        assert_eq!(rt.bus().publish(NUMBERS, 2).reached, 3);
        eventually(rt.clock(), "all of them", || seen.len() == 4).await;
        rt.bus().request(NUMBERS, 3).await.unwrap();
        let counted = at(&rt, NUMBERS.name()).await;
        assert_eq!((counted.sent, counted.delivered, counted.failed, counted.consumers), (3, 5, 0, 3));
    }

    /// A message is counted as pending while it is queued, and as delivered from when its handler starts: in there it is.
    async fn v204_pending_while_queued_delivered_when_the_handler_starts(rt: &TestRuntime) {
        let tap = Tap::shut(&rt, 8).await;
        send(&rt, 0..3).await;
        let queued = at(&rt, NUMBERS.name()).await;
        assert_eq!((queued.pending, queued.delivered, queued.in_flight), (3, 0, 0));
        turn(&rt, Turn::Fetch(2)).await;
        eventually(rt.clock(), "two", || tap.seen.len() == 2).await;
        let fetched = at(&rt, NUMBERS.name()).await;
        assert_eq!((fetched.pending, fetched.delivered, fetched.in_flight), (1, 2, 0));
        turn(&rt, Turn::Resume).await;
        let asked = ask(&rt, WAITS).await;
        let within = at(&rt, NUMBERS.name()).await;
        assert_eq!((within.pending, within.delivered, within.in_flight), (0, 4, 1));
        let loops = rt.metrics().await.loops;
        assert_eq!(loops.iter().map(|event_loop| event_loop.in_flight).sum::<usize>(), 1);
        tap.gate.open();
        asked.await.unwrap().unwrap();
        assert_eq!(at(&rt, NUMBERS.name()).await.in_flight, 0);
    }

    /// A message that was accepted is in the end counted once, as delivered or as discarded; one that found no room as
    /// dropped or refused.
    async fn v205_what_is_accepted_is_delivered_or_discarded_once(rt: &TestRuntime) {
        let tap = Tap::shut(&rt, 8).await;
        send(&rt, 0..6).await;
        assert_eq!(rt.bus().publish(NUMBERS, 6).reached, 1);
        assert_eq!(rt.bus().publish(NUMBERS, 7).reached, 1);
        assert_eq!(rt.bus().publish(NUMBERS, 8).dropped, 1);
        assert!(rt.bus().try_send(NUMBERS, 9).is_err());
        assert!(rt.bus().request(NUMBERS, 10).await.is_err());
        turn(&rt, Turn::Fetch(3)).await;
        eventually(rt.clock(), "three", || tap.seen.len() == 3).await;
        assert_eq!(turn(&rt, Turn::UnregisterNow).await, 5);
        let counted = at(&rt, NUMBERS.name()).await;
        assert_eq!((counted.sent, counted.delivered, counted.discarded), (11, 3, 5));
        assert_eq!((counted.dropped, counted.refused, counted.pending), (1, 2, 0));
    }

    /// A failed request is counted at its address by the type of its failure, wherever it was asked.
    async fn v206_a_failed_request_is_counted_by_the_type_of_its_failure(rt: &TestRuntime) {
        let gate = Gate::default();
        let waiting = gate.clone();
        let asks = |bus: vertebra::Bus, _| async move {
            assert!(matches!(bus.request(NUMBERS, 0).await, Err(RequestError::Failed(_))));
            let late = bus.request(NUMBERS, 1).timeout(Duration::from_millis(2)).await;
            assert!(matches!(late, Err(RequestError::Timeout { .. })));
        };
        assert!(matches!(rt.bus().request(NUMBERS, 0).await, Err(RequestError::NoHandlers { .. })));
        let serving = rt.stub(NUMBERS, move |number| {
            let gate = waiting.clone();
            async move {
                if number == 0 {
                    return Err(Failure::new(1, "no"));
                }
                gate.wait().await;
                Ok(number)
            }
        });
        let serving = serving.await.unwrap();
        asks(rt.bus().clone(), rt.clock().clone()).await;
        on_a_loop(&rt, asks).await;
        gate.open();
        assert!(serving.undeploy().await.unwrap().failures.is_empty());
        let counted = at(&rt, NUMBERS.name()).await;
        let mut failures = ReplyFailures::default();
        (failures.no_handlers, failures.recipient_failure, failures.timeout) = (1, 2, 2);
        assert_eq!((counted.reply_failures, counted.failed, counted.delivered), (failures, 2, 4));
    }

    /// When a handler ends is known to the runtime, and how long it took with all it awaited: one in 256 is measured, the
    /// first always. It is no acknowledgement: a send has long succeeded.
    async fn v104_when_a_handler_ends_is_known(rt: &TestRuntime) {
        let tap = Tap::open(&rt).await;
        send(&rt, [WAITS]).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!(at(&rt, NUMBERS.name()).await.handler_time.count(), 0, "it has not ended");
        rt.clock().sleep(Duration::from_millis(20)).await;
        tap.gate.open();
        eventually(rt.clock(), "its end", || tap.finished.len() == 1).await;
        let measured = at(&rt, NUMBERS.name()).await.handler_time;
        assert_eq!(measured.count(), 1);
        assert!(measured.sum() >= Duration::from_millis(20) && measured.quantile(0.5) >= Some(Duration::from_millis(20)));
        send(&rt, 0..255).await;
        eventually(rt.clock(), "all but one", || tap.seen.len() == 256).await;
        assert_eq!(at(&rt, NUMBERS.name()).await.handler_time.count(), 1);
        send(&rt, [255]).await;
        eventually(rt.clock(), "the 257th", || tap.seen.len() == 257).await;
        assert_eq!(at(&rt, NUMBERS.name()).await.handler_time.count(), 2);
    }

    /// What room there is left can be seen before it is gone, by whoever sends.
    async fn the_room_that_is_left_can_be_seen(rt: &TestRuntime) {
        assert_eq!(rt.bus().room(NUMBERS), 0);
        let tap = Tap::shut(&rt, 8).await;
        send(&rt, 0..3).await;
        turn(&rt, Turn::Nothing).await;
        assert_eq!((rt.bus().room(NUMBERS), at(&rt, NUMBERS.name()).await.pending), (5, 3));
        send(&rt, 3..8).await;
        assert_eq!((rt.bus().room(NUMBERS), rt.bus().try_send(NUMBERS, 8)), (0, Err(SendError::Full(8))));
        turn(&rt, Turn::Resume).await;
        eventually(rt.clock(), "all of them", || tap.seen.len() == 8 && rt.bus().room(tap::NUMBERS) == 8).await;
    }
}

#[test]
fn a_loop_that_is_blocked_is_said_to_be_so_and_how_long_it_kept_the_question() {
    TestRuntime::on_loops(1, |rt| async move {
        let metrics = rt.metrics().await;
        assert!(metrics.loops[0].answered && metrics.loops[0].name == "loop-0");
        let (unblock, blocked) = std::sync::mpsc::sync_channel::<()>(1);
        let blocked = std::sync::Arc::new(std::sync::Mutex::new(blocked));
        let begun = Seen::default();
        let began = begun.clone();
        rt.stub(NUMBERS, move |number| {
            let blocked = blocked.clone();
            began.note(number);
            async move {
                assert!(blocked.lock().unwrap().recv().is_ok(), "a loop must not do this");
                Ok(number)
            }
        })
        .await
        .unwrap();
        rt.bus().send(NUMBERS, 1).await.unwrap();
        eventually(rt.clock(), "it is blocked", || begun.len() == 1).await;
        let metrics = rt.metrics().await;
        assert!(!metrics.loops[0].answered && metrics.loops[0].lag >= Duration::from_secs(1));
        assert!(metrics.loops[1].answered, "the loop named io");
        let bus = rt.bus().clone();
        let waiting = tokio::task::spawn_local(async move { bus.metrics().await });
        let asked = rt.clock().now();
        while rt.clock().now() - asked < Duration::from_millis(10) {
            tokio::task::yield_now().await;
        }
        unblock.send(()).unwrap();
        let late = waiting.await.unwrap();
        assert!(late.loops[0].answered && late.loops[0].lag >= Duration::from_millis(10), "{:?}", late.loops[0]);
        assert!(rt.metrics().await.loops[0].lag < late.loops[0].lag);
    });
}

#[test]
fn a_panic_is_counted_at_its_loop() {
    TestRuntime::on_loops(1, |rt| async move {
        rt.stub(NUMBERS, |_| async { panic!("on purpose") }).await.unwrap();
        for _ in 0..3 {
            assert!(rt.bus().request(NUMBERS, 1).await.is_err());
        }
        let metrics = rt.metrics().await;
        assert_eq!((metrics.loops[0].panics, metrics.address("tap.numbers").map(|at| at.failed)), (3, Some(3)));
    });
}

#[test]
fn names_that_come_and_go_are_counted_together_beyond_the_bound() {
    TestRuntime::paused(|rt| async move {
        for number in 0..5_000 {
            let name: Address<u32> = Address::dynamic(format!("nobody.{number}"));
            assert!(rt.bus().try_send(name, 1).is_err());
        }
        let metrics = rt.metrics().await;
        assert_eq!(metrics.addresses.len(), 4_097);
        assert_eq!(metrics.address("(others)").map(|others| others.sent), Some(904));
    });
}

#[test]
fn metrics_go_to_the_hook_again_and_again_until_the_runtime_ends() {
    let seen = Seen::default();
    let kept = seen.clone();
    let owned = std::sync::Arc::new(());
    let owned_by_hook = std::sync::Arc::clone(&owned);
    let rt = Runtime::builder().event_loops(2).metrics_every(Duration::from_millis(1), move |metrics| {
        let _owned = &owned_by_hook;
        kept.note((metrics.loops.len(), metrics.address("tap.numbers").map_or(0, |at| at.sent)));
        assert_ne!(kept.len(), 2, "a hook that panics is called again");
    });
    let rt = rt.build().unwrap();
    rt.block_on(async {
        rt.bus().publish(NUMBERS, 1);
        let sent = seen.len();
        eventually(rt.clock(), "some more", || seen.len() > sent + 3).await;
        assert_eq!(seen.all().last(), Some(&(2, 1)));
        rt.shutdown(Duration::from_secs(5)).await;
        let ended = seen.len();
        let now = rt.clock().now();
        eventually(rt.clock(), "time to go on in", || rt.clock().now() - now > Duration::from_millis(20)).await;
        assert_eq!(seen.len(), ended);
    });
    drop(rt);
    assert_eq!(std::sync::Arc::strong_count(&owned), 1, "nothing keeps the hook");
    let refused = Runtime::builder().metrics_every(Duration::ZERO, |_| {}).build();
    assert_eq!(
        refused.err().map(|error| error.to_string()).as_deref(),
        Some("metrics_every is 0ns, it must be at least 1 ms")
    );
}
