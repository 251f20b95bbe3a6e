//! What is counted about events.

use std::sync::Arc;

use adtrack_proto::bus::Bound;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::ledger::{Exposition, Ledger};

/// The handles of all metrics of this verticle; made once, cloned to where they are used.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// Events written to the log and answered so.
    pub accepted: Counter,
    /// Writes, each holding the events of one turn of a loop.
    pub writes: Counter,
    /// Bytes of frames written to the log.
    pub written_bytes: Counter,
    /// Writes that failed; every event in them was refused.
    pub write_failures: Counter,
    /// How long a write took, in seconds.
    pub write_seconds: Histogram,
    /// Syncs of the log, each for all events that waited when it began.
    pub syncs: Counter,
    /// How long a sync of the log took, in seconds.
    pub sync_seconds: Histogram,
    /// Syncs that failed; every event that waited for one was refused.
    pub sync_failures: Counter,
    /// Events that were answered and are held by nothing.
    pub dropped: Dropped,
    /// Events refused before anything was written.
    pub refused: Refused,
    /// Bytes of the segments there are.
    pub log_bytes: Gauge,
    /// Segments there are, as counted at the last look.
    pub log_segments: Gauge,
    /// Segments removed because the log without a stream reached its bound.
    pub segments_dropped: Counter,
    /// Segments found damaged.
    pub segments_damaged: Counter,
    /// Bytes of segments in whose place records were expected, and none could be read.
    pub damaged_bytes: Counter,
    /// Bytes of the files kept for a person: damaged segments, and records the stream refuses.
    pub kept_bytes: Gauge,
    /// Such files removed because together they reached their bound.
    pub kept_files_dropped: Counter,
    /// Files in the log's folder that are not its own, and segments that could not be read.
    pub files_unreadable: Counter,
    /// Times an intake stopped handing events over in memory, because the way to the stream was full.
    pub disk_mode_entered: Counter,
    /// Events that were in memory and are in the log alone again, because their shard had more waiting than its share.
    pub let_go: Counter,
    /// Events read back from the log to be shipped.
    pub read_back: Counter,
    /// Events found in the log that the stream has already, as the cursor says; they are not sent again.
    pub read_back_known: Counter,
    /// Times what the stream has could not be written down, or not be read; costs events that come twice after a crash.
    pub cursor_failures: Counter,
    /// Events the stream has taken.
    pub shipped: Counter,
    /// Entries sent, as often as they were: what stands in the places of calls, one event or many.
    pub entries_sent: Counter,
    /// Entries the stream has taken.
    pub entries_stored: Counter,
    /// PUT payload units of the entries the stream has taken: what it is paid by.
    pub payload_units: Counter,
    /// Entries sent again.
    pub entries_retried: Counter,
    /// Entries turned away because the stream was at its limit.
    pub entries_throttled: Counter,
    /// Times a shard was left alone for a while because it had turned something away.
    pub shard_pauses: Counter,
    /// Entries that went to another shard than the list of shards says.
    pub shard_misses: Counter,
    /// Open shards of the stream; 0: not known, so that nothing is paced.
    pub shards: Gauge,
    /// How long the oldest event waits that the stream does not have, in seconds; in memory or in the log.
    pub oldest_seconds: Gauge,
    /// Calls of the stream.
    pub calls: Counter,
    /// Calls that failed as a whole.
    pub call_failures: Counter,
    /// Events sent again.
    pub retried: Counter,
    /// Events turned away because the stream was at its limit; they are sent again.
    pub throttled: Counter,
    /// Events the stream refuses for good, kept in a file of their own.
    pub dead_lettered: Counter,
    /// Calls of the stream under way.
    pub calls_in_flight: Gauge,
    /// Events in memory on their way to the stream.
    pub queue_events: Gauge,
    /// How long a call of the stream took, in seconds.
    pub call_seconds: Histogram,
    /// Where every event is.
    pub(crate) ledger: Arc<Ledger>,
}

