//! What is over is gone: a verticle when it is undeployed, everything when the runtime ends - in order or not.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use support::{Census, Gate, Seen, eventually, on_a_loop};
use vertebra::testing::TestRuntime;
use vertebra::{
    Address, BoxError, Consumer, Context, Delivery, Deploy, DeployError, Failure, Handler, InterceptorId, RequestError,
    Runtime, SendError, Task, Verticle,
};

const WORK: Address<Work, Arc<()>> = Address::new("work");
const OTHER: Address<u32> = Address::new("other");

/// A message that is counted, like everything here.
#[derive(Clone)]
struct Work {
    _token: Arc<()>,
    waits: bool,
}

/// Holds on to everything a verticle can hold on to.
struct Hoarder {
    census: Census,
    _token: Arc<()>,
    gate: Gate,
    kept: RefCell<Vec<(Consumer, Task)>>,
    stopped: Seen<usize>,
}

impl Verticle for Hoarder {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let served = ctx.serve(WORK).register()?;
        let own = ctx.clone();
        let task = ctx.spawn(async move {
            let _token = own.verticle().census.token();
            own.stopping().await;
            std::future::pending().await
        });
        self.kept.borrow_mut().push((served, task));
        let own = ctx.clone();
        ctx.serve_fn(OTHER, move |_| {
            let own = own.clone();
            async move {
                let _token = own.verticle().census.token();
                Ok(())
            }
        })
        .register()?;
        // The routes of this loop lead to itself from here on.
        ctx.bus().send(OTHER, 1).await?;
        ctx.bus().request(WORK, self.work(false)).await?;
        Ok(())
    }

    async fn stop(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.stopped.note(ctx.instance());
        Ok(())
    }
}

impl Hoarder {
    fn work(&self, waits: bool) -> Work {
        Work { _token: self.census.token(), waits }
    }
}

impl Handler<Work> for Hoarder {
    type Reply = Arc<()>;
    async fn handle(&self, work: Work, ctx: &Context<Self>) -> Result<Arc<()>, Failure> {
        let _own = ctx.clone();
        if work.waits {
            self.gate.wait().await;
        }
        Ok(self.census.token())
    }
}

#[derive(Clone, Default)]
struct Kit {
    census: Census,
    gate: Gate,
    stopped: Seen<usize>,
}

impl Kit {
    fn deploy(&self) -> Deploy<Hoarder> {
        let kit = self.clone();
        Deploy::new(move || Hoarder {
            census: kit.census.clone(),
            _token: kit.census.token(),
            gate: kit.gate.clone(),
            kept: RefCell::default(),
            stopped: kit.stopped.clone(),
        })
    }

    fn work(&self) -> Work {
        Work { _token: self.census.token(), waits: true }
    }
}

