//! Rules between two settings. Each names the one to change first, and the other with its value and origin.

use std::net::SocketAddr;

use crate::reader::{Reader, TOKEN_ALLOWED};
use crate::{Config, Durability, PartitionKey};

pub(crate) fn check(config: &Config, r: &mut Reader<'_>) {
    http(config, r);
    drain(config, r);
    kinesis(config, r);
    events(config, r);
}

fn http(config: &Config, r: &mut Reader<'_>) {
    let (http, admin) = (&config.http, &config.admin);
    r.rule(
        "http.header_read_timeout_ms",
        "http.request_timeout_ms",
        http.header_read_timeout <= http.request_timeout,
        "at most",
    );
    r.rule("http.url_bytes_max", "http.header_bytes_max", http.url_bytes_max <= http.header_bytes_max, "at most");
    r.required(
        "http.compat_admin_token",
        "http.compat_admin_routes",
        !http.compat_admin_routes || http.compat_admin_token.is_some(),
        TOKEN_ALLOWED,
    );
    let is_local = admin.listen.ip().to_canonical().is_loopback();
    r.required("admin.token", "admin.listen", is_local || admin.token.is_some(), TOKEN_ALLOWED);
    r.rule("admin.listen", "http.listen", !collide(admin.listen, http.listen), "another address than");
}

fn drain(config: &Config, r: &mut Reader<'_>) {
    let fits = config.http.drain_delay * 2 <= config.runtime.shutdown_grace;
    r.rule("http.drain_delay_ms", "runtime.shutdown_grace_ms", fits, "at most half of");
}

/// Whether two listeners cannot both be bound: port 0 is a port of its own each time.
fn collide(one: SocketAddr, other: SocketAddr) -> bool {
    let same_ip = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_ip
}

fn kinesis(config: &Config, r: &mut Reader<'_>) {
    let kinesis = &config.kinesis;
    r.rule(
        "kinesis.batch_bytes_max",
        "kinesis.record_bytes_max",
        kinesis.batch_bytes_max >= kinesis.record_bytes_max,
        "at least",
    );
    r.rule(
        "kinesis.aggregate_bytes_max",
        "kinesis.record_bytes_max",
        kinesis.aggregate_bytes_max <= kinesis.record_bytes_max,
        "at most",
    );
    r.rule(
        "kinesis.queue_events_max",
        "kinesis.batch_records_max",
        kinesis.queue_events_max >= kinesis.batch_records_max,
        "at least",
    );
    r.rule(
        "kinesis.operation_timeout_ms",
        "kinesis.attempt_timeout_ms",
        kinesis.operation_timeout >= kinesis.attempt_timeout,
        "at least",
    );
    let has_cookie = config.http.cookie_name.is_some() || kinesis.partition_key != PartitionKey::Cookie;
    r.required("http.cookie_name", "kinesis.partition_key", has_cookie, "the name of a cookie");
    r.rule("kinesis.backoff_ms_max", "kinesis.backoff_ms_min", kinesis.backoff_max >= kinesis.backoff_min, "at least");
}

fn events(config: &Config, r: &mut Reader<'_>) {
    let events = &config.events;
    let wants_stream = |levels: &[Durability]| levels.contains(&Durability::Stream);
    let has_stream = config.kinesis.stream.is_some();
    let stream = "the name of a stream";
    r.required("kinesis.stream", "events.durability", has_stream || !wants_stream(&[events.durability]), stream);
    let allowed = has_stream || !wants_stream(&events.durability_allowed);
    r.required("kinesis.stream", "events.durability_allowed", allowed, stream);
    let routed = has_stream || config.http.routes.iter().all(|route| !wants_stream(&[route.durability]));
    r.required("kinesis.stream", "http.routes", routed, stream);
    let segments = events.segment_bytes_max.saturating_mul(4);
    let fits = events.disk_bytes_max >= segments;
    r.rule("events.disk_bytes_max", "events.segment_bytes_max", fits, "at least four times");
    let two_batches = (config.kinesis.batch_bytes_max as u64).saturating_mul(2);
    let fits = events.memory_bytes_max >= two_batches;
    r.rule("events.memory_bytes_max", "kinesis.batch_bytes_max", fits, "at least twice");
    // An event carries what the request head said, so that with this every event fits a segment.
    let two_heads = (config.http.header_bytes_max as u64).saturating_mul(2);
    r.rule(
        "events.segment_bytes_max",
        "http.header_bytes_max",
        events.segment_bytes_max >= two_heads,
        "at least twice",
    );
}
