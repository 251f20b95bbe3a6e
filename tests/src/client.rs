//! HTTP from outside: a keep-alive client on hyper, and raw bytes for what no client would send.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// One request with its answer.
const REQUEST_TIMEOUT_MS: u64 = 30_000;
/// A raw exchange, until the other side closes.
const RAW_TIMEOUT_MS: u64 = 60_000;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody accepts the connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// The connection ended before the answer was complete.
    #[error("no complete answer: {0}")]
    Broken(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The path or a header cannot be sent.
    #[error("cannot be sent: {0}")]
    Request(#[from] http::Error),
    /// No answer in time.
    #[error("no answer within {timeout_ms} ms")]
    TimedOut {
        /// How long was waited.
        timeout_ms: u64,
    },
}

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; `Null` when it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's value as text; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// One keep-alive connection; a request waits for the one before it.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    sender: SendRequest<Full<Bytes>>,
    connection: JoinHandle<()>,
}

impl Client {
    /// Opens the connection.
    ///
    /// # Errors
    /// [`ClientError::Connect`].
    pub async fn connect(address: SocketAddr) -> Result<Self, ClientError> {
        let connect = TcpStream::connect(address);
        let socket = connect.await.map_err(|source| ClientError::Connect { address, source })?;
        // Without it a request may wait for the other side's delayed acknowledgement; it works either way.
        let _slower_at_worst = socket.set_nodelay(true);
        let (sender, connection) = handshake(TokioIo::new(socket)).await.map_err(broken)?;
        let connection = tokio::spawn(async move {
            // What ends the connection is told to the request that waits on it.
            let _told_elsewhere = connection.await;
        });
        Ok(Self { address, sender, connection })
    }

    /// `GET path`.
    ///
    /// # Errors
    /// [`ClientError`]; the connection is of no more use after one.
    pub async fn get(&mut self, path: &str) -> Result<Answer, ClientError> {
        self.request(Request::get(path), Bytes::new()).await
    }

    /// `POST path` with a body.
    ///
    /// # Errors
    /// [`ClientError`]; the connection is of no more use after one.
    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Result<Answer, ClientError> {
        self.request(Request::post(path), body.into()).await
    }

    /// Any request; the `Host` header is added.
    ///
    /// # Errors
    /// [`ClientError`]; the connection is of no more use after one.
    pub async fn request(&mut self, head: http::request::Builder, body: Bytes) -> Result<Answer, ClientError> {
        let request = head.header(HOST, self.address.to_string()).body(Full::new(body))?;
        let exchange = async {
            self.sender.ready().await.map_err(broken)?;
            let (head, body) = self.sender.send_request(request).await.map_err(broken)?.into_parts();
            let body = body.collect().await.map_err(broken)?.to_bytes();
            Ok(Answer { status: head.status, headers: head.headers, body })
        };
        let out_of_time = |_elapsed| ClientError::TimedOut { timeout_ms: REQUEST_TIMEOUT_MS };
        timeout(Duration::from_millis(REQUEST_TIMEOUT_MS), exchange).await.map_err(out_of_time)?
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// One request on a connection of its own.
///
/// # Errors
/// [`ClientError`].
pub async fn once(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Result<Answer, ClientError> {
    let head = Request::builder().method(method).uri(path);
    let head = headers.iter().fold(head, |head, (name, value)| head.header(*name, *value));
    Client::connect(address).await?.request(head, body.into()).await
}

/// Sends these very bytes and gives all that comes back until the other side closes; then, and when the other side resets the
/// connection, what has come so far.
///
/// The sending half stays open, so a server that waits for more of a request is seen to do so.
///
/// # Errors
/// [`ClientError::Connect`], or [`ClientError::TimedOut`] when the other side does not close.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> Result<Vec<u8>, ClientError> {
    let exchange = async {
        let connect = TcpStream::connect(address);
        let mut socket = connect.await.map_err(|source| ClientError::Connect { address, source })?;
        // A server may refuse and close before it has read everything; its answer is still to be read.
        let _refused_early = socket.write_all(bytes).await;
        let mut received = Vec::new();
        // A reset after the answer leaves the answer in `received`.
        let _reset = socket.read_to_end(&mut received).await;
        Ok(received)
    };
    let out_of_time = |_elapsed| ClientError::TimedOut { timeout_ms: RAW_TIMEOUT_MS };
    timeout(Duration::from_millis(RAW_TIMEOUT_MS), exchange).await.map_err(out_of_time)?
}

fn broken(error: hyper::Error) -> ClientError {
    ClientError::Broken(Box::new(error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;
    use crate::echo_server::EchoServer;

    #[tokio::test]
    async fn one_connection_carries_one_request_after_another() {
        let server = EchoServer::start().await;
        let mut client = Client::connect(server.address()).await.unwrap();
        for path in ["/one", "/two"] {
            let answer = client.get(path).await.unwrap();
            assert_eq!((answer.status, answer.json()["path"].as_str()), (StatusCode::OK, Some(path)));
        }
        assert_eq!(server.connections(), 1);
    }

    #[tokio::test]
    async fn a_body_and_headers_arrive() {
        let server = EchoServer::start().await;
        let answer = once(server.address(), Method::POST, "/p", &[("x-test", "yes")], "body").await.unwrap();
        assert_eq!((answer.json()["body"].as_str(), answer.header("x-test")), (Some("body"), "yes"));
    }

    #[tokio::test]
    async fn raw_bytes_go_out_as_they_are() {
        let server = EchoServer::start().await;
        let request = b"GET /raw HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let answer = String::from_utf8(raw(server.address(), request).await.unwrap()).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("/raw"), "{answer}");
        let refused = raw(server.address(), b"NONSENSE\r\n\r\n").await.unwrap();
        assert!(refused.starts_with(b"HTTP/1.1 400 "), "{refused:?}");
    }

    #[tokio::test]
    async fn a_server_that_is_gone_is_an_error() {
        let server = EchoServer::start().await;
        let address = server.address();
        let mut client = Client::connect(address).await.unwrap();
        client.get("/").await.unwrap();
        drop(server);
        assert!(matches!(client.get("/").await, Err(ClientError::Broken(_))));
    }
}
