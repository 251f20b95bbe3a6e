//! The connections of one instance: who they are, how long they may take, how they end.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::Duration;

use adtrack_config::HttpConfig;
use http::header::HeaderValue;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use slab::Slab;
use tokio::net::TcpStream;
use vertebra::Clock;

use super::answer::{self, Response};
use super::connection;
use super::head::HeadLimits;
use super::metrics::{Listening, Metrics, Overdue, Route};
use super::permit::Permit;
use super::watch::{Order, Times, Watch};
use crate::drain::unless;

/// How long a client may go on sending after it was refused, before the connection is cut under it.
const CLOSING_TIMEOUT: Duration = Duration::from_secs(2);
/// How many headers the parser takes without going to the heap for each request.
const PARSER_HEADERS: usize = 100;
/// Room in the parser's buffers beyond one head.
const BUFFER_BYTES_BEYOND_HEAD: usize = 16_384;

/// What stands behind a listener.
pub(super) trait Routes: 'static {
    /// Answers a request, and says which route it took.
    fn answer(&self, request: Request<Incoming>, peer: IpAddr) -> impl Future<Output = (Route, Response)>;

    /// Whether a request is answered even when too many are under way: cheap, and worse to refuse than to answer.
    fn is_vital(_request: &Request<Incoming>) -> bool {
        false
    }
}

/// The bounds of connections.
#[derive(Debug)]
pub(super) struct Bounds {
    pub(super) head: HeadLimits,
    pub(super) times: Times,
    pub(super) requests_in_flight_max: usize,
    pub(super) retry_after: HeaderValue,
}

impl Bounds {
    /// The bounds of the settings, with bodies up to this size.
    pub(super) fn new(config: &HttpConfig, body_bytes_max: u64) -> Self {
        Self {
            head: HeadLimits {
                head_bytes_max: config.header_bytes_max,
                headers_max: config.headers_max,
                url_bytes_max: config.url_bytes_max,
                body_bytes_max,
            },
            times: Times {
                head: config.header_read_timeout,
                request: config.request_timeout,
                idle: config.idle_timeout,
                closing: CLOSING_TIMEOUT,
            },
            requests_in_flight_max: config.requests_in_flight_max,
            retry_after: answer::retry_after(config.retry_after),
        }
    }

    fn parser(&self) -> http1::Builder {
        let mut parser = http1::Builder::new();
        // The sweep keeps all times. A client that closes its side behind its request still gets its answer.
        parser.header_read_timeout(None).half_close(true);
        parser.max_buf_size(self.head.head_bytes_max + BUFFER_BYTES_BEYOND_HEAD);
        // Setting this, even to its default, moves the parser's headers to the heap.
        if self.head.headers_max > PARSER_HEADERS {
            parser.max_headers(self.head.headers_max);
        }
        parser
    }
}

/// All connections of one instance.
pub(super) struct Connections<R> {
    pub(super) routes: R,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
    pub(super) parser: http1::Builder,
    pub(super) bounds: Bounds,
    listening: Listening,
    open: RefCell<Slab<Rc<Watch>>>,
    /// The time of the last sweep.
    pub(super) now: Rc<Cell<Duration>>,
    in_flight: Cell<usize>,
    draining: Cell<bool>,
    waiting_for_drain: RefCell<Option<Waker>>,
}

