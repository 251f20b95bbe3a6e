//! A load at a fixed rate, whose latencies count from when a request was due: a stall of the service costs every request behind it.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::task::LocalSet;

use super::connection::Connection;

/// Answers kept of one load; it ends there.
const ANSWERS_MAX: usize = 8_000_000;
/// No answer within this is none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// After a connection could not be opened, before the next is tried.
const RECONNECT: Duration = Duration::from_millis(5);

/// What a load asks for.
#[derive(Debug, Clone)]
pub struct Request {
    /// The paths with their queries: each connection asks for one of them, in turn. At least one.
    pub paths: Vec<String>,
    /// Adds `n=NUMBER` to the query, counted from 0 over all connections.
    pub is_numbered: bool,
    /// The User-Agent header: filler, or a mark that a fault looks for.
    pub user_agent: String,
}

impl Request {
    /// A request for this path.
    pub fn of(path: &str) -> Self {
        Self::of_each([path.to_owned()])
    }

    /// A request for each of these paths.
    pub fn of_each(paths: impl IntoIterator<Item = String>) -> Self {
        Self { paths: paths.into_iter().collect(), is_numbered: false, user_agent: "faults".to_owned() }
    }

    /// The same with a number in each.
    #[must_use]
    pub fn numbered(mut self) -> Self {
        self.is_numbered = true;
        self
    }

    /// The same with this User-Agent.
    #[must_use]
    pub fn user_agent(mut self, user_agent: impl Into<String>) -> Self {
        self.user_agent = user_agent.into();
        self
    }

    fn bytes(&self, connection: usize, number: u64) -> Vec<u8> {
        let (path, user_agent) = (&self.paths[connection % self.paths.len()], &self.user_agent);
        let query = match (self.is_numbered, path.contains('?')) {
            (false, _) => String::new(),
            (true, false) => format!("?n={number}"),
            (true, true) => format!("&n={number}"),
        };
        format!("GET {path}{query} HTTP/1.1\r\nhost: localhost\r\nuser-agent: {user_agent}\r\n\r\n").into_bytes()
    }
}

/// How fast a load asks.
#[derive(Debug, Clone, Copy)]
pub enum Pace {
    /// So many requests a second, due at even distances, whatever the answers do.
    PerSecond(u32),
    /// Each connection asks again when it is answered.
    AsAnswered,
}

/// One complete answer.
#[derive(Debug, Clone, Copy)]
pub struct Answer {
    /// The message id; 0 when it has none.
    pub id: u128,
    /// The status.
    pub status: u16,
    /// From when the request was due - or, if the client itself woke up late for it, from when it was sent - to the whole answer.
    pub latency_us: u32,
    /// When the answer was there, from the start of the load.
    pub at: Duration,
}

/// What became of a load.
#[derive(Debug, Default)]
pub struct Loaded {
    /// Requests that were sent, at least in part.
    pub sent: u64,
    /// Requests that were sent and got no answer.
    pub unanswered: u64,
    /// Requests that no connection could be opened for.
    pub unsent: u64,
    /// The answers, in the order they came.
    pub answers: Vec<Answer>,
}

impl Loaded {
    /// Adds another load's.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.unanswered += other.unanswered;
        self.unsent += other.unsent;
        self.answers.extend(other.answers);
    }

    /// The ids of the answers that accepted an event.
    pub fn accepted(&self) -> impl Iterator<Item = u128> + '_ {
        self.answers.iter().filter(|answer| answer.status == 200).map(|answer| answer.id)
    }

    /// How many answers had this status.
    pub fn with_status(&self, status: u16) -> u64 {
        self.answers.iter().filter(|answer| answer.status == status).count() as u64
    }
}

/// A load that runs on a thread of its own until it is stopped.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    thread: JoinHandle<Loaded>,
}

impl Load {
    /// Starts on so many connections.
    pub fn start(address: SocketAddr, pace: Pace, connections: usize, request: Request) -> Self {
        let (stop, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let work = Work::new(address, pace, request, Arc::clone(&stop), Arc::clone(&accepted));
        let thread = std::thread::spawn(move || run(work, connections));
        Self { stop, accepted, thread }
    }

    /// Events accepted so far.
    pub fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed)
    }

    /// Ends it: every connection finishes the request it is at.
    pub fn finish(self) -> Loaded {
        self.stop.store(true, Ordering::Relaxed);
        // Its panic is ours.
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// What the thread of a load is given.
struct Work {
    address: SocketAddr,
    pace: Pace,
    request: Request,
    stop: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
}

impl Work {
    fn new(address: SocketAddr, pace: Pace, request: Request, stop: Arc<AtomicBool>, accepted: Arc<AtomicU64>) -> Self {
        Self { address, pace, request, stop, accepted }
    }
}

fn run(work: Work, connections: usize) -> Loaded {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
        return Loaded::default();
    };
    let line = Rc::new(Line { work, begun: Instant::now(), next: Cell::new(0), loaded: RefCell::default() });
    let tasks = LocalSet::new();
    for connection in 0..connections {
        tasks.spawn_local(Rc::clone(&line).work(connection));
    }
    runtime.block_on(tasks);
    line.loaded.take()
}