promises! {
    async fn nothing_of_a_verticle_is_left_when_its_undeployment_is_done(rt: &TestRuntime) {
        let kit = Kit::default();
        kit.gate.open();
        for _ in 0..3 {
            let deployment = rt.deploy(kit.deploy().instances(3)).await.unwrap();
            for _ in 0..6 {
                drop(rt.bus().request(WORK, kit.work()).await.unwrap());
                rt.bus().send(OTHER, 1).await.unwrap();
            }
            let work = kit.census.clone();
            on_a_loop(&rt, move |bus, _| {
                let work = work.clone();
                async move {
                    for _ in 0..6 {
                        drop(bus.request(WORK, Work { _token: work.token(), waits: false }).await.unwrap());
                        bus.publish(WORK, Work { _token: work.token(), waits: false });
                    }
                }
            }).await;
            deployment.undeploy().await.unwrap();
            assert_eq!(kit.census.alive(), 0);
        }
    }

    async fn nothing_of_a_verticle_that_was_given_up_is_left(rt: &TestRuntime) {
        let kit = Kit::default();
        let deployment = rt.deploy(kit.deploy().instances(2)).await.unwrap();
        for _ in 0..10 {
            rt.bus().send(WORK, kit.work()).await.unwrap();
        }
        let work = kit.census.clone();
        on_a_loop(&rt, move |bus, _| {
            let work = work.clone();
            async move {
                for _ in 0..10 {
                    bus.send(WORK, Work { _token: work.token(), waits: true }).await.unwrap();
                    let work = Work { _token: work.token(), waits: true };
                    let asked = bus.request(WORK, work).timeout(Duration::from_millis(2)).await;
                    assert!(matches!(asked, Err(RequestError::Timeout { .. })));
                }
            }
        }).await;
        let report = deployment.undeploy_within(Duration::from_millis(5)).await.unwrap();
        assert_eq!(report.abandoned, 30);
        eventually(rt.clock(), "all is gone", || kit.census.alive() == 0).await;
    }

    async fn nothing_of_a_registration_that_was_taken_back_is_left(rt: &TestRuntime) {
        let census = Census::default();
        let token = census.clone();
        rt.deploy(Deploy::new(move || Fickle { census: token.clone() })).await.unwrap();
        assert_eq!(census.alive(), 0);
    }

    async fn nothing_of_a_start_that_failed_is_left(rt: &TestRuntime) {
        let census = Census::default();
        for panics in [false, true] {
            let token = census.clone();
            let deploy = Deploy::new(move || Fails { census: token.clone(), _token: token.token(), panics });
            let refused = rt.deploy(deploy.instances(2)).await.unwrap_err();
            match panics {
                false => assert!(matches!(refused, DeployError::Start { .. })),
                true => assert!(matches!(refused, DeployError::Panicked { panic, .. } if panic == "before the future")),
            }
            eventually(rt.clock(), "all is gone", || census.alive() == 0).await;
            assert_eq!(rt.bus().try_send(OTHER, 1), Err(SendError::NoHandlers(1)));
        }
    }

    async fn a_panic_in_a_verticles_drop_is_its_own_affair(rt: &TestRuntime) {
        let deployment = rt.deploy(Deploy::new(|| DropsBadly).instances(4)).await.unwrap();
        rt.bus().send(OTHER, 1).await.unwrap();
        drop(deployment.undeploy().await.unwrap());
        let kit = Kit::default();
        rt.deploy(kit.deploy().instances(4)).await.unwrap();
        for _ in 0..4 {
            rt.bus().send(OTHER, 1).await.unwrap();
        }
    }
}

/// Registers, uses and takes back a hundred addresses.
struct Fickle {
    census: Census,
}

impl Verticle for Fickle {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        for number in 0..100 {
            let address: Address<u32> = Address::dynamic(format!("fickle.{number}"));
            let token = self.census.token();
            let registered = ctx.serve_fn(address.clone(), move |_| {
                let token = token.clone();
                async move {
                    drop(token);
                    Ok(())
                }
            });
            let registered = registered.register()?;
            ctx.bus().request(address.clone(), 1).await?;
            ctx.bus().send(address, 1).await?;
            registered.unregister().await;
            assert_eq!(self.census.alive(), 0);
        }
        Ok(())
    }
}

struct Fails {
    census: Census,
    _token: Arc<()>,
    panics: bool,
}

impl Verticle for Fails {
    /// Not an `async fn`: part of it runs before there is a future.
    #[allow(clippy::manual_async_fn, reason = "that is what is tested")]
    fn start(&self, ctx: &Context<Self>) -> impl Future<Output = Result<(), BoxError>> {
        let token = self.census.token();
        let registered = ctx.serve_fn(OTHER, move |_| {
            let token = token.clone();
            async move {
                drop(token);
                Ok(())
            }
        });
        registered.register().unwrap();
        assert!(!self.panics, "before the future");
        let own = ctx.clone();
        ctx.spawn(async move {
            let _own = own;
            std::future::pending().await
        });
        async { Err("no".into()) }
    }
}

struct DropsBadly;

impl Verticle for DropsBadly {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve_fn(OTHER, |_| async { Ok(()) }).register()?;
        Ok(())
    }
}

