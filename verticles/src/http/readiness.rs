//! Whether load balancers may send requests here.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use adtrack_proto::bus::{AskHealth, EVENTS_HEALTH};
use vertebra::{Bus, Clock, RequestError};

use crate::drain::Drain;

/// How old the answer may be that `/health/check` gives.
const INTERVAL: Duration = Duration::from_secs(1);
const TIMEOUT: Duration = Duration::from_secs(1);

/// What `/health/check` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// Yes.
    Yes,
    /// No: this node is leaving.
    Draining,
    /// No: it cannot accept events.
    NotAccepting,
}

/// What one loop knows of it.
#[derive(Debug)]
pub(super) struct Readiness {
    drain: Drain,
    accepting: Cell<bool>,
}

impl Readiness {
    pub(super) fn new(drain: Drain) -> Self {
        Self { drain, accepting: Cell::new(false) }
    }

    /// As of the last time it was asked.
    pub(super) fn now(&self) -> Ready {
        match (self.drain.has_begun(), self.accepting.get()) {
            (true, _) => Ready::Draining,
            (false, true) => Ready::Yes,
            (false, false) => Ready::NotAccepting,
        }
    }

    /// Asks until the instance stops, so that no call of `/health/check` has to.
    pub(super) async fn keep_asking(self: Rc<Self>, bus: Bus, clock: Clock) {
        loop {
            clock.sleep(INTERVAL).await;
            self.ask(&bus).await;
        }
    }

    /// Asks whether events can be accepted.
    pub(super) async fn ask(&self, bus: &Bus) {
        match bus.request(EVENTS_HEALTH, AskHealth).timeout(TIMEOUT).await {
            Ok(health) => self.accepting.set(health.accepting),
            // Who is too busy to answer in time may accept events all the same: what was known stays.
            Err(RequestError::Timeout { .. } | RequestError::Overloaded { .. }) => {}
            Err(_) => self.accepting.set(false),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::drain::DrainTimes;
    use adtrack_proto::bus::Health;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU8, Ordering};
    use vertebra::Failure;
    use vertebra::testing::TestRuntime;

    fn drain() -> Drain {
        Drain::new(DrainTimes { grace: Duration::from_secs(20), delay: Duration::ZERO })
    }

    fn health(accepting: bool) -> Health {
        Health { name: "event log", up: true, accepting, detail: String::new() }
    }

    #[test]
    fn a_node_is_ready_while_events_are_accepted_and_it_does_not_leave() {
        TestRuntime::paused(|rt| async move {
            let drain = drain();
            let readiness = Readiness::new(drain.clone());
            readiness.ask(rt.bus()).await;
            assert_eq!(readiness.now(), Ready::NotAccepting, "nobody answers");
            let stub = rt.stub(EVENTS_HEALTH, |_| async { Ok(health(true)) }).await.unwrap();
            readiness.ask(rt.bus()).await;
            assert_eq!(readiness.now(), Ready::Yes);
            drain.begin(rt.clock().now());
            assert_eq!(readiness.now(), Ready::Draining);
            stub.undeploy().await.unwrap();
        });
    }

    #[test]
    fn an_answer_that_is_late_changes_nothing_and_one_that_is_no_does() {
        TestRuntime::paused(|rt| async move {
            let mode = Arc::new(AtomicU8::new(0));
            let seen = Arc::clone(&mode);
            let answer = move |_| {
                let mode = seen.load(Ordering::Relaxed);
                async move {
                    match mode {
                        0 => Ok(health(true)),
                        1 => std::future::pending().await,
                        2 => Ok(health(false)),
                        _ => Err(Failure::new(1, "broken")),
                    }
                }
            };
            let stub = rt.stub(EVENTS_HEALTH, answer).await.unwrap();
            let readiness = Readiness::new(drain());
            for (now, expected) in
                [(0, Ready::Yes), (1, Ready::Yes), (2, Ready::NotAccepting), (0, Ready::Yes), (3, Ready::NotAccepting)]
            {
                mode.store(now, Ordering::Relaxed);
                readiness.ask(rt.bus()).await;
                assert_eq!(readiness.now(), expected, "{now}");
            }
            stub.undeploy_within(Duration::ZERO).await.unwrap();
        });
    }
}
