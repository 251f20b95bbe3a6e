//! What an idle verticle with one consumer takes beside its own state: under 1 KiB, and no task.
//!
//! Alone in its binary, and one test: allocations are counted for the whole process.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::alloc::System;

use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use vertebra::{Address, BoxError, Context, Deploy, Failure, Handler, Runtime, Verticle};

#[global_allocator]
static COUNTED: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

/// So many that what grows in steps - tables, lists - has its usual share.
const VERTICLES: usize = 20_000;
/// With what the test kit notes of each to find leaks: some 90 bytes.
const BYTES_MAX: usize = 920;
/// The instance, its seat, its consumer, its credit, what is known of its address; and the test kit's note.
const ALLOCATIONS_MAX: usize = 7;

struct Idle;

impl Verticle for Idle {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let address: Address<u32, u32> = Address::dynamic(format!("idle.{}", ctx.instance()));
        ctx.serve(address).register()?;
        Ok(())
    }
}

impl Handler<u32> for Idle {
    type Reply = u32;

    async fn handle(&self, number: u32, _: &Context<Self>) -> Result<u32, Failure> {
        Ok(number + 1)
    }
}

#[test]
fn an_idle_verticle_with_one_consumer_takes_less_than_a_kibibyte() {
    let rt = Runtime::builder().event_loops(1).build().unwrap();
    rt.block_on(async {
        // What is made once is made.
        let warm = rt.deploy(Deploy::new(|| Idle)).await.unwrap();
        let region = Region::new(COUNTED);
        let idle = rt.deploy(Deploy::new(|| Idle).instances(VERTICLES)).await.unwrap();
        let change = region.change();
        let bytes = (change.bytes_allocated - change.bytes_deallocated) / VERTICLES;
        let allocations = (change.allocations - change.deallocations) / VERTICLES;
        assert!(bytes <= BYTES_MAX, "{bytes} bytes for each");
        assert!(allocations <= ALLOCATIONS_MAX, "{allocations} allocations for each");
        let last: Address<u32, u32> = Address::dynamic(format!("idle.{}", VERTICLES - 1));
        assert_eq!(rt.bus().request(last, 1).await, Ok(2));
        idle.undeploy().await.unwrap();
        warm.undeploy().await.unwrap();
    });
}
