//! A small closed-loop load: each connection asks again as soon as it is answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use http::StatusCode;
use tokio::task::JoinSet;

use crate::client::Client;

/// Answers kept of one run with a [`Stop`] that forgets to come.
const ANSWERED_MAX: u64 = 5_000_000;
/// After a connection broke, before the next is tried.
const RECONNECT_MS: u64 = 5;

/// One complete answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The `messageId` of the JSON body; empty when there is none.
    pub message_id: String,
    /// The status.
    pub status: StatusCode,
    /// From the first byte sent to the last byte received.
    pub latency: Duration,
}

/// When a load ends.
#[derive(Debug, Clone)]
pub enum Until {
    /// After this many requests of all connections together, answered or not.
    Requests(u64),
    /// When the flag is raised, or after five million requests.
    Stopped(Stop),
}

/// Ends a running load; clones end the same one.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Every connection finishes the request it is at, and asks no more.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Until {
    fn may_start(&self, number: u64) -> bool {
        match self {
            Self::Requests(requests) => number < *requests,
            Self::Stopped(stop) => number < ANSWERED_MAX && !stop.0.load(Ordering::Relaxed),
        }
    }
}

/// `GET path` on so many keep-alive connections until the end that was asked for; gives every complete answer, in no order.
///
/// A connection that breaks is opened again; the request it was at is not repeated and appears in no answer, for the caller was not
/// told whether it was accepted. Dropping the future stops the load.
pub async fn run(address: SocketAddr, path: &str, connections: usize, until: Until) -> Vec<Answered> {
    let started = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..connections {
        let (until, started, path) = (until.clone(), Arc::clone(&started), path.to_owned());
        tasks.spawn(async move { ask(address, &path, &until, &started).await });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

async fn ask(address: SocketAddr, path: &str, until: &Until, started: &AtomicU64) -> Vec<Answered> {
    let mut answered = Vec::new();
    let mut client: Option<Client> = None;
    while until.may_start(started.fetch_add(1, Ordering::Relaxed)) {
        let open = match client.take() {
            Some(open) => Ok(open),
            None => Client::connect(address).await,
        };
        // A closed loop without a server would spin.
        let Ok(mut open) = open else {
            tokio::time::sleep(Duration::from_millis(RECONNECT_MS)).await;
            continue;
        };
        let begun = Instant::now();
        let Ok(answer) = open.get(path).await else {
            continue;
        };
        let latency = begun.elapsed();
        let message_id = answer.json()["messageId"].as_str().unwrap_or_default().to_owned();
        let closing = answer.header("connection").eq_ignore_ascii_case("close");
        answered.push(Answered { message_id, status: answer.status, latency });
        client = (!closing).then_some(open);
    }
    answered
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::echo_server::EchoServer;

    #[tokio::test]
    async fn as_many_requests_are_made_as_were_asked_for() {
        let server = EchoServer::start().await;
        let answered = run(server.address(), "/event/1", 4, Until::Requests(100)).await;
        let ids: BTreeSet<_> = answered.iter().map(|answer| &answer.message_id).collect();
        assert_eq!((answered.len(), ids.len()), (100, 100));
        assert!(answered.iter().all(|answer| answer.status == StatusCode::OK));
        assert_eq!(server.connections(), 4);
    }

    #[tokio::test]
    async fn a_load_ends_when_it_is_stopped() {
        let server = EchoServer::start().await;
        let stop = Stop::default();
        let load = tokio::spawn({
            let (address, until) = (server.address(), Until::Stopped(stop.clone()));
            async move { run(address, "/", 2, until).await }
        });
        crate::wait::until_async("the load to connect", Duration::from_secs(10), async || {
            (server.connections() == 2).then_some(())
        })
        .await
        .unwrap_or_else(|error| panic!("{error}"));
        stop.stop();
        assert!(load.await.is_ok_and(|answered| !answered.is_empty()));
    }

    #[tokio::test]
    async fn a_load_on_a_server_that_is_gone_ends_without_answers() {
        let server = EchoServer::start().await;
        let address = server.address();
        drop(server);
        assert_eq!(run(address, "/", 2, Until::Requests(10)).await, []);
    }
}
