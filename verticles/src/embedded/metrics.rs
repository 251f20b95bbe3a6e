//! What the embedded store counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Handles to the embedded store's metrics.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Programs in the store.
    pub programs: Gauge,
    /// Lookups answered.
    pub lookups: Counter,
    /// Programs put and on the disk.
    pub puts: Counter,
    /// Writes to the file; each holds the puts that came during the one before.
    pub writes: Counter,
    /// Writes that failed.
    pub write_failures: Counter,
}

impl Metrics {
    /// Makes the metrics and has the registry show them as `adtrack_embedded_...`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("adtrack_embedded");
        registry.register("programs", "Programs in the embedded store", metrics.programs.clone());
        registry.register("lookups", "Lookups answered by the embedded store", metrics.lookups.clone());
        registry.register("puts", "Programs put and synced to disk", metrics.puts.clone());
        registry.register("writes", "Writes to the store's file", metrics.writes.clone());
        registry.register("write_failures", "Writes to the store's file that failed", metrics.write_failures.clone());
        metrics
    }
}
