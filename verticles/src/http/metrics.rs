//! What the HTTP side counts.

use std::sync::Arc;
use std::time::Duration;

use adtrack_config::TrackingRoute;
use adtrack_proto::bus::Bound;
use http::StatusCode;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::head::Refusal;
use super::latency::Latency;

/// What a request asked for, as far as counters tell requests apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// `/event/{programId}`.
    Event,
    /// Another tracking URL: the how-many-eth of the settings, from 0.
    Configured(usize),
    /// `/health/check`.
    Health,
    /// `/cache/fill` and `/cache/purge` on the public listener.
    Cache,
    /// Anything on the admin listener.
    Admin,
    /// Nothing that is served.
    Other,
}

/// Their names, in the order of their places; those of the settings come behind.
const ROUTES: [&str; 5] = ["event", "health", "cache", "admin", "other"];

impl Route {
    fn place(self) -> usize {
        match self {
            Self::Event => 0,
            Self::Health => 1,
            Self::Cache => 2,
            Self::Admin => 3,
            Self::Other => 4,
            Self::Configured(index) => ROUTES.len() + index,
        }
    }
}

/// Which of the two listeners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Listening {
    /// The world's.
    Public,
    /// The operators'.
    Admin,
}

/// Which of a connection's times was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head did not come.
    Head,
    /// The request was not finished.
    Request,
    /// Nothing was asked.
    Idle,
    /// The client did not close its side after a refusal.
    Closing,
}

/// Why an event was answered with 503.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unavailable {
    /// The program could not be looked up.
    Lookup,
    /// The event could not be taken.
    Track,
}

/// Handles of all counters of the HTTP side, made once and cloned into every instance. Counting takes no lock.
#[derive(Debug, Clone)]
pub struct Metrics(Arc<Handles>);

#[derive(Debug)]
struct Handles {
    routes: Vec<RouteMetrics>,
    listeners: [ListenerMetrics; 2],
    timeouts: [Counter; 3],
    heads_refused: [Counter; Refusal::ALL.len()],
    heads_malformed: Counter,
    unavailable: [Counter; 2],
    shed: Counter,
    rejected_invalid: Counter,
    malformed_ids: Counter,
    query_parameters_dropped: Counter,
    cut_at_drain: Counter,
}

#[derive(Debug)]
struct RouteMetrics {
    by_class: [Counter; 5],
    seconds: Latency,
    dropped: Option<[Counter; Bound::ALL.len()]>,
}

