//! Promises of supervision: a panic costs its message, the instance is rebuilt within its bound, and nothing else is lost.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Waker;
use std::time::Duration;

use support::{Census, Gate, OnDrop, Seen, eventually};
use vertebra::testing::TestRuntime;
use vertebra::{
    Address, BoxError, Context, Deploy, Deployment, Event, Failure, Handler, Message, RequestError, Restart, Runtime,
    SendError, Verticle,
};

const WORK: Address<Ask, u32> = Address::new("work");
const CLOSURE: Address<u32, u32> = Address::new("closure");
const ONCE: Address<u32, u32> = Address::new("once");
const OWN: Address<u32, u32> = Address::new("own");

#[derive(Clone, Copy, Debug, PartialEq)]
enum Ask {
    /// Replies which incarnation it is.
    Which,
    Panic,
    /// Waits at the gate, then replies which incarnation began it.
    Wait,
    WaitThenPanic,
    SpawnPanic,
    TimerPanic,
}

#[derive(Clone, Default)]
struct Kit {
    built: Arc<AtomicUsize>,
    starts: Seen<usize>,
    stops: Seen<usize>,
    ticks: Seen<usize>,
    /// Handlers that wait at the gate, or have.
    waits: Seen<usize>,
    gate: Gate,
    census: Census,
    /// Starts of these incarnations wait at it, and those of the second list fail.
    start_gate: Gate,
    start_waits: Arc<Mutex<Vec<usize>>>,
    start_fails: Arc<Mutex<Vec<usize>>>,
}

struct Flaky {
    kit: Kit,
    incarnation: usize,
    handled: Cell<u32>,
    _token: Arc<()>,
}

struct Child {
    _token: Arc<()>,
}

impl Verticle for Child {}

impl Kit {
    fn deploy(&self) -> Deploy<Flaky> {
        let kit = self.clone();
        Deploy::new(move || {
            let incarnation = kit.built.fetch_add(1, Ordering::SeqCst);
            Flaky { kit: kit.clone(), incarnation, handled: Cell::new(0), _token: kit.census.token() }
        })
        .name("flaky")
    }

    fn built(&self) -> usize {
        self.built.load(Ordering::SeqCst)
    }
}

impl Verticle for Flaky {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        if self.kit.start_waits.lock().unwrap().contains(&self.incarnation) {
            self.kit.start_gate.wait().await;
        }
        if self.kit.start_fails.lock().unwrap().contains(&self.incarnation) {
            return Err("no disk".into());
        }
        ctx.serve(WORK).register()?;
        let incarnation = self.incarnation as u32;
        ctx.serve_fn(CLOSURE, move |number| async move { Ok(incarnation * 100 + number) }).register()?;
        if self.incarnation == 0 {
            ctx.serve_fn(ONCE, |number| async move { Ok(number) }).in_flight(1).register()?;
        }
        let census = self.kit.census.clone();
        ctx.deploy(Deploy::new(move || Child { _token: census.token() }).name("child")).await?;
        let own = ctx.clone();
        ctx.spawn(async move {
            loop {
                own.clock().sleep(Duration::from_millis(1)).await;
                own.verticle().kit.ticks.note(own.verticle().incarnation);
            }
        });
        self.kit.starts.note(self.incarnation);
        Ok(())
    }

    async fn stop(&self, _: &Context<Self>) -> Result<(), BoxError> {
        self.kit.stops.note(self.incarnation);
        Ok(())
    }
}

impl Handler<Ask> for Flaky {
    type Reply = u32;

    async fn handle(&self, task: Ask, ctx: &Context<Self>) -> Result<u32, Failure> {
        self.handled.set(self.handled.get() + 1);
        match task {
            Ask::Which => {}
            Ask::Panic => panic!("flaky as ever"),
            Ask::Wait => {
                self.kit.waits.note(self.incarnation);
                self.kit.gate.wait().await;
            }
            Ask::WaitThenPanic => {
                self.kit.waits.note(self.incarnation);
                self.kit.gate.wait().await;
                panic!("late")
            }
            Ask::SpawnPanic => drop(ctx.spawn(async { panic!("in a task") })),
            Ask::TimerPanic => {
                ctx.set_timer(Duration::from_millis(1), |_| async { panic!("in a timer") })
                    .map_err(|error| Failure::new(500, error.to_string()))?;
            }
        }
        Ok(self.incarnation as u32)
    }
}

