//! Foreign code runs where it likes - in a `Drop`, a `Clone`, a waker, a closure before its first await - and calls back
//! into the bus from there. Nobody suffers from it but the message it belongs to.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::cell::Cell;
use std::future::Future as _;
use std::sync::{Arc, Mutex};
use std::task::{Wake, Waker};
use std::time::Duration;

use support::{Census, Gate, OnDrop, Seen, eventually, on_a_loop};
use vertebra::testing::TestRuntime;
use vertebra::{
    Address, BoxError, Bus, Consumer, Context, Deploy, Deployment, Failure, Handler, Published, RequestError, Runtime,
    SendError, Verticle,
};

const ECHO: Address<u32, u32> = Address::new("echo");
const NOTE: Address<u32> = Address::new("note");

/// Notes what it gets.
async fn noting(rt: &TestRuntime) -> (Seen<u32>, Deployment) {
    let seen = Seen::default();
    let note = seen.clone();
    let stub = rt.stub(NOTE, move |number| {
        note.note(number);
        async { Ok(()) }
    });
    let deployment = stub.await.unwrap();
    (seen, deployment)
}

/// A message whose drop sends another one.
struct Trail(Bus);

impl Drop for Trail {
    fn drop(&mut self) {
        drop(self.0.try_send(NOTE, 7));
    }
}

const TRAIL: Address<Trail, Trail> = Address::new("trail");

/// A message that does not like to be dropped.
struct Grenade;

