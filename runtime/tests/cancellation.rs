//! Dropping things half-way: a request, a send, a deployment in whatever state they are. What was not begun did not
//! happen, what was begun goes on to its end, and nobody else notices.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::future::{Future, pending, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use support::{Census, Gate, OnDrop, Seen, eventually, on_a_loop};
use vertebra::testing::TestRuntime;
use vertebra::{
    Address, BoxError, Bus, Context, Deploy, DeployError, Deployment, DeploymentId, RequestError, Runtime, SendError,
    UndeployError, Verticle,
};

const HELD: Address<u32, Arc<()>> = Address::new("held");

/// Serves [`HELD`]: notes the message, waits at the gate, replies with a token.
#[derive(Clone, Default)]
struct Holder {
    seen: Seen<u32>,
    gate: Gate,
    census: Census,
}

impl Holder {
    async fn deploy(&self, rt: &TestRuntime, mailbox: usize, in_flight: usize) -> Deployment {
        let own = self.clone();
        rt.deploy(Deploy::new(move || Serves { holder: own.clone(), mailbox, in_flight })).await.unwrap()
    }
}

struct Serves {
    holder: Holder,
    mailbox: usize,
    in_flight: usize,
}

impl Verticle for Serves {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let holder = self.holder.clone();
        ctx.serve_fn(HELD, move |number| {
            let holder = holder.clone();
            async move {
                holder.seen.note(number);
                holder.gate.wait().await;
                Ok(holder.census.token())
            }
        })
        .mailbox(self.mailbox)
        .in_flight(self.in_flight)
        .register()?;
        Ok(())
    }
}

/// Polls once, with the waker of whoever calls.
async fn poll_once<F: Future + Unpin>(future: &mut F) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(Pin::new(&mut *future).poll(cx))).await
}

/// A bus that lives for ever, for futures that outlive the frame they were made in.
fn leaked(bus: &Bus) -> &'static Bus {
    Box::leak(Box::new(bus.clone()))
}

