//! Worker verticles and their named pools.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::Poll;
use std::thread::ThreadId;
use std::time::Duration;

use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Context, Deploy, DeployError, Failure, Handler, Runtime, Verticle};

use crate::promises;
use crate::support::{Seen, eventually};

const DIG: Address<u32, u32> = Address::new("dig");
const PASS: Address<u32, u32> = Address::new("pass");

/// Notes on which thread each part of it runs, and whether two parts ever ran at once.
#[derive(Clone, Default)]
struct Site {
    threads: Seen<(&'static str, usize, String, ThreadId)>,
    busy: Arc<[AtomicUsize; 8]>,
    overlaps: Arc<AtomicUsize>,
}

struct Digger(Site);

impl Site {
    fn digger(&self) -> Deploy<Digger> {
        let site = self.clone();
        Deploy::new(move || Digger(site.clone()))
    }

    /// Work that blocks its thread, on purpose.
    fn dig(&self, what: &'static str, instance: usize) {
        if self.busy[instance].fetch_add(1, Ordering::SeqCst) > 0 {
            self.overlaps.fetch_add(1, Ordering::SeqCst);
        }
        let thread = std::thread::current();
        self.threads.note((what, instance, thread.name().unwrap_or_default().to_owned(), thread.id()));
        for _ in 0..50 {
            std::thread::yield_now();
        }
        self.busy[instance].fetch_sub(1, Ordering::SeqCst);
    }

    fn names(&self) -> BTreeSet<String> {
        self.threads.all().into_iter().map(|(_, _, name, _)| name).collect()
    }

    fn parts(&self) -> BTreeSet<&'static str> {
        self.threads.all().into_iter().map(|(what, ..)| what).collect()
    }
}

impl Verticle for Digger {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.0.dig("start", ctx.instance());
        ctx.serve(DIG).register()?;
        let own = ctx.clone();
        ctx.spawn(async move {
            own.clock().sleep(Duration::from_millis(1)).await;
            own.verticle().0.dig("task", own.instance());
        });
        ctx.set_timer(Duration::from_millis(1), |ctx| async move { ctx.verticle().0.dig("timer", ctx.instance()) })?;
        Ok(())
    }

    async fn stop(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.0.dig("stop", ctx.instance());
        Ok(())
    }
}

impl Handler<u32> for Digger {
    type Reply = u32;
    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<u32, Failure> {
        self.0.dig("handler", ctx.instance());
        tokio::task::yield_now().await;
        self.0.dig("handler", ctx.instance());
        Ok(number)
    }
}

/// Worker threads are threads: these run on real loops only.
fn on_loops<F: Future<Output = ()>>(test: impl Fn(TestRuntime) -> F + Copy) {
    for loops in [1, 2] {
        TestRuntime::on_loops(loops, test);
    }
}

async fn dig(rt: &Runtime, messages: u32) {
    let asking: Vec<_> = (0..messages)
        .map(|number| {
            let bus = rt.bus().clone();
            tokio::task::spawn_local(async move { bus.request(DIG, number).await })
        })
        .collect();
    for (number, asked) in (0..messages).zip(asking) {
        assert_eq!(asked.await.unwrap(), Ok(number));
    }
}

/// Start, handlers, timers, tasks and stop of a worker run on threads of its pool, and never two at once for one instance.
#[test]
fn v157_all_of_a_worker_runs_on_its_pool_and_never_two_parts_of_an_instance_at_once() {
    on_loops(|rt| async move {
        let site = Site::default();
        let deployment = rt.deploy(site.digger().worker("site", 3).instances(4)).await.unwrap();
        dig(&rt, 40).await;
        eventually(rt.clock(), "tasks and timers have run", || site.parts().len() == 4).await;
        deployment.undeploy().await.unwrap();
        assert_eq!(site.parts(), ["handler", "start", "stop", "task", "timer"].into());
        assert_eq!(site.names(), ["site-0", "site-1", "site-2"].map(str::to_owned).into());
        assert_eq!(site.overlaps.load(Ordering::SeqCst), 0);
    });
}