impl Drop for Grenade {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

const GRENADE: Address<Grenade, Result<(), Grenade>> = Address::new("grenade");

promises! {
    async fn a_closure_that_panics_before_its_future_fails_its_message_and_nothing_else(rt: &TestRuntime) {
        rt.stub(ECHO, |number| {
            assert_ne!(number, 13, "thirteen");
            async move { Ok(number) }
        }).await.unwrap();
        rt.bus().send(ECHO, 13).await.unwrap();
        for _ in 0..2_000 {
            let failure = rt.bus().request(ECHO, 13).await.unwrap_err();
            assert_eq!(failure.code(), Some(Failure::UNSPECIFIED));
        }
        assert_eq!(rt.bus().request(ECHO, 4).await, Ok(4));
        let asked_here = on_a_loop(&rt, |bus, _| async move {
            (bus.request(ECHO, 13).await.is_err(), bus.request(ECHO, 4).await)
        }).await;
        assert_eq!(asked_here, (true, Ok(4)));
    }

    async fn a_message_or_reply_whose_drop_sends_is_like_any_other(rt: &TestRuntime) {
        let (seen, _noting) = noting(&rt).await;
        let gate = Gate::default();
        let wait = gate.clone();
        let stub = rt.stub(TRAIL, move |trail: Trail| {
            let wait = wait.clone();
            async move { wait.wait().await; Ok(trail) }
        }).await.unwrap();
        let bus = rt.bus().clone();
        // Dropped where: unsent, as a late reply, queued and in flight when their verticle is given up.
        drop(rt.bus().request(TRAIL, Trail(bus.clone())));
        let late = rt.bus().request(TRAIL, Trail(bus.clone())).timeout(Duration::from_millis(5)).await;
        assert!(matches!(late, Err(RequestError::Timeout { .. })));
        gate.open();
        eventually(rt.clock(), "two are dropped", || seen.len() == 2).await;
        let on_loop = on_a_loop(&rt, |bus, _| async move { bus.request(TRAIL, Trail(bus.clone())).await.is_ok() }).await;
        assert!(on_loop);
        eventually(rt.clock(), "three are dropped", || seen.len() == 3).await;
        stub.undeploy().await.unwrap();
        assert!(rt.bus().try_send(TRAIL, Trail(bus.clone())).is_err());
        eventually(rt.clock(), "four are dropped", || seen.len() == 4).await;
    }

    async fn messages_given_up_may_send_and_even_panic_when_they_are_dropped(rt: &TestRuntime) {
        let (seen, _noting) = noting(&rt).await;
        let stub = rt.stub(TRAIL, |trail| async move {
            let _trail = trail;
            std::future::pending().await
        }).await.unwrap();
        let grenades = rt.deploy(Deploy::new(|| Strict)).await.unwrap();
        for _ in 0..3 {
            rt.bus().send(TRAIL, Trail(rt.bus().clone())).await.unwrap();
            assert!(rt.bus().try_send(GRENADE, Grenade).is_ok());
        }
        rt.clock().sleep(Duration::from_millis(20)).await;
        assert_eq!(stub.undeploy_within(Duration::from_millis(5)).await.unwrap().abandoned, 3);
        eventually(rt.clock(), "all three were dropped", || seen.len() == 3).await;
        assert_eq!(grenades.undeploy_within(Duration::from_millis(5)).await.unwrap().abandoned, 3);
        // The loops are still there, every one of them.
        rt.deploy(Deploy::new(|| Echo).instances(8)).await.unwrap();
        for number in 0..8 {
            assert_eq!(rt.bus().request(ECHO, number).await, Ok(number));
        }
    }

    async fn a_reply_nobody_wants_any_more_may_panic_when_it_is_dropped(rt: &TestRuntime) {
        let gate = Gate::default();
        let wait = gate.clone();
        let stub = rt.stub(GRENADE, move |grenade| {
            let wait = wait.clone();
            async move { wait.wait().await; Ok(Err(grenade)) }
        }).await.unwrap();
        on_a_loop(&rt, |bus, _| async move {
            let late = bus.request(GRENADE, Grenade).timeout(Duration::from_millis(5)).await;
            assert!(matches!(late, Err(RequestError::Timeout { .. })));
        }).await;
        gate.open();
        stub.undeploy().await.unwrap();
        rt.deploy(Deploy::new(|| Echo).instances(8)).await.unwrap();
        for number in 0..8 {
            assert_eq!(rt.bus().request(ECHO, number).await, Ok(number));
        }
    }

    async fn a_clone_that_publishes_is_like_any_other(rt: &TestRuntime) {
        let (seen, _noting) = noting(&rt).await;
        const COPIES: Address<Copied> = Address::new("copies");
        for _ in 0..3 {
            rt.stub(COPIES, |_| async { Ok(()) }).await.unwrap();
        }
        assert_eq!(rt.bus().publish(COPIES, Copied(rt.bus().clone())), Published { reached: 3, dropped: 0 });
        eventually(rt.clock(), "two clones were made", || seen.len() == 2).await;
        let published = on_a_loop(&rt, |bus, _| async move { bus.publish(COPIES, Copied(bus.clone())) }).await;
        assert_eq!(published, Published { reached: 3, dropped: 0 });
        eventually(rt.clock(), "four clones were made", || seen.len() == 4).await;
    }

    async fn a_verticle_whose_drop_sends_is_like_any_other(rt: &TestRuntime) {
        let (seen, _noting) = noting(&rt).await;
        let bus = rt.bus().clone();
        let last_words = rt.deploy(Deploy::new(move || LastWords(bus.clone()))).await.unwrap();
        assert_eq!(rt.bus().request(ECHO, 1).await, Ok(1));
        on_a_loop(&rt, |bus, _| async move { bus.request(ECHO, 1).await.unwrap() }).await;
        last_words.undeploy().await.unwrap();
        eventually(rt.clock(), "its last words are heard", || seen.len() == 1).await;
    }

    async fn what_a_waker_sends_leaves_with_the_turn_it_was_woken_in(rt: &TestRuntime) {
        // The request times out with nothing else going on: what its waker sends must not wait for another turn.
        let (seen, _noting) = noting(&rt).await;
        let stuck = rt.stub(ECHO, |_| std::future::pending()).await.unwrap();
        for _ in 0..4 {
            on_a_loop(&rt, |bus, clock| async move {
                let waker = Waker::from(Arc::new(SendsWhenWoken(bus.clone())));
                let mut asked = Box::pin(bus.request(ECHO, 1).timeout(Duration::from_millis(5)));
                assert!(asked.as_mut().poll(&mut std::task::Context::from_waker(&waker)).is_pending());
                clock.sleep(Duration::from_millis(50)).await;
                assert!(matches!(asked.await, Err(RequestError::Timeout { .. })));
            }).await;
        }
        assert_eq!(seen.len(), 4);
        stuck.undeploy_within(Duration::ZERO).await.unwrap();
    }

    async fn a_handler_that_asks_its_own_address_is_run_again_inside_itself(rt: &TestRuntime) {
        rt.deploy(Deploy::new(|| Countdown { in_flight: 64 })).await.unwrap();
        assert_eq!(rt.bus().request(ECHO, 40).await, Ok(40));
    }

    async fn a_chain_of_requests_to_oneself_is_bounded_by_memory_and_not_by_the_stack(rt: &TestRuntime) {
        rt.deploy(Deploy::new(|| Countdown { in_flight: 4_096 })).await.unwrap();
        assert_eq!(rt.bus().request(ECHO, 3_000).await, Ok(3_000));
    }

    async fn with_one_in_flight_a_request_to_oneself_ends_by_its_time_out_and_not_in_a_deadlock(rt: &TestRuntime) {
        rt.deploy(Deploy::new(|| Countdown { in_flight: 1 })).await.unwrap();
        let inner = rt.bus().request(ECHO, 1).await;
        assert_eq!(inner.unwrap_err().code(), Some(Failure::UNSPECIFIED));
        // What was asked in vain is handled all the same, and then it is free for the next.
        assert_eq!(rt.bus().request(ECHO, 0).await, Ok(0));
    }

    async fn a_handler_may_deploy_publish_and_undeploy(rt: &TestRuntime) {
        let (seen, _noting) = noting(&rt).await;
        let own = (*rt).clone();
        rt.deploy(Deploy::new(move || Builder(own.clone()))).await.unwrap();
        for round in 1..=5 {
            assert_eq!(rt.bus().request(BUILD, ()).await, Ok(3));
            eventually(rt.clock(), "the three have published", || seen.len() == 3 * round).await;
        }
        assert_eq!(rt.deployments().len(), 2);
    }

    async fn a_verticle_may_undeploy_itself_from_a_task(rt: &TestRuntime) {
        let own = (*rt).clone();
        rt.deploy(Deploy::new(move || Leaver(own.clone()))).await.unwrap();
        assert_eq!(rt.bus().request(ECHO, 1).await, Ok(1));
        eventually(rt.clock(), "it is gone", || rt.deployments().is_empty()).await;
        eventually(rt.clock(), "nobody serves it", || rt.bus().try_send(ECHO, 1) == Err(SendError::NoHandlers(1))).await;
    }

    async fn a_handler_may_take_back_its_own_registration_from_a_task(rt: &TestRuntime) {
        rt.deploy(Deploy::new(Once::default)).await.unwrap();
        assert_eq!(rt.bus().request(ECHO, 1).await, Ok(1));
        eventually(rt.clock(), "it is served once", || rt.bus().try_send(ECHO, 1) == Err(SendError::NoHandlers(1))).await;
    }

    async fn several_may_wait_for_a_consumer_to_be_drained(rt: &TestRuntime) {
        let gate = Gate::default();
        let wait = gate.clone();
        let (census, outside) = (Census::default(), Gate::default());
        let (token, told) = (census.clone(), outside.clone());
        let deployment = rt.deploy(Deploy::new(move || TakesBack { wait: wait.clone(), token: token.clone(), told: told.clone() }));
        let deployment = deployment.await.unwrap();
        rt.bus().send(ECHO, 1).await.unwrap();
        eventually(rt.clock(), "it is in flight", || census.alive() == 1).await;
        outside.open();
        eventually(rt.clock(), "the intake is closed", || rt.bus().try_send(ECHO, 1).is_err()).await;
        let undeploying = tokio::task::spawn_local(deployment.undeploy());
        rt.clock().sleep(Duration::from_millis(20)).await;
        gate.open();
        let report = undeploying.await.unwrap().unwrap();
        assert_eq!((report.abandoned, report.failures), (0, vec![]));
    }

    async fn a_handler_that_never_waits_does_not_keep_its_neighbours_from_running(rt: &TestRuntime) {
        // On one loop nothing but the handler itself could end it.
        let ended = Arc::new(Mutex::new(false));
        let (own, seen) = (ended.clone(), Seen::default());
        rt.deploy(Deploy::new(|| Echo)).await.unwrap();
        let rounds = seen.clone();
        rt.deploy(Deploy::new(move || Busy { ended: own.clone(), rounds: rounds.clone() })).await.unwrap();
        rt.bus().send(NOTE, 1).await.unwrap();
        eventually(rt.clock(), "its neighbours end it", || *ended.lock().unwrap()).await;
        eventually(rt.clock(), "it ends", || seen.len() == 1).await;
    }
}

struct Strict;

impl Verticle for Strict {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve_fn(GRENADE, |grenade| async move {
            let _held = grenade;
            std::future::pending().await
        })
        .in_flight(1)
        .register()?;
        Ok(())
    }
}

