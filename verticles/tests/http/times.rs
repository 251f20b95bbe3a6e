//! Slow clients.

use std::time::Duration;

use crate::service::{eventually, serve};

const SHORT: &[(&str, &str)] =
    &[("HTTP_HEADER_READ_TIMEOUT_MS", "200"), ("HTTP_REQUEST_TIMEOUT_MS", "400"), ("HTTP_IDLE_TIMEOUT_MS", "900")];

#[test]
fn a_head_that_does_not_come_in_time_is_408_and_closed() {
    serve(SHORT, async |service| {
        let mut client = service.client();
        assert_eq!(client.get("/event/1").status, 200);
        let begun = service.rt.elapsed();
        client.send("GET /event/1 HTTP/1.1\r\nHost: a");
        let answer = client.answer().unwrap();
        let took = service.rt.elapsed() - begun;
        assert_eq!((answer.status, answer.header("connection")), (408, Some("close")));
        assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(800), "{took:?}");
        assert!(client.is_closed());
        assert_eq!(service.counted(r#"adtrack_http_timeouts_total{reason="head"}"#), 1);
        assert_eq!(service.counted(r#"adtrack_http_heads_refused_total{reason="too_slow"}"#), 1);
    });
}

#[test]
fn bytes_that_trickle_do_not_buy_a_head_more_time() {
    serve(SHORT, async |service| {
        let begun = service.rt.elapsed();
        let mut client = service.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\n");
        let trickled = std::iter::repeat_with(|| {
            client.send("A: b\r\n");
            std::thread::park_timeout(Duration::from_millis(20));
        })
        .take_while(|()| service.counted(r#"adtrack_http_timeouts_total{reason="head"}"#) == 0)
        .take(200)
        .count();
        assert!(
            trickled < 100 && (service.rt.elapsed() - begun) < Duration::from_secs(2),
            "{:?}",
            (service.rt.elapsed() - begun)
        );
    });
}

#[test]
fn an_idle_connection_outlives_the_heads_time_and_is_closed_at_its_own() {
    serve(SHORT, async |service| {
        let mut client = service.client();
        assert_eq!(client.get("/event/1").status, 200);
        let begun = service.rt.elapsed();
        eventually("the head's time has passed", || service.rt.elapsed() - begun > Duration::from_millis(500));
        assert_eq!(client.get("/event/1").status, 200, "still served after {:?}", (service.rt.elapsed() - begun));
        let begun = service.rt.elapsed();
        assert!(client.is_closed());
        let took = service.rt.elapsed() - begun;
        assert!(took >= Duration::from_millis(850) && took < Duration::from_millis(2_000), "{took:?}");
        assert_eq!(service.counted(r#"adtrack_http_timeouts_total{reason="idle"}"#), 1);
    });
}

#[test]
fn a_connection_on_which_nothing_is_ever_sent_is_closed_silently() {
    serve(SHORT, async |service| {
        assert!(service.client().is_closed());
    });
}

#[test]
fn a_client_that_does_not_read_its_answers_is_cut() {
    serve(SHORT, async |service| {
        let mut client = service.client();
        // More answers than the sockets' buffers take; sending stops when the service stops reading.
        let requests = "GET /event/1 HTTP/1.1\r\nHost: a\r\n\r\n".repeat(100_000);
        let sender = std::thread::spawn(move || {
            client.send(requests);
            client
        });
        eventually("cut", || service.counted(r#"adtrack_http_timeouts_total{reason="request"}"#) == 1);
        drop(sender.join().unwrap());
        assert_eq!(service.client().get("/event/1").status, 200);
    });
}

#[test]
fn a_body_that_does_not_come_is_cut_with_its_request() {
    serve(SHORT, async |service| {
        let mut operator = service.operator();
        operator.send("POST /programs HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n[");
        assert!(operator.is_closed());
        assert_eq!(service.counted(r#"adtrack_http_timeouts_total{reason="request"}"#), 1);
        assert!(service.behind.puts.lock().unwrap().is_empty());
    });
}