promises! {
    async fn blocking_work_whose_outcome_nobody_wants_and_which_panics_when_it_is_dropped_holds_up_no_other(rt: &TestRuntime) {
        struct Impatient;
        impl Verticle for Impatient {
            async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
                let (go, gone) = std::sync::mpsc::sync_channel::<()>(1);
                let mut unwanted = Box::pin(ctx.execute_blocking(move || {
                    gone.recv().unwrap();
                    OnDrop::new(|| panic!("unwanted"))
                }));
                let begun = poll_fn(|cx| Poll::Ready(unwanted.as_mut().poll(cx))).await;
                assert!(begun.is_pending());
                drop(unwanted);
                // It may have been taken out before it began; then nobody is told.
                let _nobody_is_there = go.send(());
                assert_eq!(ctx.execute_blocking(|| 7).await, Ok(7));
                Ok(())
            }
        }
        for _ in 0..10 {
            rt.deploy(Deploy::new(|| Impatient)).await.unwrap().undeploy().await.unwrap();
        }
    }

    async fn a_request_dropped_before_it_was_polled_was_never_made(rt: &TestRuntime) {
        let holder = Holder::default();
        holder.gate.open();
        holder.deploy(&rt, 8, 8).await;
        drop(rt.bus().request(HELD, 1));
        drop(rt.bus().send(HELD, 2));
        rt.bus().request(HELD, 3).await.unwrap();
        assert_eq!(holder.seen.all(), [3]);
    }

    async fn a_request_dropped_while_its_message_is_queued_or_handled_lets_it_be_handled(rt: &TestRuntime) {
        let holder = Holder::default();
        holder.deploy(&rt, 8, 1).await;
        let there = on_a_loop(&rt, |bus, _| async move {
            for number in 1..=3 {
                let mut asked = bus.request(HELD, number);
                assert!(poll_once(&mut asked).await.is_pending());
            }
        });
        there.await;
        for number in 4..=6 {
            let mut asked = rt.bus().request(HELD, number);
            assert!(poll_once(&mut asked).await.is_pending());
        }
        holder.gate.open();
        eventually(rt.clock(), "all six are handled", || holder.seen.len() == 6).await;
        assert_eq!(holder.seen.all(), [1, 2, 3, 4, 5, 6]);
        eventually(rt.clock(), "nobody keeps their replies", || holder.census.alive() == 0).await;
    }

    async fn a_request_dropped_when_its_reply_is_there_drops_the_reply(rt: &TestRuntime) {
        let holder = Holder::default();
        holder.deploy(&rt, 8, 8).await;
        let (gate, census) = (holder.gate.clone(), holder.census.clone());
        on_a_loop(&rt, move |bus, clock| {
            let (gate, census) = (gate.clone(), census.clone());
            async move {
                let mut asked = bus.request(HELD, 1);
                assert!(poll_once(&mut asked).await.is_pending());
                gate.open();
                eventually(&clock, "the reply is there", || census.alive() == 1).await;
                clock.sleep(Duration::from_millis(20)).await;
                drop(asked);
                assert_eq!(census.alive(), 0);
            }
        }).await;
    }

    async fn a_request_may_be_awaited_by_another_task_than_the_one_that_began_it(rt: &TestRuntime) {
        let holder = Holder::default();
        holder.deploy(&rt, 8, 8).await;
        let gate = holder.gate.clone();
        on_a_loop(&rt, move |bus, clock| {
            let gate = gate.clone();
            async move {
                let mut asked = leaked(&bus).request(HELD, 1);
                assert!(poll_once(&mut asked).await.is_pending());
                let other = tokio::task::spawn_local(async move { asked.await.is_ok() });
                clock.sleep(Duration::from_millis(5)).await;
                gate.open();
                assert!(other.await.unwrap());
            }
        }).await;
    }

    async fn a_send_dropped_while_it_waits_was_never_made_and_takes_nobodys_turn(rt: &TestRuntime) {
        let holder = Holder::default();
        holder.deploy(&rt, 1, 1).await;
        rt.bus().send(HELD, 1).await.unwrap();
        eventually(rt.clock(), "the first is in flight", || holder.seen.len() == 1).await;
        rt.bus().send(HELD, 2).await.unwrap();
        let mut given_up = rt.bus().send(HELD, 3);
        assert!(poll_once(&mut given_up).await.is_pending());
        let bus = rt.bus().clone();
        let patient = tokio::task::spawn_local(async move { bus.send(HELD, 4).await });
        rt.clock().sleep(Duration::from_millis(5)).await;
        drop(given_up);
        holder.gate.open();
        assert_eq!(patient.await.unwrap(), Ok(()));
        eventually(rt.clock(), "three are handled", || holder.seen.len() == 3).await;
        assert_eq!(holder.seen.all(), [1, 2, 4]);
    }

    async fn a_send_that_waits_at_a_consumer_which_goes_is_told_so(rt: &TestRuntime) {
        let holder = Holder::default();
        let deployment = holder.deploy(&rt, 1, 1).await;
        rt.bus().send(HELD, 1).await.unwrap();
        eventually(rt.clock(), "the first is in flight", || holder.seen.len() == 1).await;
        rt.bus().send(HELD, 2).await.unwrap();
        let bus = rt.bus().clone();
        let here = tokio::task::spawn_local(async move { bus.send(HELD, 3).await });
        rt.clock().sleep(Duration::from_millis(5)).await;
        deployment.undeploy_within(Duration::from_millis(5)).await.unwrap();
        assert_eq!(here.await.unwrap(), Err(SendError::NoHandlers(3)));
    }

    async fn a_waiting_send_takes_the_room_of_whichever_consumer_has_some_first(rt: &TestRuntime) {
        let (first, second) = (Holder::default(), Holder::default());
        first.deploy(&rt, 1, 1).await;
        let going = second.deploy(&rt, 1, 1).await;
        for number in 0..2 {
            rt.bus().send(HELD, number).await.unwrap();
        }
        eventually(rt.clock(), "one each is in flight", || first.seen.len() + second.seen.len() == 2).await;
        rt.clock().sleep(Duration::from_millis(5)).await;
        for number in 2..4 {
            rt.bus().send(HELD, number).await.unwrap();
        }
        let waiting = on_a_loop_spawned(&rt);
        rt.clock().sleep(Duration::from_millis(5)).await;
        // One of the two it waits for goes away, the other one gets room: the loop must not spin in between.
        going.undeploy_within(Duration::from_millis(5)).await.unwrap();
        first.gate.open();
        assert_eq!(waiting.await, Ok(()));
        eventually(rt.clock(), "it arrived", || first.seen.all().contains(&100)).await;
    }

    async fn a_time_out_of_zero_is_a_millisecond_and_one_of_for_ever_never_comes(rt: &TestRuntime) {
        let holder = Holder::default();
        let deployment = holder.deploy(&rt, 1, 1).await;
        let zero = rt.bus().request(HELD, 1).timeout(Duration::ZERO).await;
        assert!(matches!(zero, Err(RequestError::Timeout { after, .. }) if after == Duration::from_millis(1)));
        eventually(rt.clock(), "the first is in flight", || holder.seen.len() == 1).await;
        rt.bus().send(HELD, 2).timeout(Duration::MAX).await.unwrap();
        let bus = rt.bus().clone();
        let sending = tokio::task::spawn_local(async move { bus.send(HELD, 3).timeout(Duration::MAX).await });
        rt.clock().sleep(Duration::from_millis(5)).await;
        let gate = holder.gate.clone();
        let asked = on_a_loop(&rt, move |bus, _| {
            let gate = gate.clone();
            async move {
                // As long as the clock can count, and a bit less: neither overflows.
                for timeout in [Duration::MAX, Duration::from_nanos(u64::MAX), Duration::from_nanos(u64::MAX - 1)] {
                    let mut asked = bus.request(HELD, 4).timeout(timeout);
                    drop(poll_once(&mut asked).await);
                }
                gate.open();
                loop {
                    match bus.request(HELD, 5).timeout(Duration::MAX).await {
                        Err(RequestError::Overloaded { .. }) => tokio::task::yield_now().await,
                        other => break other.is_ok(),
                    }
                }
            }
        }).await;
        assert!(asked);
        assert_eq!(sending.await.unwrap(), Ok(()));
        assert_eq!(deployment.undeploy_within(Duration::MAX).await.unwrap().abandoned, 0);
    }

    async fn an_undeployment_nobody_waits_for_is_carried_out(rt: &TestRuntime) {
        let holder = Holder::default();
        let deployment = holder.deploy(&rt, 8, 8).await;
        rt.bus().send(HELD, 1).await.unwrap();
        eventually(rt.clock(), "it is in flight", || holder.seen.len() == 1).await;
        let id = deployment.id();
        {
            let mut undeploying = Box::pin(deployment.undeploy());
            assert!(poll_once(&mut undeploying).await.is_pending());
        }
        eventually(rt.clock(), "the intake is closed", || rt.bus().try_send(HELD, 2).is_err()).await;
        assert_eq!(rt.undeploy(id, Duration::ZERO).await, Err(UndeployError::Unknown { id }));
        holder.gate.open();
    }

    async fn a_deployment_nobody_waits_for_any_more_is_undone(rt: &TestRuntime) {
        let census = Census::default();
        let (token, ids) = (census.clone(), Seen::default());
        let note = ids.clone();
        let deploy = Deploy::new(move || NeverStarts { _token: token.token(), ids: note.clone() }).instances(3);
        {
            let mut deploying = Box::pin(rt.deploy(deploy));
            assert!(poll_once(&mut deploying).await.is_pending());
            eventually(rt.clock(), "all have begun", || census.alive() == 3).await;
        }
        eventually(rt.clock(), "nothing of it is left", || census.alive() == 0).await;
        eventually(rt.clock(), "nobody serves", || rt.bus().try_send(HELD, 1) == Err(SendError::NoHandlers(1))).await;
        let id = ids.all()[0];
        assert_eq!(rt.undeploy(id, Duration::ZERO).await, Err(UndeployError::Unknown { id }));
    }

    async fn a_start_that_takes_for_ever_is_cut_off_by_undeploying(rt: &TestRuntime) {
        let census = Census::default();
        let (token, ids) = (census.clone(), Seen::default());
        let (own, note) = ((*rt).clone(), ids.clone());
        let deploy = Deploy::new(move || NeverStarts { _token: token.token(), ids: note.clone() }).instances(3);
        let deploying = tokio::task::spawn_local(async move { own.deploy(deploy).await });
        eventually(rt.clock(), "all have begun", || ids.len() == 3).await;
        eventually(rt.clock(), "they serve already", || rt.bus().try_send(HELD, 1).is_ok()).await;
        assert_eq!(rt.deployments(), []);
        rt.undeploy(ids.all()[0], Duration::from_secs(5)).await.unwrap();
        assert!(matches!(deploying.await.unwrap(), Err(DeployError::Undeployed { name }) if name == "NeverStarts"));
        assert_eq!(census.alive(), 0);
        assert_eq!(rt.bus().try_send(HELD, 1), Err(SendError::NoHandlers(1)));
    }
}

