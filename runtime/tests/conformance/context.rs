//! The context: one thread for an instance, one context for a delivery, and the way back from elsewhere.

use std::cell::RefCell;
use std::collections::HashMap;
use std::thread::ThreadId;

use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Context, Deploy, Failure, HandleError, Handler, Verticle};

use crate::kit::{Kit, NOTES, starting};
use crate::promises;
use crate::support::{Gate, Seen, eventually};

const MS: std::time::Duration = std::time::Duration::from_millis(1);
/// What an instance keeps; the part that is named is taken out.
const DATA: Address<&'static str, Vec<(&'static str, Option<u32>)>> = Address::new("data");
const LETTERS: Address<u32, String> = Address::new("letters");

/// Notes on which thread each part of it runs, and keeps data of its own.
struct Whole {
    threads: Seen<(&'static str, ThreadId)>,
    gate: Gate,
    data: RefCell<HashMap<&'static str, u32>>,
}

impl Whole {
    fn note(&self, what: &'static str) {
        self.threads.note((what, std::thread::current().id()));
    }

    fn count(&self, what: &'static str) {
        *self.data.borrow_mut().entry(what).or_default() += 1;
    }
}

impl Verticle for Whole {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.note("start");
        ctx.serve(LETTERS).register()?;
        ctx.serve(DATA).register()?;
        let task = ctx.clone();
        ctx.spawn(async move {
            task.clock().sleep(MS).await;
            task.verticle().note("task");
            task.verticle().count("task");
        });
        ctx.set_timer(MS, |ctx| async move {
            ctx.verticle().note("timer");
            ctx.verticle().count("timer");
        })?;
        ctx.run_on_context(|ctx| async move {
            ctx.verticle().note("run_on_context");
            ctx.verticle().count("run_on_context");
        });
        Ok(())
    }

    async fn stop(&self, _: &Context<Self>) -> Result<(), BoxError> {
        self.note("stop");
        Ok(())
    }
}

impl Handler<u32> for Whole {
    type Reply = String;

    /// What is known of the message before and after waiting.
    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<String, Failure> {
        self.note("handler");
        self.count("handler");
        let about = || format!("{number} {:?} {} {:?}", ctx.address(), ctx.is_send(), ctx.headers().get("number"));
        let before = about();
        if number > 0 {
            self.gate.wait().await;
        }
        assert_eq!(about(), before, "nobody else's message is seen");
        self.note("handler");
        Ok(before)
    }
}

impl Handler<&'static str> for Whole {
    type Reply = Vec<(&'static str, Option<u32>)>;

    async fn handle(&self, taken: &'static str, _: &Context<Self>) -> Result<Self::Reply, Failure> {
        let parts = ["handler", "run_on_context", "task", "timer"];
        let kept = parts.map(|part| (part, self.data.borrow().get(part).copied())).to_vec();
        self.data.borrow_mut().remove(taken);
        Ok(kept)
    }
}

struct Wholes {
    threads: Seen<(&'static str, ThreadId)>,
    gate: Gate,
}

impl Wholes {
    fn new() -> Self {
        Self { threads: Seen::default(), gate: Gate::default() }
    }

