//! Publishing on one loop. An operation is one publication, so to n consumers it is n deliveries.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::broadcast;
use tokio::task::spawn_local;
use vertebra::{BoxError, Bus, Deploy, Verticle};

use crate::bare::Bare;
use crate::body::Body;
use crate::loops::{Inside, Loops};
use crate::question::{Case, Question};
use crate::stopwatch::{Measured, Stopwatch};
use crate::window::yield_once;

use super::channels::ROOM;
use super::consumers::{Counter, PlainCounter, TICK, tick, ticks};

/// Deliveries made before the publisher lets the consumers run: publishing never waits, so it must pace itself.
const DELIVERIES_PER_TURN: u64 = 512;

pub(super) fn to(consumers: usize) -> Result<Question, BoxError> {
    let own = bus("bus", consumers, || Counter)?;
    let (name, own) = match consumers {
        1 => ("publish to 1", own.ours()),
        8 => ("publish to 8", own.ours()),
        _ => ("publish to 64", own.at_most(2.2)),
    };
    let cases = vec![
        pushes(consumers, "bare pushes and pops", |body| tick(&body))?,
        pushes(consumers, "the same, a boxed async handler polled for each", poll_boxed)?,
        broadcast(consumers)?,
        own,
        bus("bus, handlers without a future", consumers, || PlainCounter)?.ours(),
    ];
    Ok(Question::new(name, cases))
}

fn poll_boxed(body: Arc<Body>) {
    let handler: Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move { tick(&body) });
    let mut handler = std::hint::black_box(handler);
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    std::hint::black_box(handler.as_mut().poll(&mut cx).is_ready());
}

fn pushes(consumers: usize, name: &str, handle: fn(Arc<Body>)) -> Result<Case, BoxError> {
    let bare = Bare::new()?;
    Ok(Case::new(name, move |operations| {
        bare.run(async move {
            let queues = (0..consumers).map(|_| RefCell::new(VecDeque::new()));
            let queues: Rc<[_]> = queues.collect();
            let own = Rc::clone(&queues);
            let reader = spawn_local(async move {
                loop {
                    own.iter().for_each(|queue| empty(queue, handle));
                    yield_once().await;
                }
            });
            let measured = publish_all(consumers as u64, operations, |body| {
                let targets = queues.iter();
                targets.for_each(|queue| queue.borrow_mut().push_back(body.clone()));
            });
            let measured = measured.await;
            reader.abort();
            Ok(measured)
        })
    }))
}

fn empty<T>(queue: &RefCell<VecDeque<T>>, handle: fn(T)) {
    loop {
        let Some(next) = queue.borrow_mut().pop_front() else { break };
        handle(next);
    }
}

/// Tokio's own way to tell many: each receiver is a task.
fn broadcast(receivers: usize) -> Result<Case, BoxError> {
    let bare = Bare::new()?;
    Ok(Case::new("tokio broadcast", move |operations| {
        bare.run(async move {
            let (sender, _) = broadcast::channel::<Arc<Body>>(ROOM);
            for _ in 0..receivers {
                let mut receiver = sender.subscribe();
                spawn_local(async move {
                    while let Ok(body) = receiver.recv().await {
                        tick(&body);
                    }
                });
            }
            let mut reached = 0;
            let published = |body: &Arc<Body>| reached += sender.send(body.clone()).unwrap_or(0);
            let measured = publish_all(receivers as u64, operations, published).await;
            match reached as u64 == operations * receivers as u64 {
                true => Ok(measured),
                false => Err("a receiver is missing".into()),
            }
        })
    }))
}

fn bus<V: Verticle>(
    name: &str,
    consumers: usize,
    counter: impl Fn() -> V + Send + Sync + 'static,
) -> Result<Case, BoxError> {
    let loops = Loops::new()?;
    loops.deploy_here(Deploy::new(counter).instances(consumers))?;
    Ok(Case::new(name, move |operations| {
        loops.drive(Inside::Task, move |bus| publish_on(bus, consumers as u64, operations))
    }))
}

async fn publish_on(bus: Bus, consumers: u64, operations: u64) -> Result<Measured, BoxError> {
    let mut reached = 0;
    let measured = publish_all(consumers, operations, |body| reached += bus.publish(TICK, body.clone()).reached);
    let measured = measured.await;
    match reached as u64 == operations * consumers {
        true => Ok(measured),
        false => Err("a consumer had no room".into()),
    }
}

async fn publish_all(consumers: u64, operations: u64, mut publish: impl FnMut(&Arc<Body>)) -> Measured {
    let per_turn = (DELIVERIES_PER_TURN / consumers).max(1);
    let body = Body::new();
    let before = ticks();
    let stopwatch = Stopwatch::start();
    let mut published = 0;
    while published < operations {
        let turn = per_turn.min(operations - published);
        (0..turn).for_each(|_| publish(&body));
        published += turn;
        while ticks() - before < published * consumers {
            yield_once().await;
        }
    }
    stopwatch.stop()
}
