//! `/health/check`.

use std::sync::atomic::Ordering;

use crate::service::{eventually, serve};

#[test]
fn health_is_200_and_503_while_events_cannot_be_accepted() {
    serve(&[], async |service| {
        let answer = service.client().get("/health/check");
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{"status":"ok"}"#));
        service.behind.not_accepting.store(true, Ordering::Relaxed);
        eventually("503", || service.client().get("/health/check").status == 503);
        service.behind.not_accepting.store(false, Ordering::Relaxed);
        eventually("200 again", || service.client().get("/health/check").status == 200);
    });
}

#[test]
fn head_is_get_without_the_body() {
    serve(&[], async |service| {
        let mut client = service.client();
        client.send("HEAD /health/check HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        // The length is told, the body is not sent: so the connection ends behind the head.
        let all = client.read_to_end();
        assert!(all.starts_with("HTTP/1.1 200 OK\r\n") && all.ends_with("\r\n\r\n"), "{all}");
    });
}