#[derive(Debug)]
struct ListenerMetrics {
    open: Gauge,
    accepted: Counter,
    refused: Counter,
    accept_errors: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: String,
    status: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabel {
    route: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DroppedLabels {
    route: String,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

impl Metrics {
    /// Makes the counters and registers them, named `adtrack_http_...`. `tracking` are the routes of the settings.
    pub fn register(registry: &mut Registry, tracking: &[TrackingRoute]) -> Self {
        let registry = registry.sub_registry_with_prefix("adtrack_http");
        let reasons = |registry: &mut Registry, name, help| {
            let family = Family::<ReasonLabel, Counter>::default();
            registry.register(name, help, family.clone());
            move |reason| family.get_or_create_owned(&ReasonLabel { reason })
        };
        let refused = reasons(registry, "heads_refused", "Requests refused by their head alone");
        let timeouts = reasons(registry, "timeouts", "Connections closed because a time was up");
        let unavailable =
            reasons(registry, "events_unavailable", "Events answered with 503, by what was not available");
        let handles = Handles {
            routes: route_metrics(registry, tracking),
            listeners: listener_metrics(registry),
            timeouts: ["head", "request", "idle"].map(timeouts),
            heads_refused: Refusal::ALL.map(|refusal| refused(refusal.reason())),
            heads_malformed: refused("malformed"),
            unavailable: ["lookup", "track"].map(unavailable),
            shed: counter(registry, "shed", "Requests answered with 503 because too many were under way"),
            rejected_invalid: counter(
                registry,
                "events_rejected_invalid",
                "Events of invalid programs answered with 410",
            ),
            malformed_ids: counter(registry, "events_malformed_id", "Events whose program id could not be one"),
            query_parameters_dropped: counter(
                registry,
                "query_parameters_dropped",
                "Query parameters beyond the bounds",
            ),
            cut_at_drain: counter(
                registry,
                "connections_cut_at_drain",
                "Connections cut because draining took too long",
            ),
        };
        Self(Arc::new(handles))
    }

    pub(super) fn answered(&self, route: Route, status: StatusCode, took: Duration) {
        let Some(metrics) = self.0.routes.get(route.place()) else { return };
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = metrics.by_class.get(class) {
            counter.inc();
        }
        metrics.seconds.observe(took);
    }

    /// An event of this route was dropped at a bound, as the settings say.
    pub(super) fn dropped(&self, route: Route, bound: Bound) {
        let dropped = self.0.routes.get(route.place()).and_then(|metrics| metrics.dropped.as_ref());
        let place = Bound::ALL.iter().position(|known| *known == bound);
        if let Some(counter) = dropped.zip(place).and_then(|(dropped, place)| dropped.get(place)) {
            counter.inc();
        }
    }

    pub(super) fn timed_out(&self, overdue: Overdue) {
        // A client that is slow to close after a refusal is counted there.
        if let Some(counter) = self.0.timeouts.get(overdue as usize) {
            counter.inc();
        }
    }

    pub(super) fn head_refused(&self, refusal: Refusal) {
        let place = Refusal::ALL.iter().position(|known| *known == refusal);
        if let Some(counter) = place.and_then(|place| self.0.heads_refused.get(place)) {
            counter.inc();
        }
    }

    pub(super) fn head_malformed(&self) {
        self.0.heads_malformed.inc();
    }

    pub(super) fn unavailable(&self, what: Unavailable) {
        if let Some(counter) = self.0.unavailable.get(what as usize) {
            counter.inc();
        }
    }

    pub(super) fn shed(&self) {
        self.0.shed.inc();
    }

    pub(super) fn rejected_invalid(&self) {
        self.0.rejected_invalid.inc();
    }

    pub(super) fn malformed_id(&self) {
        self.0.malformed_ids.inc();
    }

    pub(super) fn query_parameters_dropped(&self, count: usize) {
        self.0.query_parameters_dropped.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    pub(super) fn cut_at_drain(&self) {
        self.0.cut_at_drain.inc();
    }

    pub(super) fn connection_refused(&self, listening: Listening) {
        self.on(listening, |metrics| {
            metrics.refused.inc();
        });
    }

    pub(super) fn accept_failed(&self, listening: Listening) {
        self.on(listening, |metrics| {
            metrics.accept_errors.inc();
        });
    }

    pub(super) fn connection_opened(&self, listening: Listening) {
        self.on(listening, |metrics| {
            metrics.accepted.inc();
            metrics.open.inc();
        });
    }

    pub(super) fn connection_closed(&self, listening: Listening) {
        self.on(listening, |metrics| {
            metrics.open.dec();
        });
    }

    fn on(&self, listening: Listening, count: impl FnOnce(&ListenerMetrics)) {
        if let Some(metrics) = self.0.listeners.get(listening as usize) {
            count(metrics);
        }
    }
}

fn counter(registry: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    registry.register(name, help, counter.clone());
    counter
}

fn route_metrics(registry: &mut Registry, tracking: &[TrackingRoute]) -> Vec<RouteMetrics> {
    let requests = Family::<RequestLabels, Counter>::default();
    let seconds = Family::<RouteLabel, Latency>::default();
    registry.register("requests", "Requests answered, by route and class of status", requests.clone());
    registry.register("request_seconds", "From a request's whole head to its answer, by route", seconds.clone());
    let dropped = Family::<DroppedLabels, Counter>::default();
    registry.register("events_dropped", "Events answered with 200 and dropped at a bound, as is set", dropped.clone());
    let of = |route: &str, is_tracking: bool| RouteMetrics {
        by_class: CLASSES
            .map(|status| requests.get_or_create_owned(&RequestLabels { route: route.to_owned(), status })),
        seconds: seconds.get_or_create_owned(&RouteLabel { route: route.to_owned() }),
        dropped: is_tracking.then(|| {
            let labels = |bound: Bound| DroppedLabels { route: route.to_owned(), reason: bound.name() };
            Bound::ALL.map(|bound| dropped.get_or_create_owned(&labels(bound)))
        }),
    };
    let fixed = ROUTES.iter().enumerate().map(|(place, route)| of(route, place == Route::Event.place()));
    fixed.chain(tracking.iter().map(|route| of(&route.name, true))).collect()
}

fn listener_metrics(registry: &mut Registry) -> [ListenerMetrics; 2] {
    let open = Family::<ListenerLabel, Gauge>::default();
    let accepted = Family::<ListenerLabel, Counter>::default();
    let refused = Family::<ListenerLabel, Counter>::default();
    let accept_errors = Family::<ListenerLabel, Counter>::default();
    registry.register("connections_open", "Connections open now", open.clone());
    registry.register("connections_accepted", "Connections accepted and served", accepted.clone());
    registry.register("connections_refused", "Connections closed at once: too many were open", refused.clone());
    registry.register("accept_errors", "Times a connection could not be accepted", accept_errors.clone());
    ["public", "admin"].map(|listener| {
        let label = ListenerLabel { listener };
        ListenerMetrics {
            open: open.get_or_create_owned(&label),
            accepted: accepted.get_or_create_owned(&label),
            refused: refused.get_or_create_owned(&label),
            accept_errors: accept_errors.get_or_create_owned(&label),
        }
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_counter_is_there_from_the_start_and_counts_under_its_name() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry, &["/impression/ memory drop".parse().unwrap()]);
        metrics.answered(Route::Event, StatusCode::NOT_FOUND, Duration::from_millis(1));
        metrics.answered(Route::Configured(0), StatusCode::OK, Duration::from_millis(1));
        metrics.dropped(Route::Configured(0), Bound::Log);
        metrics.dropped(Route::Health, Bound::Log);
        metrics.timed_out(Overdue::Idle);
        metrics.timed_out(Overdue::Closing);
        metrics.head_refused(Refusal::TooSlow);
        metrics.unavailable(Unavailable::Track);
        metrics.connection_opened(Listening::Admin);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            r#"adtrack_http_requests_total{route="event",status="4xx"} 1"#,
            r#"adtrack_http_requests_total{route="event",status="2xx"} 0"#,
            r#"adtrack_http_request_seconds_count{route="event"} 1"#,
            r#"adtrack_http_requests_total{route="impression",status="2xx"} 1"#,
            r#"adtrack_http_events_dropped_total{route="impression",reason="log_full"} 1"#,
            r#"adtrack_http_events_dropped_total{route="event",reason="log_full"} 0"#,
            r#"adtrack_http_timeouts_total{reason="idle"} 1"#,
            r#"adtrack_http_timeouts_total{reason="head"} 0"#,
            r#"adtrack_http_heads_refused_total{reason="too_slow"} 1"#,
            r#"adtrack_http_heads_refused_total{reason="malformed"} 0"#,
            r#"adtrack_http_events_unavailable_total{reason="track"} 1"#,
            r#"adtrack_http_connections_open{listener="admin"} 1"#,
            r#"adtrack_http_connections_open{listener="public"} 0"#,
            "adtrack_http_shed_total 0",
        ] {
            assert!(text.lines().any(|each| each == line), "{line} is not in\n{text}");
        }
    }
}
