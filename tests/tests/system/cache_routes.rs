//! Filling and purging, on the operators' side and - where switched on - on the public one.

use adtrack_tests::adtrack::{Adtrack, Builder};
use adtrack_tests::client::once;
use adtrack_tests::services::RedisServer;
use http::{Method, StatusCode};

use crate::support::{KNOWN, beside_others, event, hset, metric, name_in, with_redis};

const TOKEN: &str = "0123456789abcdef";

fn with_switch(service: Builder) -> Builder {
    service.env("ADTRACK_HTTP_COMPAT_ADMIN_ROUTES", "true").env("ADTRACK_HTTP_COMPAT_ADMIN_TOKEN", TOKEN)
}

#[tokio::test]
async fn a_fill_puts_the_sample_programs_into_redis_and_memory() {
    let _turn = beside_others().await;
    let redis = RedisServer::start().unwrap();
    let service = with_redis(Adtrack::builder(), &redis).start().unwrap();
    assert_eq!(event(&service, KNOWN).await.status, StatusCode::NOT_FOUND);
    assert_eq!(service.admin_post("/cache/fill", "").await.unwrap().status, StatusCode::OK);
    assert_eq!(name_in(&event(&service, KNOWN).await), "program2");
    for (id, checksum) in [("212312", "123"), ("212313", "124"), ("212314", "125")] {
        assert_eq!(redis.cli(&["HGET", id, "checksum"]).unwrap(), checksum);
    }
}

#[tokio::test]
async fn a_purge_deletes_programs_and_nothing_else() {
    let _turn = beside_others().await;
    let redis = RedisServer::start().unwrap();
    let service = with_redis(Adtrack::builder(), &redis).start().unwrap();
    for number in 0..300 {
        let id = format!("program-{number}");
        redis.cli(&hset(&id, "x")).unwrap();
    }
    assert_eq!(event(&service, "program-7").await.status, StatusCode::OK);
    redis.cli(&["SET", "session", "x"]).unwrap();
    redis.cli(&["RPUSH", "queue", "x"]).unwrap();
    redis.cli(&["HSET", "user:1", "name", "x"]).unwrap();
    redis.cli(&["HSET", "user:2", "programId", "program-7"]).unwrap();
    redis.cli(&["-n", "1", "SET", "elsewhere", "x"]).unwrap();
    let answer = service.admin_post("/cache/purge", "").await.unwrap();
    assert_eq!((answer.status, &answer.json()["store"]), (StatusCode::OK, &300.into()), "{}", answer.text());
    assert_eq!(redis.cli(&["DBSIZE"]).unwrap(), "4");
    for key in ["session", "queue", "user:1", "user:2"] {
        assert_eq!(redis.cli(&["EXISTS", key]).unwrap(), "1", "{key}");
    }
    assert_eq!(redis.cli(&["-n", "1", "EXISTS", "elsewhere"]).unwrap(), "1");
    assert_eq!(event(&service, "program-7").await.status, StatusCode::NOT_FOUND, "memory was emptied too");
}

#[tokio::test]
async fn the_public_side_has_no_cache_routes_unless_switched_on() {
    let _turn = beside_others().await;
    let service = Adtrack::builder().start().unwrap();
    for path in ["/cache/fill", "/cache/purge", "/metrics", "/health/deps", "/programs"] {
        for method in [Method::GET, Method::POST] {
            let answer = once(service.public(), method.clone(), path, &[("x-adtrack-token", TOKEN)], "").await.unwrap();
            let refused = matches!(answer.status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED);
            assert!(refused, "{method} {path}: {}", answer.status);
        }
    }
    assert_eq!(event(&service, KNOWN).await.status, StatusCode::OK);
}

#[tokio::test]
async fn the_public_cache_routes_work_with_the_token_alone() {
    let _turn = beside_others().await;
    let redis = RedisServer::start().unwrap();
    let service = with_redis(with_switch(Adtrack::builder()), &redis).start().unwrap();
    redis.cli(&["SET", "other", "x"]).unwrap();
    let ask = async |path: &str, headers: &[(&str, &str)]| {
        once(service.public(), Method::GET, path, headers, "").await.unwrap().status
    };
    for (path, token) in [("/cache/fill", ""), ("/cache/fill?token=", ""), ("/cache/fill?token=0123456789abcdeF", "")]
        .into_iter()
        .chain([("/cache/fill", "wrong"), ("/cache/purge", ""), ("/cache/purge?token=0123456789abcde", "")])
    {
        assert_eq!(ask(path, &[("x-adtrack-token", token)]).await, StatusCode::NOT_FOUND, "{path} {token}");
    }
    assert_eq!(redis.cli(&["DBSIZE"]).unwrap(), "1", "nothing was done");
    assert_eq!(ask("/cache/fill", &[("x-adtrack-token", TOKEN)]).await, StatusCode::OK);
    assert_eq!(redis.cli(&["DBSIZE"]).unwrap(), "5", "three programs, the stream of changes, and what is not ours");
    assert_eq!(name_in(&event(&service, KNOWN).await), "program2");
    assert_eq!(ask(&format!("/cache/purge?token={TOKEN}"), &[]).await, StatusCode::OK);
    assert_eq!(redis.cli(&["EXISTS", "other", "adtrack:changes"]).unwrap(), "2", "what is no program is still there");
    assert_eq!(redis.cli(&["DBSIZE"]).unwrap(), "2");
    assert_eq!(event(&service, KNOWN).await.status, StatusCode::NOT_FOUND);
    assert!(metric(&service, r#"adtrack_http_requests_total{route="cache",status="4xx"}"#).await >= 6.0);
}

#[tokio::test]
async fn the_switch_without_a_token_is_refused() {
    let _turn = beside_others().await;
    let (code, said) = crate::support::run_to_end(&["serve"], &[("ADTRACK_HTTP_COMPAT_ADMIN_ROUTES", "true")]);
    assert_eq!(code, Some(78));
    assert!(said.contains("http.compat_admin_token") || said.contains("http.compat_admin_routes"), "{said}");
}
