//! The verticle of the operators' listener.

use std::cell::OnceCell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use adtrack_config::{AdminConfig, HttpConfig};
use prometheus_client::registry::Registry;
use vertebra::{BoxError, Context, Task, Verticle};

use super::accept::Accept;
use super::admin_guard::Guard;
use super::connections::{Bounds, Connections};
use super::listener::Listener;
use super::metrics::{Listening, Metrics};
use super::operator::{Operator, PROGRAMS_BYTES_MAX};
use super::samples::Samples;
use crate::drain::Drain;

/// Connections of operators and their tools that may be open at a time.
const CONNECTIONS_MAX: usize = 64;

/// What the operators' listener is told.
#[derive(Debug, Clone)]
pub struct AdminOptions {
    /// Its own settings.
    pub admin: AdminConfig,
    /// Times and bounds of connections are those of the public listener.
    pub http: Arc<HttpConfig>,
    /// What `POST /cache/fill` loads.
    pub samples: Samples,
    /// What `/metrics` shows.
    pub registry: Arc<Registry>,
    /// How many event loops there are, for `/health/deps`.
    pub event_loops: usize,
    /// Where the node keeps its data, for `/health/deps`.
    pub data_dir: Arc<Path>,
    /// When the end of the service is in a hurry.
    pub drain: Drain,
}

/// Operators ask again; the time of a shutdown is for events.
const DRAIN_MAX: Duration = Duration::from_millis(500);

/// Serves `/metrics`, `/health/deps`, `/cache/*` and `/programs*` to operators. One instance.
pub struct Admin {
    listener: Listener,
    options: AdminOptions,
    metrics: Metrics,
    serving: OnceCell<(Rc<Connections<Operator>>, Task)>,
}

impl Admin {
    /// An operators' side on this listener.
    pub fn new(listener: Listener, options: AdminOptions, metrics: Metrics) -> Self {
        Self { listener, options, metrics, serving: OnceCell::new() }
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl Verticle for Admin {
    async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        let options = &self.options;
        let clock = ctx.clock().clone();
        let operator = Operator {
            guard: Guard::new(options.admin.token.clone()),
            program_ids: options.http.program_id_rule(),
            samples: options.samples.clone(),
            registry: Arc::clone(&options.registry),
            event_loops: options.event_loops,
            data_dir: Arc::clone(&options.data_dir),
            bus: ctx.bus().clone(),
            clock: clock.clone(),
        };
        let bounds = Bounds::new(&options.http, PROGRAMS_BYTES_MAX);
        let connections =
            Rc::new(Connections::new(operator, bounds, Listening::Admin, clock.clone(), self.metrics.clone()));
        let accept = Accept {
            listener: self.listener.on_loop()?,
            listening: Listening::Admin,
            permits: self.listener.permits(CONNECTIONS_MAX),
            clock,
            metrics: self.metrics.clone(),
        };
        ctx.spawn(Rc::clone(&connections).keep_times());
        let task = {
            let (connections, ctx) = (Rc::clone(&connections), ctx.clone());
            async move {
                accept
                    .run(|stream, peer, permit| drop(ctx.spawn(Rc::clone(&connections).serve(stream, peer, permit))))
                    .await;
            }
        };
        let accepting = ctx.spawn(task);
        self.serving.set((connections, accepting)).map_err(|_| "an admin side starts once")?;
        Ok(())
    }

    async fn stop(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
        if let Some((connections, accepting)) = self.serving.get() {
            accepting.abort();
            let over = ctx.clock().timeout(DRAIN_MAX, self.options.drain.requests_over(ctx.clock()));
            connections
                .drain(async {
                    let (Ok(()) | Err(_)) = over.await;
                })
                .await;
        }
        self.listener.close();
        Ok(())
    }
}
