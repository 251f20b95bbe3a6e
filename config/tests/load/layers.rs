use super::*;
use adtrack_config::Compat;

/// Each row: a key, and what sets it, the highest layer first. Row by row the highest is taken away.
#[test]
fn the_highest_layer_that_has_a_value_wins() {
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("redis.host", &[("ADTRACK_REDIS_HOST", "own"), ("REDIS_HOST", "reference")]),
        ("redis.port", &[("ADTRACK_REDIS_PORT", "1"), ("REDIS_PORT", "2")]),
        (
            "kinesis.region",
            &[
                ("ADTRACK_KINESIS_REGION", "own"),
                ("REGION", "reference"),
                ("AWS_REGION", "aws"),
                ("AWS_DEFAULT_REGION", "aws-default"),
            ],
        ),
        (
            "kinesis.endpoint",
            &[
                ("ADTRACK_KINESIS_ENDPOINT", "http://own"),
                ("AWS_ENDPOINT_URL_KINESIS", "http://kinesis"),
                ("AWS_ENDPOINT_URL", "http://all"),
            ],
        ),
    ];
    let text =
        "[redis]\nhost = 'file'\nport = 3\n[kinesis]\nregion = 'file'\nendpoint = 'http://file'\nstream = 'file'\n";
    for (key, variables) in cases {
        for first in 0..variables.len() {
            let (name, value) = variables[first];
            let (found, origin) = described(&load_file(text, &variables[first..]).unwrap(), key);
            assert_eq!((found.trim_matches('"'), origin), (value, format!("from {name}")));
        }
        let (found, origin) = described(&load_file(text, &[]).unwrap(), key);
        assert!(found.contains("file") || found == "3", "{key} = {found}");
        assert!(origin.contains("/") && origin.rsplit(':').next().unwrap().parse::<u32>().is_ok(), "{origin}");
    }
    let stream = described(&load_file(text, &[("EVENT_STREAM", "reference")]).unwrap(), "kinesis.stream");
    assert_eq!(stream, ("\"reference\"".to_owned(), "from EVENT_STREAM".to_owned()));
}

#[test]
fn a_flag_wins_over_everything_and_the_last_one_over_the_first() {
    let file = file("[http]\nlisten = '127.0.0.3:1'\n");
    let mut flags = Overrides::new(Some(file.path().to_owned()));
    flags.set("http.listen", "127.0.0.1:1", "--listen").set("http.listen", "127.0.0.2:2", "--listen");
    let config = Config::load(&flags, &[("ADTRACK_HTTP_LISTEN", "127.0.0.4:4")]).unwrap();
    assert_eq!(described(&config, "http.listen"), ("\"127.0.0.2:2\"".to_owned(), "from --listen".to_owned()));
}

#[test]
fn the_flag_that_names_the_file_wins_over_the_variable() {
    let (by_flag, by_variable) = (file("[redis]\nhost = 'flag'\n"), file("[redis]\nhost = 'variable'\n"));
    let environment = [("ADTRACK_CONFIG", by_variable.path())];
    let config = Config::load(&Overrides::default(), &environment).unwrap();
    assert_eq!(config.redis.host.as_deref(), Some("variable"));
    let flags = Overrides::new(Some(by_flag.path().to_owned()));
    assert_eq!(Config::load(&flags, &environment).unwrap().redis.host.as_deref(), Some("flag"));
}

#[test]
fn an_origin_in_a_file_names_its_line() {
    let config = load_file("# one\n\n[redis]\nport = 1\nhost = 'x'\n", &[]).unwrap();
    assert!(described(&config, "redis.host").1.ends_with(":5"));
}

#[test]
fn every_key_can_be_set_by_a_variable() {
    for (key, value, _) in listed() {
        let text = value.trim_matches('"').replace('_', if value.starts_with('"') { "_" } else { "" });
        let text = if text == "[]" { "" } else { &text };
        let name = variable(&key);
        let config = load(&[(&name, text)]).unwrap();
        let origin = described(&config, &key).1;
        assert_eq!(origin, format!("from {name}"));
    }
}

