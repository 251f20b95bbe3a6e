//! What the caches count.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Handles to the cache's metrics, shared by its instances.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    /// Lookups answered with a program from memory. Counted per instance and added once a second, so that the loops do
    /// not share a counter's cache line on every request.
    pub hits: Counter,
    /// Lookups answered from memory with "no such program"; added once a second as well.
    pub absent_hits: Counter,
    /// Lookups that memory could not answer.
    pub misses: Counter,
    /// Misses that waited for the read of another one instead of asking the store.
    pub coalesced: Counter,
    /// Lookups answered with a program past its time because the store could not be asked.
    pub stale_served: Counter,
    /// Lookups refused because too many wait for the store.
    pub refused: Counter,
    /// Lookups that failed because the store could not be asked and nothing was known.
    pub unavailable: Counter,
    /// Reads whose answer was not kept because the program changed meanwhile.
    pub overtaken: Counter,
    /// Pushes and reads that brought a lower version than is known, and changed nothing.
    pub outdated: Counter,
    /// Programs that a revalidation did not find in the store, answered until their time is over.
    pub unconfirmed: Counter,
    /// Changes that were pushed.
    pub pushes: Counter,
    /// Times that everything in memory became subject to revalidation.
    pub revalidations: Counter,
    /// Programs and remembered absences in memory, about.
    pub entries: Gauge,
}

impl Metrics {
    /// Makes the metrics and has the registry show them as `adtrack_cache_...`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let registry = registry.sub_registry_with_prefix("adtrack_cache");
        let mut counter = |name, help, counter: &Counter| registry.register(name, help, counter.clone());
        counter("hits", "Lookups answered with a program from memory", &metrics.hits);
        counter("absent_hits", "Lookups answered from memory with: no such program", &metrics.absent_hits);
        counter("misses", "Lookups that memory could not answer", &metrics.misses);
        counter("coalesced", "Misses that shared the store read of another miss", &metrics.coalesced);
        counter(
            "stale_served",
            "Lookups answered past expiry because the store could not be asked",
            &metrics.stale_served,
        );
        counter("refused", "Lookups refused because too many wait for the store", &metrics.refused);
        counter("unavailable", "Lookups that failed because the store could not be asked", &metrics.unavailable);
        counter("overtaken", "Store reads not kept because the program changed meanwhile", &metrics.overtaken);
        counter("outdated", "Pushes and store reads that brought a lower version than is known", &metrics.outdated);
        counter(
            "unconfirmed",
            "Programs not found by a revalidation, answered until they expire",
            &metrics.unconfirmed,
        );
        counter("pushes", "Pushed changes applied", &metrics.pushes);
        counter("revalidations", "Times that everything in memory was to be asked for again", &metrics.revalidations);
        registry.register("entries", "Programs and remembered absences in memory", metrics.entries.clone());
        metrics
    }
}