struct NeverStarts {
    _token: Arc<()>,
    ids: Seen<DeploymentId>,
}

impl Verticle for NeverStarts {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve_fn(HELD, |_| pending()).register()?;
        self.ids.note(ctx.deployment_id());
        pending().await
    }
}

/// A send from an event loop that goes on by itself.
fn on_a_loop_spawned(rt: &TestRuntime) -> impl Future<Output = Result<(), SendError<u32>>> + use<> {
    let rt: Runtime = (*rt).clone();
    let sent =
        tokio::task::spawn_local(
            async move { on_a_loop(&rt, |bus, _| async move { bus.send(HELD, 100).await }).await },
        );
    async move { sent.await.unwrap() }
}

#[test]
fn a_request_carried_to_another_thread_ends_there_and_leaves_nothing_on_its_loop() {
    TestRuntime::on_loops(2, |rt| async move {
        let holder = Holder::default();
        let deployment = holder.deploy(&rt, 64, 64).await;
        let (dropped, awaited) = on_a_loop(&rt, |bus, _| async move {
            let bus = leaked(&bus);
            let (mut dropped, mut awaited) = (bus.request(HELD, 1), bus.request(HELD, 2));
            assert!(poll_once(&mut dropped).await.is_pending());
            assert!(poll_once(&mut awaited).await.is_pending());
            (dropped, awaited)
        })
        .await;
        drop(dropped);
        assert!(matches!(awaited.await, Err(RequestError::Closed { .. })));
        holder.gate.open();
        eventually(rt.clock(), "both are handled", || holder.seen.len() == 2).await;
        deployment.undeploy().await.unwrap();
        eventually(rt.clock(), "nobody keeps their replies", || holder.census.alive() == 0).await;
    });
}

