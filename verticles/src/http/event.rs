//! `GET /event/{programId}`, and the same under other paths: look the program up, hand the event over, answer.

use std::cell::RefCell;
use std::net::IpAddr;
use std::sync::Arc;

use adtrack_config::{HttpConfig, OnInvalid};
use adtrack_proto::bus::{Accepted, Durability, LOOKUP, Lookup, TRACK, Track};
use adtrack_proto::{Answer, Event, Program, ProgramId};
use bytes::{Bytes, BytesMut};
use http::header::{HeaderName, HeaderValue, REFERER, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use vertebra::{Bus, Clock, RequestError};

use super::answer::{self, Response};
use super::client_ip;
use super::durability::{DurabilityPolicy, NOTHING};
use super::message_id::MessageIds;
use super::metrics::{Metrics, Unavailable};
use super::program_id::MalformedId;
use super::query::{self, QueryLimits};
use super::tracking_paths::TrackingPath;
use super::{cookie, text, trace};

/// Answers are cut from pieces of this size, so that most of them cost no allocation.
const BODIES_BYTES: usize = 32_768;

/// The route, with what one loop keeps for it.
#[derive(Debug)]
pub(super) struct EventRoute {
    config: Arc<HttpConfig>,
    durability: DurabilityPolicy,
    bus: Bus,
    clock: Clock,
    metrics: Metrics,
    ids: MessageIds,
    bodies: RefCell<Bodies>,
    retry_after: HeaderValue,
}

impl EventRoute {
    pub(super) fn new(
        config: Arc<HttpConfig>,
        durability: DurabilityPolicy,
        bus: Bus,
        clock: Clock,
        metrics: Metrics,
    ) -> Self {
        let retry_after = answer::retry_after(config.retry_after);
        let (ids, bodies) = (MessageIds::default(), RefCell::default());
        Self { config, durability, bus, clock, metrics, ids, bodies, retry_after }
    }

    /// Answers one event.
    pub(super) async fn answer(
        &self,
        path: &TrackingPath,
        id: Result<ProgramId, MalformedId>,
        parts: Parts,
        peer: IpAddr,
    ) -> Response {
        let program_id = match id {
            Ok(program_id) => program_id,
            Err(malformed) => {
                self.metrics.malformed_id();
                return answer::fixed(StatusCode::BAD_REQUEST, malformed.body());
            }
        };
        let durability = match self.durability.of(&parts.headers, path.durability) {
            Ok(durability) => durability,
            Err(refusal) => return answer::error(StatusCode::BAD_REQUEST, &refusal),
        };
        let lookup = self.bus.request(LOOKUP, Lookup { program_id }).timeout(self.config.lookup_timeout);
        match lookup.await {
            Ok(Some(program)) if !program.valid && self.config.on_invalid == OnInvalid::Reject => {
                self.metrics.rejected_invalid();
                answer::fixed(StatusCode::GONE, r#"{"error":"the program is no longer valid"}"#)
            }
            Ok(Some(program)) => self.track(program, path, durability, parts, peer).await,
            Ok(None) => {
                answer::json(StatusCode::NOT_FOUND, parts.headers, Bytes::from_static(b"\"ProgramId not found\""))
            }
            Err(error) => self.unavailable(Unavailable::Lookup, &error),
        }
    }

    async fn track(
        &self,
        program: Arc<Program>,
        path: &TrackingPath,
        durability: Durability,
        parts: Parts,
        peer: IpAddr,
    ) -> Response {
        let event = self.event(program, path, &parts, peer);
        // Written before the event is given away; the caller sees it only if the event was taken.
        let body = self.bodies.borrow_mut().write(&event);
        let track = Track { event, durability, at_bound: path.at_bound };
        match self.bus.request(TRACK, track).timeout(self.durability.timeout()).await {
            Ok(Accepted::Held { durability }) => answer::accepted(parts.headers, durability.name(), body),
            Ok(Accepted::Dropped { bound }) => {
                self.metrics.dropped(path.route, bound);
                answer::accepted(parts.headers, NOTHING, body)
            }
            Err(error) => self.unavailable(Unavailable::Track, &error),
        }
    }

    /// All that the event needs is copied out of the request at once: a kept piece would pin the parser's buffer.
    fn event(&self, program: Arc<Program>, path: &TrackingPath, parts: &Parts, peer: IpAddr) -> Event {
        let config = &self.config;
        let headers = &parts.headers;
        let limits = QueryLimits { parameters_max: config.query_parameters_max, bytes_max: config.query_bytes_max };
        let query = query::decode(parts.uri.query(), limits);
        if query.dropped > 0 {
            self.metrics.query_parameters_dropped(query.dropped);
        }
        let now = self.clock.unix_ms();
        Event {
            program,
            message_id: self.ids.next(now),
            user_agent: self.text_of(headers, &USER_AGENT),
            event_time_ms: now,
            event_type: if query.event_type.is_empty() { path.event_type.clone() } else { query.event_type },
            referer: self.text_of(headers, &REFERER),
            client_ip: client_ip::kept(client_ip::client_of(peer, headers, &config.trusted_proxies), config.client_ip),
            trace_id: trace::trace_id(headers).unwrap_or_default().to_owned(),
            query: query.parameters,
            cookie_id: self.cookie_of(headers),
        }
    }

    fn text_of(&self, headers: &HeaderMap, name: &HeaderName) -> String {
        let value = headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
        text::bounded(value, self.config.user_agent_bytes_max)
    }

    fn cookie_of(&self, headers: &HeaderMap) -> String {
        let named = self.config.cookie_name.as_deref();
        named.and_then(|name| cookie::value(headers, name)).unwrap_or_default().to_owned()
    }

    fn unavailable(&self, what: Unavailable, error: &RequestError) -> Response {
        self.metrics.unavailable(what);
        let body = match what {
            Unavailable::Lookup => r#"{"error":"the program cannot be looked up now"}"#,
            Unavailable::Track => r#"{"error":"the event cannot be taken now"}"#,
        };
        tracing::debug!(%error, "an event was answered with 503");
        answer::unavailable(&self.retry_after, body)
    }
}

/// Room for answers, used again and again.
#[derive(Debug, Default)]
struct Bodies {
    json: Vec<u8>,
    piece: BytesMut,
}

impl Bodies {
    fn write(&mut self, event: &Event) -> Bytes {
        self.json.clear();
        Answer { program: &event.program, user_agent: &event.user_agent, message_id: &event.message_id }
            .write_json(&mut self.json);
        if self.piece.capacity() < self.json.len() {
            self.piece.reserve(BODIES_BYTES.max(self.json.len()));
        }
        self.piece.extend_from_slice(&self.json);
        self.piece.split().freeze()
    }
}
