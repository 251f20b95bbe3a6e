//! `/event/{programId}` and the other public routes.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::service::serve;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[test]
fn a_known_program_is_answered_in_the_contracts_shape_and_its_event_taken() {
    serve(&[], async |service| {
        let mut client = service.client();
        client.send("GET /event/212313 HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl/7.54.0\r\n\r\n");
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 200);
        for (name, value) in [
            ("content-type", "application/json"),
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            ("adtrack-durability", "spool"),
        ] {
            assert_eq!(answer.header(name), Some(value));
        }
        let events = service.events();
        let [event] = events.as_slice() else { panic!("{} events", events.len()) };
        let expected = format!(
            r#"{{"userAgent":"curl/7.54.0","programId":"212313","programName":"program2","checksum":"124","customerId":9124,"customerName":"Customer2","messageId":"{}","valid":true}}"#,
            event.message_id
        );
        assert_eq!(answer.body, expected);
        assert_eq!(uuid::Uuid::parse_str(&event.message_id).unwrap().get_version_num(), 7);
    });
}

#[test]
fn an_event_holds_what_the_request_told() {
    serve(&[("HTTP_TRUSTED_PROXIES", "127.0.0.0/8")], async |service| {
        let headers = format!(
            "Host: localhost\r\nReferer: https://page.example/?a=1\r\nX-Forwarded-For: 6.6.6.6, 198.51.100.77\r\n\
             traceparent: 00-{TRACE}-00f067aa0ba902b7-01\r\n"
        );
        let mut client = service.client();
        client.send(format!("GET /event/1?type=click&b=x%20y&b=2 HTTP/1.1\r\n{headers}\r\n"));
        assert_eq!(client.answer().unwrap().status, 200);
        let event = service.events().remove(0);
        assert_eq!(event.event_type, "click");
        assert_eq!(event.referer, "https://page.example/?a=1");
        assert_eq!(event.client_ip, "198.51.100.0");
        assert_eq!(event.trace_id, TRACE);
        assert_eq!(event.user_agent, "");
        let query: Vec<(&str, &str)> = event.query.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
        assert_eq!(query, [("type", "click"), ("b", "x y"), ("b", "2")]);
        assert!((service.rt.clock().unix_ms() - event.event_time_ms).abs() < 10_000);
    });
}

#[test]
fn a_cookie_is_kept_when_the_settings_name_it_and_only_then() {
    let request = "GET /event/1 HTTP/1.1\r\nHost: a\r\nCookie: session=secret; uid=7f3a\r\n\r\n";
    serve(&[("HTTP_COOKIE_NAME", "uid")], async |service| {
        service.client().send(request).answer().unwrap();
        assert_eq!(service.events().remove(0).cookie_id, "7f3a");
    });
    serve(&[], async |service| {
        service.client().send(request).answer().unwrap();
        assert_eq!(service.events().remove(0).cookie_id, "");
    });
}

#[test]
fn an_address_is_truncated_and_nobodys_header_believed_by_default() {
    serve(&[], async |service| {
        let mut client = service.client();
        client.send("GET /event/1 HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.77\r\n\r\n").answer().unwrap();
        assert_eq!(service.events().remove(0).client_ip, "127.0.0.0");
    });
}

#[test]
fn a_user_agent_is_echoed_as_json_and_cut_at_its_bound() {
    serve(&[("HTTP_USER_AGENT_BYTES_MAX", "20")], async |service| {
        let mut client = service.client();
        client.send(b"GET /event/1 HTTP/1.1\r\nHost: a\r\nUser-Agent: \"</script>\\\xff\tabcdefghijkl\r\n\r\n");
        let answer = client.answer().unwrap();
        assert_eq!(answer.json()["userAgent"], "\"</script>\\\u{fffd}\tabcde");
        assert_eq!(service.events().remove(0).user_agent, "\"</script>\\\u{fffd}\tabcde");
    });
}

#[test]
fn an_unknown_program_is_404_with_a_json_string() {
    serve(&[], async |service| {
        let answer = service.client().get("/event/unknown");
        assert_eq!((answer.status, answer.body.as_str()), (404, "\"ProgramId not found\""));
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert!(service.events().is_empty());
    });
}

#[test]
fn a_malformed_id_is_400_and_nothing_is_asked() {
    serve(&[], async |service| {
        let mut client = service.client();
        let long = "x".repeat(129);
        for id in [
            "",
            long.as_str(),
            "%00",
            "%2e%2e%2fx",
            "%c0%ae",
            "%0d%0aSet-Cookie:x=1",
            "*",
            "%7Ba%7D",
            "a/b",
            "a%20b",
            "%zz",
            "\u{e4}",
        ] {
            let answer = client.get(&format!("/event/{id}"));
            assert_eq!(answer.status, 400, "{id}");
            assert!(answer.json()["error"].is_string(), "{id}");
        }
        assert_eq!(service.behind.lookups.load(Ordering::Relaxed), 0);
        assert_eq!(service.counted("adtrack_http_events_malformed_id_total"), 12);
    });
}