/// Starts as it is told, by its number.
struct Scripted {
    kit: Kit,
    incarnation: usize,
    script: Script,
}

type Script = fn(Kit, usize, Context<Scripted>) -> Pin<Box<dyn Future<Output = Result<(), BoxError>>>>;

impl Verticle for Scripted {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        (self.script)(self.kit.clone(), self.incarnation, ctx.clone()).await
    }
}

impl Kit {
    fn deploy_scripted(&self, script: Script) -> Deploy<Scripted> {
        let kit = self.clone();
        Deploy::new(move || Scripted {
            incarnation: kit.built.fetch_add(1, Ordering::SeqCst),
            kit: kit.clone(),
            script,
        })
    }
}

/// What panics when it is asked with this number, and replies which incarnation it is otherwise.
const UNLUCKY: u32 = 13;
/// What waits at the gate and then panics.
const LATE: u32 = 14;

fn serve_unlucky(kit: &Kit, incarnation: usize, ctx: &Context<Scripted>) -> Result<(), BoxError> {
    let (gate, waits) = (kit.gate.clone(), kit.waits.clone());
    let handler = move |number| {
        let (gate, waits) = (gate.clone(), waits.clone());
        async move {
            assert!(number != UNLUCKY, "unlucky");
            if number == LATE {
                waits.note(incarnation);
                gate.wait().await;
                panic!("late");
            }
            Ok(incarnation as u32)
        }
    };
    ctx.serve_fn(CLOSURE, handler.clone()).register()?;
    if incarnation == 0 {
        ctx.serve_fn(ONCE, handler).register()?;
    }
    Ok(())
}

/// A request whose handler has begun, and will panic when the gate is opened.
async fn late_at(
    rt: &Runtime,
    kit: &Kit,
    address: Address<u32, u32>,
) -> tokio::task::JoinHandle<Result<u32, RequestError>> {
    let bus = rt.bus().clone();
    let late = tokio::task::spawn_local(async move { bus.request(address, LATE).await });
    eventually(rt.clock(), "it has begun", || kit.waits.len() == 1).await;
    late
}

/// Waits until there is so much less room in the mailbox than there was: so many messages wait in it.
async fn until_queued<M: Message, R: Message>(rt: &Runtime, at: &Address<M, R>, room_before: usize, messages: usize) {
    eventually(rt.clock(), "they wait in the mailbox", || rt.bus().room(at.clone()) + messages == room_before).await;
}

/// The scripted verticle that is unlucky when it is told to be.
async fn deploy_unlucky(rt: &Runtime, kit: &Kit) -> Deployment {
    let scripted =
        kit.deploy_scripted(|kit, incarnation, ctx| Box::pin(async move { serve_unlucky(&kit, incarnation, &ctx) }));
    rt.deploy(scripted).await.unwrap()
}

async fn unlucky_once(rt: &Runtime) {
    let failed = rt.bus().request(CLOSURE, UNLUCKY).await;
    assert_eq!(failed.unwrap_err().code(), Some(Failure::UNSPECIFIED));
}

async fn panic_once(rt: &Runtime) {
    let failed = rt.bus().request(WORK, Ask::Panic).await;
    assert_eq!(failed.unwrap_err().code(), Some(Failure::UNSPECIFIED));
}

fn ask(rt: &Runtime, task: Ask) -> tokio::task::JoinHandle<Result<u32, RequestError>> {
    let bus = rt.bus().clone();
    tokio::task::spawn_local(async move { bus.request(WORK, task).await })
}

async fn up(rt: &TestRuntime, kit: &Kit, incarnations: usize) {
    eventually(rt.clock(), "it is rebuilt", || kit.starts.len() == incarnations).await;
}

