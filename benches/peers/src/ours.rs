//! The work on vertebra.

use std::sync::Arc;

use adtrack_benches::{Body, Case, Inside, Loops, Measured, Stopwatch, windowed};
use vertebra::{Address, BoxError, Bus, Context, Deploy, Failure, Handler, RequestError, Verticle};

use crate::publish::publish_all;
use crate::ticks::tick;
use crate::work::{CONSUMERS, Kind, Work};

const ECHO: Address<Arc<Body>, u64> = Address::new("peers.echo");
const TICK: Address<Arc<Body>> = Address::new("peers.tick");

/// The work on event loops and verticles.
pub(crate) fn case(name: &str, work: Work) -> Result<Case, BoxError> {
    let loops = Loops::new()?;
    match (work.kind, work.two_loops) {
        (Kind::Publish, _) => loops.deploy_here(Deploy::new(|| Counter).instances(CONSUMERS as usize))?,
        (_, false) => loops.deploy_here(Deploy::new(|| Echo))?,
        (_, true) => loops.deploy_there(Deploy::new(|| Echo))?,
    }
    Ok(Case::new(name, move |operations| match work.kind {
        Kind::Publish => loops.drive(Inside::Task, move |bus| publish(bus, operations)),
        Kind::Send => loops.drive(Inside::Task, move |bus| send_all(bus, operations)),
        Kind::Request { window } => loops.drive(Inside::Task, move |bus| {
            let body = Body::new();
            windowed(window, operations, async move || Ok(bus.request(ECHO, body.clone()).await?))
        }),
    })
    .ours())
}

/// The mailbox has a bound, for which `send` waits; the request at the end has its turn after all of them.
async fn send_all(bus: Bus, operations: u64) -> Result<Measured, BoxError> {
    let body = Body::new();
    let stopwatch = Stopwatch::start();
    for _ in 1..operations {
        bus.send(ECHO, body.clone()).await?;
    }
    // It does not wait for room as those before it did, so it is tried until there is some.
    while let Err(error) = bus.request(ECHO, body.clone()).await {
        if !matches!(error, RequestError::Overloaded { .. }) {
            return Err(error.into());
        }
        tokio::task::yield_now().await;
    }
    Ok(stopwatch.stop())
}

async fn publish(bus: Bus, deliveries: u64) -> Result<Measured, BoxError> {
    publish_all(deliveries, move |body| match bus.publish(TICK, body.clone()).dropped {
        0 => Ok(()),
        dropped => Err(format!("{dropped} consumers had no room").into()),
    })
    .await
}

struct Echo;

impl Verticle for Echo {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(ECHO).register()?;
        Ok(())
    }
}

impl Handler<Arc<Body>> for Echo {
    type Reply = u64;

    async fn handle(&self, body: Arc<Body>, _: &Context<Self>) -> Result<u64, Failure> {
        Ok(body.look())
    }
}

struct Counter;

impl Verticle for Counter {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(TICK).register()?;
        Ok(())
    }
}

impl Handler<Arc<Body>> for Counter {
    type Reply = ();

    async fn handle(&self, body: Arc<Body>, _: &Context<Self>) -> Result<(), Failure> {
        tick(&body);
        Ok(())
    }
}