struct Echo;

impl Verticle for Echo {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(ECHO).register()?;
        Ok(())
    }
}

impl Handler<u32> for Echo {
    type Reply = u32;
    async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
        Ok(number)
    }
}

struct Copied(Bus);

impl Clone for Copied {
    fn clone(&self) -> Self {
        self.0.publish(NOTE, 1);
        Self(self.0.clone())
    }
}

struct LastWords(Bus);

impl Verticle for LastWords {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(ECHO).register()?;
        Ok(())
    }
}

impl Handler<u32> for LastWords {
    type Reply = u32;
    async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
        Ok(number)
    }
}

impl Drop for LastWords {
    fn drop(&mut self) {
        drop(self.0.try_send(ECHO, 1));
        drop(self.0.try_send(NOTE, 1));
    }
}

struct SendsWhenWoken(Bus);

impl Wake for SendsWhenWoken {
    fn wake(self: Arc<Self>) {
        drop(self.0.try_send(NOTE, 1));
    }
}

/// Asks itself for one less, and adds one.
struct Countdown {
    in_flight: usize,
}

impl Verticle for Countdown {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(ECHO).in_flight(self.in_flight).mailbox(8).register()?;
        Ok(())
    }
}

impl Handler<u32> for Countdown {
    type Reply = u32;
    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<u32, Failure> {
        match number {
            0 => Ok(0),
            more => {
                let timeout = if self.in_flight == 1 { 20 } else { 20_000 };
                Ok(ctx.bus().request(ECHO, more - 1).timeout(Duration::from_millis(timeout)).await? + 1)
            }
        }
    }
}

