//! Arbitrary bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::service::serve;

fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "GET /event/1 HTTP/1.1\r\n",
        "GET /event/1?a=%zz&type=click HTTP/1.0\r\n",
        "POST /health/check HTTP/1.1\r\n",
        "Host: a\r\n",
        "Host: ",
        "GET ",
        " HTTP/1.1\r\n",
        "GET http://a/event/1 HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "CONNECT a:80 HTTP/1.1\r\n",
        "Content-Length: 3\r\n",
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "Upgrade: h2c\r\n",
        "Transfer-Encoding: chunked\r\n",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n",
        "\r\n",
        "\r\n\r\n",
        "\n",
        "\r",
        " ",
        ":",
    ]);
    let any = prop::collection::vec(any::<u8>(), 0..30);
    prop::collection::vec(prop_oneof![6 => known.prop_map(|text| text.as_bytes().to_vec()), 1 => any], 0..20)
        .prop_map(|pieces| pieces.concat())
}

/// Counts panics on any thread: that of a connection ends the connection alone, which a client cannot tell from a close.
fn count_panics() -> Arc<AtomicUsize> {
    let panics = Arc::new(AtomicUsize::new(0));
    let (counted, report) = (Arc::clone(&panics), std::panic::take_hook());
    std::panic::set_hook(Box::new(move |panic| {
        counted.fetch_add(1, Ordering::Relaxed);
        report(panic);
    }));
    panics
}

#[test]
fn whatever_bytes_come_every_answer_is_whole_and_the_next_client_is_served() {
    let panics = count_panics();
    serve(&[], async |service| {
        TestRunner::new(ProptestConfig::with_cases(300))
            .run(&pieces(), |bytes| {
                for address in [service.public, service.admin] {
                    let mut client = crate::client::Client::connect(address);
                    client.send(&bytes).close_sending_side();
                    let answers = client.read_to_end();
                    prop_assert!(answers.is_empty() || answers.starts_with("HTTP/1."), "{answers:?}");
                }
                prop_assert_eq!(service.client().get("/event/1").status, 200);
                Ok(())
            })
            .unwrap();
        let without_a_word = service.counted(r#"adtrack_http_heads_refused_total{reason="malformed"}"#);
        assert_eq!(without_a_word, 0, "the parser refused what the check let pass");
    });
    assert_eq!(panics.load(Ordering::Relaxed), 0, "a panic, here or in a test that ran beside this one");
}