promises! {
    async fn a_panic_fails_its_message_and_the_next_one_finds_a_new_instance(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy()).await.unwrap();
        assert_eq!(rt.bus().request(WORK, Ask::Which).await, Ok(0));
        panic_once(&rt).await;
        // Nothing is waited for: what is sent at once waits in the mailbox.
        assert_eq!(rt.bus().request(WORK, Ask::Which).await, Ok(1));
        assert_eq!(rt.bus().request(CLOSURE, 7).await, Ok(107));
        up(&rt, &kit, 2).await;
        assert_eq!((kit.starts.all(), kit.stops.all()), (vec![0, 1], vec![]));
        assert_eq!(rt.deployments().len(), 2, "the child of the old instance went with it");
        assert_eq!(kit.census.alive(), 2);
    }

    async fn a_panic_in_a_task_or_a_timer_counts_like_one_in_a_handler(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy()).await.unwrap();
        assert_eq!(rt.bus().request(WORK, Ask::SpawnPanic).await, Ok(0));
        up(&rt, &kit, 2).await;
        assert_eq!(rt.bus().request(WORK, Ask::TimerPanic).await, Ok(1));
        up(&rt, &kit, 3).await;
        assert_eq!(rt.bus().request(WORK, Ask::Which).await, Ok(2));
    }

    async fn what_waits_in_the_mailbox_while_the_instance_is_rebuilt_is_handled_in_order_and_not_lost(rt: &TestRuntime) {
        let kit = Kit::default();
        kit.start_waits.lock().unwrap().push(1);
        rt.deploy(kit.deploy()).await.unwrap();
        panic_once(&rt).await;
        eventually(rt.clock(), "the next one is built", || kit.built() == 2).await;
        let waiting: Vec<_> = (0..20).map(|_| ask(&rt, Ask::Which)).collect();
        for _ in 0..20 {
            rt.bus().send(WORK, Ask::Which).await.unwrap();
        }
        rt.clock().sleep(Duration::from_millis(20)).await;
        assert!(waiting.iter().all(|asked| !asked.is_finished()));
        kit.start_gate.open();
        for asked in waiting {
            assert_eq!(asked.await.unwrap(), Ok(1));
        }
    }

    async fn handlers_in_flight_on_the_old_instance_finish_and_its_tasks_do_not_go_on(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy()).await.unwrap();
        let old = ask(&rt, Ask::Wait);
        eventually(rt.clock(), "a tick", || kit.ticks.len() > 0 && kit.waits.len() == 1).await;
        panic_once(&rt).await;
        up(&rt, &kit, 2).await;
        let new = ask(&rt, Ask::Wait);
        eventually(rt.clock(), "ticks of the new one", || kit.ticks.all().contains(&1)).await;
        eventually(rt.clock(), "its handler", || kit.waits.len() == 2).await;
        let ticks = kit.ticks.len();
        eventually(rt.clock(), "more ticks", || kit.ticks.len() > ticks + 3).await;
        assert!(!kit.ticks.all()[ticks..].contains(&0));
        kit.gate.open();
        assert_eq!((old.await.unwrap(), new.await.unwrap()), (Ok(0), Ok(1)));
        // With its last handler the old instance is gone: one instance and its child are there.
        eventually(rt.clock(), "the old one is gone", || kit.census.alive() == 2).await;
    }

    async fn handlers_of_the_old_instance_do_not_hold_up_the_new_one(rt: &TestRuntime) {
        let kit = Kit::default();
        let deployment = rt.deploy(kit.deploy_scripted(|kit, incarnation, ctx| {
            Box::pin(async move {
                serve_unlucky(&kit, incarnation, &ctx)?;
                let (gate, begun) = (kit.gate.clone(), kit.starts.clone());
                ctx.serve_fn(OWN, move |number| {
                    let (gate, begun) = (gate.clone(), begun.clone());
                    async move {
                        begun.note(incarnation);
                        if number == LATE {
                            gate.wait().await;
                        }
                        Ok(incarnation as u32)
                    }
                }).in_flight(1).register()?;
                Ok(())
            })
        })).await.unwrap();
        let ask = |number| {
            let bus = rt.bus().clone();
            tokio::task::spawn_local(async move { bus.request(OWN, number).await })
        };
        let first = ask(LATE);
        eventually(rt.clock(), "one is in flight", || kit.starts.len() == 1).await;
        unlucky_once(&rt).await;
        assert_eq!(ask(0).await.unwrap(), Ok(1), "the old one's takes no place of the new one's");
        let second = ask(LATE);
        eventually(rt.clock(), "two are in flight", || kit.starts.all() == [0, 1, 1]).await;
        let (third, waiting) = (ask(LATE), ask(0));
        rt.clock().sleep(Duration::from_millis(20)).await;
        assert_eq!(kit.starts.len(), 3, "one of the new instance at a time");
        unlucky_once(&rt).await;
        rt.clock().sleep(Duration::from_millis(50)).await;
        assert_eq!(kit.starts.len(), 3, "as many again of the old ones, and not more");
        kit.gate.open();
        let replies = [first.await, second.await, third.await, waiting.await].map(Result::unwrap);
        assert_eq!(replies, [Ok(0), Ok(1), Ok(2), Ok(2)]);
        let both = [ask(LATE), ask(0)];
        for asked in both {
            assert_eq!(asked.await.unwrap(), Ok(2));
        }
        deployment.undeploy().await.unwrap();
    }

    async fn a_late_panic_of_the_old_instance_is_nothing_to_the_new_one(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy()).await.unwrap();
        let late: Vec<_> = (0..30).map(|_| ask(&rt, Ask::WaitThenPanic)).collect();
        eventually(rt.clock(), "all have begun", || kit.waits.len() == 30).await;
        panic_once(&rt).await;
        up(&rt, &kit, 2).await;
        kit.gate.open();
        for asked in late {
            assert_eq!(asked.await.unwrap().unwrap_err().code(), Some(Failure::UNSPECIFIED));
        }
        rt.clock().sleep(Duration::from_millis(20)).await;
        assert_eq!(rt.bus().request(WORK, Ask::Which).await, Ok(1));
        assert_eq!(kit.built(), 2);
    }

    async fn so_is_one_at_an_address_that_is_served_no_more(rt: &TestRuntime) {
        let kit = Kit::default();
        deploy_unlucky(&rt, &kit).await;
        let late = late_at(&rt, &kit, ONCE).await;
        unlucky_once(&rt).await;
        assert_eq!(rt.bus().request(CLOSURE, 1).await, Ok(1));
        eventually(rt.clock(), "it is closed", || rt.bus().try_send(ONCE, 1).is_err()).await;
        kit.gate.open();
        assert_eq!(late.await.unwrap().unwrap_err().code(), Some(Failure::UNSPECIFIED));
        rt.clock().sleep(Duration::from_millis(20)).await;
        assert_eq!((rt.bus().request(CLOSURE, 1).await, kit.built()), (Ok(1), 2));
    }

    async fn so_is_one_while_the_new_instance_starts(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy_scripted(|kit, incarnation, ctx| {
            Box::pin(async move {
                if incarnation > 0 {
                    kit.start_gate.wait().await;
                }
                serve_unlucky(&kit, incarnation, &ctx)
            })
        }))
        .await
        .unwrap();
        let late = late_at(&rt, &kit, CLOSURE).await;
        unlucky_once(&rt).await;
        eventually(rt.clock(), "the next one is built", || kit.built() == 2).await;
        kit.gate.open();
        assert_eq!(late.await.unwrap().unwrap_err().code(), Some(Failure::UNSPECIFIED));
        rt.clock().sleep(Duration::from_millis(20)).await;
        kit.start_gate.open();
        assert_eq!((rt.bus().request(CLOSURE, 1).await, kit.built()), (Ok(1), 2));
    }

    async fn a_start_that_fails_because_its_own_handler_panics_counts_once(rt: &TestRuntime) {
        let kit = Kit::default();
        let deploy = kit.deploy_scripted(|kit, incarnation, ctx| {
            Box::pin(async move {
                serve_unlucky(&kit, incarnation, &ctx)?;
                if incarnation == 1 {
                    ctx.serve_fn(OWN, |_| async { panic!("early") }).register()?;
                    ctx.bus().request(OWN, 1).await?;
                }
                Ok(())
            })
        });
        rt.deploy(deploy.restart(Restart::at_most(2, Duration::from_secs(60)))).await.unwrap();
        unlucky_once(&rt).await;
        eventually(rt.clock(), "the third one is built", || kit.built() == 3).await;
        assert_eq!((rt.bus().request(CLOSURE, 1).await, kit.built()), (Ok(2), 3));
    }

    async fn an_instance_that_panics_as_its_start_ends_is_not_kept_and_nobody_who_waits_is_turned_away(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy_scripted(|kit, incarnation, ctx| {
            Box::pin(async move {
                if incarnation == 1 {
                    kit.start_gate.wait().await;
                }
                serve_unlucky(&kit, incarnation, &ctx)?;
                if incarnation == 1 {
                    ctx.serve_fn(OWN, |_| async { panic!("early") }).register()?;
                    // Handled within this very call, and its failure is nothing to the start.
                    ctx.bus().request(OWN, 1).await.unwrap_err();
                }
                Ok(())
            })
        }))
        .await
        .unwrap();
        unlucky_once(&rt).await;
        eventually(rt.clock(), "the next one is built", || kit.built() == 2).await;
        let asked: Vec<_> = (0..300)
            .map(|number| {
                let bus = rt.bus().clone();
                tokio::task::spawn_local(async move { bus.request(CLOSURE, 100 + number).await })
            })
            .collect();
        rt.clock().sleep(Duration::from_millis(5)).await;
        kit.start_gate.open();
        for asked in asked {
            assert!(matches!(asked.await.unwrap(), Ok(1 | 2)));
        }
        eventually(rt.clock(), "the third one is built", || kit.built() == 3).await;
        assert_eq!(rt.bus().request(CLOSURE, 1).await, Ok(2));
    }

    async fn a_verticle_that_panics_when_it_is_dropped_is_replaced_and_undeployed_all_the_same(rt: &TestRuntime) {
        struct Clinging(Scripted, #[expect(dead_code, reason = "for its drop")] OnDrop<fn()>);
        impl Verticle for Clinging {
            async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
                let incarnation = self.0.incarnation as u32;
                let handler = move |number| async move {
                    assert!(number != UNLUCKY, "unlucky");
                    Ok(incarnation)
                };
                ctx.serve_fn(CLOSURE, handler).register()?;
                Ok(())
            }
        }
        let kit = Kit::default();
        let script: Script = |_, _, _| Box::pin(async { Ok(()) });
        let own = kit.clone();
        let deploy = Deploy::new(move || {
            let incarnation = own.built.fetch_add(1, Ordering::SeqCst);
            let cling = || assert!(std::thread::panicking(), "it does not want to go");
            Clinging(Scripted { kit: own.clone(), incarnation, script }, OnDrop::new(cling))
        });
        let deployment = rt.deploy(deploy).await.unwrap();
        unlucky_once(&rt).await;
        assert_eq!(rt.bus().request(CLOSURE, 1).await, Ok(1));
        assert!(deployment.undeploy().await.unwrap().is_clean());
        // The handler's, and one for each instance that was dropped.
        assert_eq!(rt.metrics().await.loops.iter().map(|event_loop| event_loop.panics).sum::<u64>(), 3);
    }

    async fn what_the_new_instance_does_not_serve_leaves_no_consumer_behind(rt: &TestRuntime) {
        let kit = Kit::default();
        deploy_unlucky(&rt, &kit).await;
        let late = late_at(&rt, &kit, ONCE).await;
        unlucky_once(&rt).await;
        assert_eq!(rt.bus().request(CLOSURE, 1).await, Ok(1));
        kit.gate.open();
        late.await.unwrap().unwrap_err();
        let metrics = rt.metrics().await;
        let consumers = |name: &str| metrics.address(name).map(|address| address.consumers);
        assert_eq!((consumers("once"), consumers("closure")), (Some(0), Some(1)));
    }

    async fn what_a_registration_under_way_to_its_end_has_accepted_begins_on_no_instance_that_has_panicked(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy_scripted(|kit, incarnation, ctx| {
            Box::pin(async move {
                if incarnation > 0 {
                    return Ok(ctx.serve_fn(CLOSURE, move |_| async move { Ok(incarnation as u32) }).register().map(drop)?);
                }
                let begun = kit.starts.clone();
                let begin = move |number| {
                    begun.note(number as usize);
                    async move { Ok(number) }
                };
                let closing = ctx.serve_fn(ONCE, begin).paused().register()?;
                ctx.serve_fn(CLOSURE, move |_| {
                    let unregistering = pin!(closing.clone().unregister());
                    assert!(unregistering.poll(&mut std::task::Context::from_waker(Waker::noop())).is_pending());
                    async { panic!("unlucky") }
                })
                .register()?;
                Ok(())
            })
        }))
        .await
        .unwrap();
        let room = rt.bus().room(ONCE);
        let waiting: Vec<_> = (0..5)
            .map(|number| {
                let bus = rt.bus().clone();
                tokio::task::spawn_local(async move { bus.request(ONCE, number).await })
            })
            .collect();
        until_queued(&rt, &ONCE, room, 5).await;
        unlucky_once(&rt).await;
        for waiting in waiting {
            assert_eq!(waiting.await.unwrap(), Err(RequestError::Closed { address: "once".into() }));
        }
        assert_eq!(rt.bus().request(CLOSURE, 1).await, Ok(1));
        assert_eq!(kit.starts.all(), []);
    }

    async fn beyond_its_bound_the_deployment_is_given_up_and_whoever_waits_is_told(rt: &TestRuntime) {
        let kit = Kit::default();
        let restart = Restart::at_most(2, Duration::from_secs(60));
        rt.deploy(kit.deploy().restart(restart).instances(2)).await.unwrap();
        kit.gate.open();
        let mut failed = 0;
        let mut closed = 0;
        // Round robin over two instances: the sixth panic is the third of one of them, at the latest.
        for _ in 0..12 {
            match rt.bus().request(WORK, Ask::Panic).await {
                Err(RequestError::Failed(_)) => failed += 1,
                Err(RequestError::Closed { .. } | RequestError::NoHandlers { .. }) => closed += 1,
                other => panic!("{other:?}"),
            }
        }
        assert!((3..=6).contains(&failed) && closed > 0, "{failed} {closed}");
        eventually(rt.clock(), "all of it is gone", || rt.deployments().is_empty()).await;
        assert_eq!(rt.bus().try_send(WORK, Ask::Which), Err(SendError::NoHandlers(Ask::Which)));
        eventually(rt.clock(), "nothing is left", || kit.census.alive() == 0).await;
    }

    async fn never_gives_the_deployment_up_at_the_first_panic_and_what_waits_is_closed(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy().restart(Restart::never())).await.unwrap();
        let in_flight = ask(&rt, Ask::Wait);
        eventually(rt.clock(), "it has begun", || kit.waits.len() == 1).await;
        panic_once(&rt).await;
        assert_eq!(in_flight.await.unwrap(), Err(RequestError::Closed { address: "work".into() }));
        eventually(rt.clock(), "all of it is gone", || rt.deployments().is_empty()).await;
        assert_eq!((kit.built(), kit.stops.len()), (1, 0));
    }

    async fn keep_keeps_the_instance_with_its_state_and_its_tasks(rt: &TestRuntime) {
        let kit = Kit::default();
        rt.deploy(kit.deploy().restart(Restart::keep())).await.unwrap();
        for _ in 0..20 {
            panic_once(&rt).await;
        }
        assert_eq!(rt.bus().request(WORK, Ask::SpawnPanic).await, Ok(0));
        let ticks = kit.ticks.len();
        eventually(rt.clock(), "its task ticks on", || kit.ticks.len() > ticks + 2).await;
        assert_eq!(rt.bus().request(WORK, Ask::Which).await, Ok(0));
        assert_eq!(kit.built(), 1);
    }

    async fn a_start_that_fails_is_tried_again_after_a_pause_and_counts(rt: &TestRuntime) {
        let kit = Kit::default();
        kit.start_fails.lock().unwrap().extend([1, 2, 3]);
        rt.deploy(kit.deploy()).await.unwrap();
        panic_once(&rt).await;
        let before = rt.elapsed();
        assert_eq!(rt.bus().request(WORK, Ask::Which).await, Ok(4));
        // At once, then after 10, 20 and 40 ms.
        assert!(rt.elapsed() - before >= Duration::from_millis(70), "{:?}", rt.elapsed() - before);
        assert_eq!(kit.built(), 5);
    }

    async fn an_instance_that_does_not_start_any_more_is_given_up(rt: &TestRuntime) {
        let kit = Kit::default();
        kit.start_fails.lock().unwrap().extend(1..100);
        rt.deploy(kit.deploy()).await.unwrap();
        panic_once(&rt).await;
        assert!(matches!(
            rt.bus().request(WORK, Ask::Which).await,
            Err(RequestError::Closed { .. } | RequestError::NoHandlers { .. })
        ));
        eventually(rt.clock(), "all of it is gone", || rt.deployments().is_empty()).await;
        assert_eq!(kit.built(), 6);
        eventually(rt.clock(), "nothing is left", || kit.census.alive() == 0).await;
    }

    async fn what_the_new_instance_does_not_serve_is_closed_and_its_callers_are_told(rt: &TestRuntime) {
        let kit = Kit::default();
        kit.start_waits.lock().unwrap().push(1);
        rt.deploy(kit.deploy()).await.unwrap();
        assert_eq!(rt.bus().request(ONCE, 5).await, Ok(5));
        panic_once(&rt).await;
        eventually(rt.clock(), "the next one is built", || kit.built() == 2).await;
        let bus = rt.bus().clone();
        let room = rt.bus().room(ONCE);
        let waiting = tokio::task::spawn_local(async move { bus.request(ONCE, 6).await });
        until_queued(&rt, &ONCE, room, 1).await;
        kit.start_gate.open();
        assert_eq!(waiting.await.unwrap(), Err(RequestError::Closed { address: "once".into() }));
        assert_eq!(rt.bus().try_send(ONCE, 7), Err(SendError::NoHandlers(7)));
        assert_eq!(rt.bus().request(WORK, Ask::Which).await, Ok(1));
    }

    async fn undeploying_while_it_is_rebuilt_cuts_that_off_and_leaves_nothing(rt: &TestRuntime) {
        let kit = Kit::default();
        kit.start_waits.lock().unwrap().push(1);
        let deployment: Deployment = rt.deploy(kit.deploy()).await.unwrap();
        panic_once(&rt).await;
        eventually(rt.clock(), "the next one is built", || kit.built() == 2).await;
        let room = rt.bus().room(WORK);
        let waiting = ask(&rt, Ask::Which);
        until_queued(&rt, &WORK, room, 1).await;
        let report = deployment.undeploy().await.unwrap();
        assert_eq!((report.abandoned, report.failures), (1, vec![]));
        assert_eq!(waiting.await.unwrap(), Err(RequestError::Closed { address: "work".into() }));
        assert_eq!(rt.bus().try_send(WORK, Ask::Which), Err(SendError::NoHandlers(Ask::Which)));
        eventually(rt.clock(), "nothing is left", || kit.census.alive() == 0).await;
        assert_eq!(rt.deployments(), []);
    }

    async fn a_handler_that_panics_while_its_verticle_starts_has_it_rebuilt_once_it_has_started(rt: &TestRuntime) {
        let kit = Kit::default();
        let own = kit.clone();
        rt.deploy(Deploy::new(move || Early { built: own.built.fetch_add(1, Ordering::SeqCst), kit: own.clone() }))
            .await
            .unwrap();
        eventually(rt.clock(), "it is rebuilt", || kit.starts.all() == [0, 1]).await;
    }

    async fn under_a_stream_of_messages_every_request_ends_and_none_is_handled_twice(rt: &TestRuntime) {
        let kit = Kit::default();
        kit.gate.open();
        let restart = Restart::at_most(1_000, Duration::from_secs(1));
        rt.deploy(kit.deploy().restart(restart).instances(2)).await.unwrap();
        let mut asked = Vec::new();
        for number in 0..300_u32 {
            asked.push((number, ask(&rt, if number % 50 == 7 { Ask::Panic } else { Ask::Wait })));
            if number % 10 == 0 {
                tokio::task::yield_now().await;
            }
        }
        let (mut replied, mut failed) = (0, 0);
        for (number, asked) in asked {
            match asked.await.unwrap() {
                Ok(_) => replied += 1,
                Err(RequestError::Failed(_)) => failed += 1,
                Err(other) => panic!("{number}: {other}"),
            }
        }
        assert_eq!((replied, failed), (294, 6));
    }
}