/// The requests of a load in their order, and what became of them.
struct Line {
    work: Work,
    begun: Instant,
    next: Cell<u64>,
    loaded: RefCell<Loaded>,
}

impl Line {
    async fn work(self: Rc<Self>, index: usize) {
        let mut connection = None;
        while let Some((number, due)) = self.take() {
            let begun = match due {
                Some(due) if due > Instant::now() => {
                    tokio::time::sleep_until(due.into()).await;
                    Instant::now()
                }
                Some(due) => due,
                None => Instant::now(),
            };
            if self.is_over() {
                break;
            }
            let request = self.work.request.bytes(index, number);
            connection = self.ask(connection, &request, begun).await;
        }
    }

    /// The next request and when it is due.
    fn take(&self) -> Option<(u64, Option<Instant>)> {
        if self.is_over() {
            return None;
        }
        let number = self.next.get();
        self.next.set(number + 1);
        let due = match self.work.pace {
            Pace::PerSecond(rate) => Some(self.begun + Duration::from_secs_f64(number as f64 / f64::from(rate))),
            Pace::AsAnswered => None,
        };
        Some((number, due))
    }

    fn is_over(&self) -> bool {
        self.work.stop.load(Ordering::Relaxed) || self.loaded.borrow().answers.len() >= ANSWERS_MAX
    }

    /// Asks on this connection or a new one, and gives it back if it may be used again.
    async fn ask(&self, connection: Option<Connection>, request: &[u8], begun: Instant) -> Option<Connection> {
        let open = match connection.filter(|connection| !connection.is_closed()) {
            Some(open) => Ok(open),
            None => Connection::open(self.work.address).await,
        };
        let Ok(mut connection) = open else {
            self.loaded.borrow_mut().unsent += 1;
            tokio::time::sleep(RECONNECT).await;
            return None;
        };
        self.loaded.borrow_mut().sent += 1;
        let Ok(Ok(said)) = tokio::time::timeout(ANSWER_TIMEOUT, connection.ask(request)).await else {
            self.loaded.borrow_mut().unanswered += 1;
            return None;
        };
        let latency_us = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
        let answer = Answer { id: said.id, status: said.status, latency_us, at: self.begun.elapsed() };
        self.loaded.borrow_mut().answers.push(answer);
        self.work.accepted.fetch_add(u64::from(said.status == 200), Ordering::Relaxed);
        (!said.is_last).then_some(connection)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo_server::EchoServer;
    use crate::wait;

    async fn answered(pace: Pace, answers: u64) -> Loaded {
        let server = EchoServer::start().await;
        let load = Load::start(server.address(), pace, 4, Request::of("/event/1"));
        let enough = async || (load.accepted() >= answers).then_some(());
        wait::until_async("answers", Duration::from_secs(10), enough).await.unwrap_or_else(|error| panic!("{error}"));
        tokio::task::spawn_blocking(move || load.finish()).await.unwrap_or_default()
    }

    #[tokio::test]
    async fn requests_of_a_rate_are_due_at_even_distances() {
        let begun = Instant::now();
        let loaded = answered(Pace::PerSecond(200), 20).await;
        assert!(begun.elapsed() >= Duration::from_millis(95), "the twentieth is due after 95 ms");
        assert_eq!((loaded.unanswered, loaded.unsent), (0, 0));
        assert_eq!(loaded.with_status(200), loaded.sent);
    }

    #[tokio::test]
    async fn a_load_without_a_rate_goes_on_as_it_is_answered() {
        let loaded = answered(Pace::AsAnswered, 100).await;
        assert!(loaded.sent >= 100 && loaded.sent == loaded.with_status(200));
    }

    #[test]
    fn a_load_on_a_port_nobody_serves_sends_nothing() {
        let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let address = address.unwrap_or_else(|error| panic!("{error}"));
        let load = Load::start(address, Pace::AsAnswered, 1, Request::of("/"));
        let loaded = load.finish();
        assert_eq!((loaded.sent, loaded.answers.len()), (0, 0));
    }

    #[test]
    fn a_number_goes_into_the_query() {
        let text = |path: &str| String::from_utf8_lossy(&Request::of(path).numbered().bytes(3, 7)).into_owned();
        assert!(text("/event/1").starts_with("GET /event/1?n=7 HTTP/1.1\r\n"));
        assert!(text("/event/1?a=b").starts_with("GET /event/1?a=b&n=7 HTTP/1.1\r\n"));
        let two = Request::of_each(["/a".to_owned(), "/b".to_owned()]);
        let paths: Vec<_> = (0..3).map(|connection| two.bytes(connection, 0)[4..6].to_vec()).collect();
        assert_eq!(paths, [b"/a", b"/b", b"/a"], "each connection has its own");
    }
}
