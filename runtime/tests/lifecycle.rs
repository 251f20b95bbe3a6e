//! Promises of deployment and its end: all or nothing, in order, and nothing accepted is lost on the way.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::future::Future as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use support::{Gate, Seen, eventually, on_a_loop};
use vertebra::testing::TestRuntime;
use vertebra::{
    Address, BoxError, Bus, Context, Deploy, DeployError, Failure, Handler, RequestError, Restart, Runtime,
    UndeployError, Verticle,
};

const WORK: Address<u32, u32> = Address::new("work");

/// Notes what happens to it; its handlers wait at the gate.
struct Worker {
    life: Seen<String>,
    gate: Gate,
    fails_at: Option<usize>,
    stop_fails: bool,
}

impl Verticle for Worker {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(WORK).register()?;
        tokio::task::yield_now().await;
        if self.fails_at == Some(ctx.instance()) {
            return Err("the disk is missing".into());
        }
        self.life.note(format!("start {}", ctx.instance()));
        Ok(())
    }

    async fn stop(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.life.note(format!("stop {}", ctx.instance()));
        if self.stop_fails { Err("it was stuck".into()) } else { Ok(()) }
    }
}

impl Handler<u32> for Worker {
    type Reply = u32;
    async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
        self.life.note(format!("work {number}"));
        self.gate.wait().await;
        Ok(number)
    }
}

#[derive(Default, Clone)]
struct Kit {
    life: Seen<String>,
    gate: Gate,
    fails_at: Option<usize>,
    stop_fails: bool,
}

impl Kit {
    fn deploy(&self) -> Deploy<Worker> {
        let kit = self.clone();
        Deploy::new(move || Worker {
            life: kit.life.clone(),
            gate: kit.gate.clone(),
            fails_at: kit.fails_at,
            stop_fails: kit.stop_fails,
        })
    }
}