impl<R: Routes> Connections<R> {
    pub(super) fn new(routes: R, bounds: Bounds, listening: Listening, clock: Clock, metrics: Metrics) -> Self {
        let now = Rc::new(Cell::new(clock.now()));
        Self {
            routes,
            clock,
            metrics,
            parser: bounds.parser(),
            bounds,
            listening,
            open: RefCell::default(),
            now,
            in_flight: Cell::new(0),
            draining: Cell::new(false),
            waiting_for_drain: RefCell::default(),
        }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(self: Rc<Self>, stream: TcpStream, peer: SocketAddr, permit: Permit) {
        let watch = Rc::new(Watch::new(self.now.get()));
        let entry = Entry::new(Rc::clone(&self), &watch, permit);
        if self.draining.get() {
            watch.order(Order::Finish);
        }
        connection::run(Rc::clone(&self), stream, peer.ip(), watch).await;
        drop(entry);
    }

    /// Keeps the three times until the instance stops.
    pub(super) async fn keep_times(self: Rc<Self>) {
        loop {
            self.clock.sleep(self.bounds.times.sweep_interval()).await;
            self.sweep();
        }
    }

    fn sweep(&self) {
        let now = self.clock.now();
        self.now.set(now);
        // Waking a connection runs nothing here: its task comes later, so the borrow ends first.
        for (_, watch) in self.open.borrow().iter() {
            let Some(overdue) = watch.overdue(now, &self.bounds.times) else { continue };
            if watch.refuse_slow_head(overdue) {
                self.metrics.timed_out(overdue);
                watch.wake();
            } else if watch.ordered() != Order::Cut {
                if watch.refusal().is_none() {
                    self.metrics.timed_out(overdue);
                }
                watch.order(Order::Cut);
            }
        }
    }

    /// Room for this request; `None` when there is none.
    pub(super) fn begin(&self, request: &Request<Incoming>) -> Option<InFlight<'_>> {
        let in_flight = self.in_flight.get();
        if in_flight >= self.bounds.requests_in_flight_max && !R::is_vital(request) {
            return None;
        }
        self.in_flight.set(in_flight + 1);
        Some(InFlight(&self.in_flight))
    }

    /// Whether answers are to close their connections.
    pub(super) fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Lets requests under way finish and closes all connections; those that are there when `over` is over are cut.
    pub(super) async fn drain(&self, over: impl Future<Output = ()>) {
        self.draining.set(true);
        self.order_all(Order::Finish);
        if unless(over, self.all_closed()).await.is_none() {
            for _ in 0..self.open.borrow().len() {
                self.metrics.cut_at_drain();
            }
            tracing::warn!(connections = self.open.borrow().len(), "connections were cut: draining took too long");
            self.order_all(Order::Cut);
            self.all_closed().await;
        }
    }

    fn order_all(&self, order: Order) {
        for (_, watch) in self.open.borrow().iter() {
            watch.order(order);
        }
    }

    async fn all_closed(&self) {
        poll_fn(|cx| {
            if self.open.borrow().is_empty() {
                return Poll::Ready(());
            }
            self.waiting_for_drain.replace(Some(cx.waker().clone()));
            Poll::Pending
        })
        .await;
    }
}

/// A request under way.
pub(super) struct InFlight<'c>(&'c Cell<usize>);

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

/// A connection among the open ones; it leaves them however its task ends.
struct Entry<R: Routes> {
    connections: Rc<Connections<R>>,
    key: usize,
    _permit: Permit,
}

impl<R: Routes> Entry<R> {
    fn new(connections: Rc<Connections<R>>, watch: &Rc<Watch>, permit: Permit) -> Self {
        connections.metrics.connection_opened(connections.listening);
        let key = connections.open.borrow_mut().insert(Rc::clone(watch));
        Self { connections, key, _permit: permit }
    }
}

impl<R: Routes> Drop for Entry<R> {
    fn drop(&mut self) {
        let connections = &self.connections;
        connections.metrics.connection_closed(connections.listening);
        let left = {
            let mut open = connections.open.borrow_mut();
            open.try_remove(self.key);
            open.len()
        };
        if left == 0
            && let Some(waker) = connections.waiting_for_drain.take()
        {
            waker.wake();
        }
    }
}

impl Watch {
    /// Refuses the head that took too long, unless it was refused already; false when that is not what took too long.
    fn refuse_slow_head(&self, overdue: Overdue) -> bool {
        if overdue != Overdue::Head || self.refusal().is_some() {
            return false;
        }
        self.refuse(super::head::Refusal::TooSlow);
        true
    }
}