#[test]
fn every_key_can_be_set_by_a_flag_and_by_a_file() {
    for (key, value, _) in listed() {
        let config = load_file(&format!("{key} = {value}\n"), &[]).unwrap();
        assert!(described(&config, &key).1.ends_with(":1"), "{key}");
        let text = value.trim_matches('"').replace('_', if value.starts_with('"') { "_" } else { "" });
        let mut flags = Overrides::default();
        flags.set(&key, if text == "[]" { "" } else { &text }, "--flag");
        let config = Config::load(&flags, &[("HOME", "/")]).unwrap();
        assert_eq!(described(&config, &key).1, "from --flag");
    }
}

#[test]
fn compat_restores_the_defaults_of_the_replaced_system() {
    let compat = "default of compat = \"reference\"";
    for config in [load(&[("ADTRACK_COMPAT", "reference")]), load_file("compat = 'reference'\n", &[])] {
        let config = config.unwrap();
        assert_eq!(config.compat, Compat::Reference);
        assert_eq!(described(&config, "redis.host"), ("\"localhost\"".to_owned(), compat.to_owned()));
        assert_eq!(described(&config, "kinesis.stream").0, "\"reactive-system-event-stream\"");
        assert_eq!(described(&config, "kinesis.region"), ("\"eu-west-1\"".to_owned(), compat.to_owned()));
    }
}

#[test]
fn compat_goes_under_everything_that_was_written() {
    let compat = ("ADTRACK_COMPAT", "reference");
    let config = load(&[compat, ("REDIS_HOST", "other"), ("EVENT_STREAM", "mine")]).unwrap();
    assert_eq!(config.redis.host.as_deref(), Some("other"));
    assert_eq!(config.kinesis.stream.as_deref(), Some("mine"));
    // The empty value too: an embedded store with the reference's stream.
    let config = load_file("[redis]\nhost = ''\n", &[compat]).unwrap();
    assert_eq!(config.redis.host, None);
}

#[test]
fn an_empty_variable_of_ours_is_a_value_and_an_empty_foreign_one_is_not() {
    let text = "[redis]\nhost = 'file'\n[kinesis]\nregion = 'file'\n";
    let config = load_file(text, &[("REDIS_HOST", ""), ("AWS_REGION", ""), ("ADTRACK_CONFIG", "")]).unwrap();
    assert_eq!((config.redis.host.as_deref(), config.kinesis.region.as_str()), (Some("file"), "file"));
    let config = load_file(text, &[("ADTRACK_REDIS_HOST", ""), ("REDIS_HOST", "reference")]).unwrap();
    assert_eq!(config.redis.host, None);
}

#[test]
fn the_description_is_a_file_that_gives_the_same_configuration() {
    let variables = [
        ("ADTRACK_COMPAT", "reference"),
        ("ADTRACK_HTTP_TRUSTED_PROXIES", "10.0.0.0/8, ::1"),
        ("ADTRACK_HTTP_PROGRAM_ID_CHARS", "a-z\\\\\"'-"),
        ("ADTRACK_DATA_DIR", "dir with 'both' \"quotes\" and \\ # and ü"),
        ("ADTRACK_CACHE_ABSENT_TTL_MS", "0"),
    ];
    let config = load(&variables).unwrap();
    let lines: Vec<String> = config.describe().iter().map(ToString::to_string).collect();
    assert!(lines.iter().all(|line| line.lines().count() == 1));
    let again = load_file(&lines.join("\n"), &[]).unwrap();
    for (one, other) in config.describe().iter().zip(again.describe()) {
        assert_eq!((one.key, &one.value), (other.key, &other.value));
    }
    assert_eq!(lines[0], "compat = \"reference\"  # from ADTRACK_COMPAT");
    assert!(
        lines.contains(
            &"http.trusted_proxies = [\"10.0.0.0/8\", \"::1\"]  # from ADTRACK_HTTP_TRUSTED_PROXIES".to_owned()
        )
    );
}
