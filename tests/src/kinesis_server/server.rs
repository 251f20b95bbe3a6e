//! The HTTP side: connections, one request at a time on each, and the faults that only a connection can have.

use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::header::{CONTENT_TYPE, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::answer_body::AnswerBody;
use super::caller::Caller;
use super::date;
use super::error::{ErrorType, ServiceError};
use super::operation::Operation;
use super::state::Shared;

/// Connections at one time; one more is closed as soon as it is accepted.
const CONNECTIONS_MAX: usize = 1_024;
/// 5 MiB of records are 6.7 MiB of base64, and 500 entries have their names around them.
const BODY_BYTES_MAX: usize = 8 << 20;
/// An accept that fails (no file descriptor left) is tried again after this.
const ACCEPT_RETRY_MS: u64 = 10;
const JSON: HeaderValue = HeaderValue::from_static("application/x-amz-json-1.1");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-amzn-requestid");
/// Not of the service: `GET /totals/STREAM`.
const TOTALS: &str = "/totals/";
const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// The answer is not to be sent: hyper closes the connection.
#[derive(Debug, thiserror::Error)]
#[error("the connection is dropped instead of an answer")]
struct Dropped;

/// Serves until `stop` resolves or its sender is gone; then every connection is closed as it stands.
pub(crate) fn serve(listener: StdListener, shared: Arc<Shared>, stop: oneshot::Receiver<()>) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async move {
        let listener = TcpListener::from_std(listener)?;
        tokio::select! {
            never = accept(&listener, &shared) => match never {},
            _stopped = stop => Ok(()),
        }
    })
}

async fn accept(listener: &TcpListener, shared: &Arc<Shared>) -> Infallible {
    let mut connections = JoinSet::new();
    let request_ids = Rc::new(std::cell::RefCell::new(fastrand::Rng::new()));
    loop {
        // Ended connections are forgotten before the next is counted.
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((socket, _peer)) if connections.len() < CONNECTIONS_MAX => {
                connections.spawn_local(connection(socket, Arc::clone(shared), Rc::clone(&request_ids)));
            }
            Ok(_one_too_many) => {}
            Err(_) => tokio::time::sleep(Duration::from_millis(ACCEPT_RETRY_MS)).await,
        }
    }
}

async fn connection(socket: TcpStream, shared: Arc<Shared>, request_ids: Rc<std::cell::RefCell<fastrand::Rng>>) {
    // Without it small answers wait for the client's delayed acknowledgement; the server works either way.
    let _slower_at_worst = socket.set_nodelay(true);
    let service = service_fn(move |request| {
        let shared = Arc::clone(&shared);
        let request_id = request_id(&mut request_ids.borrow_mut());
        async move {
            let mut response = answer(request, &shared).await?;
            response.headers_mut().insert(REQUEST_ID, request_id);
            Ok::<_, Dropped>(response)
        }
    });
    // A client that goes away, or an answer that a fault drops, ends the connection and concerns nobody else.
    let _ended = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Result<Response<AnswerBody>, Dropped> {
    let (head, body) = request.into_parts();
    if let Some(stream) = head.uri.path().strip_prefix(TOTALS) {
        return Ok(totals(stream, shared));
    }
    let operation = match operation(&head.method, &head.headers) {
        Ok(operation) => operation,
        Err(error) => return Ok(refused(&error)),
    };
    let body = match Limited::new(body, BODY_BYTES_MAX).collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) if error.is::<http_body_util::LengthLimitError>() => {
            let message = format!("the body is larger than {BODY_BYTES_MAX} bytes");
            return Ok(refused(&ServiceError::new(ErrorType::RequestTooLarge, message)));
        }
        Err(_client_went_away) => return Err(Dropped),
    };
    let done = shared.call(operation, Caller::of(&head.headers), &body, now_ms());
    if done.wait_ms > 0 {
        tokio::time::sleep(Duration::from_millis(done.wait_ms)).await;
    }
    if done.close {
        return Err(Dropped);
    }
    let mut response = match done.answer {
        Ok(body) => json(StatusCode::OK, AnswerBody::paced(body, done.byte_ms)),
        Err(error) => refused(&error),
    };
    if let Some(own_time_ms) = done.own_time_ms
        && let Ok(date) = HeaderValue::try_from(date::of_http(own_time_ms))
    {
        response.headers_mut().insert(DATE, date);
    }
    Ok(response)
}

/// What a stream has taken, for who looks from outside the process.
fn totals(stream: &str, shared: &Shared) -> Response<AnswerBody> {
    match shared.totals(stream) {
        Ok(totals) => json(StatusCode::OK, AnswerBody::whole(serde_json::to_vec(&totals).unwrap_or_default())),
        Err(kind) => refused(&ServiceError::new(kind, format!("no stream {stream:?}"))),
    }
}

fn operation(method: &Method, headers: &HeaderMap) -> Result<Operation, ServiceError> {
    if method != Method::POST {
        return Err(ServiceError::new(ErrorType::UnknownOperation, "every operation is a POST"));
    }
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if content_type.split(';').next().is_none_or(|kind| kind.trim() != "application/x-amz-json-1.1") {
        let message = format!("content type {content_type:?} is not application/x-amz-json-1.1");
        return Err(ServiceError::new(ErrorType::UnknownOperation, message));
    }
    Operation::of_target(headers.get(TARGET).and_then(|value| value.to_str().ok()).unwrap_or_default())
}

fn refused(error: &ServiceError) -> Response<AnswerBody> {
    let status = StatusCode::from_u16(error.kind.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    json(status, AnswerBody::whole(error.body()))
}

fn json(status: StatusCode, body: AnswerBody) -> Response<AnswerBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

/// Shaped like the service's: a UUID of version 4.
fn request_id(random: &mut fastrand::Rng) -> HeaderValue {
    let (high, low) = (random.u64(..), random.u64(..));
    let text = format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        low >> 48 & 0x3fff | 0x8000,
        low & 0xffff_ffff_ffff
    );
    // Hexadecimal digits and dashes are always a legal value.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("0"))
}

pub(crate) fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(method: &Method, content_type: &'static str, target: &'static str) -> Option<ErrorType> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.insert(TARGET, HeaderValue::from_static(target));
        operation(method, &headers).err().map(|error| error.kind)
    }

    #[test]
    fn a_call_is_a_post_of_amazons_json_with_a_target() {
        let (json, target) = ("application/x-amz-json-1.1", "Kinesis_20131202.PutRecords");
        assert_eq!(refusal(&Method::POST, json, target), None);
        assert_eq!(refusal(&Method::POST, "application/x-amz-json-1.1; charset=utf-8", target), None);
        assert_eq!(refusal(&Method::GET, json, target), Some(ErrorType::UnknownOperation));
        assert_eq!(refusal(&Method::POST, "application/json", target), Some(ErrorType::UnknownOperation));
        assert_eq!(refusal(&Method::POST, json, "PutRecords"), Some(ErrorType::UnknownOperation));
    }

    #[test]
    fn a_request_id_looks_like_a_uuid_of_version_4() {
        let id = request_id(&mut fastrand::Rng::with_seed(1));
        let parts: Vec<_> = id.to_str().unwrap_or_default().split('-').map(str::len).collect();
        assert_eq!(parts, [8, 4, 4, 4, 12]);
        assert_eq!(id.as_bytes()[14], b'4');
    }
}
