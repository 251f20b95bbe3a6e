//! The service without any setting: programs from a local file, events in a local log.

use std::collections::BTreeSet;
use std::process::Command;

use adtrack_tests::adtrack::Adtrack;
use adtrack_tests::binary::adtrack_binary;
use adtrack_tests::client::raw;
use adtrack_tests::services::Process;
use http::StatusCode;
use serde_json::json;

use crate::support::{DEADLINE, KNOWN, KNOWN_PATH, beside_others, event, event_with, id_in, log_events, metric, until};

#[tokio::test]
async fn a_service_without_settings_answers_the_contract_to_the_byte() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let mut ids = BTreeSet::new();
    for _ in 0..3 {
        let answer = event_with(&service, KNOWN_PATH, &[("user-agent", "curl/7.54.0")]).await;
        let id = id_in(&answer);
        assert_eq!((answer.status, answer.header("content-type")), (StatusCode::OK, "application/json"));
        assert_eq!(
            answer.text(),
            format!(
                r#"{{"userAgent":"curl/7.54.0","programId":"212313","programName":"program2","checksum":"124","customerId":9124,"customerName":"Customer2","messageId":"{id}","valid":true}}"#
            )
        );
        let lengths: Vec<_> = id.split('-').map(str::len).collect();
        assert_eq!(lengths, [8, 4, 4, 4, 12], "{id} is no UUID");
        assert!(id.bytes().all(|byte| byte == b'-' || byte.is_ascii_hexdigit()), "{id} is no UUID");
        ids.insert(id);
    }
    assert_eq!(ids.len(), 3, "each answer has a message id of its own");
}

#[tokio::test]
async fn all_three_sample_programs_are_there_at_the_first_start() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    for (id, name, checksum, customer) in
        [("212312", "program1", "123", 9123), ("212313", "program2", "124", 9124), ("212314", "program3", "125", 9125)]
    {
        let json = event(&service, id).await.json();
        assert_eq!(json["programName"], name);
        assert_eq!((&json["checksum"], &json["customerId"]), (&checksum.into(), &customer.into()));
    }
}

#[tokio::test]
async fn the_user_agent_comes_back_as_valid_json_whatever_it_is() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let curious = r#"a "quoted" \ </script> {x}"#;
    let answer = event_with(&service, KNOWN_PATH, &[("user-agent", curious)]).await;
    assert_eq!(answer.json()["userAgent"], curious);
    let long = "x".repeat(2_000);
    let answer = event_with(&service, KNOWN_PATH, &[("user-agent", &long)]).await;
    assert_eq!(answer.json()["userAgent"], long[..1_024]);
    assert_eq!(event(&service, KNOWN).await.json()["userAgent"], "");
}

#[tokio::test]
async fn the_log_of_a_running_service_is_printed_with_every_field_of_an_event() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let headers = [
        ("user-agent", "curl/7.54.0"),
        ("referer", "https://shop.example/cart"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ];
    let answer = event_with(&service, "/event/212313?type=click&campaign=a%20b&campaign=c", &headers).await;
    let mut events = log_events(&service);
    assert_eq!(events.len(), 1, "{events:?}");
    let at_ms = events[0]["eventTimeMs"].take();
    assert_eq!(
        events[0],
        json!({
            "userAgent": "curl/7.54.0", "programId": "212313", "programName": "program2", "checksum": "124",
            "customerId": 9124, "customerName": "Customer2", "messageId": id_in(&answer), "valid": true,
            "eventTimeMs": null, "eventType": "click", "referer": "https://shop.example/cart", "clientIp": "127.0.0.0",
            "traceId": "0af7651916cd43dd8448eb211c80319c",
            "query": [
                {"name": "type", "value": "click"}, {"name": "campaign", "value": "a b"}, {"name": "campaign", "value": "c"},
            ],
            "cookieId": "",
        })
    );
    let now_ms = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis();
    let age_ms = now_ms.abs_diff(u128::from(at_ms.as_u64().unwrap()));
    assert!(age_ms < DEADLINE.as_millis(), "{at_ms} is not now");
}

