//! A server that answers with what it was asked, for the tests of our own clients.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};

/// Ends with all its connections when dropped.
pub(crate) struct EchoServer {
    address: SocketAddr,
    connections: Arc<AtomicU64>,
    serving: JoinHandle<()>,
}

impl EchoServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound listener");
        let connections = Arc::new(AtomicU64::new(0));
        let serving = tokio::spawn(serve(listener, Arc::clone(&connections)));
        Self { address, connections, serving }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections have been opened.
    pub(crate) fn connections(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for EchoServer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(listener: TcpListener, count: Arc<AtomicU64>) {
    let mut connections = JoinSet::new();
    let requests = Arc::new(AtomicU64::new(0));
    while let Ok((socket, _peer)) = listener.accept().await {
        count.fetch_add(1, Ordering::Relaxed);
        let requests = Arc::clone(&requests);
        let service = service_fn(move |request| echo(request, requests.fetch_add(1, Ordering::Relaxed)));
        connections.spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service));
    }
}

async fn echo(request: Request<Incoming>, number: u64) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let echo = serde_json::json!({
        "path": head.uri.path(),
        "body": String::from_utf8_lossy(&body),
        "messageId": format!("message-{number}"),
    });
    let mut response = Response::new(Full::from(echo.to_string()));
    *response.headers_mut() = head.headers;
    response.headers_mut().remove(http::header::CONTENT_LENGTH);
    response.headers_mut().remove(http::header::HOST);
    Ok(response)
}
