//! What comes and goes leaves no memory behind: names, registrations, tasks, deployments, requests nobody waited for.
//!
//! One test, so that nothing else allocates meanwhile. It reads the size of the process, which only Linux tells as simply.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use vertebra::testing::TestRuntime;
use vertebra::{Address, BoxError, Context, Deploy, RequestError, Runtime, Verticle};

/// How often each thing comes and goes.
const ROUNDS: usize = 20_000;
/// Growth of a second run of so many rounds that is not taken for a leak: 32 bytes a round would be one.
const GROWTH_BYTES_MAX: usize = 640 * 1_024;

fn resident_bytes() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split_whitespace().nth(1).unwrap().parse().unwrap();
    pages * 4_096
}

/// Does all of it in its `start`.
struct Restless {
    work: Work,
}

#[derive(Clone, Copy, Debug)]
enum Work {
    Registrations,
    Tasks,
    WaitsForTheStop,
    Names,
    Requests,
}

impl Verticle for Restless {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve_fn(STUCK, |_| pending()).mailbox(4).in_flight(1).register()?;
        for round in 0..ROUNDS {
            match self.work {
                Work::Registrations => {
                    let address: Address<u32> = Address::dynamic(format!("restless.registration.{round}"));
                    let registered = ctx.serve_fn(address.clone(), |_| async { Ok(()) }).register()?;
                    ctx.bus().request(address, 1).await?;
                    match round % 2 {
                        0 => registered.unregister().await,
                        _ => assert_eq!(registered.unregister_now(), 0),
                    }
                }
                Work::Tasks => {
                    ctx.spawn(pending()).abort();
                    ctx.spawn(async {});
                    tokio::task::yield_now().await;
                }
                Work::WaitsForTheStop => {
                    let (own, task) = (ctx.clone(), ctx.clone());
                    poll_once(own.stopping()).await;
                    ctx.spawn(async move { poll_once(task.stopping()).await });
                    tokio::task::yield_now().await;
                }
                Work::Names => {
                    let nobody: Address<u32> = Address::dynamic(format!("restless.nobody.{round}"));
                    assert!(ctx.bus().try_send(nobody, 1).is_err());
                }
                Work::Requests => {
                    let asked = ctx.bus().request(STUCK, 1).timeout(Duration::from_millis(1));
                    match round % 2 {
                        0 => drop(asked.await),
                        _ => poll_once(asked).await,
                    }
                }
            }
        }
        Ok(())
    }
}

const STUCK: Address<u32> = Address::new("restless.stuck");

async fn poll_once(future: impl Future) {
    let mut future = pin!(future);
    poll_fn(|cx| {
        drop(future.as_mut().poll(cx));
        Poll::Ready(())
    })
    .await;
}

async fn restless(rt: &Runtime, work: Work) {
    let deployment = rt.deploy(Deploy::new(move || Restless { work })).await.unwrap();
    deployment.undeploy_within(Duration::ZERO).await.unwrap();
}

/// Deployments, each with an address of its own that others have asked.
async fn deployments(rt: &TestRuntime) {
    for round in 0..ROUNDS / 10 {
        let address: Address<u32, u32> = Address::dynamic(format!("restless.deployment.{round}"));
        let stub = rt.stub(address.clone(), |number| async move { Ok(number) }).await.unwrap();
        assert_eq!(rt.bus().request(address.clone(), 1).await, Ok(1));
        stub.undeploy().await.unwrap();
        assert!(matches!(rt.bus().request(address, 1).await, Err(RequestError::NoHandlers { .. })));
    }
}

#[test]
fn what_comes_and_goes_leaves_no_memory_behind() {
    TestRuntime::paused(|rt| async move {
        let all = [Work::Registrations, Work::Tasks, Work::WaitsForTheStop, Work::Names, Work::Requests];
        for work in all {
            // The first run is for what is kept and used again.
            restless(&rt, work).await;
            let before = resident_bytes();
            restless(&rt, work).await;
            let grown = resident_bytes().saturating_sub(before);
            assert!(grown < GROWTH_BYTES_MAX, "{work:?}: {grown} bytes");
        }
        deployments(&rt).await;
        let before = resident_bytes();
        deployments(&rt).await;
        let grown = resident_bytes().saturating_sub(before);
        assert!(grown < GROWTH_BYTES_MAX, "deployments: {grown} bytes");
    });
}