promises! {
    async fn a_deployment_is_there_when_all_its_instances_have_started(rt: &TestRuntime) {
        let kit = Kit::default();
        let deployment = rt.deploy(kit.deploy().instances(4)).await.unwrap();
        let mut started = kit.life.all();
        started.sort();
        assert_eq!(started, ["start 0", "start 1", "start 2", "start 3"]);
        let known = rt.deployments();
        assert_eq!(known.len(), 1);
        let (id, name, parent, instances) = (known[0].id, known[0].name.as_str(), known[0].parent, known[0].instances);
        assert_eq!((id, name, parent, instances), (deployment.id(), "Worker", None, 4));
    }

    async fn one_instance_that_does_not_start_undoes_the_deployment(rt: &TestRuntime) {
        let kit = Kit { fails_at: Some(2), ..Kit::default() };
        let refused = rt.deploy(kit.deploy().instances(4)).await.unwrap_err();
        assert!(matches!(&refused, DeployError::Start { instance: 2, source, .. } if source.to_string() == "the disk is missing"));
        let mut life = kit.life.all();
        life.sort();
        assert_eq!(life, ["start 0", "start 1", "start 3", "stop 0", "stop 1", "stop 3"]);
        assert_eq!(rt.deployments(), []);
        assert!(matches!(rt.bus().request(WORK, 1).await, Err(RequestError::NoHandlers { .. })));
    }

    async fn a_factory_that_panics_fails_the_deployment_and_not_the_loop(rt: &TestRuntime) {
        let refused = rt.deploy(Deploy::new(|| -> Worker { panic!("no memory") })).await.unwrap_err();
        assert!(matches!(refused, DeployError::Panicked { instance: 0, panic, .. } if panic == "no memory"));
        rt.deploy(Kit::default().deploy()).await.unwrap();
    }

    async fn undeploying_finishes_what_was_accepted_before_it_stops(rt: &TestRuntime) {
        let kit = Kit::default();
        let deployment = rt.deploy(kit.deploy()).await.unwrap();
        for number in 0..3 {
            rt.bus().send(WORK, number).await.unwrap();
        }
        eventually(rt.clock(), "all are in flight", || kit.life.len() == 4).await;
        let undeploying = tokio::task::spawn_local(deployment.undeploy());
        eventually(rt.clock(), "the intake closes", || rt.bus().try_send(WORK, 9).is_err()).await;
        assert!(!kit.life.all().contains(&"stop 0".to_owned()));
        kit.gate.open();
        let report = undeploying.await.unwrap().unwrap();
        assert_eq!((report.abandoned, report.failures), (0, vec![]));
        assert_eq!(kit.life.all().last().unwrap(), "stop 0");
    }

    async fn what_is_not_finished_in_time_is_given_up_counted_and_its_caller_told(rt: &TestRuntime) {
        let kit = Kit::default();
        let deployment = rt.deploy(kit.deploy()).await.unwrap();
        let bus = rt.bus().clone();
        let asking = tokio::task::spawn_local(async move { bus.request(WORK, 1).await });
        eventually(rt.clock(), "it is in flight", || kit.life.len() == 2).await;
        let report = deployment.undeploy_within(Duration::from_millis(30)).await.unwrap();
        assert_eq!(report.abandoned, 1);
        assert_eq!(asking.await.unwrap(), Err(RequestError::Closed { address: "work".into() }));
        assert!(matches!(rt.bus().request(WORK, 1).await, Err(RequestError::NoHandlers { .. })));
    }

    async fn undeploying_twice_is_an_error_that_names_the_deployment(rt: &TestRuntime) {
        let deployment = rt.deploy(Kit::default().deploy()).await.unwrap();
        deployment.clone().undeploy().await.unwrap();
        let id = deployment.id();
        assert_eq!(deployment.undeploy().await.unwrap_err(), UndeployError::Unknown { id });
    }

    async fn a_stop_that_fails_is_reported_and_the_deployment_is_gone_all_the_same(rt: &TestRuntime) {
        let kit = Kit { stop_fails: true, ..Kit::default() };
        let deployment = rt.deploy(kit.deploy()).await.unwrap();
        let report = deployment.undeploy().await.unwrap();
        assert_eq!(report.failures, ["instance 0: it was stuck"]);
        assert_eq!(rt.deployments(), []);
    }

    async fn an_address_can_be_served_anew_after_its_last_consumer_went(rt: &TestRuntime) {
        for round in 0..3 {
            let kit = Kit::default();
            kit.gate.open();
            let deployment = rt.deploy(kit.deploy()).await.unwrap();
            assert_eq!(rt.bus().request(WORK, round).await, Ok(round));
            deployment.undeploy().await.unwrap();
            assert!(matches!(rt.bus().request(WORK, round).await, Err(RequestError::NoHandlers { .. })));
        }
    }

    async fn tasks_of_an_instance_end_with_it(rt: &TestRuntime) {
        let ticks = Seen::default();
        let note = ticks.clone();
        let deployment = rt.deploy(Deploy::new(move || Ticker { ticks: note.clone() })).await.unwrap();
        eventually(rt.clock(), "it ticks", || ticks.len() > 3).await;
        deployment.undeploy().await.unwrap();
        let count = ticks.len();
        rt.clock().sleep(Duration::from_millis(50)).await;
        assert_eq!(ticks.len(), count);
    }

    async fn a_panic_in_a_task_ends_that_task_alone(rt: &TestRuntime) {
        let ticks = Seen::default();
        let note = ticks.clone();
        rt.deploy(Deploy::new(move || Stumbler { ticks: note.clone() }).restart(Restart::keep())).await.unwrap();
        eventually(rt.clock(), "its other task ticks on", || ticks.len() > 3).await;
        assert_eq!(rt.bus().request(WORK, 1).await, Ok(1));
    }

    async fn no_message_that_was_accepted_is_lost_when_its_consumer_goes(rt: &TestRuntime) {
        let seen = Seen::default();
        let mut accepted = 0;
        for _ in 0..20 {
            let note = seen.clone();
            let stub = rt.stub(WORK, move |number| { note.note(number); async move { Ok(number) } }).await.unwrap();
            let undeploying = tokio::task::spawn_local(stub.undeploy());
            while rt.bus().try_send(WORK, 1).is_ok() {
                accepted += 1;
                tokio::task::yield_now().await;
            }
            assert_eq!(undeploying.await.unwrap().unwrap().abandoned, 0);
        }
        assert_eq!(seen.len(), accepted);
    }
}

/// One of its tasks panics.
struct Stumbler {
    ticks: Seen<()>,
}

