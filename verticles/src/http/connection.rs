//! One connection: the HTTP parser between a checked socket and the routes.

use std::convert::Infallible;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::answer::{self, Response};
use super::connections::{Connections, Routes};
use super::stream::CheckedStream;
use super::watch::{Order, Watch};

/// How much of what a refused client still sends is read before the connection is cut.
const DISCARDED_BYTES_MAX: usize = 262_144;

/// Serves a connection to its end: until either side closes it, or its watch says so.
pub(super) async fn run<R: Routes>(connections: Rc<Connections<R>>, stream: TcpStream, peer: IpAddr, watch: Rc<Watch>) {
    let stream = CheckedStream::new(stream, Rc::clone(&watch), connections.bounds.head, Rc::clone(&connections.now));
    let service = service_fn(|request| {
        let (connections, watch) = (Rc::clone(&connections), Rc::clone(&watch));
        async move { Ok::<_, Infallible>(respond(&connections, &watch, request, peer).await) }
    });
    let mut served = connections.parser.serve_connection(TokioIo::new(stream), service);
    let ended = poll_fn(|cx| {
        watch.woken_by(cx.waker());
        if watch.ordered() == Order::Cut {
            return Poll::Ready(None);
        }
        let mut served = Pin::new(&mut served);
        let polled = served.as_mut().poll(cx);
        // Only now: what the client has sent already was read by the poll, and is no longer cut off by closing.
        if polled.is_pending() && watch.ordered() == Order::Finish && watch.is_idle() {
            served.as_mut().graceful_shutdown();
            return served.poll(cx).map(Some);
        }
        polled.map(Some)
    })
    .await;
    let Some(result) = ended else { return };
    let malformed = result.is_err_and(|error| error.is_parse());
    if malformed {
        connections.metrics.head_malformed();
    }
    if malformed || watch.refusal().is_some() {
        watch.closing(connections.now.get());
        let stream = served.into_parts().io.into_inner().into_inner();
        discard(stream, &watch).await;
    }
}

/// Answers one request.
async fn respond<R: Routes>(
    connections: &Connections<R>,
    watch: &Watch,
    request: Request<Incoming>,
    peer: IpAddr,
) -> Response {
    let _answered = Answered(watch);
    if let Some(refusal) = watch.begin() {
        connections.metrics.head_refused(refusal);
        return answer::refused(refusal);
    }
    let Some(_in_flight) = connections.begin(&request) else {
        connections.metrics.shed();
        let body = r#"{"error":"too many requests are under way"}"#;
        return answer::unavailable(&connections.bounds.retry_after, body);
    };
    let begun = connections.clock.now();
    let (route, response) = connections.routes.answer(request, peer).await;
    connections.metrics.answered(route, response.status(), connections.clock.now().saturating_sub(begun));
    if connections.is_draining() { answer::closing(response) } else { response }
}

/// Tells the watch of an answer, also when the request is dropped before there is one.
struct Answered<'w>(&'w Watch);

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        self.0.answered();
    }
}

/// Reads what a refused client still sends, and throws it away, until it closes: closing with bytes unread makes the
/// kernel reset the connection, and the client might never read why it was refused.
async fn discard(mut stream: TcpStream, watch: &Watch) {
    let mut discarded = 0;
    poll_fn(|cx| {
        watch.woken_by(cx.waker());
        while watch.ordered() != Order::Cut && discarded < DISCARDED_BYTES_MAX {
            match ready!(read_some(Pin::new(&mut stream), cx)) {
                0 => break,
                read => discarded += read,
            }
        }
        Poll::Ready(())
    })
    .await;
}

/// How many bytes came; none when the client has closed or is gone.
fn read_some(stream: Pin<&mut TcpStream>, cx: &mut Context<'_>) -> Poll<usize> {
    let mut chunk = [0; 4_096];
    let mut read = ReadBuf::new(&mut chunk);
    let outcome = ready!(stream.poll_read(cx, &mut read));
    Poll::Ready(outcome.map_or(0, |()| read.filled().len()))
}