/// Sends itself something that panics before its start is over.
struct Early {
    built: usize,
    kit: Kit,
}

impl Verticle for Early {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let first = self.built == 0;
        ctx.serve_fn(CLOSURE, move |number| async move {
            assert!(!first, "too early");
            Ok(number)
        })
        .register()?;
        if first {
            drop(ctx.bus().request(CLOSURE, 1).await);
        }
        self.kit.starts.note(self.built);
        Ok(())
    }
}

#[test]
fn the_bound_counts_what_happened_within_its_time_only() {
    TestRuntime::paused(|rt| async move {
        let kit = Kit::default();
        rt.deploy(kit.deploy().restart(Restart::at_most(1, Duration::from_secs(10)))).await.unwrap();
        for round in 1..=5 {
            panic_once(&rt).await;
            assert_eq!(rt.bus().request(WORK, Ask::Which).await, Ok(round));
            rt.clock().sleep(Duration::from_secs(10)).await;
        }
        panic_once(&rt).await;
        panic_once(&rt).await;
        eventually(rt.clock(), "it is given up", || rt.deployments().is_empty()).await;
    });
}

#[test]
fn each_step_of_a_deployments_life_is_told() {
    let seen = Seen::default();
    let note = seen.clone();
    let rt = Runtime::builder().event_loops(2).on_event(move |event| note.note(event.clone())).build().unwrap();
    rt.block_on(async {
        let kit = Kit::default();
        let lasting = rt.deploy(kit.deploy().name("lasting")).await.unwrap();
        panic_once(&rt).await;
        let rebuilt = |event: &Event| matches!(event, Event::Rebuilt { .. });
        eventually(rt.clock(), "it is rebuilt", || seen.all().iter().any(rebuilt)).await;
        lasting.undeploy().await.unwrap();
        let failing = Kit::default();
        failing.start_fails.lock().unwrap().push(0);
        rt.deploy(failing.deploy().name("failing")).await.unwrap_err();
        let strict = Kit::default();
        rt.deploy(strict.deploy().name("strict").restart(Restart::never())).await.unwrap();
        panic_once(&rt).await;
        eventually(rt.clock(), "it is given up", || rt.deployments().is_empty()).await;
        rt.shutdown(Duration::from_secs(5)).await;
    });
    let told: Vec<_> = seen
        .all()
        .into_iter()
        .map(|event| match event {
            Event::Deploying(info) => format!("deploying {}", info.name),
            Event::Deployed(info) => format!("deployed {}", info.name),
            Event::DeployFailed { deployment, error } => format!("failed {}: {error}", deployment.name),
            Event::Undeploying(info) => format!("undeploying {}", info.name),
            Event::Undeployed(undeployed) => format!("undeployed {}", undeployed.name),
            Event::Panicked { by, panic } => format!("panicked {}: {panic}", by.verticle),
            Event::Rebuilt { by, times } => format!("rebuilt {} {times}", by.verticle),
            Event::GivenUp { by, reason } => format!("given up {}: {reason}", by.verticle),
            other => format!("{other:?}"),
        })
        .collect();
    let child = |verb: &str| format!("{verb} child");
    let expected = [
        "deploying lasting".to_owned(),
        child("deploying"),
        child("deployed"),
        "deployed lasting".to_owned(),
        "panicked lasting: flaky as ever".to_owned(),
        child("undeploying"),
        child("undeployed"),
        child("deploying"),
        child("deployed"),
        "rebuilt lasting 1".to_owned(),
        "undeploying lasting".to_owned(),
        child("undeploying"),
        child("undeployed"),
        "undeployed lasting".to_owned(),
        "deploying failing".to_owned(),
        "undeploying failing".to_owned(),
        "undeployed failing".to_owned(),
        "failed failing: deployment failing: instance 0 did not start".to_owned(),
        "deploying strict".to_owned(),
        child("deploying"),
        child("deployed"),
        "deployed strict".to_owned(),
        "panicked strict: flaky as ever".to_owned(),
        "given up strict: flaky as ever".to_owned(),
        "undeploying strict".to_owned(),
        child("undeploying"),
        child("undeployed"),
        "undeployed strict".to_owned(),
    ];
    assert_eq!(told, expected);
}

