//! The operators' routes.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adtrack_config::{ProgramIdRefusal, ProgramIdRule};
use adtrack_proto::bus::{
    AskLedger, DeleteProgram, Found, INVALID, LEDGER, ListPrograms, Lookup, ProgramPage, REPLAY, Replay, STORE_DELETE,
    STORE_LIST, STORE_LOOKUP, Stored,
};
use adtrack_proto::{Program, ProgramId, ProgramIdError};
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use vertebra::{Bus, Clock, RequestError};

use super::admin_guard::Guard;
use super::answer::{self, Response};
use super::bus_metrics;
use super::connections::Routes;
use super::dependencies;
use super::ledger;
use super::metrics::Route;
use super::query;
use super::samples::Samples;
use super::store::{self, PutError, STORE_TIMEOUT};

/// Largest body of `POST /programs`, in bytes.
pub(super) const PROGRAMS_BYTES_MAX: u64 = 1_048_576;
const LEDGER_TIMEOUT: Duration = Duration::from_secs(1);
/// Every file is read once, to count what is in it.
const REPLAY_TIMEOUT: Duration = Duration::from_secs(20);
/// Programs on a page, when the caller does not say how many; and at most.
const PAGE_DEFAULT: usize = 100;
const PAGE_MAX: usize = 1_000;
const METRICS_TYPE: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const OK: &str = r#"{"status":"ok"}"#;

/// What operators may ask.
pub(super) struct Operator {
    pub(super) guard: Guard,
    /// What no URL can ask for is not stored.
    pub(super) program_ids: ProgramIdRule,
    pub(super) samples: Samples,
    pub(super) registry: Arc<Registry>,
    pub(super) event_loops: usize,
    pub(super) data_dir: Arc<Path>,
    pub(super) bus: Bus,
    pub(super) clock: Clock,
}

impl Routes for Operator {
    async fn answer(&self, request: Request<Incoming>, _: IpAddr) -> (Route, Response) {
        let (parts, body) = request.into_parts();
        if let Some(refused) = self.guard.refuse(&parts) {
            return (Route::Admin, refused);
        }
        let path = parts.uri.path();
        let response = match (&parts.method, path) {
            (&Method::GET | &Method::HEAD, "/metrics") => self.metrics().await,
            (&Method::GET | &Method::HEAD, "/health/deps") => {
                let report = dependencies::report(&self.bus, &self.clock, self.event_loops, &self.data_dir).await;
                answer::json(StatusCode::OK, HeaderMap::new(), report)
            }
            (&Method::GET | &Method::HEAD, "/admin/ledger") => self.ledger().await,
            (&Method::POST, "/cache/fill") => {
                stored(store::put(&self.bus, &self.samples.programs()).await, StatusCode::OK)
            }
            (&Method::POST, "/cache/purge") => self.purge().await,
            (&Method::POST, "/events/replay") => self.replay().await,
            (&Method::POST, "/programs") => self.put(body).await,
            (&Method::GET, "/programs") => self.list(parts.uri.query()).await,
            (&Method::GET, _) if path.starts_with("/programs/") => self.get(path).await,
            (&Method::DELETE, _) if path.starts_with("/programs/") => self.delete(path).await,
            (_, "/metrics" | "/health/deps" | "/admin/ledger") => answer::method_not_allowed("GET, HEAD"),
            (_, "/cache/fill" | "/cache/purge" | "/events/replay") => answer::method_not_allowed("POST"),
            (_, "/programs") => answer::method_not_allowed("GET, POST"),
            (_, _) if path.starts_with("/programs/") => answer::method_not_allowed("GET, DELETE"),
            _ => answer::not_found(),
        };
        (Route::Admin, response)
    }
}