impl Verticle for Stumbler {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve_fn(WORK, |number| async move { Ok(number) }).register()?;
        let panics = ctx.spawn(async { panic!("a stumble") });
        let own = ctx.clone();
        ctx.spawn(async move {
            loop {
                own.clock().sleep(Duration::from_millis(1)).await;
                if panics.is_finished() {
                    own.verticle().ticks.note(());
                }
            }
        });
        Ok(())
    }
}

struct Ticker {
    ticks: Seen<()>,
}

impl Verticle for Ticker {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let own = ctx.clone();
        ctx.spawn(async move {
            loop {
                own.clock().sleep(Duration::from_millis(2)).await;
                own.verticle().ticks.note(());
            }
        });
        Ok(())
    }
}

#[test]
fn shutdown_undeploys_newest_first_and_its_report_says_so() {
    let rt = Runtime::builder().event_loops(2).build().unwrap();
    let kit = Kit::default();
    let report = rt.block_on(async {
        rt.deploy(kit.deploy().name("first")).await.unwrap();
        rt.deploy(kit.deploy().name("second").instances(2)).await.unwrap();
        rt.shutdown(Duration::from_secs(5)).await
    });
    let names: Vec<_> = report.deployments.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["second", "first"]);
    assert!(report.is_clean(), "{report:?}");
    rt.block_on(async {
        assert!(matches!(rt.deploy(kit.deploy()).await, Err(DeployError::ShuttingDown { .. })));
        assert!(rt.bus().request(WORK, 1).await.is_err());
    });
}

#[test]
fn shutdown_ends_within_its_grace_whatever_its_verticles_do() {
    let rt = Runtime::builder().event_loops(2).build().unwrap();
    let kit = Kit::default();
    let report = rt.block_on(async {
        rt.deploy(kit.deploy().instances(2)).await.unwrap();
        for number in 0..5 {
            rt.bus().send(WORK, number).await.unwrap();
        }
        eventually(rt.clock(), "all are in flight", || kit.life.len() == 7).await;
        rt.shutdown(Duration::from_millis(50)).await
    });
    assert_eq!(report.abandoned, 5);
    assert!(report.took < Duration::from_secs(2), "{report:?}");
}

#[test]
fn a_named_loop_carries_only_what_asks_for_it() {
    let rt = Runtime::builder().event_loops(2).named_loop("io").build().unwrap();
    rt.block_on(async {
        let seen = Seen::default();
        for (name, on_io) in [("plain", false), ("shipping", true)] {
            let note = seen.clone();
            let deploy = Deploy::new(move || Where { seen: note.clone() }).name(name).instances(4);
            rt.deploy(if on_io { deploy.on_loop("io") } else { deploy }).await.unwrap();
        }
        let mut plain: Vec<usize> = seen.all()[..4].to_vec();
        plain.sort_unstable();
        assert_eq!(plain, [0, 0, 1, 1]);
        assert_eq!(seen.all()[4..], [2, 2, 2, 2]);
        let refused = rt.deploy(Deploy::new(move || Where { seen: seen.clone() }).on_loop("oi")).await;
        assert!(matches!(refused, Err(DeployError::NoSuchLoop { event_loop, .. }) if event_loop == "oi"));
        rt.shutdown(Duration::from_secs(5)).await;
    });
}

struct Where {
    seen: Seen<usize>,
}

impl Verticle for Where {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.seen.note(ctx.event_loop());
        Ok(())
    }
}

#[test]
fn a_builder_out_of_range_says_what_is_allowed() {
    let refused = Runtime::builder().event_loops(0).build().unwrap_err();
    assert_eq!(refused.to_string(), "event_loops is 0, it must be 1 to 1024");
    assert!(Runtime::builder().mailbox(0).build().is_err());
    assert!(Runtime::builder().named_loop("a").named_loop("a").build().is_err());
}

#[test]
fn a_loop_name_that_cannot_be_used_is_refused() {
    for name in ["", "a\0b", "loop-0", "loop-1"] {
        let refused = Runtime::builder().event_loops(2).named_loop(name).build().unwrap_err().to_string();
        assert!(refused.starts_with("named_loop is \""), "{refused}");
    }
    assert!(Runtime::builder().event_loops(2).named_loop("loop-2").build().is_ok());
}

