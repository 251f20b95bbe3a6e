use super::*;

/// Key, accepted texts, refused texts.
const CASES: &[(&str, &[&str], &[&str])] = &[
    ("compat", &["none", "reference"], &["", "Reference", "yes"]),
    (
        "runtime.loops",
        &["0", "1", "256"],
        &["", "-1", "257", "1.5", "two", " 1", "1 ", "0x1", "99999999999999999999999999999999999999999"],
    ),
    ("runtime.request_timeout_ms", &["1", "600000"], &["0", "600001"]),
    ("runtime.mailbox_messages_max", &["1", "1048576"], &["0", "1048577"]),
    ("runtime.shutdown_grace_ms", &["1000", "600000"], &["999", "600001"]),
    (
        "http.listen",
        &["0.0.0.0:0", "[::]:8080", "127.0.0.1:65535"],
        &["", "8080", ":8080", "localhost:8080", "0.0.0.0", "0.0.0.0:65536", "::1:80"],
    ),
    ("http.header_bytes_max", &["8192", "1048576"], &["8191", "1048577"]),
    ("http.url_bytes_max", &["64", "16384"], &["63", "65535"]),
    ("http.program_id_bytes_max", &["1", "128"], &["0", "129"]),
    ("http.program_id_chars", &["a", "0-9", "a-z-"], &["", "z-a", "a b", "ü", "\\"]),
    ("http.on_invalid", &["stream", "reject"], &["", "drop", "STREAM"]),
    ("http.client_ip", &["truncated", "full", "none"], &["", "hashed"]),
    ("http.cookie_name", &["", "uid", "__Host-uid"], &["u id", "u=d", "\u{e4}"]),
    (
        "http.trusted_proxies",
        &["", "10.0.0.0/8", "10.0.0.0/8,fd00::/8, ::1"],
        &["10.0.0.1/8", "10.0.0.0/33", "proxy", "10.0.0.0/8;::1"],
    ),
    (
        "http.routes",
        &["", "/impression/ memory drop", "/a/ sync refuse, /b/ spool drop"],
        &["/a/", "/a/ memory", "/event/ memory drop", "/a/ memory drop,/a/ sync refuse", "/a/b/ memory drop"],
    ),
    ("events.at_bound", &["refuse", "drop"], &["", "shed"]),
    ("http.retry_after_s", &["1", "3600"], &["0", "3601"]),
    ("http.lookup_timeout_ms", &["100", "1000"], &["99", "1001"]),
    ("http.drain_delay_ms", &["0", "10000"], &["300001"]),
    ("http.compat_admin_routes", &["false"], &["", "yes", "1", "True"]),
    ("http.compat_admin_token", &["", "0123456789abcdef"], &["short", "0123456789abcde\u{e9}"]),
    ("admin.listen", &["127.0.0.1:0", "[::1]:9090", "127.9.9.9:1", "[::ffff:127.0.0.1]:1"], &["", "9090"]),
    ("admin.token", &["", "0123456789abcdef"], &["0123456789abcde", "0123456789 abcdef"]),
    ("cache.programs_max", &["1", "100000000"], &["0", "100000001"]),
    ("cache.absent_ttl_ms", &["0", "3600000"], &["3600001"]),
    ("redis.host", &["", "localhost", "::1", "10.0.0.1"], &["redis://localhost", "localhost:6379", "a b"]),
    ("redis.port", &["1", "65535"], &["0", "65536", "tcp://10.0.0.1:6379"]),
    ("redis.database", &["0", "15"], &["-1", "65536"]),
    ("redis.password", &["", "p@ss: word"], &["new\nline"]),
    ("redis.channel", &["channel1", "a:b"], &["", "a b"]),
    ("redis.changes_key", &["adtrack:changes", "x"], &["", "a b"]),
    ("redis.payload_bytes_max", &["256", "16777216"], &["255", "16777217"]),
    ("kinesis.stream", &["", "reactive-system-event-stream"], &["a b", "arn:aws:kinesis:x"]),
    ("kinesis.region", &["us-east-1"], &["", "US"]),
    (
        "kinesis.endpoint",
        &["", "http://localhost:4567", "https://kinesis.eu-west-1.amazonaws.com/"],
        &["localhost:4567", "http://u:p@h", "http://h/path"],
    ),
    ("kinesis.partition_key", &["message_id", "program", "customer"], &["", "messageId"]),
    ("kinesis.format", &["record", "aggregated"], &["", "kpl"]),
    ("kinesis.aggregate_bytes_max", &["1024", "1048576"], &["1023", "1048577"]),
    ("kinesis.batch_records_max", &["1", "500"], &["0", "501"]),
    ("kinesis.batch_bytes_max", &["1048576", "10485760"], &["1023", "10485761"]),
    ("kinesis.shard_records_per_s", &["0", "1000000"], &["-1", "1000001"]),
    ("kinesis.shard_bytes_per_s", &["0", "1073741824"], &["1073741825"]),
    ("kinesis.ordered", &["true", "false"], &["yes"]),
    ("kinesis.linger_ms", &["0", "10000"], &["10001"]),
    ("events.memory_bytes_max", &["9000000", "68719476736"], &["1048575", "68719476737"]),
    ("events.disk_bytes_max", &["268435456", "1099511627776"], &["262143"]),
    ("events.log_age_s_max", &["0", "315360000"], &["-1", "315360001"]),
    ("events.segment_bytes_max", &["65536", "268435456"], &["65535", "1073741825"]),
    ("events.ledger_customers_shown", &["0", "100"], &["-1", "101"]),
    ("data.dir", &["d", "/var/lib/adtrack"], &["", "a\nb"]),
    ("log.level", &["debug", "warn,adtrack=trace"], &["", "loud"]),
    ("log.format", &["text", "json"], &["", "xml"]),
    ("store.file_bytes_max", &["65536", "1099511627776"], &["65535"]),
];

