//! What the system tests share: turns on the machine, a service with its servers, and looks at what comes out.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Output};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use adtrack_proto::wire::TrackingEvent;
use adtrack_tests::adtrack::{Adtrack, Builder};
use adtrack_tests::binary::adtrack_binary;
use adtrack_tests::client::{Answer, Client, once};
use adtrack_tests::kinesis_client;
use adtrack_tests::kinesis_server::KinesisServer;
use adtrack_tests::load::{self, Answered, Stop, Until};
use adtrack_tests::services::{Kinesalite, Process, RedisServer};
use adtrack_tests::wait;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Anything that should happen soon, on a machine that is busy with other things too.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);
/// How soon everything works again behind an outage.
pub(crate) const RECOVERY: Duration = Duration::from_secs(5);
/// How soon a request is answered, whatever is down.
pub(crate) const ANSWER: Duration = Duration::from_secs(1);
/// The stream of every test.
pub(crate) const STREAM: &str = "events-under-test";
/// One of the sample programs.
pub(crate) const KNOWN: &str = "212313";
/// Its tracking URL.
pub(crate) const KNOWN_PATH: &str = "/event/212313";

static MACHINE: RwLock<()> = RwLock::const_new(());

/// The machine for a test whose figures another one would spoil.
pub(crate) async fn alone() -> RwLockWriteGuard<'static, ()> {
    MACHINE.write().await
}

/// A place beside other tests that do little.
pub(crate) async fn beside_others() -> RwLockReadGuard<'static, ()> {
    MACHINE.read().await
}

/// The service with its programs in this Redis, told as the system it replaces is told.
pub(crate) fn with_redis(service: Builder, redis: &RedisServer) -> Builder {
    service.env("REDIS_HOST", "127.0.0.1").env("REDIS_PORT", redis.port().to_string())
}

/// The service with its events going to [`STREAM`] of the server at `endpoint`, told as the system it replaces is told.
pub(crate) fn with_stream(service: Builder, endpoint: &str) -> Builder {
    stream_settings(endpoint).into_iter().fold(service, |service, (name, value)| service.env(name, value))
}

fn stream_settings(endpoint: &str) -> [(&'static str, &str); 8] {
    [
        ("EVENT_STREAM", STREAM),
        ("REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL_KINESIS", endpoint),
        ("AWS_ACCESS_KEY_ID", "dummy"),
        ("AWS_SECRET_ACCESS_KEY", "dummy"),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        // The server takes what comes, unless a test has it enforce limits.
        ("ADTRACK_KINESIS_SHARD_RECORDS_PER_S", "0"),
        ("ADTRACK_KINESIS_SHARD_BYTES_PER_S", "0"),
    ]
}

/// A server that has [`STREAM`] with two shards.
pub(crate) fn kinesis() -> KinesisServer {
    let server = KinesisServer::start().unwrap();
    server.create_stream(STREAM, 2).unwrap();
    server
}

/// The foreign server that has [`STREAM`] with two shards.
pub(crate) async fn kinesalite() -> Kinesalite {
    let kinesalite = Kinesalite::start().unwrap_or_else(|error| panic!("{error}"));
    let client = kinesis_client::connect(&kinesalite.endpoint());
    client.create_stream().stream_name(STREAM).shard_count(2).send().await.unwrap();
    until("the stream to be active", DEADLINE, async || {
        let described = client.describe_stream().stream_name(STREAM).send().await.ok()?;
        (described.stream_description()?.stream_status().as_str() == "ACTIVE").then_some(())
    })
    .await;
    kinesalite
}

/// A program in the contract's shape.
pub(crate) fn program(id: &str, name: &str) -> String {
    format!(
        r#"{{"userAgent":"","programId":"{id}","programName":"{name}","checksum":"124","customerId":9124,"customerName":"Customer2","messageId":"","valid":true}}"#
    )
}

/// The fields of [`program`] as arguments of `HSET`.
pub(crate) fn hset<'a>(id: &'a str, name: &'a str) -> Vec<&'a str> {
    let fields = ["checksum", "124", "customerId", "9124", "customerName", "Customer2", "valid", "true"];
    ["HSET", id, "programId", id, "programName", name].into_iter().chain(fields).collect()
}

/// What the service answers for a program, on a connection of its own.
pub(crate) async fn event(service: &Adtrack, id: &str) -> Answer {
    service.get(&format!("/event/{id}")).await.unwrap()
}

/// The same, with the time it took.
pub(crate) async fn timed_event(service: &Adtrack, id: &str) -> (Answer, Duration) {
    let begun = Instant::now();
    let answer = event(service, id).await;
    (answer, begun.elapsed())
}

/// The same with headers.
pub(crate) async fn event_with(service: &Adtrack, path: &str, headers: &[(&str, &str)]) -> Answer {
    once(service.public(), Method::GET, path, headers, "").await.unwrap()
}

/// The program's name in an answer; empty when it tells none.
pub(crate) fn name_in(answer: &Answer) -> String {
    answer.json()["programName"].as_str().unwrap_or_default().to_owned()
}

/// The message id in an answer; empty when it tells none.
pub(crate) fn id_in(answer: &Answer) -> String {
    answer.json()["messageId"].as_str().unwrap_or_default().to_owned()
}

/// An answer that asks to come back later.
#[track_caller]
pub(crate) fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE, "{}", answer.text());
    assert!(answer.header("retry-after").parse::<u32>().is_ok_and(|seconds| seconds >= 1), "{:?}", answer.headers);
}

/// A metric by its name with labels, as `/metrics` writes it.
pub(crate) async fn metric(service: &Adtrack, name: &str) -> f64 {
    let text = service.admin_get("/metrics").await.unwrap().text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
    value.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
}

