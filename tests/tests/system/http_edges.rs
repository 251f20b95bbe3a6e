//! The edges of HTTP, by raw bytes against the real binary, and who may reach the operators' side.

use std::time::{Duration, Instant};

use adtrack_tests::adtrack::Adtrack;
use adtrack_tests::client::{once, raw};
use http::{Method, StatusCode};

use crate::support::{DEADLINE, KNOWN, KNOWN_PATH, beside_others, event, metric, run_to_end};

const TOKEN: &str = "0123456789abcdef";

async fn status_of(service: &Adtrack, request: &[u8]) -> String {
    let answer = raw(service.public(), request).await.unwrap();
    String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap_or("closed").to_owned()
}

#[tokio::test]
async fn a_request_that_could_be_read_in_two_ways_or_is_too_large_is_refused_and_closed() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let start = "GET /event/212313 HTTP/1.1\r\n";
    let get = |headers: &str| format!("{start}Host: a\r\n{headers}\r\n");
    let post = |headers: &str, body: &str| format!("POST /event/212313 HTTP/1.1\r\nHost: a\r\n{headers}\r\n{body}");
    let cases = [
        ("400", "CL and TE", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n")),
        ("400", "TE and CL", post("Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", "0\r\n\r\n")),
        ("400", "two CL", post("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd")),
        ("400", "two equal CL", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc")),
        ("400", "a list of CL", post("Content-Length: 3, 3\r\n", "abc")),
        ("400", "CL with a sign", post("Content-Length: +3\r\n", "abc")),
        ("400", "a negative CL", post("Content-Length: -1\r\n", "")),
        ("400", "a hexadecimal CL", post("Content-Length: 0x3\r\n", "abc")),
        ("400", "a CL of 2^64", post("Content-Length: 18446744073709551616\r\n", "")),
        ("400", "an unknown TE", post("Transfer-Encoding: xchunked\r\n", "")),
        ("400", "a list of TE", post("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n")),
        ("400", "TE with a space before its colon", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n")),
        ("400", "TE in HTTP/1.0", "POST /event/1 HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".into()),
        ("400", "a bare LF behind the request line", "GET /event/212313 HTTP/1.1\nHost: a\r\n\r\n".into()),
        ("400", "a bare LF behind a header", format!("{start}Host: a\n\r\n")),
        ("400", "bare LF alone", "GET /event/212313 HTTP/1.1\nHost: a\n\n".into()),
        ("400", "a bare CR", get("X: a\rb\r\n")),
        ("400", "a folded header", get("X: a\r\n b\r\n")),
        ("400", "a header that begins folded", format!("{start} Host: a\r\n\r\n")),
        ("400", "a space before a colon", get("X : a\r\n")),
        ("400", "NUL in a header", get("X: a\0b\r\n")),
        ("400", "no Host", format!("{start}\r\n")),
        ("400", "two Hosts", get("Host: b\r\n")),
        ("400", "two equal Hosts", get("Host: a\r\n")),
        ("400", "HTTP/2's preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into()),
        ("400", "HTTP/0.9", "GET /event/212313\r\n\r\n".into()),
        ("431", "a header block of 17 KiB", get(&format!("X: {}\r\n", "x".repeat(17 << 10)))),
        (
            "431",
            "a header block that never ends",
            format!("{start}Host: a\r\n{}", "X: y\r\nZ: ".repeat(90) + &"x".repeat(17 << 10)),
        ),
        ("431", "101 headers", get(&"X: y\r\n".repeat(100))),
        ("414", "a URL of 9 KiB", format!("GET /event/212313?{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(9 << 10))),
        ("414", "a URL that never ends", format!("GET /event/{}", "x".repeat(12 << 10))),
        ("413", "a body on GET", format!("{}abc", get("Content-Length: 3\r\n"))),
        ("400", "a chunked body on GET", format!("{}0\r\n\r\n", get("Transfer-Encoding: chunked\r\n"))),
    ];
    for (expected, name, request) in &cases {
        assert_eq!(status_of(&service, request.as_bytes()).await, *expected, "{name}");
        assert_eq!(event(&service, KNOWN).await.status, StatusCode::OK, "a clean request after: {name}");
    }
    let accepted = metric(&service, "adtrack_kinesis_events_accepted_total").await;
    assert_eq!(accepted, cases.len() as f64, "none of the refused ones became an event");
}

#[tokio::test]
async fn requests_at_their_bounds_are_answered() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let close = "Connection: close\r\n";
    let url = format!("GET /event/212313?{} HTTP/1.1\r\nHost: a\r\n{close}\r\n", "x".repeat(8_000));
    let headers = format!("GET /event/212313 HTTP/1.1\r\nHost: a\r\n{close}{}\r\n", "X: y\r\n".repeat(98));
    let block = format!("GET /event/212313 HTTP/1.1\r\nHost: a\r\n{close}X: {}\r\n\r\n", "x".repeat(16_000));
    for request in [url, headers, block] {
        assert_eq!(status_of(&service, request.as_bytes()).await, "200");
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_a_bad_one_ends_the_connection() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    let mut requests: String = (0..1_000)
        .map(|number| format!("GET /event/212313?n={number} HTTP/1.1\r\nHost: a\r\nUser-Agent: {number}\r\n\r\n"))
        .collect();
    requests.push_str(
        "GET /event/212313 HTTP/1.1\r\n\r\nGET /event/212313 HTTP/1.1\r\nHost: a\r\nUser-Agent: hidden\r\n\r\n",
    );
    let answers = String::from_utf8(raw(service.public(), requests.as_bytes()).await.unwrap()).unwrap();
    let agents: Vec<_> =
        answers.match_indices(r#"{"userAgent":""#).map(|(at, found)| &answers[at + found.len()..]).collect();
    assert_eq!(agents.len(), 1_000);
    for (number, agent) in agents.iter().enumerate() {
        assert!(agent.starts_with(&format!("{number}\"")), "answer {number} is to another request");
    }
    assert_eq!(answers.matches("HTTP/1.1 400 ").count(), 1);
    assert!(!answers.contains("hidden"), "nothing behind the bad one is answered");
}

#[tokio::test]
async fn a_client_that_is_slow_with_its_head_is_closed_and_one_that_is_idle_later() {
    let _turn = beside_others().await;
    let service = Adtrack::builder()
        .env("ADTRACK_HTTP_HEADER_READ_TIMEOUT_MS", "300")
        .env("ADTRACK_HTTP_IDLE_TIMEOUT_MS", "3000")
        .start()
        .unwrap();
    let begun = Instant::now();
    let answer = raw(service.public(), b"GET /event/212313 HTTP/1.1\r\nHost: a\r\nX-Slow: ").await.unwrap();
    let slow = begun.elapsed();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // A sweep comes once a second; the time it would take by default is 10 s.
    assert!((Duration::from_millis(300)..Duration::from_millis(5_000)).contains(&slow), "{slow:?}");
    let begun = Instant::now();
    let answer = raw(service.public(), b"GET /event/212313 HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let idle = begun.elapsed();
    assert!(answer.starts_with(b"HTTP/1.1 200 "));
    assert!((Duration::from_millis(3_000)..Duration::from_millis(10_000)).contains(&idle), "{idle:?}");
    assert_eq!(metric(&service, r#"adtrack_http_timeouts_total{reason="head"}"#).await, 1.0);
    assert_eq!(metric(&service, r#"adtrack_http_timeouts_total{reason="idle"}"#).await, 1.0);
}

#[tokio::test]
async fn methods_and_paths_that_are_not_served_are_told_so() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS, Method::TRACE] {
        let answer = once(service.public(), method.clone(), KNOWN_PATH, &[], "").await.unwrap();
        assert_eq!((answer.status, answer.header("allow")), (StatusCode::METHOD_NOT_ALLOWED, "GET"), "{method}");
    }
    for path in ["/", "/event", "/events/1", "/health", "/health/check/", "/favicon.ico"] {
        let answer = service.get(path).await.unwrap();
        assert_eq!(answer.status, StatusCode::NOT_FOUND, "{path}");
        assert!(answer.json()["error"].is_string(), "{path}");
    }
    assert_eq!(metric(&service, "adtrack_kinesis_events_accepted_total").await, 0.0);
}

#[tokio::test]
async fn the_operators_side_asks_for_its_token_when_it_has_one() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().env("ADTRACK_ADMIN_TOKEN", TOKEN).start().unwrap();
    let bearer = format!("Bearer {TOKEN}");
    for (method, path) in [
        (Method::GET, "/metrics"),
        (Method::GET, "/health/deps"),
        (Method::GET, "/programs"),
        (Method::GET, "/programs/212313"),
        (Method::POST, "/cache/fill"),
    ] {
        for wrong in ["", "Bearer", "Bearer 0123456789abcdeF", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef"] {
            let answer = once(service.admin(), method.clone(), path, &[("authorization", wrong)], "").await.unwrap();
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{method} {path} with {wrong:?}");
        }
        let answer = once(service.admin(), method.clone(), path, &[("authorization", &bearer)], "").await.unwrap();
        assert_eq!(answer.status, StatusCode::OK, "{method} {path}: {}", answer.text());
    }
    assert!(!service.log().contains(TOKEN), "a secret is not logged");
}

#[tokio::test]
async fn without_a_token_the_operators_side_serves_this_machine_and_no_web_page() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    assert_eq!(service.admin_get("/metrics").await.unwrap().status, StatusCode::OK);
    let named = b"GET /metrics HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n";
    let answer = raw(service.admin(), named).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 403 "), "{}", String::from_utf8_lossy(&answer));
    let origin = [("origin", "http://evil.example")];
    let answer = once(service.admin(), Method::POST, "/cache/purge", &origin, "").await.unwrap();
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
    assert_eq!(event(&service, KNOWN).await.status, StatusCode::OK, "nothing was purged");
}

#[tokio::test]
async fn an_operators_side_elsewhere_than_loopback_needs_a_token_to_start() {
    let _turn = beside_others().await;
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:9090"] {
        let (code, said) = run_to_end(&["--listen", "127.0.0.1:0", "--admin-listen", listen], &[]);
        assert_eq!(code, Some(78), "{said}");
        assert!(said.contains("admin.token") && said.contains(listen), "{said}");
    }
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_and_the_allowed_ones_served() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().env("ADTRACK_HTTP_CONNECTIONS_MAX", "5").start().unwrap();
    let mut open = Vec::new();
    for _ in 0..5 {
        let mut client = adtrack_tests::client::Client::connect(service.public()).await.unwrap();
        assert_eq!(client.get(KNOWN_PATH).await.unwrap().status, StatusCode::OK);
        open.push(client);
    }
    assert!(service.get(KNOWN_PATH).await.is_err(), "the sixth is closed without an answer");
    assert_eq!(open[0].get(KNOWN_PATH).await.unwrap().status, StatusCode::OK);
    drop(open);
    crate::support::until("room for another", DEADLINE, async || {
        (service.get(KNOWN_PATH).await.ok()?.status == StatusCode::OK).then_some(())
    })
    .await;
}
