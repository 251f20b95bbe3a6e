//! The work on an actor crate: everything but the crate.

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::sync::Arc;

use adtrack_benches::{Bare, Body, Case, Measured, Stopwatch, spawn_peer, windowed, yield_once};
use tokio::task::{JoinHandle, spawn_local};
use vertebra::BoxError;

use crate::publish::publish_all;
use crate::work::{AHEAD, CONSUMERS, Kind, Work};

/// An actor, as who sends to it holds it. It answers with a byte of the message.
pub(crate) trait Actor: Clone + Send + 'static {
    /// Starts one on the executor of the calling thread.
    fn start() -> impl Future<Output = Result<Self, BoxError>>;

    /// Puts a message into its mailbox, which has no bound.
    fn tell(&self, body: Arc<Body>) -> Result<(), BoxError>;

    fn ask(&self, body: Arc<Body>) -> impl Future<Output = Result<u64, BoxError>>;
}

/// The work on actors of this kind. Each loop is the executor that ours are.
pub(crate) fn case<A: Actor>(name: &str, work: Work) -> Result<Case, BoxError> {
    let here = Bare::new()?;
    let actors = match (work.kind, work.two_loops) {
        (Kind::Publish, _) => {
            let start = || here.block_on(A::start());
            (0..CONSUMERS).map(|_| start()).collect::<Result<Vec<A>, _>>()?
        }
        (_, false) => vec![here.block_on(A::start())?],
        (_, true) => vec![start_there()?],
    };
    Ok(Case::new(name, move |operations| {
        let actors = actors.clone();
        match work.kind {
            Kind::Publish => here.run(publish_all(operations, move |body| {
                // None of the crates publishes by itself; this is what one writes.
                actors.iter().try_for_each(|actor| actor.tell(body.clone()))
            })),
            Kind::Send => here.run(send_all(actors[0].clone(), operations)),
            Kind::Request { window } => {
                let (actor, body) = (actors[0].clone(), Body::new());
                here.run(windowed(window, operations, async move || actor.ask(body.clone()).await))
            }
        }
    }))
}

/// Starts an actor on a thread of its own, which lasts as long as the process.
fn start_there<A: Actor>() -> Result<A, BoxError> {
    let (started, actor) = std::sync::mpsc::sync_channel(1);
    spawn_peer(move || async move {
        if started.send(A::start().await).is_ok() {
            pending::<()>().await;
        }
    });
    actor.recv()?
}

/// Sends as fast as the actor allows. A mailbox without a bound would only grow, so now and then a message is a request,
/// and there is a limit to those that are open.
async fn send_all<A: Actor>(actor: A, operations: u64) -> Result<Measured, BoxError> {
    const BATCHES_AHEAD: u64 = 2;
    let body = Body::new();
    let stopwatch = Stopwatch::start();
    let mut asked: VecDeque<JoinHandle<Result<u64, BoxError>>> = VecDeque::new();
    for sent in 1..=operations {
        if sent % (AHEAD / BATCHES_AHEAD) != 0 && sent != operations {
            actor.tell(body.clone())?;
            continue;
        }
        let (asking, body) = (actor.clone(), body.clone());
        asked.push_back(spawn_local(async move { asking.ask(body).await }));
        // Its turn, in which it is sent.
        yield_once().await;
        while asked.len() as u64 >= BATCHES_AHEAD || (sent == operations && !asked.is_empty()) {
            if let Some(oldest) = asked.pop_front() {
                oldest.await??;
            }
        }
    }
    Ok(stopwatch.stop())
}
