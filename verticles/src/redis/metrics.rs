//! What the Redis verticles count.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::payload::Rejected;

/// Handles to the metrics of both Redis verticles.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// 1 while commands can be sent.
    pub connected: Gauge,
    /// Times that the command connection came back.
    pub reconnects: Counter,
    /// Commands sent; a pipeline counts once.
    pub commands: Counter,
    /// Commands that failed or timed out.
    pub command_errors: Counter,
    /// Programs that were not stored, because a higher version of them is.
    pub outdated_puts: Counter,
    /// Keys found that hold no program.
    pub foreign_keys: Counter,
    /// 1 while subscribed to the channel.
    pub subscribed: Gauge,
    /// Times that the channel was subscribed to.
    pub subscriptions: Counter,
    /// When the subscription was last known to live, in seconds since the Unix epoch.
    pub heard_at_seconds: Gauge,
    /// Pushed programs handed to the caches.
    pub pushes: Counter,
    /// Pushes of which a cache may have missed one, so that all were told to revalidate.
    pub pushes_missed: Counter,
    /// Changes that were taken from the stream after a cut.
    pub changes_replayed: Counter,
    /// Cuts of which the stream did not have everything.
    pub replays_broken: Counter,
    /// When the latest change was made that is known to have come, in seconds since the Unix epoch.
    pub last_change_seconds: Gauge,
    rejected: Family<RejectedLabels, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectedLabels {
    reason: &'static str,
}

impl Metrics {
    /// Makes the metrics and has the registry show them as `adtrack_redis_...`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("adtrack_redis");
        registry.register("connected", "1 while commands can be sent", metrics.connected.clone());
        registry.register("reconnects", "Times that the command connection came back", metrics.reconnects.clone());
        registry.register("commands", "Commands sent; a pipeline counts once", metrics.commands.clone());
        registry.register("command_errors", "Commands that failed or timed out", metrics.command_errors.clone());
        let help = "Programs not stored, because a higher version of them is";
        registry.register("outdated_puts", help, metrics.outdated_puts.clone());
        registry.register("foreign_keys", "Keys found that hold no program", metrics.foreign_keys.clone());
        registry.register("subscribed", "1 while subscribed to the channel", metrics.subscribed.clone());
        registry.register("subscriptions", "Times that the channel was subscribed to", metrics.subscriptions.clone());
        let help = "When the subscription was last known to live, Unix time in seconds";
        registry.register("heard_at_seconds", help, metrics.heard_at_seconds.clone());
        registry.register("pushes", "Pushed programs handed to the caches", metrics.pushes.clone());
        let help = "Pushes a cache may have missed, so that all were told to revalidate";
        registry.register("pushes_missed", help, metrics.pushes_missed.clone());
        let help = "Changes taken from the stream of changes after a cut";
        registry.register("changes_replayed", help, metrics.changes_replayed.clone());
        let help = "Cuts after which the stream of changes did not reach back to the last change seen";
        registry.register("replays_broken", help, metrics.replays_broken.clone());
        let help = "When the latest change was made that has come, Unix time in seconds";
        registry.register("last_change_seconds", help, metrics.last_change_seconds.clone());
        registry.register("pushes_rejected", "Pushes that are no program", metrics.rejected.clone());
        metrics
    }

    /// The counter of rejected pushes of one kind.
    pub(super) fn rejected(&self, rejected: &Rejected) -> Counter {
        self.rejected.get_or_create_owned(&RejectedLabels { reason: rejected.kind() })
    }

    /// How many pushes were rejected for a reason: `oversized`, `not_text`, or a [`adtrack_proto::ProgramError::kind`].
    pub fn rejected_for(&self, reason: &'static str) -> u64 {
        self.rejected.get(&RejectedLabels { reason }).map_or(0, |counter| counter.get())
    }
}
