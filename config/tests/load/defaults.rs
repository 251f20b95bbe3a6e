use std::collections::HashSet;

use super::*;
use adtrack_config::{ClientIp, Compat, LogFormat, OnInvalid, SAMPLE_PROGRAMS};

#[test]
fn default_toml_names_every_key_once_and_nothing_else() {
    let config = load(&[]).unwrap();
    let read: Vec<&str> = config.describe().iter().map(|each| each.key).collect();
    let listed = listed();
    let listed: Vec<&str> = listed.iter().map(|(key, ..)| key.as_str()).collect();
    assert_eq!(listed, read);
    assert_eq!(listed.iter().collect::<HashSet<_>>().len(), listed.len());
}

#[test]
fn every_key_has_a_comment_of_its_own() {
    let listed = listed();
    let mut seen = HashSet::new();
    for (key, _, comment) in &listed {
        assert!(comment.len() > 10 && seen.insert(comment), "{key}: {comment:?}");
    }
}

#[test]
fn every_comment_states_the_range_that_is_checked() {
    let numbers = listed().into_iter().filter(|(_, value, _)| value.replace('_', "").parse::<u64>().is_ok());
    let mut checked = 0;
    for (key, _, comment) in numbers {
        let message = refused(load(&[(&variable(&key), "-1")]));
        let range = message.split(' ').find(|word| word.contains("..=")).unwrap();
        let plain = comment.replace('_', "");
        let stated = plain.split([' ', ',', ';']).map(|word| word.trim_end_matches('.'));
        assert!(stated.into_iter().any(|word| word == range), "{key} is checked for {range}, but says {comment}");
        checked += 1;
    }
    assert!(checked > 40, "only {checked} numbers found");
}

#[test]
fn default_toml_is_a_valid_configuration_file() {
    let config = load_file(DEFAULT_TOML, &[]).unwrap();
    let plain = load(&[]).unwrap();
    for (from_file, default) in config.describe().iter().zip(plain.describe()) {
        assert_eq!((from_file.key, &from_file.value), (default.key, &default.value));
        assert_eq!(default.origin.to_string(), "default");
    }
}

#[test]
fn without_any_setting_the_service_is_embedded_public_on_8080_and_administered_from_loopback() {
    let config = load(&[]).unwrap();
    assert_eq!(config.compat, Compat::None);
    assert_eq!((config.redis.host, config.kinesis.stream), (None, None));
    assert_eq!(config.http.listen.to_string(), "0.0.0.0:8080");
    assert_eq!(config.admin.listen.to_string(), "127.0.0.1:9090");
    assert!(config.admin.token.is_none() && config.runtime.loops.is_none());
    assert_eq!((config.http.on_invalid, config.http.client_ip), (OnInvalid::Stream, ClientIp::Truncated));
    assert_eq!((config.log.level.as_str(), config.log.format), ("info", LogFormat::Text));
    assert_eq!(config.kinesis.region, "eu-west-1");
    assert_eq!(config.kinesis.batch_records_max, 500);
    assert!(config.http.program_id_chars.contains_all(b"AZaz09._:~-") && !config.http.program_id_chars.contains(b'/'));
}

#[test]
fn the_sample_programs_are_the_three_of_the_contract() {
    let programs: serde_json::Value = serde_json::from_str(SAMPLE_PROGRAMS).unwrap();
    let expected = serde_json::json!([
        {"programId": "212312", "programName": "program1", "checksum": "123", "customerId": 9123, "customerName": "Customer1", "valid": true},
        {"programId": "212313", "programName": "program2", "checksum": "124", "customerId": 9124, "customerName": "Customer2", "valid": true},
        {"programId": "212314", "programName": "program3", "checksum": "125", "customerId": 9125, "customerName": "Customer3", "valid": true},
    ]);
    assert_eq!(programs, expected);
}
