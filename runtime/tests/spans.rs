//! Spans of what is handled.
//!
//! A program of its own with one test: what `tracing` has found out of a place in the code - whether anybody wants to hear of it
//! - holds for the whole process, and others that come by at the same time without a subscriber would say no.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::atomic::{AtomicU64, Ordering};

use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use vertebra::Address;
use vertebra::testing::TestRuntime;

use support::{Gate, Seen};

/// Notes each span, and in which one something was logged.
struct Spans {
    seen: Seen<String>,
    last: AtomicU64,
}

impl Subscriber for Spans {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "vertebra" || metadata.target() == "test"
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        self.seen.note(format!("new {}", span.metadata().name()));
        Id::from_u64(self.last.fetch_add(1, Ordering::Relaxed) + 1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        if event.metadata().target() == "test" {
            self.seen.note("logged".to_owned());
        }
    }

    fn enter(&self, id: &Id) {
        self.seen.note(format!("in {}", id.into_u64()));
    }

    fn exit(&self, id: &Id) {
        self.seen.note(format!("out {}", id.into_u64()));
    }
}

/// A span is entered each time the handler runs, the first time and after it was suspended; with nobody there who wants
/// spans, nothing of it is seen.
#[test]
fn each_message_that_is_handled_has_a_span() {
    let seen = Seen::default();
    let spans = Spans { seen: seen.clone(), last: AtomicU64::new(0) };
    tracing::subscriber::with_default(spans, || {
        TestRuntime::paused(|rt| async move {
            let gate = Gate::default();
            let waiting = gate.clone();
            let logging = move |()| {
                let gate = waiting.clone();
                async move {
                    tracing::info!(target: "test", "before");
                    gate.wait().await;
                    tracing::info!(target: "test", "after");
                    Ok(())
                }
            };
            const LOGGING: Address<()> = Address::new("trace.logging");
            rt.stub(LOGGING, logging).await.unwrap();
            let bus = rt.bus().clone();
            let asking = tokio::task::spawn_local(async move { bus.request(LOGGING, ()).await });
            for _ in 0..8 {
                tokio::task::yield_now().await;
            }
            gate.open();
            asking.await.unwrap().unwrap();
        });
    });
    assert_eq!(seen.all(), ["new handle", "in 1", "logged", "out 1", "in 1", "logged", "out 1"]);
}