#[test]
fn values_inside_their_range_are_accepted() {
    for (key, good, _) in CASES {
        for value in *good {
            let result = load(&[(&variable(key), value)]);
            assert!(result.is_ok(), "{key} = {value:?}: {}", refused(result));
        }
    }
}

#[test]
fn values_outside_their_range_are_refused_by_key_range_and_origin() {
    for (key, _, bad) in CASES {
        for value in *bad {
            let name = variable(key);
            let message = refused(load(&[(&name, value)]));
            assert!(message.starts_with(&format!("{key} = ")), "{message}");
            assert!(message.contains(&format!("(from {name}): must be ")), "{message}");
            assert_eq!(message.lines().count(), 1, "{message}");
        }
    }
}

#[test]
fn a_value_of_the_wrong_kind_in_a_file_is_refused() {
    for (line, shown) in [
        ("redis.port = '6379'", "redis.port = \"6379\""),
        ("redis.port = 6379.0", "redis.port = a number with a fraction"),
        ("redis.port = 99999999999999999999999999999999999999999", "redis.port = a very large number"),
        ("redis.port.x = 1", "redis.port = a section"),
        ("redis.host = 5", "redis.host = 5"),
        ("redis.password = 12345", "redis.password = ***"),
        ("http.compat_admin_routes = 'true'", "http.compat_admin_routes = \"true\""),
        ("http.trusted_proxies = '10.0.0.0/8'", "http.trusted_proxies = \"10.0.0.0/8\""),
        ("http.trusted_proxies = [1]", "http.trusted_proxies = a list of other things than text"),
        ("http.listen = 1979-05-27", "http.listen = a date or time"),
    ] {
        let message = refused(load_file(line, &[]));
        assert!(message.starts_with(shown) && message.contains(":1): must be "), "{line}: {message}");
    }
}

#[test]
fn what_was_written_is_what_is_loaded() {
    let config = load_file(
        "[http]\ntrusted_proxies = ['10.0.0.0/8']\nprogram_id_chars = '0-9'\non_invalid = 'reject'\n\
         [cache]\nabsent_ttl_ms = 0\nttl_ms = 0x10\n[runtime]\nloops = 3\n[redis]\ndatabase = 2\n",
        &[],
    )
    .unwrap();
    assert!(config.http.trusted_proxies[0].contains("10.1.2.3".parse().unwrap()));
    assert!(config.http.program_id_chars.contains(b'5') && !config.http.program_id_chars.contains(b'a'));
    assert_eq!(config.http.on_invalid, adtrack_config::OnInvalid::Reject);
    assert_eq!((config.cache.absent_ttl, config.cache.ttl.as_millis()), (None, 16));
    assert_eq!(config.runtime.loops.unwrap().get(), 3);
    assert_eq!(config.redis.database, 2);
}

#[test]
fn a_list_has_a_bound() {
    let networks = |count: usize| (0..count).map(|n| format!("10.0.0.{n}")).collect::<Vec<_>>().join(",");
    assert_eq!(load(&[("ADTRACK_HTTP_TRUSTED_PROXIES", &networks(64))]).unwrap().http.trusted_proxies.len(), 64);
    assert!(refused(load(&[("ADTRACK_HTTP_TRUSTED_PROXIES", &networks(65))])).contains("at most 64 networks"));
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_text_is_refused() {
    use std::os::unix::ffi::OsStringExt;
    let value = std::ffi::OsString::from_vec(vec![b'a', 0xff]);
    let message = refused(Config::load(&Overrides::default(), &[("ADTRACK_DATA_DIR", value)]));
    assert!(message.starts_with("data.dir = bytes that are not UTF-8 (from ADTRACK_DATA_DIR)"), "{message}");
}