/// Events refused, by reason.
#[derive(Debug, Clone)]
pub struct Refused {
    /// The loop holds as many unwritten events as it may.
    pub queue_full: Counter,
    /// The log is as long as it may be.
    pub log_full: Counter,
    /// Its customer holds more of the log or the queue than is fair.
    pub fair_share: Counter,
    /// The event is longer than a record may be.
    pub too_large: Counter,
}

/// Events answered and dropped, by reason.
#[derive(Debug, Clone)]
pub struct Dropped {
    /// They were answered at the level `memory`, and could not be written.
    pub unwritten: Counter,
    /// The loop held as many unwritten events as it may, and they were to be dropped then.
    pub queue_full: Counter,
    /// The log was as long as it may be, and they were to be dropped then.
    pub log_full: Counter,
    /// Their customer held more than is fair, and they were to be dropped then.
    pub fair_share: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Metrics {
    /// Registers all metrics. To be called once for a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let ledger = Arc::<Ledger>::default();
        registry.register_collector(Box::new(Exposition(Arc::clone(&ledger))));
        let registry = registry.sub_registry_with_prefix("adtrack_kinesis");
        Self::register_own(registry, ledger)
    }

    fn register_own(registry: &mut Registry, ledger: Arc<Ledger>) -> Self {
        Self {
            accepted: counter(registry, "events_accepted", "Events written to the log"),
            writes: counter(registry, "writes", "Writes to the log, one a turn of a loop"),
            written_bytes: counter(registry, "written_bytes", "Bytes written to the log"),
            write_failures: counter(registry, "write_failures", "Writes to the log that failed"),
            // From 2 us to 65 ms, and from 1 ms to 8 s.
            write_seconds: seconds(registry, "write_seconds", "Time of one write to the log", 0.000_002, 16),
            syncs: counter(registry, "syncs", "Syncs of the log"),
            sync_seconds: seconds(registry, "sync_seconds", "Time of one sync of the log", 0.000_05, 16),
            sync_failures: counter(registry, "sync_failures", "Syncs of the log that failed"),
            dropped: Dropped::register(registry),
            refused: Refused::register(registry),
            log_bytes: gauge(registry, "log_bytes", "Bytes of the log's segments"),
            log_segments: gauge(registry, "log_segments", "Segments of the log"),
            segments_dropped: counter(
                registry,
                "segments_dropped",
                "Segments removed because the log reached its bound",
            ),
            segments_damaged: counter(registry, "segments_damaged", "Segments found damaged, and kept"),
            damaged_bytes: counter(registry, "damaged_bytes", "Bytes of segments that cannot be read as records"),
            kept_bytes: gauge(registry, "kept_bytes", "Bytes of damaged segments and refused records that are kept"),
            kept_files_dropped: counter(
                registry,
                "kept_files_dropped",
                "Files of damaged segments and refused records removed because they reached their bound",
            ),
            files_unreadable: counter(
                registry,
                "files_unreadable",
                "Foreign files and unreadable segments in the log's folder",
            ),
            disk_mode_entered: counter(
                registry,
                "disk_mode_entered",
                "Times events stopped being handed over in memory",
            ),
            let_go: counter(
                registry,
                "events_let_go",
                "Events that left memory for the log again because their shard had more waiting than its share",
            ),
            read_back: counter(registry, "events_read_back", "Events read back from the log"),
            read_back_known: counter(
                registry,
                "events_read_back_known",
                "Events found in the log that the stream had already, not sent again",
            ),
            cursor_failures: counter(
                registry,
                "cursor_failures",
                "Times what the stream has could not be written down or read, so that events may come twice after a crash",
            ),
            shipped: counter(registry, "events_shipped", "Events the stream has taken"),
            entries_sent: counter(registry, "entries_sent", "Entries of calls of the stream, sent again or not"),
            entries_stored: counter(registry, "entries_stored", "Entries the stream has taken"),
            payload_units: counter(
                registry,
                "payload_units",
                "Payload units, of 25 KB each or a part of it, of the entries the stream has taken",
            ),
            entries_retried: counter(registry, "entries_retried", "Entries sent again"),
            entries_throttled: counter(registry, "entries_throttled", "Entries turned away by the stream's limit"),
            shard_pauses: counter(
                registry,
                "shard_pauses",
                "Times a shard that had turned something away was left alone",
            ),
            shard_misses: counter(registry, "shard_misses", "Entries that went to another shard than was expected"),
            shards: gauge(registry, "shards", "Open shards of the stream, 0 when they are not known"),
            oldest_seconds: gauge(
                registry,
                "oldest_undelivered_seconds",
                "Age of the oldest event that the stream does not have, in seconds",
            ),
            calls: counter(registry, "calls", "Calls of the stream"),
            call_failures: counter(registry, "call_failures", "Calls of the stream that failed as a whole"),
            retried: counter(registry, "events_retried", "Events sent again"),
            throttled: counter(
                registry,
                "events_throttled",
                "Events turned away by the stream's limit, to be sent again",
            ),
            dead_lettered: counter(
                registry,
                "events_dead_lettered",
                "Events the stream refuses for good, kept in a file",
            ),
            calls_in_flight: gauge(registry, "calls_in_flight", "Calls of the stream under way"),
            queue_events: gauge(registry, "queue_events", "Events in memory on their way to the stream"),
            call_seconds: seconds(registry, "call_seconds", "Time of one call of the stream", 0.001, 14),
            ledger,
        }
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn gauge(registry: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    registry.register(name, help, gauge.clone());
    gauge
}

fn seconds(registry: &mut Registry, name: &str, help: &str, first: f64, buckets: u16) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(first, 2.0, buckets));
    registry.register(name, help, histogram.clone());
    histogram
}

