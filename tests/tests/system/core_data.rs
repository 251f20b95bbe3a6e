//! Programs in a real Redis: read from it, pushed through it, and nothing else let in by it.

use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use adtrack_tests::adtrack::Adtrack;
use adtrack_tests::client::Client;
use adtrack_tests::services::{Process, RedisServer};
use http::StatusCode;

use crate::support::{
    DEADLINE, KNOWN, alone, beside_others, errors, event, hset, metric, name_in, program, until, with_redis,
};

const CHANNEL: &str = "channel1";
/// Updates whose way is measured.
const UPDATES: usize = 1_000;
/// From publish to visible, at the 99th percentile.
const VISIBLE_MAX: Duration = Duration::from_millis(20);

/// A service on a Redis, listening to its channel.
async fn start() -> (RedisServer, Adtrack) {
    let redis = RedisServer::start().unwrap();
    let service = with_redis(Adtrack::builder(), &redis).start().unwrap();
    until_subscribed(&service).await;
    (redis, service)
}

async fn until_subscribed(service: &Adtrack) {
    until("the subscription", DEADLINE, async || {
        (metric(service, "adtrack_redis_subscribed").await == 1.0).then_some(())
    })
    .await;
}

async fn until_named(service: &Adtrack, id: &str, name: &str) {
    until(&format!("{id} to be {name}"), DEADLINE, async || (name_in(&event(service, id).await) == name).then_some(()))
        .await;
}