#[test]
fn more_instances_than_there_may_be_are_refused() {
    TestRuntime::paused(|rt| async move {
        let refused = rt.deploy(Kit::default().deploy().instances(usize::MAX)).await.unwrap_err();
        assert!(refused.to_string().ends_with("it must be 1 to 1048576"), "{refused}");
        assert_eq!(rt.deployments(), []);
    });
}

#[test]
fn a_second_shutdown_waits_for_the_first() {
    let rt = Runtime::builder().event_loops(2).build().unwrap();
    let kit = Kit::default();
    rt.block_on(async {
        rt.deploy(kit.deploy().name("older")).await.unwrap();
        rt.deploy(kit.deploy().name("newer").instances(2)).await.unwrap();
        rt.bus().send(WORK, 1).await.unwrap();
        eventually(rt.clock(), "it is in flight", || kit.life.len() == 4).await;
        let (own, again) = (rt.clone(), rt.clone());
        let first = tokio::task::spawn_local(async move { own.shutdown(Duration::from_secs(10)).await });
        eventually(rt.clock(), "the first has begun", || rt.deployments().len() < 2).await;
        let second = tokio::task::spawn_local(async move { again.shutdown(Duration::from_secs(10)).await });
        rt.clock().sleep(Duration::from_millis(50)).await;
        kit.gate.open();
        let (first, second) = (first.await.unwrap(), second.await.unwrap());
        assert!(first.is_clean(), "{first:?}");
        assert_eq!(first.deployments.len(), 2);
        assert!(second.is_clean() && second.deployments.is_empty(), "{second:?}");
        assert_eq!(kit.life.len(), 7);
    });
}

#[test]
fn a_shutdown_waits_for_an_undeployment_that_is_under_way() {
    let rt = Runtime::builder().event_loops(2).build().unwrap();
    let kit = Kit::default();
    rt.block_on(async {
        let deployment = rt.deploy(kit.deploy()).await.unwrap();
        rt.bus().send(WORK, 1).await.unwrap();
        eventually(rt.clock(), "it is in flight", || kit.life.len() == 2).await;
        let undeploying = tokio::task::spawn_local(deployment.undeploy());
        eventually(rt.clock(), "the intake closes", || rt.bus().try_send(WORK, 9).is_err()).await;
        let own = rt.clone();
        let ending = tokio::task::spawn_local(async move { own.shutdown(Duration::from_secs(10)).await });
        rt.clock().sleep(Duration::from_millis(50)).await;
        kit.gate.open();
        assert_eq!(undeploying.await.unwrap().unwrap().abandoned, 0);
        assert!(ending.await.unwrap().is_clean());
        assert_eq!(kit.life.all().last().unwrap(), "stop 0");
    });
}

#[test]
fn a_deployment_that_meets_a_shutdown_is_there_and_stopped_or_was_never_there() {
    for round in 0..60 {
        let rt = Runtime::builder().event_loops(2).build().unwrap();
        let kit = Kit::default();
        rt.block_on(async {
            let mut deploying = Vec::new();
            for _ in 0..4 {
                let (own, deploy) = (rt.clone(), kit.deploy().instances(2));
                deploying.push(std::thread::spawn(move || own.block_on(async { own.deploy(deploy).await.map(drop) })));
            }
            rt.clock().sleep(Duration::from_micros(100 * (round % 10))).await;
            rt.shutdown(Duration::from_secs(10)).await;
            for deploying in deploying {
                let deployed = deploying.join().unwrap();
                if let Err(refused) = deployed {
                    let early = matches!(refused, DeployError::ShuttingDown { .. } | DeployError::Undeployed { .. });
                    assert!(early, "{refused}");
                }
            }
        });
        let life = kit.life.all();
        let count = |what| life.iter().filter(|known| known.starts_with(what)).count();
        // Every instance whose `start` came to its end has been stopped.
        assert_eq!(count("start"), count("stop"), "{life:?}");
        assert_eq!(rt.deployments(), []);
    }
}

