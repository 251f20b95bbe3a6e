//! The end of the service: by a signal, in order, and with a word about what is left.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use vertebra::{Clock, Report, Runtime};

use crate::drain::{Drain, unless};
use crate::kinesis::{EventLog, Left};

/// What is left in the log is counted until so long after the grace, at most.
const COUNT_MARGIN: Duration = Duration::from_millis(1_500);

/// Says "not ready" for a while, so that load balancers turn away, then ends everything in order. A second signal cuts short
/// whatever is waited for then.
pub(super) async fn end(rt: &Runtime, drain: &Drain, stop: &mut Stop) -> Report {
    let clock = rt.clock();
    drain.begin(clock.now());
    let ending = async {
        drain.delay_over(clock).await;
        rt.shutdown(drain.left(clock.now())).await
    };
    tokio::pin!(ending);
    if let Some(report) = unless(stop.wait(), &mut ending).await {
        return report;
    }
    tracing::warn!("a second signal: nothing is waited for any more");
    drain.hurry();
    ending.await
}

/// What the stream does not have. Nothing runs any more: this may block.
pub(super) fn left(log: &EventLog, drain: &Drain, clock: &Clock) -> Left {
    let until = clock.now() + drain.left(clock.now()) + COUNT_MARGIN;
    log.left(|| clock.now() < until).unwrap_or_else(|error| {
        tracing::warn!(%error, "the events that stay in the event log cannot be counted");
        Left::default()
    })
}

/// The signals that end the service.
pub(super) struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    pub(super) fn listen() -> std::io::Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    pub(super) async fn wait(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(super) fn log_report(report: &Report) {
    for one in &report.deployments {
        for failure in &one.failures {
            tracing::warn!(deployment = %one.name, %failure, "not everything ended well");
        }
        if one.abandoned > 0 {
            tracing::warn!(deployment = %one.name, abandoned = one.abandoned, "work was given up");
        }
    }
    for event_loop in &report.stuck_loops {
        tracing::error!(event_loop, "an event loop did not end");
    }
    tracing::info!(took_ms = report.took.as_millis() as u64, clean = report.is_clean(), "stopped");
}
