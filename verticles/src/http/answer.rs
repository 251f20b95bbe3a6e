//! The answers, as far as they are fixed.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderValue, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, StatusCode};
use http_body_util::Full;

use super::durability::DURABILITY;
use super::head::Refusal;

/// Every answer of this module: its body is whole.
pub(super) type Response = http::Response<Full<Bytes>>;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const CLOSE: HeaderValue = HeaderValue::from_static("close");

/// JSON. `headers` are emptied and used again: the map of the request costs no allocation.
pub(super) fn json(status: StatusCode, mut headers: HeaderMap, body: impl Into<Bytes>) -> Response {
    headers.clear();
    headers.insert(CONTENT_TYPE, JSON);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(CACHE_CONTROL, NO_STORE);
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    response
}

/// The answer to an accepted event, with what holds it.
pub(super) fn accepted(headers: HeaderMap, durability: &'static str, body: Bytes) -> Response {
    let mut response = json(StatusCode::OK, headers, body);
    response.headers_mut().insert(DURABILITY, HeaderValue::from_static(durability));
    response
}

/// A fixed text in JSON, under a status.
pub(super) fn fixed(status: StatusCode, body: &'static str) -> Response {
    json(status, HeaderMap::new(), Bytes::from_static(body.as_bytes()))
}

/// `{"error": ...}` with a text of our own; use [`fixed`] where the text is.
pub(super) fn error(status: StatusCode, text: &str) -> Response {
    json(status, HeaderMap::new(), serde_json::json!({ "error": text }).to_string())
}

/// An answer to come back after: 503.
pub(super) fn unavailable(retry_after: &HeaderValue, body: &'static str) -> Response {
    let mut response = fixed(StatusCode::SERVICE_UNAVAILABLE, body);
    response.headers_mut().insert(RETRY_AFTER, retry_after.clone());
    response
}

/// A time as `Retry-After` has it: whole seconds, at least one.
pub(super) fn retry_after(time: Duration) -> HeaderValue {
    HeaderValue::from(time.as_secs().max(1))
}

/// There is nothing under this path.
pub(super) fn not_found() -> Response {
    fixed(StatusCode::NOT_FOUND, r#"{"error":"there is nothing here"}"#)
}

/// The path is served, but not by this method.
pub(super) fn method_not_allowed(allowed: &'static str) -> Response {
    let mut response = fixed(StatusCode::METHOD_NOT_ALLOWED, r#"{"error":"the method is not allowed here"}"#);
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    response
}

/// The request's head alone was enough to refuse it; the connection ends.
pub(super) fn refused(refusal: Refusal) -> Response {
    closing(fixed(refusal.status(), refusal.body()))
}

/// The connection ends behind this answer.
pub(super) fn closing(mut response: Response) -> Response {
    response.headers_mut().insert(CONNECTION, CLOSE);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_whole_seconds_and_never_none() {
        assert_eq!(retry_after(Duration::from_millis(10)), "1");
        assert_eq!(retry_after(Duration::from_secs(7)), "7");
    }

    #[test]
    fn an_answer_in_json_has_nothing_left_of_the_requests_headers() {
        let mut headers = HeaderMap::new();
        headers.insert("cookie", HeaderValue::from_static("secret"));
        let response = json(StatusCode::OK, headers, "{}");
        assert_eq!(response.headers().len(), 3);
        assert_eq!(response.headers().get(CONTENT_TYPE), Some(&JSON));
    }
}