impl Dropped {
    fn register(registry: &mut Registry) -> Self {
        let dropped = Family::<Reason, Counter>::default();
        registry.register("events_dropped", "Events answered with 200 that nothing holds", dropped.clone());
        let because = |reason| dropped.get_or_create_owned(&Reason { reason });
        Self {
            unwritten: because("unwritten"),
            queue_full: because(Bound::Queue.name()),
            log_full: because(Bound::Log.name()),
            fair_share: because(Bound::Share.name()),
        }
    }

    /// Of those that were to be dropped at this bound.
    pub(crate) fn at(&self, bound: Bound) -> &Counter {
        match bound {
            Bound::Queue => &self.queue_full,
            Bound::Log => &self.log_full,
            Bound::Share => &self.fair_share,
        }
    }
}

impl Refused {
    /// Of those that were to be refused at this bound.
    pub(crate) fn at(&self, bound: Bound) -> &Counter {
        match bound {
            Bound::Queue => &self.queue_full,
            Bound::Log => &self.log_full,
            Bound::Share => &self.fair_share,
        }
    }

    fn register(registry: &mut Registry) -> Self {
        let refused = Family::<Reason, Counter>::default();
        registry.register("events_refused", "Events refused before anything was written", refused.clone());
        let because = |reason| refused.get_or_create_owned(&Reason { reason });
        Self {
            queue_full: because(Bound::Queue.name()),
            log_full: because(Bound::Log.name()),
            fair_share: because(Bound::Share.name()),
            too_large: because("too_large"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_metric_is_found_under_the_name_of_its_verticle() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        metrics.refused.log_full.inc();
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let names = text.lines().filter(|line| !line.starts_with('#'));
        assert!(
            names.clone().count() > 20
                && names
                    .clone()
                    .all(|line| line.starts_with("adtrack_kinesis_") || line.starts_with("adtrack_ledger_")),
            "{text}"
        );
        assert!(text.contains("adtrack_kinesis_events_refused_total{reason=\"log_full\"} 1"), "{text}");
        assert!(text.contains("adtrack_kinesis_events_accepted_total 0"), "{text}");
    }
}