impl Drop for DropsBadly {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

promises! {
    async fn nothing_of_an_interceptor_that_was_taken_out_is_left(rt: &TestRuntime) {
        let kit = Kit::default();
        kit.gate.open();
        let deployment = rt.deploy(kit.deploy().instances(4)).await.unwrap();
        let seeing = see(&rt, &kit);
        for _ in 0..8 {
            drop(rt.bus().request(WORK, kit.work()).await.unwrap());
        }
        assert!(kit.census.alive() > 0);
        for interceptor in seeing {
            assert!(rt.bus().remove_interceptor(interceptor));
        }
        deployment.undeploy().await.unwrap();
        eventually(rt.clock(), "the interceptors are gone", || kit.census.alive() == 0).await;
    }
}

/// Interceptors that hold on to the bus that holds them.
fn see(rt: &Runtime, kit: &Kit) -> [InterceptorId; 2] {
    let hoarding = || {
        let kept = (rt.bus().clone(), kit.census.token());
        move |_: &mut Delivery<'_>| {
            let _kept = &kept;
            Ok(())
        }
    };
    [rt.bus().add_outbound_interceptor(hoarding()), rt.bus().add_inbound_interceptor(hoarding())]
}

#[test]
fn interceptors_go_with_the_runtime_they_hold() {
    let kit = Kit::default();
    let rt = Runtime::builder().event_loops(2).build().unwrap();
    rt.block_on(async {
        see(&rt, &kit);
        filled(&rt, &kit).await;
        rt.shutdown(Duration::from_millis(50)).await;
        assert_eq!(kit.census.alive(), 0);
        see(&rt, &kit);
        assert_eq!(kit.census.alive(), 0, "what comes too late is not kept");
    });
    let rt = Runtime::builder().event_loops(2).build().unwrap();
    let clock = rt.clock().clone();
    see(&rt, &kit);
    rt.block_on(filled(&rt, &kit));
    drop(rt);
    let waiting = Runtime::builder().event_loops(1).build().unwrap();
    waiting.block_on(eventually(&clock, "all is gone", || kit.census.alive() == 0));
}

/// Fills a runtime with work that cannot be finished.
async fn filled(rt: &Runtime, kit: &Kit) {
    rt.deploy(kit.deploy().instances(4)).await.unwrap();
    for _ in 0..20 {
        rt.bus().send(WORK, kit.work()).await.unwrap();
    }
    let (bus, work) = (rt.bus().clone(), kit.work());
    tokio::task::spawn_local(async move { bus.request(WORK, work).await.map(drop) });
    tokio::task::yield_now().await;
}

#[test]
fn nothing_is_left_after_a_shutdown() {
    let rt = Runtime::builder().event_loops(2).build().unwrap();
    let kit = Kit::default();
    rt.block_on(async {
        filled(&rt, &kit).await;
        let report = rt.shutdown(Duration::from_millis(50)).await;
        assert_eq!(report.abandoned, 21);
        assert_eq!(kit.stopped.len(), 4);
        assert_eq!(kit.census.alive(), 0);
    });
}

#[test]
fn nothing_is_left_when_the_runtime_is_dropped_without_a_shutdown() {
    let kit = Kit::default();
    let rt = Runtime::builder().event_loops(2).build().unwrap();
    let clock = rt.clock().clone();
    let bus = rt.bus().clone();
    rt.block_on(filled(&rt, &kit));
    drop(rt);
    let waiting = Runtime::builder().event_loops(1).build().unwrap();
    waiting.block_on(async {
        eventually(&clock, "all is gone", || kit.census.alive() == 0).await;
        // A bus that outlives its runtime says so.
        assert!(matches!(bus.request(WORK, kit.work()).await, Err(RequestError::Closed { .. })));
        assert!(matches!(bus.send(OTHER, 1).await, Err(SendError::Closed(1))));
        assert_eq!(bus.publish(OTHER, 1).reached, 0);
    });
    assert_eq!(kit.census.alive(), 0);
}

#[test]
fn whoever_waits_when_the_runtime_is_dropped_is_told() {
    let kit = Kit::default();
    let rt = Runtime::builder().event_loops(2).build().unwrap();
    let bus = rt.bus().clone();
    rt.block_on(filled(&rt, &kit));
    let waiting = Runtime::builder().event_loops(1).build().unwrap();
    waiting.block_on(async {
        let asked = tokio::task::spawn_local({
            let (bus, work) = (bus.clone(), kit.work());
            async move { bus.request(WORK, work).await.map(drop) }
        });
        waiting.clock().sleep(Duration::from_millis(20)).await;
        drop(rt);
        assert!(matches!(asked.await.unwrap(), Err(RequestError::Closed { .. })));
    });
}
