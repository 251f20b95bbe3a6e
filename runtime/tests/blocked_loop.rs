//! A blocked loop is found, and told by name. On real loops and real time: what blocks the only thread blocks a test.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use vertebra::{
    Address, BoxError, Context, Deploy, Deployment, Event, Failure, Handler, Runtime, RuntimeBuilder, Verticle,
};

const BLOCK: Address<()> = Address::new("blocker.block");
const CHECK: Duration = Duration::from_millis(5);
const MAX: Duration = Duration::from_millis(40);

/// Where it blocks, and until when.
#[derive(Clone)]
struct Blocker {
    until: Arc<Mutex<Receiver<()>>>,
    in_a_task: bool,
    in_start: bool,
}

impl Blocker {
    fn block(&self) {
        self.until.lock().unwrap().recv().unwrap();
    }
}

impl Verticle for Blocker {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(BLOCK).register()?;
        if self.in_start {
            self.block();
        }
        Ok(())
    }
}

impl Handler<()> for Blocker {
    type Reply = ();

    async fn handle(&self, (): (), ctx: &Context<Self>) -> Result<(), Failure> {
        if self.in_a_task {
            let own = ctx.clone();
            ctx.spawn(async move { own.verticle().block() });
        } else {
            self.block();
        }
        Ok(())
    }
}

/// A runtime, and a thread that waits until a loop is found blocked, releases it, and gives the event.
struct Watched {
    rt: Runtime,
    first: JoinHandle<Event>,
    until: Arc<Mutex<Receiver<()>>>,
}

impl Watched {
    fn new() -> Self {
        Self::with(Runtime::builder().event_loop_time_max(MAX))
    }

    fn with(builder: RuntimeBuilder) -> Self {
        let (tell, events) = sync_channel(1_024);
        let tell = move |event: &Event| {
            if let Event::Blocked { .. } = event {
                drop(tell.try_send(event.clone()));
            }
        };
        let rt = builder.event_loops(2).blocked_check_interval(CHECK).on_event(tell).build().unwrap();
        let (release, until) = sync_channel(1);
        let first = std::thread::spawn(move || {
            let first = events.recv_timeout(Duration::from_secs(20));
            release.send(()).unwrap();
            first.unwrap()
        });
        Self { rt, first, until: Arc::new(Mutex::new(until)) }
    }

    fn blocker(&self, in_a_task: bool, in_start: bool) -> Deploy<Blocker> {
        let blocker = Blocker { until: Arc::clone(&self.until), in_a_task, in_start };
        Deploy::new(move || blocker.clone()).name("blocker")
    }

    fn finish(self, deployed: &Deployment) {
        self.finish_on("loop-", deployed);
    }

    fn finish_on(self, name: &str, deployed: &Deployment) {
        // Before the shutdown, which ends a task that has not begun yet: it would never block.
        let event = self.first.join().unwrap();
        self.rt.block_on(self.rt.shutdown(Duration::from_secs(20)));
        let Event::Blocked { event_loop, by: Some(by), blocked_for } = event else { panic!("{event:?}") };
        assert!(event_loop.starts_with(name), "{event_loop}");
        assert_eq!((by.verticle.as_str(), by.instance, by.deployment), ("blocker", 0, deployed.id()));
        assert!(blocked_for >= MAX, "{blocked_for:?}");
    }
}

/// An event loop kept for longer than `event_loop_time_max` is told: its name, the verticle, and the time.
#[test]
fn v179_a_blocked_event_loop_is_told_with_its_name_the_verticle_and_the_time() {
    for in_a_task in [false, true] {
        let watched = Watched::new();
        let deployed = watched.rt.block_on(async {
            let deployed = watched.rt.deploy(watched.blocker(in_a_task, false)).await.unwrap();
            watched.rt.bus().send(BLOCK, ()).await.unwrap();
            deployed
        });
        watched.finish(&deployed);
    }
}

#[test]
fn a_start_that_blocks_is_told_as_its_verticle() {
    let watched = Watched::new();
    let deployed = watched.rt.block_on(watched.rt.deploy(watched.blocker(false, true))).unwrap();
    watched.finish(&deployed);
}

/// Workers may block for longer than event loops may, and not for ever either.
#[test]
fn a_worker_that_blocks_beyond_the_time_of_workers_is_told() {
    let builder = Runtime::builder().event_loop_time_max(Duration::from_millis(1)).worker_time_max(MAX);
    let watched = Watched::with(builder);
    let deployed = watched.rt.block_on(async {
        let deployed = watched.rt.deploy(watched.blocker(false, false).worker("digs", 1)).await.unwrap();
        watched.rt.bus().send(BLOCK, ()).await.unwrap();
        deployed
    });
    watched.finish_on("digs-0", &deployed);
}