impl Operator {
    async fn metrics(&self) -> Response {
        let mut bus = Registry::default();
        bus_metrics::register(&mut bus, &self.bus.metrics().await);
        let mut text = String::new();
        let written = text::encode_registry(&mut text, &self.registry)
            .and_then(|()| text::encode_registry(&mut text, &bus))
            .and_then(|()| text::encode_eof(&mut text));
        if let Err(error) = written {
            tracing::error!(%error, "the metrics could not be written");
            return answer::fixed(StatusCode::INTERNAL_SERVER_ERROR, r#"{"error":"the metrics could not be written"}"#);
        }
        let mut response = answer::json(StatusCode::OK, HeaderMap::new(), text);
        response.headers_mut().insert(CONTENT_TYPE, METRICS_TYPE);
        response
    }

    async fn ledger(&self) -> Response {
        match self.bus.request(LEDGER, AskLedger).timeout(LEDGER_TIMEOUT).await {
            Ok(ledger) => answer::json(StatusCode::OK, HeaderMap::new(), ledger::json(&ledger)),
            Err(error) => answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    async fn replay(&self) -> Response {
        match self.bus.request(REPLAY, Replay).timeout(REPLAY_TIMEOUT).await {
            Ok(done) => {
                let body = serde_json::json!({ "files": done.files, "events": done.events, "bytes": done.bytes });
                answer::json(StatusCode::OK, HeaderMap::new(), body.to_string())
            }
            Err(error) => answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    async fn purge(&self) -> Response {
        match store::purge(&self.bus).await {
            Ok(purged) => {
                let body = serde_json::json!({ "status": "ok", "store": purged.store, "cache": purged.cache });
                answer::json(StatusCode::OK, HeaderMap::new(), body.to_string())
            }
            Err(error) => answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    async fn put(&self, body: Incoming) -> Response {
        // Bounded by the length that its head told.
        let Ok(body) = body.collect().await else {
            return answer::fixed(StatusCode::BAD_REQUEST, r#"{"error":"the body did not come whole"}"#);
        };
        let programs: Vec<Arc<Program>> = match Program::list_from_json(&body.to_bytes()) {
            Ok(programs) => programs.into_iter().map(Arc::new).collect(),
            Err(error) => return answer::error(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        if let Some((index, refusal)) = self.first_refused(&programs) {
            return answer::error(StatusCode::BAD_REQUEST, &format!("program {index}: {refusal}"));
        }
        stored(store::put(&self.bus, &programs).await, StatusCode::NO_CONTENT)
    }

    /// The first program, counted from 1, that no URL can ask for.
    fn first_refused(&self, programs: &[Arc<Program>]) -> Option<(usize, ProgramIdRefusal)> {
        (1..).zip(programs).find_map(|(index, program)| {
            let refusal = self.program_ids.check(program.program_id.as_str().as_bytes()).err()?;
            Some((index, refusal))
        })
    }

    async fn get(&self, path: &str) -> Response {
        let program_id = match id_in(path) {
            Ok(program_id) => program_id,
            Err(error) => return answer::error(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        match self.bus.request(STORE_LOOKUP, Lookup { program_id }).timeout(STORE_TIMEOUT).await.map(Found::program) {
            Ok(Some(program)) => answer::json(StatusCode::OK, HeaderMap::new(), program.to_json()),
            Ok(None) => answer::fixed(StatusCode::NOT_FOUND, r#"{"error":"there is no such program"}"#),
            Err(error) => answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    async fn delete(&self, path: &str) -> Response {
        let program_id = match id_in(path) {
            Ok(program_id) => program_id,
            Err(error) => return answer::error(StatusCode::BAD_REQUEST, &error.to_string()),
        };
        match self.bus.request(STORE_DELETE, DeleteProgram { program_id }).timeout(STORE_TIMEOUT).await {
            Ok(deleted) => {
                let body = serde_json::json!({ "version": deleted.version, "wasStored": deleted.was_stored });
                answer::json(StatusCode::OK, HeaderMap::new(), body.to_string())
            }
            Err(RequestError::Failed(failure)) if failure.code() == INVALID => {
                answer::error(StatusCode::CONFLICT, &failure.to_string())
            }
            Err(error) => answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }

    async fn list(&self, query: Option<&str>) -> Response {
        let limit = match query::first(query, "limit").map(|text| text.parse()) {
            None => PAGE_DEFAULT,
            Some(Ok(limit @ 1..=PAGE_MAX)) => limit,
            Some(_) => {
                return answer::fixed(StatusCode::BAD_REQUEST, r#"{"error":"limit must be a number, 1..=1000"}"#);
            }
        };
        let cursor = query::first(query, "cursor").map(String::from);
        match self.bus.request(STORE_LIST, ListPrograms { cursor, limit }).timeout(STORE_TIMEOUT).await {
            Ok(page) => answer::json(StatusCode::OK, HeaderMap::new(), page_json(&page)),
            Err(error) => answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
        }
    }
}

/// The id behind `/programs/`, or why it is none.
fn id_in(path: &str) -> Result<ProgramId, ProgramIdError> {
    let text = path.strip_prefix("/programs/").unwrap_or_default();
    let decoded = percent_encoding::percent_decode_str(text).decode_utf8_lossy();
    ProgramId::new(decoded)
}

fn stored(result: Result<Stored, PutError>, done: StatusCode) -> Response {
    match result {
        Ok(Stored { outdated }) if !outdated.is_empty() => {
            let error = format!("of {} programs a higher version is stored", outdated.len());
            let body = serde_json::json!({ "error": error, "outdated": outdated });
            answer::json(StatusCode::CONFLICT, HeaderMap::new(), body.to_string())
        }
        Ok(_) if done == StatusCode::NO_CONTENT => {
            let mut response = Response::default();
            *response.status_mut() = done;
            response
        }
        Ok(_) => answer::fixed(done, OK),
        Err(error) => answer::error(StatusCode::SERVICE_UNAVAILABLE, &error.to_string()),
    }
}

fn page_json(page: &ProgramPage) -> String {
    let programs: Vec<String> = page.programs.iter().map(|program| program.to_json()).collect();
    let next = serde_json::Value::from(page.next.clone());
    format!(r#"{{"programs":[{}],"next":{next}}}"#, programs.join(","))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_page_is_json_with_its_programs_and_the_next_cursor() {
        let programs = Samples::parse(adtrack_config::SAMPLE_PROGRAMS).unwrap().programs();
        let page = ProgramPage { programs, next: Some("a\"b".into()) };
        let json: serde_json::Value = serde_json::from_str(&page_json(&page)).unwrap();
        assert_eq!(json["programs"][1]["programName"], "program2");
        assert_eq!(json["next"], "a\"b");
        let last = page_json(&ProgramPage { programs: Vec::new(), next: None });
        assert_eq!(last, r#"{"programs":[],"next":null}"#);
    }
}