const BUILD: Address<(), usize> = Address::new("build");

struct Builder(Runtime);

impl Verticle for Builder {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(BUILD).register()?;
        Ok(())
    }
}

impl Handler<()> for Builder {
    type Reply = usize;
    async fn handle(&self, (): (), ctx: &Context<Self>) -> Result<usize, Failure> {
        let failed = |error: BoxError| Failure::new(1, error.to_string());
        let built = self.0.deploy(Deploy::new(|| Echo).instances(3)).await.map_err(|error| failed(error.into()))?;
        let reached = ctx.bus().publish(ECHO, 1).reached;
        for number in 0..3 {
            ctx.bus().request(ECHO, number).await?;
            ctx.bus().publish(NOTE, number);
        }
        built.undeploy().await.map_err(|error| failed(error.into()))?;
        Ok(reached)
    }
}

/// Undeploys itself when it is asked something.
struct Leaver(Runtime);

impl Verticle for Leaver {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(ECHO).register()?;
        Ok(())
    }
}

impl Handler<u32> for Leaver {
    type Reply = u32;
    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<u32, Failure> {
        let own = ctx.clone();
        ctx.spawn(async move {
            drop(own.verticle().0.undeploy(own.deployment_id(), Duration::from_secs(5)).await);
        });
        Ok(number)
    }
}

/// Serves one message.
#[derive(Default)]
struct Once {
    registered: Cell<Option<Consumer>>,
}

impl Verticle for Once {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.registered.set(Some(ctx.serve(ECHO).register()?));
        Ok(())
    }
}

impl Handler<u32> for Once {
    type Reply = u32;
    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<u32, Failure> {
        if let Some(registered) = self.registered.take() {
            ctx.spawn(registered.unregister());
        }
        Ok(number)
    }
}

/// Takes its registration back when it is told to from outside.
struct TakesBack {
    wait: Gate,
    token: Census,
    told: Gate,
}

impl Verticle for TakesBack {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let registered = ctx.serve(ECHO).register()?;
        let told = self.told.clone();
        ctx.spawn(async move {
            told.wait().await;
            registered.unregister().await;
        });
        Ok(())
    }
}

