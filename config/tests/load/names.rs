use super::*;

#[test]
fn an_unknown_variable_is_an_error_that_names_the_nearest_known_one() {
    for (name, nearest) in [
        ("ADTRACK_HTTP_LISTNE", "ADTRACK_HTTP_LISTEN"),
        ("ADTRACK_LISTEN", "ADTRACK_HTTP_LISTEN"),
        ("ADTRACK_KINESIS_LINGER", "ADTRACK_KINESIS_LINGER_MS"),
        ("ADTRACK_HTTP_TTL_MS", "ADTRACK_CACHE_TTL_MS"),
        ("ADTRACK_COMPATIBLE", "ADTRACK_COMPAT"),
        ("ADTRACK_REDIS", "ADTRACK_REDIS_HOST"),
    ] {
        let expected = format!("{name}: no such variable, the nearest known one is {nearest}");
        assert_eq!(refused(load(&[(name, "x")])), expected);
    }
    assert!(load(&[("ADTRACK_", "x")]).is_err());
}

#[test]
fn variables_of_others_are_none_of_our_business() {
    assert!(load(&[("ADTRACKER", "x"), ("adtrack_http_listen", "x"), ("HTTP_LISTEN", "x"), ("PORT", "x")]).is_ok());
}

#[test]
fn what_kubernetes_makes_for_a_service_of_our_name_is_passed_over() {
    let links = [
        ("ADTRACK_SERVICE_HOST", "10.0.0.1"),
        ("ADTRACK_SERVICE_PORT", "8080"),
        ("ADTRACK_SERVICE_PORT_HTTP", "8080"),
        ("ADTRACK_PORT", "tcp://10.0.0.1:8080"),
        ("ADTRACK_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("ADTRACK_PORT_8080_TCP_PROTO", "tcp"),
        ("ADTRACK_PORT_8080_TCP_PORT", "8080"),
        ("ADTRACK_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("ADTRACK_ADMIN_SERVICE_HOST", "10.0.0.1"),
        ("ADTRACK_ADMIN_PORT", "tcp://10.0.0.1:9090"),
    ];
    assert!(load(&links).is_ok());
    assert!(load(&[("ADTRACK_PORT", "8080")]).is_err());
    assert!(load(&[("ADTRACK_PORT_HTTP_TCP", "8080")]).is_err());
}

#[test]
fn an_unknown_key_in_the_file_is_an_error_that_names_line_and_nearest_key() {
    for (text, line, key, nearest) in [
        ("[http]\nlisten = '0.0.0.0:1'\nlisen = 'x'\n", 3, "http.lisen", "http.listen"),
        ("[htpp]\nlisten = 'x'\n", 2, "htpp.listen", "http.listen"),
        ("listen = 'x'\n", 1, "listen", "http.listen"),
        ("[http]\nttl_ms = 5\n", 2, "http.ttl_ms", "cache.ttl_ms"),
        ("\nkinesis = 5\n", 2, "kinesis", "kinesis.stream"),
        ("http = 1.5\n", 1, "http", "http.listen"),
        ("[[redis]]\nhost = 'x'\n", 1, "redis", "redis.host"),
        ("[cach]\n", 1, "cach", "compat"),
    ] {
        let message = refused(load_file(text, &[]));
        assert!(message.starts_with(&format!("{key} (from /")), "{message}");
        let end = format!(":{line}): no such setting, the nearest known one is {nearest}");
        assert!(message.ends_with(&end), "{message}, not {end}");
    }
}

#[test]
fn an_empty_file_and_an_empty_section_change_nothing() {
    assert!(load_file("", &[]).is_ok());
    assert!(load_file("[http]\n[redis]\n", &[]).is_ok());
}

#[test]
fn a_flag_for_a_key_that_does_not_exist_is_an_error() {
    let mut flags = Overrides::default();
    flags.set("http.lissten", "x", "--listen");
    let message = refused(Config::load(&flags, &[("HOME", "/")]));
    assert_eq!(message, "http.lissten (from --listen): no such setting, the nearest known one is http.listen");
}
