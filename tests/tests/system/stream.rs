//! Events in a healthy stream: each once, readable by anybody, and by the judgement of a foreign server.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use adtrack_tests::adtrack::Adtrack;
use adtrack_tests::kinesis_client;
use adtrack_tests::kinesis_server::Operation;
use adtrack_tests::load::{self, Until};
use adtrack_tests::repository;
use adtrack_tests::services::{RedisServer, foreign_judge_is_skipped, protobuf_python};
use http::StatusCode;
use serde_json::{Value, json};

use crate::support::{
    DEADLINE, KNOWN_PATH, STREAM, accepted, alone, beside_others, delivered, event_with, hset, id_in, kinesalite,
    kinesis, log_events, metric, until, until_delivered, with_redis, with_stream,
};

const HEALTHY_REQUESTS: u64 = 50_000;
const CONNECTIONS: usize = 32;
/// More than the log needs to remove what the stream has.
const DRAINED: Duration = Duration::from_secs(30);

#[tokio::test]
async fn of_50_000_answered_events_each_is_in_the_stream_exactly_once() {
    let _turn = alone().await;
    let (redis, kinesis) = (RedisServer::start().unwrap(), kinesis());
    redis.cli(&hset("212313", "program2")).unwrap();
    let mut service = with_stream(with_redis(Adtrack::builder(), &redis), &kinesis.endpoint()).start().unwrap();
    let begun = Instant::now();
    let answered = load::run(service.public(), KNOWN_PATH, CONNECTIONS, Until::Requests(HEALTHY_REQUESTS)).await;
    let took = begun.elapsed();
    let accepted = accepted(&answered);
    assert_eq!(accepted.len() as u64, HEALTHY_REQUESTS, "every one was answered with 200");
    until_delivered(&kinesis, &accepted, DEADLINE).await;
    // What is sent twice would be sent until the end of the process.
    service.sigterm().unwrap();
    assert_eq!(service.wait_exit(DEADLINE).unwrap(), Some(0));
    let delivered = delivered(&kinesis);
    println!(
        "healthy run: {HEALTHY_REQUESTS} answered in {took:.1?} on {CONNECTIONS} connections, {} in the stream, {} twice, {} \
         PutRecords calls",
        delivered.ids.len(),
        delivered.duplicates,
        kinesis.calls(Operation::PutRecords),
    );
    assert_eq!((delivered.duplicates, delivered.ids == accepted), (0, true));
}

#[tokio::test]
async fn what_the_stream_has_leaves_the_log() {
    let _turn = beside_others().await;
    let kinesis = kinesis();
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint()).start().unwrap();
    let answered = load::run(service.public(), KNOWN_PATH, 4, Until::Requests(1_000)).await;
    until_delivered(&kinesis, &accepted(&answered), DEADLINE).await;
    until("the log to be empty", DRAINED, async || {
        (metric(&service, "adtrack_kinesis_log_segments").await == 0.0).then_some(())
    })
    .await;
    assert!(log_events(&service).is_empty());
    assert_eq!(metric(&service, "adtrack_kinesis_events_shipped_total").await, 1_000.0);
    assert_eq!(metric(&service, "adtrack_kinesis_queue_events").await, 0.0);
}