#[tokio::test]
async fn a_follower_of_the_log_sees_events_as_they_come() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let before = id_in(&event(&service, KNOWN).await);
    let dir = tempfile::tempdir().unwrap();
    let mut tail = Command::new(adtrack_binary().unwrap());
    tail.env_clear().args(["events", "tail", "--follow", "--data-dir"]).arg(service.data_dir());
    let tail = Process::spawn(tail, &dir.path().join("printed")).unwrap();
    until("the event from before", DEADLINE, async || tail.log().contains(&before).then_some(())).await;
    let after = id_in(&event(&service, KNOWN).await);
    until("the event from after", DEADLINE, async || tail.log().contains(&after).then_some(())).await;
    assert_eq!(tail.log().lines().count(), 2, "{}", tail.log());
}

#[tokio::test]
async fn an_unknown_program_is_404_with_a_json_string_and_no_event() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let answer = event(&service, "999999").await;
    assert_eq!((answer.status, answer.header("content-type")), (StatusCode::NOT_FOUND, "application/json"));
    assert!(answer.json().is_string(), "{}", answer.text());
    assert!(log_events(&service).is_empty());
}

#[tokio::test]
async fn a_malformed_id_is_400_with_a_json_error_and_nobody_is_asked_for_it() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let too_long = "x".repeat(129);
    let too_long_encoded = "%78".repeat(129);
    let ids = [
        "",
        &too_long,
        &too_long_encoded,
        "%20",
        "a%20b",
        "%00",
        "212313%00",
        "%2e%2e%2f",
        "212313%2f",
        "a/b",
        "212313/",
        "*",
        "2123%2a",
        "{a}",
        "%7ba%7d",
        "[1]",
        "a+b",
        "%0d%0aSet-Cookie:x=1",
        "%c0%ae",
        "%e4%b8%ad",
        "%ff",
        "%zz",
        "%2",
        "a%3fb",
        "$where",
        "a'b",
        "a%22b",
        "a,b",
        ";",
        "@",
        "(x)",
        "\u{4e2d}",
    ];
    // The last ones are not even HTTP.
    let not_http = [&b"a b"[..], b"\0", b"a\x7fb"];
    for id in ids.iter().map(|id| id.as_bytes()).chain(not_http) {
        let answer = raw_event(&service, id).await;
        let id = String::from_utf8_lossy(id);
        assert!(answer.starts_with("HTTP/1.1 400 "), "{id}: {answer}");
        let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default();
        let body: serde_json::Value = serde_json::from_str(body).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert!(body["error"].is_string(), "{id}: {body}");
    }
    assert_eq!(metric(&service, "adtrack_http_events_malformed_id_total").await, ids.len() as f64);
    assert_eq!(metric(&service, "adtrack_cache_misses_total").await, 0.0);
    assert_eq!(metric(&service, "adtrack_embedded_lookups_total").await, 0.0);
    assert!(log_events(&service).is_empty());
}

async fn raw_event(service: &Adtrack, id: &[u8]) -> String {
    let request = [b"GET /event/", id, b" HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"].concat();
    String::from_utf8_lossy(&raw(service.public(), &request).await.unwrap()).into_owned()
}

#[tokio::test]
async fn an_id_of_every_allowed_character_and_of_128_bytes_is_looked_up() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let longest = "x".repeat(128);
    for id in ["AZaz09._:~-", &longest, "%32%31%32%33%31%33x"] {
        assert_eq!(event(&service, id).await.status, StatusCode::NOT_FOUND, "{id}");
    }
    assert_eq!(event(&service, "%32%312313").await.json()["programId"], KNOWN);
}

#[tokio::test]
async fn which_characters_an_id_may_have_is_a_setting() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().env("ADTRACK_HTTP_PROGRAM_ID_CHARS", "0-9").start().unwrap();
    assert_eq!(event(&service, KNOWN).await.status, StatusCode::OK);
    assert_eq!(event(&service, "a").await.status, StatusCode::BAD_REQUEST);
}
