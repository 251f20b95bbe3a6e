//! Sending on one loop: a sender that does not wait for what becomes of its messages.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::spawn_local;
use vertebra::{BoxError, Bus, Deploy, RequestError, Verticle};

use crate::bare::Bare;
use crate::body::Body;
use crate::loops::{Inside, Loops};
use crate::question::{Case, Question};
use crate::stopwatch::{Measured, Stopwatch};
use crate::window::yield_once;

use super::channels::ROOM;
use super::consumers::{ECHO, Echo, PlainEcho};

pub(super) fn pipelined() -> Result<Question, BoxError> {
    let cases = vec![
        flume()?,
        deque()?,
        bus("bus", || Echo::AT_ONCE)?.ours(),
        bus("bus, handler without a future", || PlainEcho)?.ours(),
        kept()?.at_most(1.0),
    ];
    Ok(Question::new("send, same loop", cases))
}

fn flume() -> Result<Case, BoxError> {
    let bare = Bare::new()?;
    Ok(Case::new("flume, bounded", move |operations| {
        bare.run(async move {
            let (sender, receiver) = flume::bounded::<Arc<Body>>(ROOM);
            let body = Body::new();
            let stopwatch = Stopwatch::start();
            let reader = spawn_local(async move {
                while let Ok(body) = receiver.recv_async().await {
                    std::hint::black_box(body.look());
                }
            });
            for _ in 0..operations {
                sender.send_async(body.clone()).await?;
            }
            drop(sender);
            reader.await?;
            Ok(stopwatch.stop())
        })
    }))
}

/// No waking, no bound that is checked: pushes until there are as many as fit, lets the reader pop them all.
fn deque() -> Result<Case, BoxError> {
    let bare = Bare::new()?;
    Ok(Case::new("VecDeque, two tasks", move |operations| {
        bare.run(async move {
            let queue = Rc::new(RefCell::new(VecDeque::<Arc<Body>>::with_capacity(ROOM)));
            let body = Body::new();
            let stopwatch = Stopwatch::start();
            let waiting = Rc::clone(&queue);
            let reader = spawn_local(async move {
                let mut left = operations;
                while left > 0 {
                    while let Some(body) = pop(&waiting) {
                        std::hint::black_box(body.look());
                        left -= 1;
                    }
                    yield_once().await;
                }
            });
            for sent in 1..=operations {
                queue.borrow_mut().push_back(body.clone());
                if sent % ROOM as u64 == 0 {
                    yield_once().await;
                }
            }
            reader.await?;
            Ok(stopwatch.stop())
        })
    }))
}

fn pop<T>(queue: &RefCell<VecDeque<T>>) -> Option<T> {
    queue.borrow_mut().pop_front()
}

fn bus<V: Verticle>(name: &str, echo: impl Fn() -> V + Send + Sync + 'static) -> Result<Case, BoxError> {
    let loops = Loops::new()?;
    loops.deploy_here(Deploy::new(echo))?;
    Ok(Case::new(name, move |operations| loops.drive(Inside::Task, move |bus| send_all(bus, operations))))
}

fn kept() -> Result<Case, BoxError> {
    let loops = Loops::new()?;
    loops.deploy_here(Deploy::new(|| Echo::AT_ONCE))?;
    Ok(Case::new("bus, a sender that keeps the route", move |operations| {
        loops.drive(Inside::Task, move |bus| async move {
            let sender = bus.sender(ECHO);
            let body = Body::new();
            let stopwatch = Stopwatch::start();
            for _ in 1..operations {
                sender.send(body.clone()).await?;
            }
            all_handled(&bus, body).await?;
            Ok(stopwatch.stop())
        })
    }))
}

/// Sends them all, and waits until the last one is handled: the request at the end has its turn after them.
pub(super) async fn send_all(bus: Bus, operations: u64) -> Result<Measured, BoxError> {
    let body = Body::new();
    let stopwatch = Stopwatch::start();
    for _ in 1..operations {
        bus.send(ECHO, body.clone()).await?;
    }
    all_handled(&bus, body).await?;
    Ok(stopwatch.stop())
}

/// The last message is a request. It does not wait for room as those before it did, so it is tried until there is some.
async fn all_handled(bus: &Bus, body: Arc<Body>) -> Result<(), BoxError> {
    loop {
        match bus.request(ECHO, body.clone()).await {
            Err(RequestError::Overloaded { .. }) => yield_once().await,
            other => return Ok(other.map(drop)?),
        }
    }
}