/// An instance of a worker keeps to its context: what one handler left there, the next finds.
#[test]
fn v158_a_worker_instance_keeps_its_context_from_one_message_to_the_next() {
    on_loops(|rt| async move {
        let site = Site::default();
        rt.deploy(site.digger().worker("site", 2).instances(4)).await.unwrap();
        dig(&rt, 40).await;
        // Here even the thread is the same.
        let all = site.threads.all();
        for instance in 0..4 {
            let threads: BTreeSet<_> = all.iter().filter(|known| known.1 == instance).map(|known| &known.2).collect();
            assert_eq!(threads.len(), 1, "instance {instance}: {threads:?}");
        }
    });
}

/// Threads are named after their pool. Deployments that name one pool share it; the last to leave ends it.
#[test]
fn v160_a_pool_is_shared_by_name_and_ends_with_its_last_deployment() {
    on_loops(|rt| async move {
        let (first, second) = (Site::default(), Site::default());
        let one = rt.deploy(first.digger().worker("shared", 2).instances(2)).await.unwrap();
        let two = rt.deploy(second.digger().worker("shared", 9).instances(4)).await.unwrap();
        assert_eq!(second.names(), ["shared-0", "shared-1"].map(str::to_owned).into());
        let ids =
            |site: &Site| site.threads.all().into_iter().map(|(.., id)| format!("{id:?}")).collect::<BTreeSet<_>>();
        assert_eq!(ids(&first), ids(&second));
        one.undeploy().await.unwrap();
        dig(&rt, 10).await;
        two.undeploy().await.unwrap();
        // The name is free again: the next pool is a new one.
        let third = Site::default();
        rt.deploy(third.digger().worker("shared", 1).instances(3)).await.unwrap();
        assert_eq!(third.names(), ["shared-0".to_owned()].into());
        assert!(ids(&first).is_disjoint(&ids(&third)));
        dig(&rt, 10).await;
    });
}

/// A worker's stop still runs on its pool, also when that pool ends with it.
#[test]
fn v161_the_stop_of_a_worker_runs_on_its_pool() {
    on_loops(|rt| async move {
        let site = Site::default();
        let deployment = rt.deploy(site.digger().worker("site", 1)).await.unwrap();
        deployment.undeploy().await.unwrap();
        let stops: Vec<_> = site.threads.all().into_iter().filter(|known| known.0 == "stop").collect();
        assert_eq!(stops.iter().map(|stop| stop.2.as_str()).collect::<Vec<_>>(), ["site-0"]);
    });
}

/// A worker that waits - for a lock, say - does not occupy its thread: five on one thread all get through.
#[test]
fn v162_workers_that_wait_do_not_occupy_their_thread() {
    on_loops(|rt| async move {
        let (through, lock) = (Seen::default(), Arc::new(tokio::sync::Mutex::new(())));
        let (note, own) = (through.clone(), lock.clone());
        let all = rt.deploy(Deploy::new(move || Queues(own.clone(), note.clone())).worker("one", 1).instances(5)).await;
        eventually(rt.clock(), "all get through", || through.len() == 5).await;
        all.unwrap().undeploy().await.unwrap();
    });
}

struct Queues(Arc<tokio::sync::Mutex<()>>, Seen<usize>);

impl Verticle for Queues {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let own = ctx.clone();
        ctx.spawn(async move {
            let held = own.verticle().0.lock().await;
            own.clock().sleep(Duration::from_millis(2)).await;
            drop(held);
            own.verticle().1.note(own.instance());
        });
        Ok(())
    }
}

/// However many instances and messages: a pool never has more threads than it was given.
#[test]
fn v173_a_pool_has_no_more_threads_than_it_was_given() {
    on_loops(|rt| async move {
        let site = Site::default();
        rt.deploy(site.digger().worker("few", 2).instances(8)).await.unwrap();
        dig(&rt, 100).await;
        let ids: BTreeSet<_> = site.threads.all().into_iter().map(|(.., id)| format!("{id:?}")).collect();
        assert_eq!(ids.len(), 2);
    });
}

/// Closing the runtime ends the pools: nothing runs there afterwards.
#[test]
fn v213_closing_the_runtime_ends_the_pools() {
    on_loops(|rt| async move {
        let ended = Seen::default();
        let note = ended.clone();
        rt.deploy(Deploy::new(move || Tells(note.clone())).worker("ends", 2).instances(2)).await.unwrap();
        let report = rt.shutdown(Duration::from_secs(5)).await;
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(ended.all().into_iter().collect::<BTreeSet<_>>(), ["ends-0", "ends-1"].map(str::to_owned).into());
    });
}