/// What is told of an error may fail itself: the hook panics at every step, and each message is handled all the same.
#[test]
fn v177_a_hook_that_panics_itself_harms_no_later_message() {
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let configure = move |builder: vertebra::RuntimeBuilder| {
        builder.on_event(move |event| {
            count.fetch_add(1, Ordering::SeqCst);
            panic!("cannot tell anybody of {event:?}");
        })
    };
    TestRuntime::paused_with(configure, |rt| async move {
        let kit = Kit::default();
        rt.deploy(kit.deploy()).await.unwrap();
        for incarnation in 0..3 {
            assert_eq!(rt.bus().request(WORK, Ask::Which).await, Ok(incarnation));
            panic_once(&rt).await;
        }
        assert_eq!(rt.bus().request(WORK, Ask::Which).await, Ok(3));
        assert_eq!(kit.built(), 4);
    });
    // Deploying and deployed, parent and child; a panic and a rebuilding, three times: at the least.
    assert!(told.load(Ordering::SeqCst) >= 10, "{told:?}");
}

/// Within no time nothing has happened yet: without a shortest time it would be tried again and again, without a pause.
#[test]
fn a_bound_within_no_time_keeps_no_loop_from_others() {
    TestRuntime::on_loops(1, |rt| async move {
        let kit = Kit::default();
        kit.start_fails.lock().unwrap().extend(1..1_000_000);
        rt.deploy(kit.deploy().restart(Restart::at_most(3, Duration::ZERO))).await.unwrap();
        panic_once(&rt).await;
        eventually(rt.clock(), "it is tried again", || kit.built() > 5).await;
        assert!(rt.metrics().await.loops[0].answered);
    });
}
