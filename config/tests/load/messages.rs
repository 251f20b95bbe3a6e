use super::*;
use adtrack_config::ConfigError;

#[test]
fn a_message_names_key_value_origin_unit_and_range() {
    for (name, value, message) in [
        (
            "ADTRACK_KINESIS_LINGER_MS",
            "10001",
            "kinesis.linger_ms = \"10001\" (from ADTRACK_KINESIS_LINGER_MS): must be milliseconds as a whole number, 0..=10000",
        ),
        (
            "REDIS_PORT",
            "tcp://10.0.0.1:6379",
            "redis.port = \"tcp://10.0.0.1:6379\" (from REDIS_PORT): must be a whole number, 1..=65535",
        ),
        (
            "ADTRACK_HTTP_PROGRAM_ID_CHARS",
            "z-a",
            "http.program_id_chars = \"z-a\" (from ADTRACK_HTTP_PROGRAM_ID_CHARS): must be visible ASCII characters and \
             ranges of them, such as \"A-Za-z0-9._:~-\" (range z-a is backwards)",
        ),
        (
            "ADTRACK_HTTP_TRUSTED_PROXIES",
            "::1, 10.0.0.1/8",
            "http.trusted_proxies = \"::1, 10.0.0.1/8\" (from ADTRACK_HTTP_TRUSTED_PROXIES): must be at most 64 networks such as \
             \"10.0.0.0/8\" (\"10.0.0.1/8\": bits are set beyond the prefix; the network is 10.0.0.0/8)",
        ),
        (
            "ADTRACK_HTTP_ON_INVALID",
            "drop",
            "http.on_invalid = \"drop\" (from ADTRACK_HTTP_ON_INVALID): must be \"stream\" or \"reject\"",
        ),
    ] {
        assert_eq!(refused(load(&[(name, value)])), message);
    }
}

#[test]
fn all_errors_are_told_together() {
    let variables =
        [("ADTRACK_HTTP_LISTEN", "nowhere"), ("ADTRACK_HTP_LISTEN", "x"), ("ADTRACK_ADMIN_LISTEN", "0.0.0.0:9090")];
    let text = "[redis]\nport = 0\nhots = 'x'\n[kinesis]\nbackoff_ms_max = 1\n";
    let message = refused(load_file(text, &variables));
    let lines: Vec<&str> = message.lines().collect();
    assert_eq!(lines.len(), 6, "{message}");
    for part in [
        "redis.hots (from",
        "ADTRACK_HTP_LISTEN: no such",
        "http.listen = \"nowhere\"",
        "redis.port = 0",
        "admin.token is not set",
        "kinesis.backoff_ms_max = 1",
    ] {
        assert!(lines.iter().any(|line| line.starts_with(part)), "{part} in {message}");
    }
}

#[test]
fn a_file_that_is_not_toml_or_not_there_is_named_and_the_rest_still_checked() {
    let bad_port = ("ADTRACK_REDIS_PORT", "0");
    let message = refused(load_file("[http]\nlisten = = 1\n", &[bad_port]));
    assert!(message.contains(":2: not valid TOML: ") && message.contains("redis.port = \"0\""), "{message}");

    let message = refused(load(&[("ADTRACK_CONFIG", "/nowhere/adtrack.toml"), bad_port]));
    let lines: Vec<&str> = message.lines().collect();
    assert!(lines[0].starts_with("/nowhere/adtrack.toml (named by ADTRACK_CONFIG) cannot be read: "), "{message}");
    assert!(lines[1].starts_with("redis.port = "), "{message}");
}

#[test]
fn a_file_above_a_megabyte_is_refused() {
    let message = refused(load_file(&"#".repeat((1 << 20) + 1), &[]));
    assert!(message.ends_with("cannot be read: larger than 1048576 bytes"), "{message}");
    assert!(load_file(&"#".repeat(1 << 20), &[]).is_ok());
}

#[test]
fn errors_beyond_the_first_hundred_are_counted() {
    let text: String = (0..150).map(|n| format!("unknown{n} = 1\n")).collect();
    let errors = load_file(&text, &[]).unwrap_err();
    assert_eq!((errors.iter().count(), errors.left_out()), (100, 50));
    assert!(errors.to_string().ends_with("\nand 50 more"));
}

#[test]
fn errors_can_be_told_apart_by_their_kind() {
    let kinds = |result: Result<Config, ConfigErrors>| result.unwrap_err().iter().next().cloned();
    assert!(matches!(kinds(load(&[("ADTRACK_X", "")])), Some(ConfigError::UnknownVariable { .. })));
    assert!(matches!(kinds(load_file("x = 1", &[])), Some(ConfigError::UnknownKey { .. })));
    assert!(matches!(kinds(load_file("x = ", &[])), Some(ConfigError::Syntax { line: 1, .. })));
    assert!(matches!(kinds(load(&[("REDIS_PORT", "0")])), Some(ConfigError::Invalid { key: "redis.port", .. })));
    assert!(matches!(kinds(load(&[("ADTRACK_CONFIG", "/")])), Some(ConfigError::Unreadable { .. })));
}