#[test]
fn an_event_is_taken_at_the_level_of_the_settings_or_at_one_its_request_may_ask_for() {
    let settings = [("EVENTS_DURABILITY", "sync"), ("EVENTS_DURABILITY_ALLOWED", "memory,spool")];
    serve(&settings, async |service| {
        let mut client = service.client();
        for (wish, met) in [("", "sync"), ("memory", "memory"), ("spool", "spool"), ("sync", "sync")] {
            let header = if wish.is_empty() { String::new() } else { format!("adtrack-durability: {wish}\r\n") };
            let answer = client.get_with("/event/212313", &header);
            assert_eq!((answer.status, answer.header("adtrack-durability")), (200, Some(met)), "{wish}");
            assert!(answer.json().get("durability").is_none());
        }
        let events = service.events().len();
        for wish in ["stream", "SYNC", "x"] {
            let answer = client.get_with("/event/212313", &format!("adtrack-durability: {wish}\r\n"));
            assert_eq!(answer.status, 400, "{wish}");
            let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
            assert!(error.contains(wish) && error.contains("only sync, memory, spool"), "{error}");
        }
        assert_eq!(service.events().len(), events);
    });
}

#[test]
fn a_store_that_cannot_answer_is_503_within_a_second() {
    serve(&[("HTTP_RETRY_AFTER_S", "7")], async |service| {
        for id in ["down", "stuck"] {
            let begun = service.rt.elapsed();
            let answer = service.client().get(&format!("/event/{id}"));
            assert!(
                (service.rt.elapsed() - begun) < Duration::from_secs(1),
                "{id}: {:?}",
                (service.rt.elapsed() - begun)
            );
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("7")), "{id}");
        }
        assert_eq!(service.counted(r#"adtrack_http_events_unavailable_total{reason="lookup"}"#), 2);
        assert!(service.events().is_empty());
    });
}

