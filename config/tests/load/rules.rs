use super::*;

type Variables = &'static [(&'static str, &'static str)];

/// The key that is named, the other one, what is said between them, and the settings.
const BROKEN: &[(&str, &str, &str, Variables)] = &[
    (
        "http.header_read_timeout_ms",
        "http.request_timeout_ms",
        "at most",
        &[("ADTRACK_HTTP_REQUEST_TIMEOUT_MS", "9999")],
    ),
    ("http.url_bytes_max", "http.header_bytes_max", "at most", &[("ADTRACK_HTTP_URL_BYTES_MAX", "16385")]),
    (
        "http.drain_delay_ms",
        "runtime.shutdown_grace_ms",
        "at most half of",
        &[("ADTRACK_HTTP_DRAIN_DELAY_MS", "10001")],
    ),
    ("admin.listen", "http.listen", "another address than", &[("ADTRACK_ADMIN_LISTEN", "127.0.0.1:8080")]),
    (
        "kinesis.batch_bytes_max",
        "kinesis.record_bytes_max",
        "at least",
        &[("ADTRACK_KINESIS_BATCH_BYTES_MAX", "1048575")],
    ),
    (
        "kinesis.queue_events_max",
        "kinesis.batch_records_max",
        "at least",
        &[("ADTRACK_KINESIS_QUEUE_EVENTS_MAX", "499")],
    ),
    (
        "kinesis.operation_timeout_ms",
        "kinesis.attempt_timeout_ms",
        "at least",
        &[("ADTRACK_KINESIS_OPERATION_TIMEOUT_MS", "4999")],
    ),
    ("kinesis.backoff_ms_max", "kinesis.backoff_ms_min", "at least", &[("ADTRACK_KINESIS_BACKOFF_MS_MAX", "49")]),
    (
        "events.disk_bytes_max",
        "events.segment_bytes_max",
        "at least four times",
        &[("ADTRACK_EVENTS_DISK_BYTES_MAX", "268435455")],
    ),
    (
        "events.memory_bytes_max",
        "kinesis.batch_bytes_max",
        "at least twice",
        &[("ADTRACK_EVENTS_MEMORY_BYTES_MAX", "8999999")],
    ),
    (
        "events.segment_bytes_max",
        "http.header_bytes_max",
        "at least twice",
        &[("ADTRACK_EVENTS_SEGMENT_BYTES_MAX", "65536"), ("ADTRACK_HTTP_HEADER_BYTES_MAX", "32769")],
    ),
];

#[test]
fn a_rule_between_two_settings_names_both_with_values_and_origins() {
    for (key, other, relation, variables) in BROKEN {
        let message = refused(load(variables));
        assert_eq!(message.lines().count(), 1, "{message}");
        assert!(message.starts_with(&format!("{key} = ")), "{message}");
        assert!(message.contains(&format!("must be {relation} {other} = ")), "{message}");
        assert!(variables.iter().all(|(name, _)| message.contains(name)), "{message}");
    }
}

#[test]
fn a_rule_is_not_judged_when_one_of_its_settings_is_wrong_by_itself() {
    let message = refused(load(&[("ADTRACK_KINESIS_BATCH_BYTES_MAX", "1")]));
    assert_eq!(message.lines().count(), 1, "{message}");
    assert!(message.contains("bytes as a whole number, 1024..=10485760"), "{message}");
}

#[test]
fn the_admin_side_demands_a_token_anywhere_but_on_loopback() {
    for address in ["0.0.0.0:9090", "10.0.0.1:9090", "[::]:9090", "[2001:db8::1]:9090"] {
        let message = refused(load(&[("ADTRACK_ADMIN_LISTEN", address)]));
        let expected = format!(
            "admin.token is not set, but admin.listen = \"{address}\" (from ADTRACK_ADMIN_LISTEN) needs it: must be 16 to 256"
        );
        assert!(message.starts_with(&expected), "{message}");
        let token = ("ADTRACK_ADMIN_TOKEN", "0123456789abcdef");
        assert!(load(&[("ADTRACK_ADMIN_LISTEN", address), token]).is_ok());
    }
}

#[test]
fn a_route_that_waits_for_the_stream_demands_one() {
    let route = ("ADTRACK_HTTP_ROUTES", "/purchase/ stream refuse");
    let message = refused(load(&[route]));
    assert!(message.starts_with("kinesis.stream is not set, but http.routes = "), "{message}");
    assert!(load(&[route, ("EVENT_STREAM", "events")]).is_ok());
}

#[test]
fn whether_anything_may_be_synced_is_known_from_all_that_says_so() {
    let may_sync = |variables: Variables| load(variables).unwrap().events.may_sync;
    assert!(!may_sync(&[]));
    assert!(may_sync(&[("ADTRACK_HTTP_ROUTES", "/purchase/ sync refuse")]));
    assert!(may_sync(&[("ADTRACK_EVENTS_DURABILITY", "sync")]));
    assert!(may_sync(&[("ADTRACK_EVENTS_DURABILITY_ALLOWED", "memory,sync")]));
}

#[test]
fn the_compatibility_routes_demand_a_token() {
    let switch = ("ADTRACK_HTTP_COMPAT_ADMIN_ROUTES", "true");
    let message = refused(load(&[switch]));
    assert!(
        message.starts_with("http.compat_admin_token is not set, but http.compat_admin_routes = true"),
        "{message}"
    );
    let config = load(&[switch, ("ADTRACK_HTTP_COMPAT_ADMIN_TOKEN", "0123456789abcdef")]).unwrap();
    assert!(config.http.compat_admin_routes && config.http.compat_admin_token.is_some());
}

#[test]
fn events_that_go_by_their_cookie_need_the_name_of_one() {
    let by_cookie = ("ADTRACK_KINESIS_PARTITION_KEY", "cookie");
    let message = refused(load(&[by_cookie]));
    assert!(message.starts_with("http.cookie_name is not set, but kinesis.partition_key = \"cookie\""), "{message}");
    assert!(load(&[by_cookie, ("ADTRACK_HTTP_COOKIE_NAME", "uid")]).is_ok());
}

#[test]
fn two_listeners_on_any_free_port_do_not_collide() {
    assert!(load(&[("ADTRACK_HTTP_LISTEN", "127.0.0.1:0"), ("ADTRACK_ADMIN_LISTEN", "127.0.0.1:0")]).is_ok());
    assert!(load(&[("ADTRACK_HTTP_LISTEN", "127.0.0.2:9090")]).is_ok());
    assert!(load(&[("ADTRACK_HTTP_LISTEN", "[::]:9090")]).is_err());
}
