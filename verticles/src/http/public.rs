//! The public routes.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use adtrack_config::{EventsConfig, HttpConfig, ProgramIdRule};
use http::header::{HeaderName, HeaderValue};
use http::{Method, Request, StatusCode, request};
use hyper::body::Incoming;
use vertebra::{Bus, Clock};

use super::answer::{self, Response};
use super::connections::Routes;
use super::durability::DurabilityPolicy;
use super::event::EventRoute;
use super::metrics::{Metrics, Route};
use super::query;
use super::readiness::{Readiness, Ready};
use super::samples::Samples;
use super::store;
use super::tracking_paths::TrackingPaths;

const HEALTH: &str = "/health/check";
const TOKEN_HEADER: HeaderName = HeaderName::from_static("x-adtrack-token");
const TOKEN_PARAMETER: &str = "token";

/// What the world may ask of one loop.
pub(super) struct Public {
    config: Arc<HttpConfig>,
    program_ids: ProgramIdRule,
    samples: Samples,
    readiness: Rc<Readiness>,
    bus: Bus,
    paths: TrackingPaths,
    event: EventRoute,
    retry_after: HeaderValue,
}

impl Public {
    pub(super) fn new(
        config: Arc<HttpConfig>,
        events: &EventsConfig,
        samples: Samples,
        readiness: Rc<Readiness>,
        bus: Bus,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        let paths = TrackingPaths::new(events, &config.routes);
        let durability = DurabilityPolicy::new(events);
        let event = EventRoute::new(Arc::clone(&config), durability, bus.clone(), clock, metrics);
        let retry_after = answer::retry_after(config.retry_after);
        let program_ids = config.program_id_rule();
        Self { config, program_ids, samples, readiness, bus, paths, event, retry_after }
    }

    fn health(&self) -> Response {
        match self.readiness.now() {
            Ready::Yes => answer::fixed(StatusCode::OK, r#"{"status":"ok"}"#),
            Ready::Draining => answer::unavailable(&self.retry_after, r#"{"status":"draining"}"#),
            Ready::NotAccepting => answer::unavailable(&self.retry_after, r#"{"status":"not accepting events"}"#),
        }
    }

    /// The two routes that the reference leaves open to everybody; here they are not there without switch and token.
    async fn cache(&self, parts: &request::Parts, work: CacheWork) -> Response {
        if !self.has_token(parts) {
            return answer::not_found();
        }
        if parts.method != Method::GET {
            return answer::method_not_allowed("GET");
        }
        let done = match work {
            CacheWork::Fill => {
                store::put(&self.bus, &self.samples.programs()).await.map(drop).map_err(|error| error.to_string())
            }
            CacheWork::Purge => store::purge(&self.bus).await.map(drop).map_err(|error| error.to_string()),
        };
        match done {
            Ok(()) => answer::fixed(StatusCode::OK, r#"{"status":"ok"}"#),
            Err(error) => {
                tracing::warn!(%error, "the cache could not be filled or purged");
                answer::unavailable(&self.retry_after, r#"{"error":"the store is not available"}"#)
            }
        }
    }

    fn has_token(&self, parts: &request::Parts) -> bool {
        let Some(token) = self.config.compat_admin_token.as_ref().filter(|_| self.config.compat_admin_routes) else {
            return false;
        };
        let in_header = parts.headers.get(TOKEN_HEADER).is_some_and(|value| token.matches(value.as_bytes()));
        let in_query = query::first(parts.uri.query(), TOKEN_PARAMETER);
        in_header || in_query.is_some_and(|value| token.matches(value.as_bytes()))
    }
}

#[derive(Debug, Clone, Copy)]
enum CacheWork {
    Fill,
    Purge,
}

impl Routes for Public {
    /// A node that is busy must not look dead: the load balancer would send its share to the others, busy as well.
    fn is_vital(request: &Request<Incoming>) -> bool {
        request.uri().path() == HEALTH
    }

    async fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> (Route, Response) {
        let (parts, _) = request.into_parts();
        let path = parts.uri.path();
        if let Some((path, id)) = self.paths.find(path) {
            if parts.method != Method::GET {
                return (path.route, answer::method_not_allowed("GET"));
            }
            let id = super::program_id::decode(id, &self.program_ids);
            return (path.route, self.event.answer(path, id, parts, peer).await);
        }
        match path {
            HEALTH if parts.method == Method::GET || parts.method == Method::HEAD => (Route::Health, self.health()),
            HEALTH => (Route::Health, answer::method_not_allowed("GET, HEAD")),
            "/cache/fill" => (Route::Cache, self.cache(&parts, CacheWork::Fill).await),
            "/cache/purge" => (Route::Cache, self.cache(&parts, CacheWork::Purge).await),
            _ if parts.method == Method::GET || parts.method == Method::HEAD => (Route::Other, answer::not_found()),
            _ => (Route::Other, answer::method_not_allowed("GET, HEAD")),
        }
    }
}
