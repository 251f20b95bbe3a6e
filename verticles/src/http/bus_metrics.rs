//! How the event bus and its loops stand, as the operators' metrics show it.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};
use vertebra::Metrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct AddressLabel {
    address: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    address: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoopLabel {
    event_loop: String,
}

/// Registers what was counted up to now, named `adtrack_bus_...` and `adtrack_loop_...`; made anew for each answer, because
/// the loops count by themselves.
pub(super) fn register(registry: &mut Registry, metrics: &Metrics) {
    addresses(registry.sub_registry_with_prefix("adtrack_bus"), metrics);
    loops(registry.sub_registry_with_prefix("adtrack_loop"), metrics);
}

fn addresses(registry: &mut Registry, metrics: &Metrics) {
    let messages = Family::<MessageLabels, Counter>::default();
    let pending = Family::<AddressLabel, Gauge>::default();
    let room = Family::<AddressLabel, Gauge>::default();
    for at in &metrics.addresses {
        let address = at.address.to_string();
        let outcomes = [
            ("sent", at.sent),
            ("delivered", at.delivered),
            ("failed", at.failed),
            ("refused", at.refused),
            ("dropped", at.dropped),
            ("discarded", at.discarded),
        ];
        for (outcome, count) in outcomes {
            messages.get_or_create(&MessageLabels { address: address.clone(), outcome }).inc_by(count);
        }
        let label = AddressLabel { address };
        pending.get_or_create(&label).set(gauge(at.pending));
        room.get_or_create(&label).set(gauge(at.room));
    }
    registry.register("messages", "Messages at an address, by what became of them", messages);
    registry.register("pending_messages", "Messages in the mailboxes of an address", pending);
    registry.register("room_messages", "Messages that the mailboxes of an address have room for", room);
}

fn loops(registry: &mut Registry, metrics: &Metrics) {
    let lag = Family::<LoopLabel, Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    let panics = Family::<LoopLabel, Counter>::default();
    for event_loop in &metrics.loops {
        let label = LoopLabel { event_loop: event_loop.name.clone() };
        lag.get_or_create(&label).set(event_loop.lag.as_secs_f64());
        panics.get_or_create(&label).inc_by(event_loop.panics);
    }
    registry.register_with_unit("lag", "How long a question to a loop waited for its turn", Unit::Seconds, lag);
    registry.register("panics", "Panics that were contained on a loop", panics);
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use vertebra::testing::TestRuntime;
    use vertebra::{Address, Failure};

    use super::*;

    const LOOKUP: Address<u32> = Address::new("cache.lookup");

    #[test]
    fn messages_mailboxes_and_loops_are_shown() {
        TestRuntime::paused(|rt| async move {
            rt.stub(LOOKUP, |_| async { Err(Failure::new(1, "no")) }).await.unwrap();
            assert!(rt.bus().request(LOOKUP, 1).await.is_err());
            let mut registry = Registry::default();
            register(&mut registry, &rt.metrics().await);
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            for line in [
                r#"adtrack_bus_messages_total{address="cache.lookup",outcome="sent"} 1"#,
                r#"adtrack_bus_messages_total{address="cache.lookup",outcome="failed"} 1"#,
                r#"adtrack_bus_messages_total{address="cache.lookup",outcome="refused"} 0"#,
                r#"adtrack_bus_pending_messages{address="cache.lookup"} 0"#,
                r#"adtrack_bus_room_messages{address="cache.lookup"} 1024"#,
                r#"adtrack_loop_lag_seconds{event_loop="loop-0"} 0.0"#,
                r#"adtrack_loop_panics_total{event_loop="loop-0"} 0"#,
            ] {
                assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
            }
        });
    }
}