/// Blocks its loop until somebody lets it go.
fn blocks(rt: &TestRuntime) -> (impl Future<Output = Deployment> + use<'_>, std::sync::mpsc::SyncSender<()>) {
    let (let_go, held) = std::sync::mpsc::sync_channel(1);
    let held = Arc::new(std::sync::Mutex::new(held));
    let stub = rt.stub(BLOCK, move |()| {
        let held = held.clone();
        async move {
            held.lock().unwrap().recv().unwrap();
            Ok(())
        }
    });
    (async move { stub.await.unwrap() }, let_go)
}

const BLOCK: Address<()> = Address::new("block");

#[test]
fn a_request_to_a_blocked_loop_ends_in_its_time() {
    TestRuntime::on_loops(1, |rt| async move {
        let holder = Holder::default();
        holder.gate.open();
        holder.deploy(&rt, 8, 8).await;
        let (block, let_go) = blocks(&rt);
        block.await;
        rt.bus().send(BLOCK, ()).await.unwrap();
        let before = rt.elapsed();
        let asked = rt.bus().request(HELD, 1).timeout(Duration::from_millis(50)).await;
        assert!(matches!(asked, Err(RequestError::Timeout { .. })), "{asked:?}");
        assert!(rt.elapsed() - before < Duration::from_secs(5));
        let_go.send(()).unwrap();
        rt.bus().request(HELD, 2).await.unwrap();
    });
}

