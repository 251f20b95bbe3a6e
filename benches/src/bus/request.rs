//! Request and reply on one loop.

use tokio::task::spawn_local;
use vertebra::{BoxError, Deploy, Verticle};

use crate::bare::Bare;
use crate::body::Body;
use crate::loops::{Inside, Loops};
use crate::question::{Case, Question};
use crate::window::windowed;

use super::channels::{ROOM, ask_flume, ask_mpsc, mpsc, serve_flume, serve_mpsc};
use super::consumers::{ECHO, Echo, PlainEcho};
use super::table::Table;

/// Requests open at a time in the window question.
const WINDOW: u64 = 256;

/// One request at a time.
pub(super) fn ping_pong() -> Result<Question, BoxError> {
    let cases = vec![
        mpsc_oneshot(1)?,
        flume_oneshot(1)?,
        direct_call()?,
        bus("bus, handler finishes at once", 1, Inside::Task, || Echo::AT_ONCE)?.at_most(0.4),
        bus("bus, the same from a handler", 1, Inside::Handler, || Echo::AT_ONCE)?.at_most(0.4),
        bus("bus, the same, handler without a future", 1, Inside::Task, || PlainEcho)?.ours(),
        kept("bus, the same, a sender that keeps the route", 1)?.ours(),
        bus("bus, handler suspends once", 1, Inside::Task, || Echo::SUSPENDS)?.at_most(0.9),
    ];
    Ok(Question::new("request, same loop, one at a time", cases))
}

/// Many requests at a time.
pub(super) fn window() -> Result<Question, BoxError> {
    let cases = vec![
        flume_oneshot(WINDOW)?,
        mpsc_oneshot(WINDOW)?,
        bus("bus, handler finishes at once", WINDOW, Inside::Task, || Echo::AT_ONCE)?.at_most(0.5),
        bus("bus, handler suspends once", WINDOW, Inside::Task, || Echo::SUSPENDS)?.at_most(1.0),
        bus("bus, the same, one after the other", WINDOW, Inside::Task, || Echo::IN_TURN)?.at_most(1.0),
    ];
    Ok(Question::new("request, same loop, 256 at a time", cases))
}

fn mpsc_oneshot(window: u64) -> Result<Case, BoxError> {
    let bare = Bare::new()?;
    Ok(Case::new("tokio mpsc + oneshot", move |operations| {
        bare.run(async move {
            let (server, asked) = mpsc();
            spawn_local(serve_mpsc(asked));
            let body = Body::new();
            windowed(window, operations, async move || ask_mpsc(&server, body.clone()).await).await
        })
    }))
}

fn flume_oneshot(window: u64) -> Result<Case, BoxError> {
    let bare = Bare::new()?;
    Ok(Case::new("flume + oneshot", move |operations| {
        bare.run(async move {
            let (server, asked) = flume::bounded(ROOM);
            spawn_local(serve_flume(asked));
            let body = Body::new();
            windowed(window, operations, async move || ask_flume(&server, body.clone()).await).await
        })
    }))
}

fn direct_call() -> Result<Case, BoxError> {
    const NAME: &str = "bench.echo";
    let bare = Bare::new()?;
    Ok(Case::new("direct call through a table of names", move |operations| {
        bare.run(async move {
            let table = std::rc::Rc::new(Table::new(NAME));
            let body = Body::new();
            let call =
                async move || table.call(std::hint::black_box(NAME), body.clone()).ok_or_else(|| "no such name".into());
            windowed(1, operations, call).await
        })
    }))
}

fn bus<V: Verticle>(
    name: &str,
    window: u64,
    inside: Inside,
    echo: impl Fn() -> V + Send + Sync + 'static,
) -> Result<Case, BoxError> {
    let loops = Loops::new()?;
    loops.deploy_here(Deploy::new(echo))?;
    Ok(Case::new(name, move |operations| {
        loops.drive(inside, move |bus| {
            let body = Body::new();
            windowed(window, operations, async move || Ok(bus.request(ECHO, body.clone()).await?))
        })
    }))
}

fn kept(name: &str, window: u64) -> Result<Case, BoxError> {
    let loops = Loops::new()?;
    loops.deploy_here(Deploy::new(|| Echo::AT_ONCE))?;
    Ok(Case::new(name, move |operations| {
        loops.drive(Inside::Task, move |bus| {
            let (sender, body) = (bus.sender(ECHO), Body::new());
            windowed(window, operations, async move || Ok(sender.request(body.clone()).await?))
        })
    }))
}