#[test]
fn a_shutdown_with_blocked_loops_ends_a_second_after_its_grace_however_much_is_deployed_there() {
    let rt = Runtime::builder().event_loops(2).build().unwrap();
    rt.block_on(async {
        let (block, blocked) = (Arc::new(Barrier::new(3)), Seen::default());
        for _ in 0..6 {
            rt.deploy(Kit::default().deploy().instances(2)).await.unwrap();
        }
        let (meet, note) = (block.clone(), blocked.clone());
        rt.deploy(Deploy::new(move || Blocker { meet: meet.clone(), blocked: note.clone() }).instances(2))
            .await
            .unwrap();
        for _ in 0..2 {
            rt.bus().send(BLOCK, ()).await.unwrap();
        }
        eventually(rt.clock(), "both loops are blocked", || blocked.len() == 2).await;
        let report = rt.shutdown(Duration::from_millis(100)).await;
        assert_eq!(report.stuck_loops, ["loop-0", "loop-1"]);
        assert_eq!(report.deployments.len(), 7);
        assert_eq!(report.deployments[0].failures.len(), 2);
        assert!(report.took < Duration::from_secs(3), "{:?}", report.took);
        block.wait();
    });
}

const BLOCK: Address<()> = Address::new("block");

/// Blocks its loop until enough have met.
struct Blocker {
    meet: Arc<Barrier>,
    blocked: Seen<()>,
}

impl Verticle for Blocker {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(BLOCK).register()?;
        Ok(())
    }
}

impl Handler<()> for Blocker {
    type Reply = ();
    async fn handle(&self, (): (), _: &Context<Self>) -> Result<(), Failure> {
        self.blocked.note(());
        self.meet.wait();
        Ok(())
    }
}

#[test]
fn what_is_on_its_way_when_a_verticle_is_given_up_is_counted_and_its_callers_are_told() {
    TestRuntime::on_loops(2, |rt| async move {
        let kit = Kit::default();
        let deployment = rt.deploy(kit.deploy()).await.unwrap();
        let (sent, all_sent) = std::sync::mpsc::sync_channel(1);
        let (let_go, held) = std::sync::mpsc::sync_channel(1);
        let held = Arc::new(Mutex::new(held));
        let own = (*rt).clone();
        let sending = tokio::task::spawn_local(async move {
            on_a_loop(&own, move |bus, _| {
                let (sent, held) = (sent.clone(), held.clone());
                async move {
                    for number in 0..9 {
                        bus.try_send(WORK, number).unwrap();
                    }
                    let mut asked = Box::pin(bus.request(WORK, 9));
                    std::future::poll_fn(|cx| {
                        assert!(asked.as_mut().poll(cx).is_pending());
                        std::task::Poll::Ready(())
                    })
                    .await;
                    // Nothing leaves this loop before its turn is over, and it is not.
                    sent.send(()).unwrap();
                    held.lock().unwrap().recv().unwrap();
                    asked.await
                }
            })
            .await
        });
        tokio::task::spawn_blocking(move || all_sent.recv().unwrap()).await.unwrap();
        assert_eq!(deployment.undeploy_within(Duration::ZERO).await.unwrap().abandoned, 10);
        let_go.send(()).unwrap();
        assert_eq!(sending.await.unwrap(), Err(RequestError::Closed { address: "work".into() }));
        assert_eq!(kit.life.all(), ["start 0", "stop 0"]);
    });
}

#[test]
fn blocking_work_beyond_the_bound_waits_for_a_thread_and_is_done_then() {
    TestRuntime::on_loops(1, |rt| async move {
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let done = Seen::default();
        let (count, peak, note) = (running.clone(), most.clone(), done.clone());
        rt.deploy(Deploy::new(move || Blocking { running: count.clone(), most: peak.clone(), done: note.clone() }))
            .await
            .unwrap();
        eventually(rt.clock(), "all are done", || done.len() == 200).await;
        assert!(most.load(Ordering::SeqCst) <= 64, "{most:?}");
        // One that is dropped while it waits for its thread does not begin; one that panics says so.
        assert_eq!(running.load(Ordering::SeqCst), 0);
    });
}

struct Blocking {
    running: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
    done: Seen<()>,
}

impl Verticle for Blocking {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let panicked = ctx.execute_blocking(|| panic!("blocking")).await;
        assert_eq!(panicked, Err::<(), _>(vertebra::BlockingError::Panicked { panic: "blocking".to_owned() }));
        for _ in 0..200 {
            let (own, running, most) = (ctx.clone(), self.running.clone(), self.most.clone());
            ctx.spawn(async move {
                let work = own.execute_blocking_unordered(move || {
                    most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    std::thread::yield_now();
                    running.fetch_sub(1, Ordering::SeqCst);
                });
                work.await.unwrap();
                own.verticle().done.note(());
            });
        }
        Ok(())
    }
}