#[test]
fn an_event_that_cannot_be_taken_is_503_and_counted() {
    serve(&[], async |service| {
        for kind in ["overloaded", "broken"] {
            let answer = service.client().get(&format!("/event/1?type={kind}"));
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{kind}");
        }
        assert_eq!(service.counted(r#"adtrack_http_events_unavailable_total{reason="track"}"#), 2);
        assert_eq!(service.counted(r#"adtrack_http_requests_total{route="event",status="5xx"}"#), 2);
    });
}

#[test]
fn an_invalid_program_is_streamed_by_default() {
    serve(&[], async |service| {
        let answer = service.client().get("/event/invalid1");
        assert_eq!((answer.status, &answer.json()["valid"]), (200, &false.into()));
        assert!(!service.events().remove(0).program.valid);
    });
}

#[test]
fn an_invalid_program_is_410_where_that_is_set_and_not_streamed() {
    serve(&[("HTTP_ON_INVALID", "reject")], async |service| {
        let answer = service.client().get("/event/invalid1");
        assert_eq!(answer.status, 410);
        assert!(answer.json()["error"].is_string());
        assert!(service.events().is_empty());
        assert_eq!(service.counted("adtrack_http_events_rejected_invalid_total"), 1);
    });
}

#[test]
fn requests_beyond_the_bound_are_503_and_those_under_way_are_not_harmed() {
    serve(&[("HTTP_REQUESTS_IN_FLIGHT_MAX", "1")], async |service| {
        let mut clients: Vec<_> = (0..6).map(|_| service.client()).collect();
        for client in &mut clients {
            client.send("GET /event/1?type=slow HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        assert_eq!(service.client().get("/health/check").status, 200, "a busy node is alive");
        let answers: Vec<_> = clients.iter_mut().map(|client| client.answer().unwrap()).collect();
        let shed: Vec<_> = answers.iter().filter(|answer| answer.status == 503).collect();
        assert_eq!((answers.len() - shed.len(), shed.len()), (2, 4), "one for each of two loops");
        assert!(shed.iter().all(|answer| answer.header("retry-after") == Some("1")));
        assert_eq!(service.counted("adtrack_http_shed_total"), 4);
        assert_eq!(clients[0].get("/event/1").status, 200);
    });
}

#[test]
fn connections_beyond_the_bound_are_closed_at_once_and_counted() {
    serve(&[("HTTP_CONNECTIONS_MAX", "2")], async |service| {
        let mut first = service.client();
        let mut second = service.client();
        assert_eq!((first.get("/event/1").status, second.get("/event/1").status), (200, 200));
        assert!(service.client().is_closed());
        assert_eq!(service.counted(r#"adtrack_http_connections_refused_total{listener="public"}"#), 1);
        drop(first);
        crate::service::eventually("room for another", || {
            service.counted(r#"adtrack_http_connections_open{listener="public"}"#) == 1
        });
        assert_eq!(service.client().get("/event/1").status, 200);
    });
}

#[test]
fn connections_go_to_the_loops_in_turn() {
    serve(&[("HTTP_REQUESTS_IN_FLIGHT_MAX", "3")], async |service| {
        let mut clients: Vec<_> = (0..6).map(|_| service.client()).collect();
        for client in &mut clients {
            client.send("GET /event/1?type=slow HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        // Three fit on each of two loops; were they not spread evenly, some would be shed.
        assert!(clients.iter_mut().all(|client| client.answer().unwrap().status == 200));
    });
}

#[test]
fn paths_and_methods_that_are_not_served_say_so() {
    serve(&[], async |service| {
        let mut client = service.client();
        for (request, status, allow) in [
            ("GET /", 404, None),
            ("GET /event", 404, None),
            ("GET /metrics", 404, None),
            ("GET /cache/fill", 404, None),
            ("GET /cache/purge?token=", 404, None),
            ("POST /cache/purge", 404, None),
            ("POST /event/1", 405, Some("GET")),
            ("HEAD /event/1", 405, Some("GET")),
            ("DELETE /health/check", 405, Some("GET, HEAD")),
            ("POST /nothing", 405, Some("GET, HEAD")),
        ] {
            client.send(format!("{request} HTTP/1.1\r\nHost: a\r\n\r\n"));
            if request.starts_with("HEAD") {
                client = service.client();
                continue;
            }
            let answer = client.answer().unwrap();
            assert_eq!((answer.status, answer.header("allow")), (status, allow), "{request}");
            assert!(answer.json()["error"].is_string(), "{request}");
        }
        assert!(service.behind.puts.lock().unwrap().is_empty() && service.events().is_empty());
    });
}

#[test]
fn the_references_cache_routes_need_the_switch_and_the_token() {
    let token = "0123456789abcdef";
    let settings = [("HTTP_COMPAT_ADMIN_ROUTES", "true"), ("HTTP_COMPAT_ADMIN_TOKEN", token)];
    serve(&settings, async |service| {
        let mut client = service.client();
        for path in ["/cache/fill", "/cache/purge", "/cache/fill?token=", "/cache/fill?token=0123456789abcdeF"] {
            assert_eq!(client.get(path).status, 404, "{path}");
        }
        assert!(service.behind.puts.lock().unwrap().is_empty());
        assert_eq!(client.get(&format!("/cache/fill?token={token}")).status, 200);
        assert_eq!(service.behind.puts.lock().unwrap().remove(0).programs.len(), 3);
        client.send(format!("GET /cache/purge HTTP/1.1\r\nHost: a\r\nX-Adtrack-Token: {token}\r\n\r\n"));
        assert_eq!(client.answer().unwrap().status, 200);
        service.behind.store_down.store(true, Ordering::Relaxed);
        assert_eq!(client.get(&format!("/cache/fill?token={token}")).status, 503);
    });
}

#[test]
fn other_paths_have_levels_and_types_of_their_own_and_the_rest_of_the_route() {
    let routes = [("HTTP_ROUTES", "/impression/ memory drop,/transaction/ sync refuse")];
    serve(&routes, async |service| {
        let mut client = service.client();
        let impression = client.get("/impression/212313?a=b");
        assert_eq!((impression.status, impression.header("adtrack-durability")), (200, Some("memory")));
        let transaction = client.get("/transaction/212313?type=refund");
        assert_eq!((transaction.status, transaction.header("adtrack-durability")), (200, Some("sync")));
        assert_eq!(client.get("/event/212313").header("adtrack-durability"), Some("spool"));
        let types: Vec<_> = service.events().into_iter().map(|event| event.event_type).collect();
        assert_eq!(types, ["impression", "refund", ""]);
        assert_eq!(client.get("/impression/unknown").status, 404);
        assert_eq!(client.get("/impression/").status, 400);
        assert_eq!(client.get("/impression").status, 404);
        let asked = client.get_with("/impression/1", "adtrack-durability: stream\r\n");
        assert_eq!(asked.status, 400);
        assert!(asked.body.contains("only memory"), "{}", asked.body);
        assert_eq!(service.counted(r#"adtrack_http_requests_total{route="impression",status="2xx"}"#), 1);
    });
}

#[test]
fn at_a_bound_a_path_that_drops_answers_200_and_says_that_nothing_holds_the_event() {
    serve(&[("HTTP_ROUTES", "/impression/ memory drop")], async |service| {
        let mut client = service.client();
        let dropped = client.get("/impression/212313?type=full");
        assert_eq!((dropped.status, dropped.header("adtrack-durability")), (200, Some("none")));
        assert_eq!(dropped.json()["programId"], "212313");
        assert_eq!(client.get("/event/212313?type=full").status, 503);
        assert!(service.events().is_empty());
        let counted = |route| {
            service.counted(&format!(r#"adtrack_http_events_dropped_total{{route="{route}",reason="log_full"}}"#))
        };
        assert_eq!((counted("impression"), counted("event")), (1, 0));
    });
}

#[test]
fn the_usual_path_may_be_set_to_drop_at_a_bound_too() {
    serve(&[("EVENTS_AT_BOUND", "drop")], async |service| {
        let dropped = service.client().get("/event/212313?type=full");
        assert_eq!((dropped.status, dropped.header("adtrack-durability")), (200, Some("none")));
    });
}