thread_local! {
    static LAST: std::cell::OnceCell<LastWords> = const { std::cell::OnceCell::new() };
}

/// Leaves something on its thread that tells when the thread ends.
struct Tells(Seen<String>);

impl Verticle for Tells {
    async fn start(&self, _: &Context<Self>) -> Result<(), BoxError> {
        let thread = std::thread::current().name().unwrap_or_default().to_owned();
        LAST.with(|last| drop(last.set(LastWords(self.0.clone(), thread))));
        Ok(())
    }
}

struct LastWords(Seen<String>, String);

impl Drop for LastWords {
    fn drop(&mut self) {
        self.0.note(self.1.clone());
    }
}

/// Names and sizes that a pool cannot have are refused, and say what is allowed.
#[test]
fn a_pool_that_cannot_be_is_refused() {
    TestRuntime::on_loops(1, |rt| async move {
        let refused = rt.deploy(Site::default().digger().worker("none", 0)).await.unwrap_err();
        assert!(refused.to_string().ends_with("worker threads is 0, it must be 1 to 1024"), "{refused}");
        let refused = rt.deploy(Site::default().digger().worker("", 1)).await;
        assert!(matches!(refused, Err(DeployError::OutOfRange { key: "worker pool", .. })));
        assert_eq!(rt.deployments(), []);
    });
}

/// A worker is reached like anybody else, asks like anybody else, and may undeploy itself.
#[test]
fn a_worker_asks_is_asked_and_may_undeploy_itself() {
    on_loops(|rt| async move {
        rt.stub(PASS, |number: u32| async move { Ok(number * 2) }).await.unwrap();
        for round in 0..20 {
            let own = (*rt).clone();
            rt.deploy(Deploy::new(move || Asks(own.clone())).worker("asks", 2)).await.unwrap();
            assert_eq!(rt.bus().request(DIG, round).await, Ok(round * 2));
            assert_eq!(rt.bus().request(DIG, u32::MAX).await, Ok(0));
            eventually(rt.clock(), "it is gone", || rt.deployments().len() == 1).await;
        }
    });
}

struct Asks(Runtime);

impl Verticle for Asks {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(DIG).register()?;
        Ok(())
    }
}

impl Handler<u32> for Asks {
    type Reply = u32;
    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<u32, Failure> {
        if number == u32::MAX {
            let (rt, id) = (self.0.clone(), ctx.deployment_id());
            ctx.spawn(async move { drop(rt.undeploy(id, Duration::from_secs(5)).await) });
            return Ok(0);
        }
        Ok(ctx.bus().request(PASS, number).await?)
    }
}

/// A worker may block its thread until its own blocking work is done.
#[test]
fn v169_a_worker_may_block_for_its_own_blocking_work() {
    on_loops(|rt| async move {
        let done = Seen::default();
        let note = done.clone();
        rt.deploy(Deploy::new(move || Impatient(note.clone())).worker("impatient", 1)).await.unwrap();
        assert_eq!(done.all(), [1, 2, 3]);
    });
}

struct Impatient(Seen<u32>);

impl Verticle for Impatient {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let (tell, told) = mpsc::sync_channel(3);
        let work = |number: u32| {
            let tell = tell.clone();
            ctx.execute_blocking(move || tell.send(number).unwrap())
        };
        let (mut one, mut two, mut three) = (pin!(work(1)), pin!(work(2)), pin!(work(3)));
        std::future::poll_fn(|cx| {
            // None of the results can be looked at before this returns.
            drop((one.as_mut().poll(cx), two.as_mut().poll(cx), three.as_mut().poll(cx)));
            for _ in 0..3 {
                self.0.note(told.recv_timeout(Duration::from_secs(10)).unwrap());
            }
            Poll::Ready(())
        })
        .await;
        Ok(())
    }
}

promises! {
    /// Workers are verticles like others: children, configuration, several instances; on virtual time they run on its thread.
    async fn a_worker_is_a_verticle_like_any_other(rt: &TestRuntime) {
        let site = Site::default();
        let deployment = rt.deploy(site.digger().worker("site", 2).instances(2).config(7_u32)).await.unwrap();
        assert_eq!(rt.bus().request(DIG, 1).await, Ok(1));
        assert_eq!(rt.deployments()[0].instances, 2);
        assert!(deployment.undeploy().await.unwrap().is_clean());
    }
}