#[test]
fn a_loop_that_was_busy_does_not_time_out_what_it_asks_afterwards() {
    TestRuntime::on_loops(1, |rt| async move {
        rt.stub(SLOW, |clock: vertebra::Clock| async move {
            clock.sleep(Duration::from_millis(5)).await;
            Ok(())
        })
        .await
        .unwrap();
        let asked = on_a_loop(&rt, |bus, clock| async move {
            let mut asked = Vec::new();
            for _ in 0..5 {
                let until = clock.now() + Duration::from_millis(300);
                while clock.now() < until {
                    std::hint::spin_loop();
                }
                asked.push(bus.request(SLOW, clock.clone()).timeout(Duration::from_millis(150)).await);
            }
            asked
        })
        .await;
        assert_eq!(asked, [Ok(()), Ok(()), Ok(()), Ok(()), Ok(())]);
    });
}

const SLOW: Address<vertebra::Clock> = Address::new("slow");

#[test]
fn a_thread_without_an_executor_may_ask_and_wait_for_room() {
    TestRuntime::on_loops(2, |rt| async move {
        let holder = Holder::default();
        holder.deploy(&rt, 1, 1).await;
        let (bus, gate) = (rt.bus().clone(), holder.gate.clone());
        let outcome = std::thread::spawn(move || {
            let timeout = Duration::from_millis(20);
            let late = block_on(bus.request(HELD, 1).timeout(timeout));
            block_on(bus.send(HELD, 2)).unwrap();
            let full = block_on(bus.send(HELD, 3).timeout(timeout));
            gate.open();
            let sent = block_on(bus.send(HELD, 4));
            // The mailbox holds one; there is room for this when that has begun.
            let replied = std::iter::repeat_with(|| {
                std::thread::yield_now();
                block_on(bus.request(HELD, 5))
            });
            let replied = replied.take(100_000).find(|asked| !matches!(asked, Err(RequestError::Overloaded { .. })));
            (late, full, sent, replied.is_some_and(|asked| asked.is_ok()))
        });
        let outcome = tokio::task::spawn_blocking(move || outcome.join().unwrap()).await.unwrap();
        let (late, full, sent, replied) = outcome;
        assert!(matches!(late, Err(RequestError::Timeout { .. })), "{late:?}");
        assert_eq!((full, sent, replied), (Err(SendError::Full(3)), Ok(()), true));
    });
}

/// The plainest of executors: no timers, no reactor.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut TaskContext::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => std::thread::park(),
        }
    }
}

#[test]
fn messages_of_a_thread_that_is_no_loop_keep_their_order_whatever_the_verb() {
    TestRuntime::on_loops(4, |rt| async move {
        let holder = Holder::default();
        holder.gate.open();
        holder.deploy(&rt, 4_096, 4_096).await;
        let mut asked = Vec::new();
        for number in 0..999 {
            match number % 3 {
                0 => {
                    // Begun, and not waited for; with a budget of its own, so that the first poll does begin it.
                    tokio::task::yield_now().await;
                    let mut one = Box::pin(rt.bus().request(HELD, number));
                    drop(poll_once(&mut one).await);
                    asked.push(one);
                }
                1 => rt.bus().send(HELD, number).await.unwrap(),
                _ => assert_eq!(rt.bus().publish(HELD, number).reached, 1),
            }
        }
        eventually(rt.clock(), "all are handled", || holder.seen.len() == 999).await;
        assert_eq!(holder.seen.all(), (0..999).collect::<Vec<_>>());
    });
}
