//! The operators' listener.

use std::sync::atomic::Ordering;

use crate::service::serve;

const TOKEN: &str = "0123456789abcdef";

fn post(path: &str, headers: &str, body: &str) -> String {
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn every_route_answers() {
    serve(&[], async |service| {
        let mut operator = service.operator();
        let metrics = operator.get("/metrics");
        assert!(metrics.body.contains("adtrack_http_requests_total") && metrics.body.ends_with("# EOF\n"));
        assert!(metrics.header("content-type").unwrap().starts_with("application/openmetrics-text"));
        let health = operator.get("/health/deps");
        assert_eq!((health.status, &health.json()["status"]), (200, &"degraded".into()));
        assert_eq!(health.json()["dependencies"][0]["detail"], "connection refused");
        let purged = operator.send(post("/cache/purge", "", "")).answer().unwrap();
        assert_eq!((&purged.json()["store"], &purged.json()["cache"]), (&7.into(), &5.into()));
        assert_eq!(operator.send(post("/cache/fill", "", "")).answer().unwrap().status, 200);
        assert_eq!(service.behind.puts.lock().unwrap().remove(0).programs.len(), 3);
        assert_eq!(operator.get("/programs/212313").json()["customerId"], 9124);
        assert_eq!(operator.get("/programs/unknown").status, 404);
        assert_eq!(operator.get("/programs/down").status, 503);
        assert_eq!(operator.get("/programs/a%20b").status, 400);
        assert_eq!(operator.get("/programs/").status, 400);
        assert_eq!(operator.get("/nothing").status, 404);
    });
}

#[test]
fn a_program_that_no_url_can_ask_for_is_not_stored() {
    serve(&[("HTTP_PROGRAM_ID_CHARS", "0-9")], async |service| {
        let program = |id: &str| {
            format!(
                r#"{{"programId":"{id}","programName":"p","checksum":"c","customerId":"7","customerName":"n","valid":true}}"#
            )
        };
        let body = format!("[{},{}]", program("1"), program("a"));
        let refused = service.operator().send(post("/programs", "", &body)).answer().unwrap();
        assert_eq!(refused.status, 400);
        let error = refused.json()["error"].to_string();
        assert!(error.contains("program 2: programId has 'a'") && error.contains("http.program_id_chars"), "{error}");
        assert!(service.behind.puts.lock().unwrap().is_empty(), "none of them");
    });
}

#[test]
fn programs_are_listed_page_by_page() {
    serve(&[], async |service| {
        let mut operator = service.operator();
        let page = operator.get("/programs?limit=17").json();
        assert_eq!((&page["programs"][0]["programId"], &page["next"]), (&"first".into(), &"after17".into()));
        let last = operator.get("/programs?cursor=after17").json();
        assert_eq!((&last["programs"][0]["programId"], last["next"].is_null()), (&"after17".into(), true));
        for limit in ["0", "1001", "-1", "x", ""] {
            assert_eq!(operator.get(&format!("/programs?limit={limit}")).status, 400, "{limit}");
        }
    });
}

#[test]
fn programs_are_stored_one_or_many_whatever_pieces_the_body_comes_in() {
    serve(&[], async |service| {
        let one =
            r#"{"programId":"1","programName":"p","checksum":"c","customerId":"7","customerName":"n","valid":true}"#;
        let many = format!("[{}]", vec![one; 2_500].join(","));
        let mut operator = service.operator();
        assert_eq!(operator.send(post("/programs", "", one)).answer().unwrap().status, 204);
        assert_eq!(operator.send(post("/programs", "", &many)).answer().unwrap().status, 204);
        let request = post("/programs", "", one);
        let (start, end) = request.split_at(request.len() - 20);
        operator.send(start);
        crate::service::eventually("time passes", || service.behind.puts.lock().unwrap().len() == 4);
        assert_eq!(operator.send(end).answer().unwrap().status, 204);
        let stored: Vec<usize> = service.behind.puts.lock().unwrap().iter().map(|put| put.programs.len()).collect();
        assert_eq!(stored, [1, 1_000, 1_000, 500, 1]);
    });
}

#[test]
fn programs_of_which_a_higher_version_is_stored_are_named_with_409() {
    serve(&[], async |service| {
        let one =
            r#"{"programId":"1","programName":"p","checksum":"c","customerId":7,"customerName":"n","valid":true}"#;
        let old = one.replace("true}", "true,\"version\":3}");
        let refused = service.operator().send(post("/programs", "", &format!("[{one},{old}]"))).answer().unwrap();
        assert_eq!(refused.status, 409);
        let outdated = refused.json()["outdated"].clone();
        assert_eq!(outdated, serde_json::json!([{ "programId": "1", "version": 3, "stored": u64::MAX }]));
    });
}

#[test]
fn a_program_is_deleted_by_its_id() {
    serve(&[], async |service| {
        let mut operator = service.operator();
        let mut delete =
            |path: &str| operator.send(format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).answer().unwrap();
        let deleted = delete("/programs/7");
        assert_eq!((deleted.status, deleted.json()), (200, serde_json::json!({ "version": 7, "wasStored": true })));
        assert_eq!(delete("/programs/unknown").json()["wasStored"], false);
        let statuses = ["/programs/down", "/programs/foreign", "/programs/a%20b", "/programs", "/nothing"]
            .map(|path| delete(path).status);
        assert_eq!(statuses, [503, 409, 400, 405, 404]);
    });
}

#[test]
fn programs_that_are_none_are_400_and_a_store_that_is_down_is_503() {
    serve(&[], async |service| {
        let one =
            r#"{"programId":"1","programName":"p","checksum":"c","customerId":"7","customerName":"n","valid":true}"#;
        let mut operator = service.operator();
        let bad = operator.send(post("/programs", "", &format!("[{one},{{\"programId\":\"2\"}}]"))).answer().unwrap();
        assert_eq!(bad.status, 400);
        assert!(bad.json()["error"].as_str().unwrap().starts_with("program 2: "), "{}", bad.body);
        for body in ["", "x", "[", "{}", "\u{feff}[]"] {
            assert_eq!(operator.send(post("/programs", "", body)).answer().unwrap().status, 400, "{body}");
        }
        assert!(service.behind.puts.lock().unwrap().is_empty());
        service.behind.store_down.store(true, Ordering::Relaxed);
        assert_eq!(operator.send(post("/programs", "", one)).answer().unwrap().status, 503);
        let large = post("/programs", "", &" ".repeat(1_048_577));
        assert_eq!(operator.send(large).answer().unwrap().status, 413);
    });
}

#[test]
fn with_a_token_every_route_asks_for_it() {
    serve(&[("ADMIN_TOKEN", TOKEN)], async |service| {
        for request in ["GET /metrics", "GET /health/deps", "GET /programs", "GET /programs/1", "GET /nothing"] {
            let mut operator = service.operator();
            operator.send(format!("{request} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
            assert_eq!(operator.answer().unwrap().status, 401, "{request}");
            operator.send(format!("{request} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"));
            assert_ne!(operator.answer().unwrap().status, 401, "{request}");
        }
        let mut operator = service.operator();
        for path in ["/cache/fill", "/cache/purge", "/programs"] {
            assert_eq!(operator.send(post(path, "Authorization: Bearer x\r\n", "")).answer().unwrap().status, 401);
        }
        assert!(service.behind.puts.lock().unwrap().is_empty());
    });
}

#[test]
fn a_page_of_another_host_can_neither_post_nor_use_a_name_of_its_own() {
    serve(&[], async |service| {
        let mut operator = service.operator();
        let posted = operator.send(post("/cache/purge", "Origin: http://evil.example\r\n", "")).answer().unwrap();
        assert_eq!(posted.status, 403);
        operator.send("GET /metrics HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        assert_eq!(operator.answer().unwrap().status, 403);
    });
}