    fn deploy(&self) -> Deploy<Whole> {
        let (threads, gate) = (self.threads.clone(), self.gate.clone());
        Deploy::new(move || Whole { threads: threads.clone(), gate: gate.clone(), data: RefCell::default() })
    }
}

promises! {
    /// Everything of an instance - start, handlers, tasks, timers, stop - runs on one thread.
    async fn v174_everything_of_an_instance_runs_on_one_thread(rt: &TestRuntime) {
        let wholes = Wholes::new();
        wholes.gate.open();
        let deployment = rt.deploy(wholes.deploy()).await.unwrap();
        for number in 0..10 {
            rt.bus().request(LETTERS, number).await.unwrap();
        }
        let all_ran = || ["task", "timer", "run_on_context"].iter().all(|part| wholes.threads.all().iter().any(|(what, _)| what == part));
        eventually(rt.clock(), "each part has run", all_ran).await;
        deployment.undeploy().await.unwrap();
        let threads = wholes.threads.all();
        assert_eq!(threads.len(), 1 + 20 + 3 + 1);
        assert!(threads.iter().all(|(_, thread)| *thread == threads[0].1), "{threads:?}");
    }

    /// Each delivery has a context of its own: handlers that interleave do not see one another's message.
    async fn v175_handlers_that_interleave_have_contexts_of_their_own(rt: &TestRuntime) {
        let wholes = Wholes::new();
        rt.deploy(wholes.deploy()).await.unwrap();
        let asked = |number: u32| rt.bus().request(LETTERS, number).header("number", &number.to_string());
        let bus = rt.bus().clone();
        let opener = async {
            eventually(rt.clock(), "three handlers wait", || wholes.threads.all().iter().filter(|(what, _)| *what == "handler").count() >= 3).await;
            bus.publish(LETTERS, 9);
            assert_eq!(asked(0).await.unwrap(), "0 Some(\"letters\") true Some(\"0\")");
            wholes.gate.open();
        };
        let (one, two, three, ()) = tokio::join!(asked(1), asked(2), asked(3), opener);
        let about = |number| format!("{number} Some(\"letters\") true Some(\"{number}\")");
        assert_eq!([one.unwrap(), two.unwrap(), three.unwrap()], [1, 2, 3].map(about));
    }

    /// An instance keeps data of its own, reached from each of its handlers, timers and tasks.
    async fn v178_an_instance_keeps_data_of_its_own(rt: &TestRuntime) {
        let wholes = Wholes::new();
        wholes.gate.open();
        rt.deploy(wholes.deploy().instances(2)).await.unwrap();
        for number in 0..6 {
            rt.bus().request(LETTERS, number).await.unwrap();
        }
        // By turns, so 3 for each; and what one has put there the other does not see.
        let all_ran = || wholes.threads.all().iter().filter(|(what, _)| *what == "timer" || *what == "task").count() == 4;
        eventually(rt.clock(), "timers and tasks have run", all_ran).await;
        for _ in 0..2 {
            let data = rt.bus().request(DATA, "handler").await.unwrap();
            assert_eq!(data, [("handler", Some(3)), ("run_on_context", Some(1)), ("task", Some(1)), ("timer", Some(1))]);
        }
        for _ in 0..2 {
            assert_eq!(rt.bus().request(DATA, "timer").await.unwrap()[0], ("handler", None));
        }
    }

    /// A request made from within blocking work of an instance goes on on that instance's event loop.
    async fn v039_a_request_made_within_blocking_work_goes_on_on_the_loop(rt: &TestRuntime) {
        Kit::open().deploy(&rt, 2).await;
        let threads = Seen::default();
        let noted = threads.clone();
        starting(&rt, move |ctx| {
            let noted = noted.clone();
            async move {
                let home = std::thread::current().id();
                let handle = ctx.handle();
                let blocking = ctx.execute_blocking(move || {
                    let within = std::thread::current().id();
                    assert_ne!(within, home);
                    handle.run_on_context(move |ctx| async move {
                        assert_eq!(ctx.bus().request(NOTES, 7).await, Ok(7));
                        noted.note(std::thread::current().id() == home);
                    })
                });
                assert_eq!(blocking.await, Ok(Ok(())));
                assert_eq!(std::thread::current().id(), home);
            }
        }).await;
        eventually(rt.clock(), "the request is answered", || threads.len() == 1).await;
        assert_eq!(threads.all(), [true]);
    }
}

promises! {
    /// The way back from another thread keeps the order of that thread, has a bound, and ends with the instance.
    async fn work_from_elsewhere_begins_in_order_within_its_bound_until_the_instance_stops(rt: &TestRuntime) {
        let seen = Seen::default();
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let noted = seen.clone();
        let deployment = starting(&rt, move |ctx| {
            let (sender, noted) = (sender.clone(), noted.clone());
            async move {
                let handle = ctx.handle();
                // Nothing of it begins while this thread is kept.
                for number in 0..1_024 {
                    let noted = noted.clone();
                    handle.run_on_context(move |_| async move { noted.note(number) }).unwrap();
                }
                assert_eq!(handle.run_on_context(|_| async {}), Err(HandleError::Full));
                sender.send(handle).unwrap();
            }
        }).await;
        let handle = receiver.recv().unwrap();
        eventually(rt.clock(), "all have begun", || seen.len() == 1_024).await;
        assert_eq!(seen.all(), (0..1_024).collect::<Vec<_>>());
        assert_eq!(handle.run_on_context(|_| async {}), Ok(()));
        deployment.undeploy().await.unwrap();
        eventually(rt.clock(), "the handle says so", || handle.run_on_context(|_| async {}) == Err(HandleError::Stopped)).await;
    }
}
