//! The verticle that serves the public listener's connections, one instance per loop.

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use adtrack_config::{EventsConfig, HttpConfig};
use vertebra::{Address, BoxError, Context, Failure, Handler, Route, Verticle};

use super::connections::{Bounds, Connections};
use super::metrics::{Listening, Metrics};
use super::permit::Permit;
use super::public::Public;
use super::readiness::Readiness;
use super::samples::Samples;
use crate::drain::Drain;

/// Connections on their way to their loop. Spoken inside this module only: a socket cannot leave the process.
pub(super) const CONNECTION: Address<Connected> = Address::new("http.connection");

/// Connections that may wait for one loop.
const WAITING_CONNECTIONS_MAX: usize = 4_096;

/// A connection for one of the loops.
#[derive(Debug)]
pub(super) struct Connected {
    pub(super) stream: std::net::TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) permit: Permit,
}

/// Serves connections with the public routes. Deployed with one instance per event loop.
pub struct Server {
    config: Arc<HttpConfig>,
    events: Arc<EventsConfig>,
    samples: Samples,
    drain: Drain,
    metrics: Metrics,
    connections: OnceCell<Rc<Connections<Public>>>,
}

impl Server {
    /// A server with these settings. `samples` is what `GET /cache/fill` loads, where that is switched on.
    pub fn new(
        config: Arc<HttpConfig>,
        events: Arc<EventsConfig>,
        samples: Samples,
        drain: Drain,
        metrics: Metrics,
    ) -> Self {
        Self { config, events, samples, drain, metrics, connections: OnceCell::new() }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Verticle for Server {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let readiness = Rc::new(Readiness::new(self.drain.clone()));
        readiness.ask(ctx.bus()).await;
        let public = Public::new(
            Arc::clone(&self.config),
            &self.events,
            self.samples.clone(),
            Rc::clone(&readiness),
            ctx.bus().clone(),
            ctx.clock().clone(),
            self.metrics.clone(),
        );
        let bounds = Bounds::new(&self.config, 0);
        let (clock, metrics) = (ctx.clock().clone(), self.metrics.clone());
        let connections = Rc::new(Connections::new(public, bounds, Listening::Public, clock, metrics));
        ctx.spawn(Rc::clone(&connections).keep_times());
        ctx.spawn(readiness.keep_asking(ctx.bus().clone(), ctx.clock().clone()));
        self.connections.set(connections).map_err(|_| "a server starts once")?;
        ctx.serve(CONNECTION).mailbox(WAITING_CONNECTIONS_MAX).route(Route::RoundRobin).register()?;
        Ok(())
    }

    /// Requests under way get their answers, then the connections are closed.
    async fn stop(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.drain.begin(ctx.clock().now());
        if let Some(connections) = self.connections.get() {
            connections.drain(self.drain.requests_over(ctx.clock())).await;
        }
        Ok(())
    }
}

impl Handler<Connected> for Server {
    type Reply = ();

    async fn handle(&self, connected: Connected, ctx: &Context<Self>) -> Result<(), Failure> {
        let Connected { stream, peer, permit } = connected;
        let Some(connections) = self.connections.get() else { return Ok(()) };
        match tokio::net::TcpStream::from_std(stream) {
            Ok(stream) => drop(ctx.spawn(Rc::clone(connections).serve(stream, peer, permit))),
            Err(error) => tracing::warn!(%error, "a connection could not be served"),
        }
        Ok(())
    }
}
