//! What a message allocates in the steady state: nothing on its own loop, and two things a batch between two loops.
//!
//! Alone in its binary, and one test: allocations are counted for the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::alloc::System;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use support::on_a_loop;
use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Bus, Context, Deploy, Failure, Handler, Verticle};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const AT_ONCE: Address<Arc<u64>, u64> = Address::new("at once");
const SUSPENDING: Address<Arc<u64>, u64> = Address::new("suspending");
const QUEUED: Address<Arc<u64>, u64> = Address::new("queued");

/// Messages of a batch.
const BATCH: u64 = 256;
/// Batches before anything is counted, and while it is.
const BATCHES: u64 = 100;

struct Echo {
    handled: Arc<AtomicU64>,
}

impl Verticle for Echo {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(AT_ONCE).register()?;
        ctx.serve_fn(SUSPENDING, |number| async move {
            tokio::task::yield_now().await;
            Ok(*number)
        })
        .register()?;
        ctx.serve_fn(QUEUED, |number| async move {
            tokio::task::yield_now().await;
            Ok(*number)
        })
        .in_flight(1)
        .register()?;
        Ok(())
    }
}

impl Handler<Arc<u64>> for Echo {
    type Reply = u64;
    async fn handle(&self, number: Arc<u64>, _: &Context<Self>) -> Result<u64, Failure> {
        self.handled.fetch_add(1, Ordering::Relaxed);
        Ok(*number)
    }
}

/// The least of three: what runs the tests allocates, too, on a thread of its own.
async fn least(measure: impl AsyncFn() -> u64) -> u64 {
    measure().await.min(measure().await).min(measure().await)
}

fn allocations(region: &Region<'_, System>) -> u64 {
    let change = region.change();
    (change.allocations + change.reallocations) as u64
}

/// Requests one after the other; gives what they allocated once the first ones were through.
async fn requests(bus: &Bus, to: Address<Arc<u64>, u64>) -> u64 {
    let body = Arc::new(7);
    for _ in 0..BATCH {
        assert_eq!(bus.request(to.clone(), Arc::clone(&body)).await, Ok(7));
    }
    let region = Region::new(COUNTED);
    for _ in 0..BATCH * BATCHES {
        assert_eq!(bus.request(to.clone(), Arc::clone(&body)).await, Ok(7));
    }
    allocations(&region)
}

/// Many requests at a time, so that they queue: the tasks are made before anything is counted.
async fn requests_at_a_time(bus: &Bus, to: Address<Arc<u64>, u64>) -> u64 {
    let ready = Rc::new(Cell::new(0));
    let (begin, beginning) = tokio::sync::watch::channel(false);
    let tasks: Vec<_> = (0..64)
        .map(|_| {
            let (bus, to, ready, mut beginning) = (bus.clone(), to.clone(), Rc::clone(&ready), beginning.clone());
            tokio::task::spawn_local(async move {
                let body = Arc::new(7);
                for _ in 0..10 {
                    assert_eq!(bus.request(to.clone(), Arc::clone(&body)).await, Ok(7));
                }
                ready.set(ready.get() + 1);
                beginning.wait_for(|begun| *begun).await.unwrap();
                for _ in 0..BATCHES {
                    assert_eq!(bus.request(to.clone(), Arc::clone(&body)).await, Ok(7));
                }
                ready.set(ready.get() + 1);
            })
        })
        .collect();
    while ready.get() < 64 {
        tokio::task::yield_now().await;
    }
    begin.send_replace(true);
    let region = Region::new(COUNTED);
    while ready.get() < 128 {
        tokio::task::yield_now().await;
    }
    let counted = allocations(&region);
    for task in tasks {
        task.await.unwrap();
    }
    counted
}

/// Sends batch after batch, each waited for by a request behind it.
async fn sends(bus: &Bus) -> u64 {
    let (body, sender) = (Arc::new(7), bus.sender(AT_ONCE));
    let batch = async || {
        for number in 0..BATCH {
            match number % 3 {
                0 => bus.send(AT_ONCE, Arc::clone(&body)).await.unwrap(),
                1 => bus.try_send(AT_ONCE, Arc::clone(&body)).unwrap(),
                _ => sender.send(Arc::clone(&body)).await.unwrap(),
            }
        }
        assert_eq!(bus.request(AT_ONCE, Arc::clone(&body)).await, Ok(7));
    };
    for _ in 0..BATCHES {
        batch().await;
    }
    let region = Region::new(COUNTED);
    for _ in 0..BATCHES {
        batch().await;
    }
    allocations(&region)
}

#[test]
fn a_message_allocates_nothing_on_its_loop_and_a_batch_two_things_between_loops() {
    TestRuntime::paused(|rt| async move {
        let handled = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&handled);
        rt.deploy(Deploy::new(move || Echo { handled: Arc::clone(&count) })).await.unwrap();
        let counted = on_a_loop(&rt, |bus, _| async move {
            [
                ("in place", least(async || requests(&bus, AT_ONCE).await).await),
                ("suspending", least(async || requests(&bus, SUSPENDING).await).await),
                ("sent", least(async || sends(&bus).await).await),
                ("queued", least(async || requests_at_a_time(&bus, QUEUED).await).await),
            ]
        });
        for (what, allocations) in counted.await {
            assert_eq!(allocations, 0, "{what}");
        }
        assert!(handled.load(Ordering::Relaxed) > BATCH * BATCHES * 3);
    });
    TestRuntime::on_loops(2, |rt| async move {
        let handled = Arc::new(AtomicU64::new(0));
        // One instance: the probe goes to the other loop.
        rt.deploy(Deploy::new(move || Echo { handled: Arc::clone(&handled) })).await.unwrap();
        let counted = on_a_loop(&rt, |bus, _| async move { least(async || sends(&bus).await).await }).await;
        // Each batch there, and a reply back.
        let batches = BATCHES * 2;
        assert!(counted > 0, "this was meant to cross from one loop to the other");
        // A turn that ends in the middle of a batch makes two of it; that is rare.
        assert!(counted <= batches * 2 + batches / 10, "{counted} allocations for {batches} batches");
    });
}
