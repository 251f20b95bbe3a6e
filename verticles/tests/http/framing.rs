//! Requests that are not plainly one HTTP request: refused, and the connection closed.

use crate::service::serve;

const HOST: &str = "Host: localhost\r\n";

/// What is sent, and the status of the answer.
fn cases() -> Vec<(&'static str, String, u16)> {
    let get = |headers: &str| format!("GET /event/1 HTTP/1.1\r\n{HOST}{headers}\r\n");
    let post = |headers: &str, body: &str| format!("POST /event/1 HTTP/1.1\r\n{HOST}{headers}\r\n{body}");
    let chunked = "Transfer-Encoding: chunked\r\n";
    let mut cases = vec![
        ("CL and TE", post(&format!("Content-Length: 3\r\n{chunked}"), "0\r\n\r\n"), 400),
        ("TE and CL", post(&format!("{chunked}Content-Length: 3\r\n"), "0\r\n\r\n"), 400),
        ("two differing CL", post("Content-Length: 3\r\nContent-Length: 4\r\n", "abc"), 400),
        ("two equal CL", post("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"), 400),
        ("unknown TE", post("Transfer-Encoding: xchunked\r\n", ""), 400),
        ("TE list", post("Transfer-Encoding: chunked, identity\r\n", ""), 400),
        ("TE with a space", post("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"), 400),
        ("TE in HTTP/1.0", format!("POST /event/1 HTTP/1.0\r\n{HOST}{chunked}\r\n0\r\n\r\n"), 400),
        ("huge chunk", post(chunked, "10000000000000000\r\n"), 400),
        ("signed chunk", post(chunked, "+5\r\nhello\r\n0\r\n\r\n"), 400),
        ("chunk without digits", post(chunked, "\r\nhello\r\n"), 400),
        ("bare LF", format!("GET /event/1 HTTP/1.1\n{HOST}\n"), 400),
        ("bare LF at the end", format!("GET /event/1 HTTP/1.1\r\n{HOST}\n"), 400),
        ("bare LF in a header", get("A: b\nC: d\r\n"), 400),
        ("bare CR", get("A: b\rC: d\r\n"), 400),
        ("bare CR in the request line", format!("GET /event/1\r HTTP/1.1\r\n{HOST}\r\n"), 400),
        ("folded header", get("A: b\r\n c\r\n"), 400),
        ("folded first header", format!("GET /event/1 HTTP/1.1\r\n {HOST}\r\n"), 400),
        ("space before the colon", get("A : b\r\n"), 400),
        ("header without a colon", get("A\r\n"), 400),
        ("header without a name", get(": b\r\n"), 400),
        ("NUL in a value", get("A: b\0c\r\n"), 400),
        ("NUL in a name", get("A\0: b\r\n"), 400),
        ("no Host", "GET /event/1 HTTP/1.1\r\n\r\n".into(), 400),
        ("two Hosts", get(HOST), 400),
        ("Host with a space", "GET /event/1 HTTP/1.1\r\nHost: a b/c\r\n\r\n".into(), 400),
        ("Host with a user", "GET /event/1 HTTP/1.1\r\nHost: a@b\r\n\r\n".into(), 400),
        ("control character in the URL", format!("GET /event/1\u{7f} HTTP/1.1\r\n{HOST}\r\n"), 400),
        ("method that is no token", format!("G@T /event/1 HTTP/1.1\r\n{HOST}\r\n"), 400),
        ("two spaces", format!("GET  /event/1 HTTP/1.1\r\n{HOST}\r\n"), 400),
        ("no version", "GET /event/1\r\n\r\n".into(), 400),
        ("HTTP/0.9", format!("GET /event/1 HTTP/0.9\r\n{HOST}\r\n"), 400),
        ("HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(), 400),
        ("TLS", "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}\n".into(), 400),
        ("a body on GET", get("Content-Length: 3\r\n") + "abc", 413),
        ("a large body on GET", get("Content-Length: 100000\r\n") + &"x".repeat(100_000), 413),
        ("a chunked body on GET", get(chunked) + "3\r\nabc\r\n0\r\n\r\n", 400),
        ("Expect and a large body", post("Expect: 100-continue\r\nContent-Length: 9999999\r\n", ""), 413),
        ("long URL", format!("GET /event/{} HTTP/1.1\r\n{HOST}\r\n", "x".repeat(9_000)), 414),
        ("endless URL", format!("GET /{}", "x".repeat(65_536)), 414),
        ("101 headers", get(&"A: b\r\n".repeat(100)), 431),
        ("large head", get(&format!("A: {}\r\n", "x".repeat(17_000))), 431),
        ("endless head", format!("GET / HTTP/1.1\r\n{HOST}A: {}", "x".repeat(300_000)), 431),
        ("large head of many lines", get(&format!("A: {}\r\n", "x".repeat(300)).repeat(60)), 431),
    ];
    for length in ["+3", "-1", "0x3", "3 3", "3,3", "18446744073709551616", ""] {
        cases.push(("malformed CL", post(&format!("Content-Length: {length}\r\n"), "abc"), 400));
    }
    cases
}

#[test]
fn a_request_that_is_not_plainly_one_is_refused_and_its_connection_closed() {
    serve(&[], async |service| {
        for (name, bytes, status) in cases() {
            let mut client = service.client();
            let answer = client.send(&bytes).answer().unwrap_or_else(|| panic!("{name}: no answer"));
            assert_eq!(answer.status, status, "{name}");
            assert_eq!(answer.header("connection"), Some("close"), "{name}");
            assert_eq!(answer.header("content-type"), Some("application/json"), "{name}");
            assert!(answer.json()["error"].is_string(), "{name}: {}", answer.body);
            client.close_sending_side();
            assert!(client.is_closed(), "{name}: answered twice, or not closed");
            assert_eq!(service.client().get("/event/1").status, 200, "a clean request after: {name}");
        }
        let refused = service.counted(r#"adtrack_http_heads_refused_total{reason="content_length"}"#);
        assert_eq!(refused, 9);
        let without_a_word = service.counted(r#"adtrack_http_heads_refused_total{reason="malformed"}"#);
        assert_eq!(without_a_word, 0, "the parser's own refusals have no body");
    });
}

#[test]
fn requests_before_a_refused_one_are_answered_first_and_none_behind_it() {
    serve(&[], async |service| {
        let good = format!("GET /event/1 HTTP/1.1\r\n{HOST}\r\n");
        let mut client = service.client();
        client.send(format!("{good}{good}GET /event/1 HTTP/1.1\r\n\r\n{good}"));
        let statuses: Vec<u16> = std::iter::from_fn(|| client.answer()).map(|answer| answer.status).collect();
        assert_eq!(statuses, [200, 200, 400]);
        assert_eq!(service.events().len(), 2);
    });
}

#[test]
fn what_is_unusual_but_clear_is_answered() {
    serve(&[], async |service| {
        for (name, bytes, status) in [
            ("HTTP/1.0 without Host", "GET /event/1 HTTP/1.0\r\n\r\n".to_owned(), 200),
            ("an empty line first", format!("\r\nGET /event/1 HTTP/1.1\r\n{HOST}\r\n"), 200),
            ("CL of 0 on GET", format!("GET /event/1 HTTP/1.1\r\n{HOST}Content-Length: 0\r\n\r\n"), 200),
            ("absolute form", format!("GET http://other/event/1 HTTP/1.1\r\n{HOST}\r\n"), 200),
            ("100 headers", format!("GET /event/1 HTTP/1.1\r\n{HOST}{}\r\n", "A: b\r\n".repeat(99)), 200),
            ("not ASCII in a header", format!("GET /event/1 HTTP/1.1\r\n{HOST}User-Agent: \u{e4}\r\n\r\n"), 200),
            ("HEAD", format!("HEAD /health/check HTTP/1.0\r\n{HOST}\r\n"), 200),
            ("an unknown method", format!("FOO /event/1 HTTP/1.1\r\n{HOST}\r\n"), 405),
            ("TRACE", format!("TRACE /event/1 HTTP/1.1\r\n{HOST}\r\n"), 405),
            ("CONNECT", format!("CONNECT localhost:80 HTTP/1.1\r\n{HOST}\r\n"), 405),
            ("OPTIONS *", format!("OPTIONS * HTTP/1.1\r\n{HOST}\r\n"), 405),
        ] {
            let mut client = service.client();
            client.send(&bytes).close_sending_side();
            let head_end = if name == "HEAD" { None } else { client.answer() };
            assert_eq!(head_end.map_or(200, |answer| answer.status), status, "{name}");
        }
    });
}

#[test]
fn a_head_sent_byte_by_byte_is_answered_like_any_other() {
    serve(&[], async |service| {
        let mut client = service.client();
        for _ in 0..2 {
            for byte in format!("GET /event/1 HTTP/1.1\r\n{HOST}\r\n").bytes() {
                client.send([byte]);
            }
            assert_eq!(client.answer().unwrap().status, 200);
        }
    });
}

#[test]
fn a_thousand_requests_in_one_segment_are_answered_in_order() {
    serve(&[], async |service| {
        let requests: String =
            (0..1_000).map(|n| format!("GET /event/{n} HTTP/1.1\r\n{HOST}\r\n")).collect::<Vec<_>>().concat();
        let mut client = service.client();
        client.send(requests);
        for n in 0..1_000 {
            assert_eq!(client.answer().unwrap().json()["programId"], n.to_string());
        }
        let ids: std::collections::BTreeSet<_> =
            service.events().iter().map(|event| event.message_id.clone()).collect();
        assert_eq!(ids.len(), 1_000);
    });
}

#[test]
fn a_client_that_closes_its_side_behind_its_request_still_gets_its_answer() {
    serve(&[], async |service| {
        let mut client = service.client();
        client.send(format!("GET /event/1?type=slow HTTP/1.1\r\n{HOST}\r\n")).close_sending_side();
        assert_eq!(client.answer().unwrap().status, 200);
        assert!(client.is_closed());
    });
}

#[test]
fn an_upgrade_that_is_offered_is_not_taken_and_the_connection_goes_on() {
    serve(&[], async |service| {
        let mut client = service.client();
        for _ in 0..2 {
            client.send(format!("GET /event/1 HTTP/1.1\r\n{HOST}Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"));
            assert_eq!(client.answer().unwrap().status, 200);
        }
    });
}