#[tokio::test]
async fn a_program_set_by_redis_cli_is_found() {
    let _turn = beside_others().await;
    let (redis, service) = start().await;
    redis.cli(&hset("7", "set by hand")).unwrap();
    let answer = event(&service, "7").await;
    assert_eq!((answer.status, name_in(&answer)), (StatusCode::OK, "set by hand".to_owned()));
    assert_eq!(answer.json()["customerId"], 9124, "a number, though Redis holds text");
    assert_eq!(event(&service, "8").await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_program_that_was_unknown_is_found_when_its_absence_is_forgotten() {
    let _turn = beside_others().await;
    let redis = RedisServer::start().unwrap();
    let service = with_redis(Adtrack::builder(), &redis).env("ADTRACK_CACHE_ABSENT_TTL_MS", "700").start().unwrap();
    assert_eq!(event(&service, "late").await.status, StatusCode::NOT_FOUND);
    redis.cli(&hset("late", "here now")).unwrap();
    let begun = Instant::now();
    until_named(&service, "late", "here now").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn a_redis_that_asks_for_a_password_gets_it_and_nobody_else_does() {
    let _turn = beside_others().await;
    let redis = RedisServer::start().unwrap();
    redis.cli(&hset("7", "guarded")).unwrap();
    redis.cli(&["CONFIG", "SET", "requirepass", "tell-nobody-42"]).unwrap();
    let service =
        with_redis(Adtrack::builder(), &redis).env("ADTRACK_REDIS_PASSWORD", "tell-nobody-42").start().unwrap();
    until_subscribed(&service).await;
    assert_eq!(name_in(&event(&service, "7").await), "guarded");
    let deps = service.admin_get("/health/deps").await.unwrap().text();
    let metrics = service.admin_get("/metrics").await.unwrap().text();
    assert!(![service.log(), deps, metrics].iter().any(|text| text.contains("tell-nobody-42")), "a secret is shown");

    let wrong = with_redis(Adtrack::builder(), &redis).env("ADTRACK_REDIS_PASSWORD", "not-it").start().unwrap();
    crate::support::assert_unavailable(&event(&wrong, "7").await);
    until("/health/deps to say why", DEADLINE, async || {
        let store = crate::support::dependency(&wrong, 0).await;
        (store["up"] == false && !store["detail"].as_str()?.is_empty()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_hash_as_the_replaced_system_writes_it_is_found() {
    let _turn = beside_others().await;
    let (redis, service) = start().await;
    let mut reference = hset("212399", "program9");
    reference.extend(["userAgent", "", "messageId", "", "addedLater", "x"]);
    redis.cli(&reference).unwrap();
    assert_eq!(name_in(&event(&service, "212399").await), "program9");
}

#[tokio::test]
async fn a_key_that_holds_no_program_is_unknown_and_counted() {
    let _turn = beside_others().await;
    let (redis, service) = start().await;
    redis.cli(&["SET", "text", "x"]).unwrap();
    redis.cli(&["RPUSH", "list", "x"]).unwrap();
    redis.cli(&["HSET", "hash", "field", "x"]).unwrap();
    let mut other = hset("other", "x");
    other[3] = "7";
    redis.cli(&other).unwrap();
    for key in ["text", "list", "hash", "other"] {
        assert_eq!(event(&service, key).await.status, StatusCode::NOT_FOUND, "{key}");
    }
    assert_eq!(metric(&service, "adtrack_redis_foreign_keys_total").await, 4.0);
    redis.cli(&hset("7", "fine")).unwrap();
    assert_eq!(name_in(&event(&service, "7").await), "fine");
}

/// One `redis-cli` that takes a command a line, so that its start is not measured.
struct Publisher(Child);

impl Publisher {
    fn start(redis: &RedisServer) -> Self {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &redis.port().to_string()]).stdin(Stdio::piped()).stdout(Stdio::null());
        Self(command.spawn().unwrap())
    }

    fn publish(&mut self, payload: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "PUBLISH {CHANNEL} '{payload}'").unwrap();
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It ends with its input; whether it does is not what is tested here.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

#[tokio::test]
async fn a_published_change_is_in_the_answers_within_20_ms_and_costs_no_miss() {
    let _turn = alone().await;
    let (redis, service) = start().await;
    redis.cli(&hset(KNOWN, "before")).unwrap();
    assert_eq!(name_in(&event(&service, KNOWN).await), "before");
    let misses = metric(&service, "adtrack_cache_misses_total").await;
    let mut publisher = Publisher::start(&redis);
    let mut client = Client::connect(service.public()).await.unwrap();
    let mut took = Vec::new();
    for update in 0..UPDATES {
        let name = format!("update {update}");
        let begun = Instant::now();
        publisher.publish(&program(KNOWN, &name));
        while name_in(&client.get("/event/212313").await.unwrap()) != name {
            assert!(begun.elapsed() < DEADLINE, "{name} never came");
        }
        took.push(begun.elapsed());
    }
    took.sort();
    let (median, p99, worst) = (took[UPDATES / 2], took[UPDATES * 99 / 100], took[UPDATES - 1]);
    println!("publish -> visible, {UPDATES} updates: median {median:.1?}, p99 {p99:.1?}, worst {worst:.1?}");
    assert!(p99 < VISIBLE_MAX, "{p99:?}");
    assert_eq!(metric(&service, "adtrack_cache_misses_total").await, misses, "no lookup had to ask Redis");
    assert_eq!(metric(&service, "adtrack_redis_pushes_total").await, UPDATES as f64);
}

#[tokio::test]
async fn a_published_program_is_known_at_once_though_redis_does_not_hold_it() {
    let _turn = beside_others().await;
    let (redis, service) = start().await;
    assert_eq!(event(&service, "pushed").await.status, StatusCode::NOT_FOUND);
    redis.cli(&["PUBLISH", CHANNEL, &program("pushed", "by channel")]).unwrap();
    until_named(&service, "pushed", "by channel").await;
    assert_eq!(redis.cli(&["EXISTS", "pushed"]).unwrap(), "0");
}

#[tokio::test]
async fn a_customer_id_loads_as_text_and_as_number() {
    let _turn = beside_others().await;
    let (redis, service) = start().await;
    for (round, customer) in [r#""17""#, "17", r#""-1""#, "2147483647"].into_iter().enumerate() {
        let name = format!("round {round}");
        redis.cli(&["PUBLISH", CHANNEL, &program("7", &name).replace("9124", customer)]).unwrap();
        until_named(&service, "7", &name).await;
        let expected: i64 = customer.trim_matches('"').parse().unwrap();
        assert_eq!(event(&service, "7").await.json()["customerId"], expected);
    }
}

#[tokio::test]
async fn programs_put_stores_and_publishes() {
    let _turn = beside_others().await;
    let (redis, service) = start().await;
    redis.cli(&hset(KNOWN, "before")).unwrap();
    assert_eq!(name_in(&event(&service, KNOWN).await), "before");
    let dir = tempfile::tempdir().unwrap();
    let mut subscribe = Command::new("redis-cli");
    subscribe.args(["-p", &redis.port().to_string(), "SUBSCRIBE", CHANNEL]);
    let heard = Process::spawn(subscribe, &dir.path().join("heard")).unwrap();
    until("redis-cli to subscribe", DEADLINE, async || heard.log().contains("subscribe").then_some(())).await;

    let output = service.command(&["programs", "put", "-"], &program(KNOWN, "after")).unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    until_named(&service, KNOWN, "after").await;
    assert_eq!(redis.cli(&["HGET", KNOWN, "programName"]).unwrap(), "after");
    assert_eq!(redis.cli(&["HGET", KNOWN, "customerId"]).unwrap(), "9124");
    until("the change on the channel", DEADLINE, async || {
        heard.log().contains(r#""programName":"after""#).then_some(())
    })
    .await;
    let got = service.command(&["programs", "get", KNOWN], "").unwrap();
    let version = redis.cli(&["HGET", KNOWN, "version"]).unwrap();
    assert_eq!(crate::support::printed(&got).trim_end(), versioned(&program(KNOWN, "after"), &version));
    let changes = redis.cli(&["XRANGE", "adtrack:changes", "-", "+"]).unwrap();
    assert!(changes.contains(&versioned(&program(KNOWN, "after"), &version)), "{changes}");
}

/// A program with a version.
fn versioned(program: &str, version: &str) -> String {
    program.replace("true}", &format!("true,\"version\":{version}}}"))
}

#[tokio::test]
async fn an_older_version_is_refused_by_the_command_and_not_believed_by_the_service() {
    let _turn = beside_others().await;
    let (redis, service) = start().await;
    let put = |name, version| service.command(&["programs", "put", "-"], &versioned(&program(KNOWN, name), version));
    assert!(put("ten", "10").unwrap().status.success());
    until_named(&service, KNOWN, "ten").await;
    let refused = put("nine", "9").unwrap();
    assert!(!refused.status.success() && errors(&refused).contains("version 9 is below 10"), "{}", errors(&refused));
    let lines = [versioned(&program(KNOWN, "eight"), "8"), program("other", "beside it")].join("\n");
    let imported = service.command(&["programs", "import", "-"], &lines).unwrap();
    assert!(!imported.status.success() && errors(&imported).contains("1 programs are stored"), "{}", errors(&imported));
    until_named(&service, "other", "beside it").await;

    // What bypasses the command: a message that comes late, and a replica that has less.
    redis.cli(&["PUBLISH", CHANNEL, &versioned(&program(KNOWN, "late"), "9")]).unwrap();
    redis.cli(&["HSET", KNOWN, "programName", "replica", "version", "9"]).unwrap();
    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    until("the push and the read to be counted", DEADLINE, async || {
        assert_eq!(name_in(&event(&service, KNOWN).await), "ten");
        (metric(&service, "adtrack_cache_outdated_total").await >= 2.0).then_some(())
    })
    .await;
    redis.cli(&["PUBLISH", CHANNEL, &program(KNOWN, "no version")]).unwrap();
    until_named(&service, KNOWN, "no version").await;
}

#[tokio::test]
async fn a_program_that_is_deleted_is_unknown_on_every_node_and_no_late_push_brings_it_back() {
    let _turn = beside_others().await;
    let (redis, service) = start().await;
    let other = with_redis(Adtrack::builder(), &redis).start().unwrap();
    until_subscribed(&other).await;
    let put = |name| service.command(&["programs", "put", "-"], &program(KNOWN, name)).unwrap();
    assert!(put("before").status.success());
    let before = redis.cli(&["HGET", KNOWN, "version"]).unwrap();
    for node in [&service, &other] {
        until_named(node, KNOWN, "before").await;
    }
    let deleted = service.command(&["programs", "delete", KNOWN], "").unwrap();
    assert!(deleted.status.success() && errors(&deleted).contains("is deleted and published"), "{}", errors(&deleted));
    let version = redis.cli(&["HGET", &format!("adtrack:deleted:{{{KNOWN}}}"), "version"]).unwrap();
    let changes = redis.cli(&["XREVRANGE", "adtrack:changes", "+", "-", "COUNT", "1"]).unwrap();
    assert!(changes.contains(&format!(r#"{{"programId":"{KNOWN}","deleted":true,"version":{version}}}"#)), "{changes}");
    redis.cli(&["PUBLISH", CHANNEL, &versioned(&program(KNOWN, "late"), &before)]).unwrap();
    for node in [&service, &other] {
        until("the late push to be counted", DEADLINE, async || {
            (metric(node, "adtrack_cache_outdated_total").await == 1.0).then_some(())
        })
        .await;
        assert_eq!(event(node, KNOWN).await.status, StatusCode::NOT_FOUND);
    }
    assert!(put("again").status.success());
    until_named(&other, KNOWN, "again").await;
    let twice = service.command(&["programs", "delete", "never-there"], "").unwrap();
    assert!(twice.status.success() && errors(&twice).contains("was not stored"), "{}", errors(&twice));
}

#[tokio::test]
async fn payloads_that_are_no_program_are_counted_and_change_nothing() {
    let _turn = beside_others().await;
    let (redis, service) = start().await;
    redis.cli(&hset(KNOWN, "before")).unwrap();
    assert_eq!(name_in(&event(&service, KNOWN).await), "before");
    let subscriptions = metric(&service, "adtrack_redis_subscriptions_total").await;
    let misses = metric(&service, "adtrack_cache_misses_total").await;

    let oversized = program(KNOWN, &"x".repeat(70_000));
    let deep = format!("{}{}", "[".repeat(60_000), "]".repeat(4_000));
    let foreign = [
        "",
        "hello",
        "{",
        "[]",
        "null",
        "7",
        "\u{feff}{}",
        "{}",
        r#"{"programId":"212313"}"#,
        &program(KNOWN, "x").replace("9124", "1e999"),
        &program(KNOWN, "x").replace("9124", "2147483648"),
        &program(KNOWN, "x").replace("9124", r#""x""#),
        &program(KNOWN, "x").replace("true", "{}"),
        &versioned(&program(KNOWN, "x"), "-1"),
        &versioned(&program(KNOWN, "x"), "18446744073709551616"),
        &versioned(&program(KNOWN, "x"), "[7]"),
        &program(KNOWN, r"\ud800"),
        &program("a b", "x"),
        &program(&"x".repeat(129), "x"),
        &deep,
        &oversized,
    ];
    for payload in foreign {
        redis.cli(&["PUBLISH", CHANNEL, payload]).unwrap();
    }
    until("every payload to be counted", DEADLINE, async || {
        (rejected(&service).await == foreign.len() as f64).then_some(())
    })
    .await;
    assert_eq!(metric(&service, r#"adtrack_redis_pushes_rejected_total{reason="oversized"}"#).await, 1.0);
    assert_eq!(name_in(&event(&service, KNOWN).await), "before");
    assert_eq!(metric(&service, "adtrack_cache_misses_total").await, misses);
    redis.cli(&["PUBLISH", CHANNEL, &program(KNOWN, "after")]).unwrap();
    until_named(&service, KNOWN, "after").await;
    assert_eq!(metric(&service, "adtrack_redis_subscriptions_total").await, subscriptions, "the connection was kept");
}

/// All pushes rejected so far, whatever the reason.
async fn rejected(service: &Adtrack) -> f64 {
    let text = service.admin_get("/metrics").await.unwrap().text();
    let lines = text.lines().filter(|line| line.starts_with("adtrack_redis_pushes_rejected_total{"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

#[tokio::test]
async fn a_subscription_that_redis_cuts_comes_back_by_itself() {
    let _turn = beside_others().await;
    let (redis, service) = start().await;
    redis.cli(&hset(KNOWN, "before")).unwrap();
    assert_eq!(name_in(&event(&service, KNOWN).await), "before");
    let subscriptions = metric(&service, "adtrack_redis_subscriptions_total").await;
    redis.cli(&["CLIENT", "KILL", "TYPE", "pubsub"]).unwrap();
    until("a new subscription", DEADLINE, async || {
        (metric(&service, "adtrack_redis_subscriptions_total").await > subscriptions).then_some(())
    })
    .await;
    until_subscribed(&service).await;
    redis.cli(&["PUBLISH", CHANNEL, &program(KNOWN, "after")]).unwrap();
    until_named(&service, KNOWN, "after").await;
}