#[tokio::test]
async fn records_are_decoded_by_plain_protobuf_with_every_field() {
    let _turn = beside_others().await;
    let kinesis = kinesis();
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint()).start().unwrap();
    let headers = [("user-agent", "curl/7.54.0 \u{e4}"), ("referer", "https://shop.example/")];
    let valid = event_with(&service, "/event/212313?type=click&a=b", &headers).await;
    let ended = crate::support::program("ended", "over").replace("true", "false");
    assert!(service.command(&["programs", "put", "-"], &ended).unwrap().status.success());
    let invalid = event_with(&service, "/event/ended", &[]).await;
    let ids = BTreeSet::from([id_in(&valid), id_in(&invalid)]);
    until_delivered(&kinesis, &ids, DEADLINE).await;

    // Read by the AWS client, decoded by what protoc makes of the schema: nothing of ours is in it.
    let records = kinesis_client::read_all(&kinesis_client::connect(&kinesis.endpoint()), STREAM).await.unwrap();
    assert_eq!(records.len(), 2);
    for record in &records {
        let event = by_python(record.data().as_ref());
        assert_eq!(record.partition_key(), event["message_id"].as_str());
        let (answer, program) = if event["programid"] == "ended" { (&invalid, "over") } else { (&valid, "program2") };
        let answer = answer.json();
        let expected = json!({
            "programid": answer["programId"], "checksum": "124", "customer_id": 9124, "user_agent": answer["userAgent"],
            "program_name": program, "customer_name": "Customer2", "is_valid": answer["valid"],
            "message_id": answer["messageId"],
        });
        let required: serde_json::Map<_, _> =
            event.as_object().unwrap().clone().into_iter().filter(|(name, _)| expected.get(name).is_some()).collect();
        assert_eq!(Value::Object(required), expected);
        if event["programid"] != "ended" {
            assert_eq!((&event["event_type"], &event["referer"]), (&"click".into(), &"https://shop.example/".into()));
            assert_eq!(event["query"], json!(["type=click", "a=b"]));
        }
    }
}

/// A record as the plain Python runtime reads it.
fn by_python(payload: &[u8]) -> Value {
    const READ: &str = "
import json, sys, tracking_pb2
event = tracking_pb2.TrackingEvent.FromString(sys.stdin.buffer.read())
fields = {field.name: getattr(event, field.name) for field in event.DESCRIPTOR.fields}
fields['query'] = [parameter.name + '=' + parameter.value for parameter in event.query]
print(json.dumps(fields))
";
    let dir = tempfile::tempdir().unwrap();
    let proto = repository::root().join("proto");
    let protoc = Command::new("protoc")
        .arg("--proto_path")
        .arg(&proto)
        .arg("--python_out")
        .arg(dir.path())
        .arg("tracking.proto")
        .output()
        .unwrap();
    assert!(protoc.status.success(), "{}", crate::support::errors(&protoc));
    let input = dir.path().join("record");
    std::fs::write(&input, payload).unwrap();
    let output = read(dir.path(), &input, READ);
    serde_json::from_slice(&output).unwrap()
}

fn read(dir: &Path, input: &Path, program: &str) -> Vec<u8> {
    let python = protobuf_python().unwrap_or_else(|error| panic!("{error}"));
    let input = std::fs::File::open(input).unwrap();
    let output = Command::new(python).args(["-c", program]).current_dir(dir).stdin(input).output().unwrap();
    assert!(output.status.success(), "{}", crate::support::errors(&output));
    output.stdout
}

#[tokio::test]
async fn a_foreign_kinesis_server_gets_each_answered_event_exactly_once() {
    if foreign_judge_is_skipped() {
        println!("skipped: TEST_SKIP_FOREIGN=1");
        return;
    }
    let _turn = beside_others().await;
    let kinesalite = kinesalite().await;
    let client = kinesis_client::connect(&kinesalite.endpoint());
    let service = with_stream(Adtrack::builder(), &kinesalite.endpoint()).start().unwrap();
    let answered = load::run(service.public(), KNOWN_PATH, 8, Until::Requests(2_000)).await;
    assert!(answered.iter().all(|answer| answer.status == StatusCode::OK));
    let accepted = accepted(&answered);
    let keys = until("every event in kinesalite", DEADLINE, async || {
        let records = kinesis_client::read_all(&client, STREAM).await.unwrap();
        (records.len() >= accepted.len())
            .then(|| records.into_iter().filter_map(|record| record.partition_key).collect::<Vec<_>>())
    })
    .await;
    println!("kinesalite: {} answered, {} records", accepted.len(), keys.len());
    assert_eq!(keys.len(), accepted.len());
    assert_eq!(keys.into_iter().collect::<BTreeSet<_>>(), accepted);
}
