//! Between two loops on two threads.

use std::sync::Arc;

use vertebra::{BoxError, Deploy};

use crate::bare::{Bare, spawn_peer};
use crate::body::Body;
use crate::loops::{Inside, Loops};
use crate::question::{Case, Question};
use crate::stopwatch::Stopwatch;
use crate::window::windowed;

use super::channels::{ROOM, ask_mpsc, mpsc, serve_mpsc};
use super::consumers::{ECHO, Echo};
use super::send::send_all;

const WINDOW: u64 = 256;

pub(super) fn ping_pong() -> Result<Question, BoxError> {
    let cases = vec![mpsc_oneshot(1)?, two_flumes(1)?, request(1)?.at_most(1.3)];
    Ok(Question::new("request, cross loop, one at a time", cases))
}

pub(super) fn window() -> Result<Question, BoxError> {
    let cases = vec![two_flumes(WINDOW)?, mpsc_oneshot(WINDOW)?, request(WINDOW)?.at_most(0.8)];
    Ok(Question { two_threads: true, ..Question::new("request, cross loop, 256 at a time", cases) })
}

pub(super) fn send() -> Result<Question, BoxError> {
    let cases = vec![flume()?, bus_send()?.at_most(1.0)];
    Ok(Question { two_threads: true, ..Question::new("send, cross loop", cases) })
}

fn mpsc_oneshot(window: u64) -> Result<Case, BoxError> {
    let bare = Bare::new()?;
    let (server, asked) = mpsc();
    spawn_peer(move || serve_mpsc(asked));
    Ok(Case::new("tokio mpsc + oneshot", move |operations| {
        let server = server.clone();
        let body = Body::new();
        bare.run(windowed(window, operations, async move || ask_mpsc(&server, body.clone()).await))
    }))
}

/// One task at each end; replies come back in order and belong to nobody.
fn two_flumes(window: u64) -> Result<Case, BoxError> {
    let bare = Bare::new()?;
    let (asks, asked) = flume::bounded::<Arc<Body>>(ROOM);
    let (replies, replied) = flume::bounded::<u64>(ROOM);
    spawn_peer(move || async move {
        while let Ok(body) = asked.recv_async().await {
            if replies.send_async(body.look()).await.is_err() {
                break;
            }
        }
    });
    Ok(Case::new("two bare flume channels", move |operations| {
        let (asks, replied) = (asks.clone(), replied.clone());
        bare.run(async move {
            let body = Body::new();
            let stopwatch = Stopwatch::start();
            let ahead = window.min(operations);
            for _ in 0..ahead {
                asks.send_async(body.clone()).await?;
            }
            for _ in ahead..operations {
                std::hint::black_box(replied.recv_async().await?);
                asks.send_async(body.clone()).await?;
            }
            for _ in 0..ahead {
                std::hint::black_box(replied.recv_async().await?);
            }
            Ok(stopwatch.stop())
        })
    }))
}

fn request(window: u64) -> Result<Case, BoxError> {
    let loops = loops()?;
    Ok(Case::new("bus", move |operations| {
        loops.drive(Inside::Task, move |bus| {
            let body = Body::new();
            windowed(window, operations, async move || Ok(bus.request(ECHO, body.clone()).await?))
        })
    }))
}

fn flume() -> Result<Case, BoxError> {
    let bare = Bare::new()?;
    let (sender, receiver) = flume::bounded::<Option<Arc<Body>>>(ROOM);
    let (done, all_done) = flume::bounded::<()>(1);
    spawn_peer(move || async move {
        while let Ok(message) = receiver.recv_async().await {
            match message {
                Some(body) => {
                    std::hint::black_box(body.look());
                }
                None if done.send_async(()).await.is_err() => break,
                None => {}
            }
        }
    });
    Ok(Case::new("flume, bounded", move |operations| {
        let (sender, all_done) = (sender.clone(), all_done.clone());
        bare.run(async move {
            let body = Body::new();
            let stopwatch = Stopwatch::start();
            for _ in 0..operations {
                sender.send_async(Some(body.clone())).await?;
            }
            sender.send_async(None).await?;
            all_done.recv_async().await?;
            Ok(stopwatch.stop())
        })
    }))
}

fn bus_send() -> Result<Case, BoxError> {
    let loops = loops()?;
    Ok(Case::new("bus", move |operations| loops.drive(Inside::Task, move |bus| send_all(bus, operations))))
}

fn loops() -> Result<Loops, BoxError> {
    let loops = Loops::new()?;
    loops.deploy_there(Deploy::new(|| Echo::AT_ONCE))?;
    Ok(loops)
}
