//! A stream that refuses one record for good, or everybody until something outside of it has changed.

use std::path::Path;

use adtrack_tests::adtrack::Adtrack;
use adtrack_tests::kinesis_server::{Faults, Operation, ShardLimits};
use adtrack_tests::load::{self, Until};
use http::StatusCode;

use crate::support::{
    DEADLINE, KNOWN_PATH, accepted, alone, beside_others, dependency, errors, event_with, id_in, kinesis, metric,
    printed, until, until_delivered, with_stream,
};

const POISON: &str = "a-record-that-is-poison";
const SECRET: &str = "never-in-a-log-line";
const DEAD: &str = "adtrack_kinesis_events_dead_lettered_total";

#[tokio::test]
async fn one_record_that_is_refused_for_good_is_set_aside_and_no_other() {
    let _turn = beside_others().await;
    let kinesis = kinesis();
    kinesis.set_faults(Faults::default().poison(POISON));
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint()).start().unwrap();
    let load = load::run(service.public(), KNOWN_PATH, 8, Until::Requests(2_000));
    let poison = event_with(&service, KNOWN_PATH, &[("user-agent", POISON)]);
    let (answered, poison) = tokio::join!(load, poison);
    assert_eq!(poison.status, StatusCode::OK, "nobody knows yet");
    let delivered = until_delivered(&kinesis, &accepted(&answered), DEADLINE).await;
    assert_eq!(delivered.duplicates, 0, "a refused call stores nothing");
    until("the record to be set aside", DEADLINE, async || (metric(&service, DEAD).await == 1.0).then_some(())).await;
    let dead = service.command(&["events", "export", "--part", "dead"], "").unwrap();
    assert!(dead.status.success(), "{}", errors(&dead));
    let dead = printed(&dead);
    assert!(dead.lines().count() == 1 && dead.contains(&id_in(&poison)), "{dead}");
}

/// In one step: half a file is no credentials.
fn write_credentials(file: &Path, key: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = {SECRET}\n")).unwrap();
    std::fs::rename(&next, file).unwrap();
}

#[tokio::test]
async fn credentials_that_expire_are_asked_for_again_and_nothing_is_lost_meanwhile() {
    let _turn = beside_others().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("credentials");
    write_credentials(&file, "old");
    let kinesis = kinesis();
    kinesis.set_faults(Faults::default().expired_key("old").only(Operation::PutRecords));
    // An empty variable is none: the file is asked.
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint())
        .env("AWS_ACCESS_KEY_ID", "")
        .env("AWS_SECRET_ACCESS_KEY", "")
        .env("AWS_SHARED_CREDENTIALS_FILE", &file)
        .env("HOME", dir.path())
        .start()
        .unwrap();
    let answered = load::run(service.public(), KNOWN_PATH, 8, Until::Requests(1_000)).await;
    until("/health/deps to name the credentials", DEADLINE, async || {
        let detail = dependency(&service, 1).await["detail"].to_string();
        detail.contains("credentials").then_some(())
    })
    .await;
    write_credentials(&file, "new");
    until_delivered(&kinesis, &accepted(&answered), DEADLINE).await;
    assert_eq!(metric(&service, DEAD).await, 0.0);
    assert!(!service.log().contains(SECRET), "{}", service.log());
}

#[tokio::test]
async fn a_clock_ten_minutes_off_costs_no_event_whatever_its_direction_and_the_words_for_it() {
    let _turn = beside_others().await;
    for (offset_ms, refusal) in [(600_000, "InvalidSignatureException"), (-600_000, "RequestTimeTooSkewed")] {
        let kinesis = kinesis();
        kinesis.set_faults(Faults::default().clock_offset(offset_ms, refusal));
        let service = with_stream(Adtrack::builder(), &kinesis.endpoint()).start().unwrap();
        let answered = load::run(service.public(), KNOWN_PATH, 8, Until::Requests(1_000)).await;
        until_delivered(&kinesis, &accepted(&answered), DEADLINE).await;
        assert_eq!(metric(&service, DEAD).await, 0.0);
        // From both sides of the change: what was learned is learned anew.
        kinesis.set_faults(Faults::default());
        let answered = load::run(service.public(), KNOWN_PATH, 8, Until::Requests(1_000)).await;
        until_delivered(&kinesis, &accepted(&answered), DEADLINE).await;
    }
}

#[tokio::test]
async fn shards_at_their_limit_get_every_event_in_the_end_and_once() {
    let _turn = alone().await;
    let kinesis = kinesis();
    kinesis.set_limits(Some(ShardLimits { records_per_s: 500.0, bytes_per_s: 1e6 }));
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint()).start().unwrap();
    let answered = load::run(service.public(), KNOWN_PATH, 16, Until::Requests(4_000)).await;
    let delivered = until_delivered(&kinesis, &accepted(&answered), DEADLINE).await;
    assert_eq!(delivered.duplicates, 0, "what was taken is not sent again");
}