impl Handler<u32> for TakesBack {
    type Reply = u32;
    async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
        let _in_flight = self.token.token();
        self.wait.wait().await;
        Ok(number)
    }
}

/// Asks until somebody says that it is enough: one of its tasks does, if it is let.
struct Busy {
    ended: Arc<Mutex<bool>>,
    rounds: Seen<u32>,
}

impl Verticle for Busy {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(NOTE).register()?;
        Ok(())
    }
}

impl Handler<u32> for Busy {
    type Reply = ();
    async fn handle(&self, _: u32, ctx: &Context<Self>) -> Result<(), Failure> {
        let (clock, ended) = (ctx.clock().clone(), self.ended.clone());
        ctx.spawn(async move {
            tokio::task::yield_now().await;
            *ended.lock().unwrap() = true;
        });
        let deadline = clock.now() + Duration::from_secs(5);
        while !*self.ended.lock().unwrap() {
            ctx.bus().request(ECHO, 1).await?;
            assert!(clock.now() < deadline, "nobody else has had a turn for five seconds");
        }
        self.rounds.note(1);
        Ok(())
    }
}

#[test]
fn shutting_down_from_a_handler_ends_every_loop_and_every_verticle() {
    let rt = Runtime::builder().event_loops(2).build().unwrap();
    let census = Census::default();
    let stopped = Seen::default();
    rt.block_on(async {
        for _ in 0..3 {
            let (token, note) = (census.clone(), stopped.clone());
            let deploy = Deploy::new(move || Stops { _token: token.token(), stopped: note.clone() });
            rt.deploy(deploy.instances(2)).await.unwrap();
        }
        let (own, token) = (rt.clone(), census.clone());
        rt.deploy(Deploy::new(move || Ender { _token: token.token(), runtime: own.clone() })).await.unwrap();
        // The handler that shuts down is itself one of those that are waited for, and given up in the end.
        assert!(matches!(rt.bus().request(NOTE, 1).await, Err(RequestError::Closed { .. })));
        eventually(rt.clock(), "all are gone", || census.alive() == 0).await;
        assert_eq!(stopped.len(), 6);
        assert!(rt.shutdown(Duration::from_secs(1)).await.is_clean());
    });
}

struct Stops {
    _token: Arc<()>,
    stopped: Seen<()>,
}

impl Verticle for Stops {
    async fn stop(&self, _: &Context<Self>) -> Result<(), BoxError> {
        self.stopped.note(());
        Ok(())
    }
}

struct Ender {
    _token: Arc<()>,
    runtime: Runtime,
}

impl Verticle for Ender {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(NOTE).register()?;
        Ok(())
    }
}

impl Handler<u32> for Ender {
    type Reply = ();
    async fn handle(&self, _: u32, _: &Context<Self>) -> Result<(), Failure> {
        self.runtime.shutdown(Duration::from_millis(100)).await;
        Ok(())
    }
}

#[test]
fn a_drop_that_spawns_or_registers_after_the_end_leaves_nothing_behind() {
    TestRuntime::paused(|rt| async move {
        let census = Census::default();
        let token = census.clone();
        let deployment = rt.deploy(Deploy::new(move || Undead { token: token.clone() })).await.unwrap();
        rt.bus().send(NOTE, 1).await.unwrap();
        eventually(rt.clock(), "it is in flight", || census.alive() == 1).await;
        assert_eq!(deployment.undeploy_within(Duration::from_millis(1)).await.unwrap().abandoned, 1);
        eventually(rt.clock(), "what it left is gone", || census.alive() == 0).await;
        assert_eq!(rt.bus().try_send(NOTE, 1), Err(SendError::NoHandlers(1)));
    });
}

/// Its handler spawns and registers when it is given up.
struct Undead {
    token: Census,
}

impl Verticle for Undead {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(NOTE).register()?;
        Ok(())
    }
}

impl Handler<u32> for Undead {
    type Reply = ();
    async fn handle(&self, _: u32, ctx: &Context<Self>) -> Result<(), Failure> {
        let own = ctx.clone();
        let token = self.token.token();
        let _on_drop = OnDrop::new(move || {
            assert!(own.serve(NOTE).register().is_err());
            own.spawn(async move {
                let _token = token;
                std::future::pending::<()>().await;
            });
        });
        std::future::pending().await
    }
}