#[test]
fn zero_instances_are_refused() {
    TestRuntime::paused(|rt| async move {
        let refused = rt.deploy(Kit::default().deploy().instances(0)).await;
        assert!(matches!(refused, Err(DeployError::NoInstances { .. })));
    });
}

#[test]
fn a_test_that_ends_with_work_in_flight_fails() {
    let leaked = std::panic::catch_unwind(|| {
        TestRuntime::paused(|rt| async move {
            rt.deploy(Kit::default().deploy()).await.unwrap();
            rt.bus().send(WORK, 1).await.unwrap();
        });
    });
    assert!(leaked.is_err());
}

const LAST_WORDS: Address<u32, u32> = Address::new("last_words");
const WORDS: Address<u32> = Address::new("words");
const HOLD: Address<()> = Address::new("hold");

/// Says a word at each gate, and then answers.
#[derive(Clone, Default)]
struct Leaving {
    begun: Seen<u32>,
    gates: [Gate; 2],
}

impl Verticle for Leaving {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(LAST_WORDS).register()?;
        Ok(())
    }
}

impl Handler<u32> for Leaving {
    type Reply = u32;
    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<u32, Failure> {
        self.begun.note(number);
        for (gate, word) in self.gates.iter().zip(1..) {
            gate.wait().await;
            ctx.bus().send(WORDS, word).await.unwrap();
        }
        Ok(number)
    }
}

/// Notes words; can be held, and its loop with it.
#[derive(Clone)]
struct Listening {
    words: Seen<u32>,
    held: Seen<()>,
    until: Arc<Mutex<std::sync::mpsc::Receiver<()>>>,
}

impl Verticle for Listening {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(WORDS).mailbox(2_048).register()?;
        ctx.serve(HOLD).register()?;
        Ok(())
    }
}

impl Handler<u32> for Listening {
    type Reply = ();
    async fn handle(&self, word: u32, _: &Context<Self>) -> Result<(), Failure> {
        self.words.note(word);
        Ok(())
    }
}

impl Handler<()> for Listening {
    type Reply = ();
    async fn handle(&self, (): (), _: &Context<Self>) -> Result<(), Failure> {
        self.held.note(());
        let _released = self.until.lock().unwrap().recv();
        Ok(())
    }
}

#[test]
fn what_a_worker_that_ends_has_for_a_loop_without_room_gets_there_in_order() {
    let rt = Runtime::builder().event_loops(1).build().unwrap();
    rt.block_on(async {
        let (leaving, words, held) = (Leaving::default(), Seen::default(), Seen::default());
        let (release, until) = std::sync::mpsc::sync_channel(1);
        let listening = Listening { words: words.clone(), held: held.clone(), until: Arc::new(Mutex::new(until)) };
        let listener = rt.deploy(Deploy::new(move || listening.clone())).await.unwrap();
        let factory = leaving.clone();
        let worker = rt.deploy(Deploy::new(move || factory.clone()).worker("leaving", 1)).await.unwrap();
        let asking = {
            let rt = rt.clone();
            let ask =
                |bus: Bus, _| async move { bus.sender(LAST_WORDS).timeout(Duration::from_secs(10)).request(7).await };
            tokio::task::spawn_local(async move { on_a_loop(&rt, ask).await })
        };
        eventually(rt.clock(), "it was asked", || leaving.begun.len() == 1).await;
        rt.bus().send(HOLD, ()).await.unwrap();
        eventually(rt.clock(), "the loop is held", || held.len() == 1).await;
        leaving.gates[0].open();
        while rt.metrics().await.loops[0].inbox == 0 {}
        // Only now is there no room: the second word must not overtake the first.
        while rt.bus().try_send(WORDS, 0).is_ok() {}
        leaving.gates[1].open();
        worker.undeploy().await.unwrap();
        release.send(()).unwrap();
        assert_eq!(asking.await.unwrap(), Ok(7));
        let spoken = || words.all().into_iter().filter(|word| *word != 0).collect::<Vec<_>>();
        eventually(rt.clock(), "both words", || spoken().len() == 2).await;
        assert_eq!(spoken(), [1, 2]);
        assert_eq!(listener.undeploy().await.unwrap().abandoned, 0);
    });
}
