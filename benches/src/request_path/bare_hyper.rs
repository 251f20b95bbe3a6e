//! hyper and nothing else: the same head and a body of the same length, for whatever is asked.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use adtrack_proto::Answer;
use bytes::Bytes;
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use vertebra::BoxError;

use crate::bare::spawn_peer;
use crate::program::program;
use crate::stopwatch::thread_cpu;

use super::{PROGRAM, Serves, USER_AGENT};

pub(super) struct BareHyper {
    address: SocketAddr,
    asks: flume::Sender<oneshot::Sender<Duration>>,
}

impl BareHyper {
    pub(super) fn start() -> Result<Self, BoxError> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let body = body()?;
        let (asks, asked) = flume::bounded(1);
        spawn_peer(move || async move {
            spawn_local(accept(listener, body));
            answer_cpu(asked).await;
        });
        Ok(Self { address, asks })
    }
}

impl Serves for BareHyper {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn cpu(&self) -> Result<Duration, BoxError> {
        let (reply, cpu) = oneshot::channel();
        self.asks.send(reply)?;
        Ok(cpu.blocking_recv()?)
    }
}

/// Tells what the thread has used, until nobody can ask any more; that ends the thread.
async fn answer_cpu(asked: flume::Receiver<oneshot::Sender<Duration>>) {
    while let Ok(reply) = asked.recv_async().await {
        if reply.send(thread_cpu()).is_err() {
            break;
        }
    }
}

async fn accept(listener: TcpListener, body: Bytes) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let body = body.clone();
        let service = service_fn(move |_: Request<_>| std::future::ready(answer(body.clone())));
        let mut http = http1::Builder::new();
        // hyper's own, which is on by default, wants a timer of its own: see the request path of ours.
        http.header_read_timeout(None);
        spawn_local(http.serve_connection(TokioIo::new(stream), service));
    }
}

fn answer(body: Bytes) -> Result<Response<Full<Bytes>>, hyper::http::Error> {
    Response::builder()
        .header("content-type", "application/json")
        .header("x-content-type-options", "nosniff")
        .header("cache-control", "no-store")
        .header("adtrack-durability", "spool")
        .body(Full::new(body))
}

/// An answer as ours writes it.
fn body() -> Result<Bytes, BoxError> {
    let mut body = Vec::new();
    let message_id = "0193a5c1-8c9e-7d52-a1f0-3f1f6f1b2c3d";
    Answer { program: &program(PROGRAM)?, user_agent: USER_AGENT, message_id }.write_json(&mut body);
    Ok(body.into())
}
