//! The verticle that accepts connections and hands them to the loops in turn.

use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;

use adtrack_config::HttpConfig;
use tokio::net::TcpStream;
use vertebra::{BoxError, Context, Task, Verticle};

use super::accept::Accept;
use super::listener::Listener;
use super::metrics::{Listening, Metrics};
use super::permit::Permit;
use super::server::{CONNECTION, Connected};
use crate::drain::Drain;

/// Accepts the public listener's connections. One instance; deployed after [`Server`](super::Server), so that it stops
/// first: then no connection comes any more while the open ones are drained.
#[derive(Debug)]
pub struct Acceptor {
    listener: Listener,
    config: Arc<HttpConfig>,
    drain: Drain,
    metrics: Metrics,
    accepting: OnceCell<(Rc<Accept>, Task)>,
}

impl Acceptor {
    /// An acceptor of this listener.
    pub fn new(listener: Listener, config: Arc<HttpConfig>, drain: Drain, metrics: Metrics) -> Self {
        Self { listener, config, drain, metrics, accepting: OnceCell::new() }
    }

    fn hand_over(&self, ctx: &Context<Self>, stream: TcpStream, peer: std::net::SocketAddr, permit: Permit) {
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be handed to its loop");
                return;
            }
        };
        // A loop that takes no more connections is as good as a full one: the client is told by the close.
        if ctx.bus().try_send(CONNECTION, Connected { stream, peer, permit }).is_err() {
            self.metrics.connection_refused(Listening::Public);
        }
    }
}

impl Verticle for Acceptor {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let accept = Rc::new(Accept {
            listener: self.listener.on_loop()?,
            listening: Listening::Public,
            permits: self.listener.permits(self.config.connections_max),
            clock: ctx.clock().clone(),
            metrics: self.metrics.clone(),
        });
        let task = {
            let (accept, ctx) = (Rc::clone(&accept), ctx.clone());
            async move { accept.run(|stream, peer, permit| ctx.verticle().hand_over(&ctx, stream, peer, permit)).await }
        };
        let task = ctx.spawn(task);
        self.accepting.set((accept, task)).map_err(|_| "an acceptor starts once")?;
        Ok(())
    }

    /// Readiness is gone by now, and load balancers have had their time to see it: see `app.rs`.
    async fn stop(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        self.drain.begin(ctx.clock().now());
        if let Some((accept, task)) = self.accepting.get() {
            task.abort();
            accept.rest(|stream, peer, permit| self.hand_over(ctx, stream, peer, permit)).await;
        }
        self.listener.close();
        Ok(())
    }
}
