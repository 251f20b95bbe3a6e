//! The verticles that the measured messages go to.

use std::cell::Cell;
use std::future::{Future, ready};
use std::sync::Arc;

use vertebra::{Address, BoxError, Context, Failure, Handler, Verticle};

use crate::body::Body;
use crate::window::yield_once;

pub(super) const ECHO: Address<Arc<Body>, u64> = Address::new("bench.echo");
pub(super) const TICK: Address<Arc<Body>> = Address::new("bench.tick");

/// Answers with a byte of the message.
#[derive(Clone, Copy)]
pub(super) struct Echo {
    /// Whether its handler suspends once before it does.
    suspends: bool,
    /// Handlers that may be suspended at a time.
    in_flight: usize,
}

impl Echo {
    pub(super) const AT_ONCE: Self = Self { suspends: false, in_flight: 1_024 };
    pub(super) const SUSPENDS: Self = Self { suspends: true, in_flight: 1_024 };
    /// One after the other: whoever asks meanwhile waits in the mailbox.
    pub(super) const IN_TURN: Self = Self { suspends: true, in_flight: 1 };
}

impl Verticle for Echo {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(ECHO).in_flight(self.in_flight).register()?;
        Ok(())
    }
}

/// The same without a future of its own: Vert.x's way of writing a handler.
pub(super) struct PlainEcho;

impl Verticle for PlainEcho {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(ECHO).register()?;
        Ok(())
    }
}

impl Handler<Arc<Body>> for PlainEcho {
    type Reply = u64;

    fn handle(&self, body: Arc<Body>, _: &Context<Self>) -> impl Future<Output = Result<u64, Failure>> {
        ready(Ok(body.look()))
    }
}

impl Handler<Arc<Body>> for Echo {
    type Reply = u64;

    async fn handle(&self, body: Arc<Body>, _: &Context<Self>) -> Result<u64, Failure> {
        if self.suspends {
            yield_once().await;
        }
        Ok(body.look())
    }
}

thread_local! {
    /// Messages handled on this thread: counted without the atomic that would be dearer than the delivery.
    static TICKS: Cell<u64> = const { Cell::new(0) };
}

/// Messages that [`Counter`]s of this thread have handled.
pub(super) fn ticks() -> u64 {
    TICKS.get()
}

/// Handles a message: looks at it and counts it.
pub(super) fn tick(body: &Body) {
    TICKS.set(TICKS.get() + 1);
    std::hint::black_box(body.look());
}

/// Counts what it gets.
pub(super) struct Counter;

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

/// The same without a future of its own.
pub(super) struct PlainCounter;

impl Verticle for PlainCounter {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        ctx.serve(TICK).register()?;
        Ok(())
    }
}

impl Handler<Arc<Body>> for PlainCounter {
    type Reply = ();

    fn handle(&self, body: Arc<Body>, _: &Context<Self>) -> impl Future<Output = Result<(), Failure>> {
        tick(&body);
        ready(Ok(()))
    }
}
