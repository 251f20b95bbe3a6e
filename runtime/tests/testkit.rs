//! What the test kit itself promises: an order drawn from a seed, a runtime built otherwise, and nothing left behind.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use support::{Seen, eventually};
use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, SendError, Verticle};

const NOTES: Address<u32> = Address::new("notes");
const ADD: Address<u32> = Address::new("add");
const SUM: Address<(), u32> = Address::new("sum");

/// What a panic said.
fn complaint(run: impl FnOnce()) -> String {
    let panic = catch_unwind(AssertUnwindSafe(run)).unwrap_err();
    panic.downcast_ref::<String>().cloned().unwrap_or_else(|| (*panic.downcast_ref::<&str>().unwrap()).to_owned())
}

/// Notes what it is given, with who it is.
struct Noter(Seen<(usize, u32)>);

impl Verticle for Noter {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(NOTES).register()?;
        Ok(())
    }
}

impl Handler<u32> for Noter {
    type Reply = ();

    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<(), Failure> {
        self.0.note((ctx.instance(), number));
        Ok(())
    }
}

/// The order in which five consumers handled four messages each, all of one sender.
fn order_of(seed: u64) -> Vec<(usize, u32)> {
    TestRuntime::seeded(seed, |rt| async move {
        let seen = Seen::default();
        let noted = seen.clone();
        rt.deploy(Deploy::new(move || Noter(noted.clone())).instances(5)).await.unwrap();
        for number in 0..4 {
            assert_eq!(rt.bus().publish(NOTES, number).reached, 5);
        }
        eventually(rt.clock(), "all are handled", || seen.len() == 20).await;
        seen.all()
    })
}

#[test]
fn a_seed_draws_the_same_order_each_time_and_others_draw_others() {
    let orders: BTreeSet<_> = (0..50).map(order_of).collect();
    assert!(orders.len() > 25, "50 seeds drew {} orders", orders.len());
    for seed in 0..10 {
        assert_eq!(order_of(seed), order_of(seed));
    }
}

#[test]
fn whatever_is_drawn_messages_of_one_sender_to_one_consumer_keep_their_order() {
    for seed in 0..100 {
        let order = order_of(seed);
        for consumer in 0..5 {
            let own: Vec<_> = order.iter().filter(|(who, _)| *who == consumer).map(|(_, number)| *number).collect();
            assert_eq!(own, [0, 1, 2, 3], "seed {seed}");
        }
    }
}

/// Adds up, and forgets that another handler may run while it waits.
#[derive(Default)]
struct Careless {
    sum: Cell<u32>,
}

impl Verticle for Careless {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(ADD).register()?;
        ctx.serve(SUM).register()?;
        Ok(())
    }
}

impl Handler<u32> for Careless {
    type Reply = ();

    async fn handle(&self, number: u32, ctx: &Context<Self>) -> Result<(), Failure> {
        let before = self.sum.get();
        // What it asks for is answered in place in the usual order, and nobody comes between.
        ctx.bus().request(NOTES, number).await?;
        self.sum.set(before + number);
        Ok(())
    }
}

impl Handler<()> for Careless {
    type Reply = u32;

    async fn handle(&self, (): (), _: &Context<Self>) -> Result<u32, Failure> {
        Ok(self.sum.get())
    }
}

async fn adds_up(rt: TestRuntime) {
    rt.stub(NOTES, |_| async { Ok(()) }).await.unwrap();
    rt.deploy(Deploy::new(Careless::default)).await.unwrap();
    let add = |number| rt.bus().request(ADD, number);
    let (one, two, three) = tokio::join!(add(1), add(2), add(3));
    assert_eq!((one, two, three), (Ok(()), Ok(()), Ok(())));
    assert_eq!(rt.bus().request(SUM, ()).await, Ok(6));
}

#[test]
fn a_seed_finds_what_the_usual_order_hides_and_its_number_finds_it_again() {
    TestRuntime::paused(adds_up);
    let fails = |seed| catch_unwind(|| TestRuntime::seeded(seed, adds_up)).is_err();
    let found = (0..100).find(|seed| fails(*seed)).unwrap();
    for _ in 0..5 {
        let complaint = complaint(|| TestRuntime::seeded(found, adds_up));
        assert!(complaint.starts_with(&format!("with seed {found}: ")), "{complaint}");
    }
}

#[test]
fn the_runtime_of_a_test_is_built_as_it_says() {
    let full = |rt: TestRuntime| async move {
        let stuck = rt.stub(NOTES, |_| std::future::pending()).await.unwrap();
        let refused = (0..10_000).find(|number| rt.bus().try_send(NOTES, *number) == Err(SendError::Full(*number)));
        stuck.undeploy_within(Duration::ZERO).await.unwrap();
        refused
    };
    assert_eq!(TestRuntime::paused_with(|builder| builder.mailbox(3), full), Some(3));
    // Its loop takes messages out while the test fills it.
    assert!(
        TestRuntime::on_loops_with(1, |builder| builder.mailbox(3), full).is_some_and(|at| (3..1_100).contains(&at))
    );
    let refused = complaint(|| TestRuntime::paused_with(|builder| builder.mailbox(0), |_| async {}));
    assert!(refused.contains("mailbox is 0"), "{refused}");
}

/// Keeps its own context, and with it itself.
#[derive(Default)]
struct Keeper(RefCell<Option<Context<Keeper>>>);

impl Verticle for Keeper {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.0.replace(Some(ctx.clone()));
        Ok(())
    }
}

#[test]
fn an_instance_that_is_left_behind_fails_the_test_and_is_named() {
    async fn leaves_one(rt: TestRuntime) {
        rt.deploy(Deploy::new(Keeper::default).name("keeper").instances(2)).await.unwrap();
        rt.deploy(Deploy::new(|| Noter(Seen::default()))).await.unwrap();
    }
    let runs: [fn(); 3] = [
        || TestRuntime::paused(leaves_one),
        || TestRuntime::seeded(1, leaves_one),
        || TestRuntime::on_loops(2, leaves_one),
    ];
    for run in runs {
        let complaint = complaint(run);
        assert!(complaint.contains("left behind: instance "), "{complaint}");
        assert_eq!(complaint.matches("of `keeper`").count(), 2, "{complaint}");
        assert!(!complaint.contains("Noter"), "{complaint}");
    }
}

#[test]
fn work_that_is_left_at_the_end_fails_the_test() {
    let complaint = complaint(|| {
        TestRuntime::paused(|rt| async move {
            rt.stub(NOTES, |_| std::future::pending()).await.unwrap();
            rt.bus().send(NOTES, 1).await.unwrap();
        });
    });
    assert!(complaint.contains("a verticle still had work"), "{complaint}");
}