/// What `/health/deps` says of `store` (0) or `events` (1).
pub(crate) async fn dependency(service: &Adtrack, index: usize) -> Value {
    service.admin_get("/health/deps").await.unwrap().json()["dependencies"][index].take()
}

/// Waits for a condition, and fails the test when it does not come.
pub(crate) async fn until<T>(what: &str, timeout: Duration, look: impl AsyncFnMut() -> Option<T>) -> T {
    wait::until_async(what, timeout, look).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Events as they came out, and how many of them came again.
#[derive(Debug, Default)]
pub(crate) struct Delivered {
    pub(crate) ids: BTreeSet<String>,
    pub(crate) duplicates: usize,
}

impl Delivered {
    fn of(ids: impl IntoIterator<Item = String>) -> Self {
        let mut delivered = Self::default();
        for id in ids {
            delivered.duplicates += usize::from(!delivered.ids.insert(id));
        }
        delivered
    }

    /// What was answered and has not come out.
    pub(crate) fn missing<'a>(&self, answered: &'a BTreeSet<String>) -> Vec<&'a String> {
        answered.iter().filter(|id| !self.ids.contains(*id)).collect()
    }
}

/// What the stream holds; every record must be an event under its own message id.
pub(crate) fn delivered(kinesis: &KinesisServer) -> Delivered {
    let records = kinesis.records(STREAM).unwrap_or_default();
    Delivered::of(records.into_iter().map(|record| {
        let event = TrackingEvent::from_payload(&record.data).unwrap();
        assert_eq!(event.message_id, record.partition_key);
        event.message_id
    }))
}

/// Waits until everything that was answered is in the stream.
pub(crate) async fn until_delivered(
    kinesis: &KinesisServer,
    answered: &BTreeSet<String>,
    timeout: Duration,
) -> Delivered {
    let what = format!("{} events in the stream", answered.len());
    until(&what, timeout, async || {
        // Decoding is dear; counting is not.
        let enough = kinesis.records(STREAM).is_ok_and(|records| records.len() >= answered.len());
        let delivered = if enough { delivered(kinesis) } else { Delivered::default() };
        delivered.missing(answered).is_empty().then_some(delivered)
    })
    .await
}

/// The events of the local log as `adtrack events tail` prints them.
pub(crate) fn log_events(service: &Adtrack) -> Vec<Value> {
    let output = service.command(&["events", "tail"], "").unwrap();
    assert!(output.status.success(), "{}", errors(&output));
    output.stdout.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(json_line).collect()
}

fn json_line(line: &[u8]) -> Value {
    serde_json::from_slice(line).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(line)))
}

/// The message ids of the local log.
pub(crate) fn logged(service: &Adtrack) -> Delivered {
    Delivered::of(log_events(service).iter().map(|event| event["messageId"].as_str().unwrap_or_default().to_owned()))
}

/// What a command wrote to standard error.
pub(crate) fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// What a command wrote to standard output.
pub(crate) fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The message ids of the answers that accepted an event; every answer must be 200 or 503.
pub(crate) fn accepted(answered: &[Answered]) -> BTreeSet<String> {
    for answer in answered {
        let known = matches!(answer.status, StatusCode::OK | StatusCode::SERVICE_UNAVAILABLE);
        assert!(known, "{} under load", answer.status);
    }
    let accepted = answered.iter().filter(|answer| answer.status == StatusCode::OK);
    let ids: Vec<_> = accepted.map(|answer| answer.message_id.clone()).collect();
    let distinct: BTreeSet<_> = ids.iter().cloned().collect();
    assert_eq!(distinct.len(), ids.len(), "two answers have one message id");
    distinct
}

/// A load on a thread of its own, so that a test may block beside it.
pub(crate) struct Load {
    stop: Stop,
    thread: JoinHandle<Vec<Answered>>,
}

impl Load {
    /// Asks for [`KNOWN_PATH`] on so many connections until [`finish`](Self::finish).
    pub(crate) fn start(address: SocketAddr, connections: usize) -> Self {
        let stop = Stop::default();
        let until = Until::Stopped(stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(load::run(address, KNOWN_PATH, connections, until))
        });
        Self { stop, thread }
    }

    /// Every complete answer there was.
    pub(crate) fn finish(self) -> Vec<Answered> {
        self.stop.stop();
        self.thread.join().unwrap()
    }
}

/// Waits until the service has accepted so many events.
pub(crate) async fn until_accepted(service: &Adtrack, events: f64) {
    until("events to be accepted", DEADLINE, async || {
        (metric(service, "adtrack_kinesis_events_accepted_total").await >= events).then_some(())
    })
    .await;
}

/// Sends requests one after another until one is refused, and gives the accepted ones; at most `requests_max`.
pub(crate) async fn fill(service: &Adtrack, path: &str, requests_max: usize) -> (BTreeSet<String>, Option<Answer>) {
    let mut client = Client::connect(service.public()).await.unwrap();
    let mut accepted = BTreeSet::new();
    for _ in 0..requests_max {
        let answer = client.get(path).await.unwrap();
        if answer.status != StatusCode::OK {
            return (accepted, Some(answer));
        }
        accepted.insert(id_in(&answer));
    }
    (accepted, None)
}

/// Runs the binary with these arguments and this environment alone until it ends: its exit code and all it wrote.
pub(crate) fn run_to_end(arguments: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(adtrack_binary().unwrap());
    command.args(arguments).env_clear().envs(environment.iter().copied()).current_dir(dir.path());
    let mut process = Process::spawn(command, &dir.path().join("log")).unwrap();
    let status = process.wait(DEADLINE).unwrap();
    (status.and_then(|status| status.code()), process.log())
}
