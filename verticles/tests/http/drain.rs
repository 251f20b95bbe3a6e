//! Leaving.

use std::net::TcpStream;
use std::time::Duration;

use crate::service::serve;

#[test]
fn requests_under_way_are_answered_and_connections_closed() {
    serve(&[], async |mut service| {
        let mut idle = service.client();
        assert_eq!(idle.get("/event/1").status, 200);
        let mut fresh = service.client();
        let mut busy = service.client();
        busy.send("GET /event/1?type=slow HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut pieces = service.client();
        pieces.send("GET /event/1 HTTP/1.1\r\nHo");
        crate::service::eventually("the slow one is under way", || {
            service.behind.lookups.load(std::sync::atomic::Ordering::Relaxed) == 2
        });
        let (acceptor, server) = (service.acceptor.take().unwrap(), service.server.take().unwrap());
        let rest = std::thread::spawn(move || {
            let answer = busy.answer().unwrap();
            assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
            assert!(busy.is_closed() && idle.is_closed() && fresh.is_closed());
            pieces.send("st: a\r\n\r\n");
            let answer = pieces.answer().unwrap();
            assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
        });
        acceptor.undeploy().await.unwrap();
        server.undeploy().await.unwrap();
        rest.join().unwrap();
        assert_eq!(service.events().len(), 3);
        assert!(TcpStream::connect(service.public).is_err(), "the port is free");
        assert_eq!(service.counted("adtrack_http_connections_cut_at_drain_total"), 0);
    });
}

#[test]
fn a_connection_that_does_not_finish_is_cut_when_a_fifth_of_the_grace_is_over() {
    serve(&[("RUNTIME_SHUTDOWN_GRACE_MS", "1000")], async |mut service| {
        let mut stuck = service.client();
        stuck.send("GET /event/stuck HTTP/1.1\r\nHost: a\r\n\r\n");
        crate::service::eventually("under way", || {
            service.behind.lookups.load(std::sync::atomic::Ordering::Relaxed) == 1
        });
        let begun = service.rt.elapsed();
        service.acceptor.take().unwrap().undeploy().await.unwrap();
        service.server.take().unwrap().undeploy().await.unwrap();
        let took = service.rt.elapsed() - begun;
        assert!(took >= Duration::from_millis(200) && took < Duration::from_millis(700), "{took:?}");
        assert!(stuck.is_closed());
        assert_eq!(service.counted("adtrack_http_connections_cut_at_drain_total"), 1);
    });
}

#[test]
fn whoever_is_in_a_hurry_waits_for_no_request() {
    serve(&[], async |mut service| {
        let mut stuck = service.client();
        stuck.send("GET /event/stuck HTTP/1.1\r\nHost: a\r\n\r\n");
        crate::service::eventually("under way", || {
            service.behind.lookups.load(std::sync::atomic::Ordering::Relaxed) == 1
        });
        let begun = service.rt.elapsed();
        service.acceptor.take().unwrap().undeploy().await.unwrap();
        service.drain.hurry();
        service.server.take().unwrap().undeploy().await.unwrap();
        assert!(service.rt.elapsed() - begun < Duration::from_millis(500));
        assert!(stuck.is_closed());
    });
}

#[test]
fn while_load_balancers_are_told_connections_are_still_served() {
    serve(&[], async |mut service| {
        service.drain.begin(service.rt.clock().now());
        let answer = service.client().get("/health/check");
        assert_eq!((answer.status, answer.body.as_str()), (503, r#"{"status":"draining"}"#));
        assert_eq!(service.client().get("/event/1").status, 200);
        service.acceptor.take().unwrap().undeploy().await.unwrap();
        assert!(TcpStream::connect(service.public).is_err(), "the port is free");
    });
}
