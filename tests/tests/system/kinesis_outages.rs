//! A stream that is not there, goes away, or takes only some of what it is given.

use std::time::Instant;

use adtrack_tests::adtrack::Adtrack;
use adtrack_tests::kinesis_server::{CallFault, Faults, KinesisServer, Operation, RecordFault};
use adtrack_tests::load::{self, Until};
use http::StatusCode;

use crate::support::{
    DEADLINE, KNOWN_PATH, Load, RECOVERY, STREAM, accepted, alone, beside_others, dependency, kinesis, metric, until,
    until_accepted, until_delivered, with_stream,
};

#[tokio::test]
async fn a_stream_that_is_down_at_the_start_gets_its_events_within_5_s_of_its_return() {
    let _turn = beside_others().await;
    let mut kinesis = kinesis();
    kinesis.stop();
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint()).start().unwrap();
    let answered = load::run(service.public(), KNOWN_PATH, 4, Until::Requests(500)).await;
    let accepted = accepted(&answered);
    assert_eq!(accepted.len(), 500, "the log takes them");
    until("/health/deps to say so", DEADLINE, async || {
        let events = dependency(&service, 1).await;
        (events["up"] == false && events["accepting"] == true).then_some(())
    })
    .await;
    assert_eq!(service.get("/health/check").await.unwrap().status, StatusCode::OK, "a dead stream takes no node out");
    kinesis.restart().unwrap();
    let back = Instant::now();
    until_delivered(&kinesis, &accepted, DEADLINE).await;
    println!("stream down at start: its 500 events delivered {:.1?} after its return", back.elapsed());
    assert!(back.elapsed() < RECOVERY, "{:?}", back.elapsed());
    until("/health/deps to say so", RECOVERY, async || (dependency(&service, 1).await["up"] == true).then_some(()))
        .await;
}

#[tokio::test]
async fn a_stream_made_after_the_start_gets_the_events_from_before() {
    let _turn = beside_others().await;
    let kinesis = KinesisServer::start().unwrap();
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint()).start().unwrap();
    let answered = load::run(service.public(), KNOWN_PATH, 4, Until::Requests(500)).await;
    let accepted = accepted(&answered);
    assert_eq!(accepted.len(), 500);
    until("/health/deps to name the stream's absence", DEADLINE, async || {
        (dependency(&service, 1).await["up"] == false).then_some(())
    })
    .await;
    kinesis.create_stream(STREAM, 1).unwrap();
    let made = Instant::now();
    until_delivered(&kinesis, &accepted, DEADLINE).await;
    println!("stream made late: its 500 events delivered {:.1?} later", made.elapsed());
    assert!(made.elapsed() < RECOVERY * 2, "{:?}", made.elapsed());
}

#[tokio::test]
async fn a_stream_that_takes_only_some_records_gets_each_of_them_in_the_end_and_once() {
    let _turn = alone().await;
    let kinesis = kinesis();
    kinesis.set_faults(Faults::seeded(7).fail_records(0.3, RecordFault::Either).only(Operation::PutRecords));
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint()).start().unwrap();
    let answered = load::run(service.public(), KNOWN_PATH, 16, Until::Requests(10_000)).await;
    let accepted = accepted(&answered);
    assert_eq!(accepted.len(), 10_000);
    let delivered = until_delivered(&kinesis, &accepted, DEADLINE).await;
    let retried = metric(&service, "adtrack_kinesis_events_retried_total").await;
    println!(
        "30 % of records refused: 10000 answered, none missing, {} twice, {retried} sent again",
        delivered.duplicates
    );
    assert_eq!(delivered.duplicates, 0, "what was taken is not sent again");
    assert!(retried > 0.0);
}

#[tokio::test]
async fn a_stream_that_fails_in_every_way_gets_every_event_in_the_end() {
    let _turn = alone().await;
    let kinesis = kinesis();
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint())
        .env("ADTRACK_KINESIS_ATTEMPT_TIMEOUT_MS", "500")
        .env("ADTRACK_KINESIS_OPERATION_TIMEOUT_MS", "1000")
        .env("ADTRACK_KINESIS_BACKOFF_MS_MAX", "500")
        .start()
        .unwrap();
    let load = Load::start(service.public(), 16);
    let ways = [
        Faults::default().refuse_next(3, 400, "ProvisionedThroughputExceededException"),
        Faults::default().refuse_next(3, 500, "InternalFailure"),
        Faults::default().refuse_next(3, 503, "ServiceUnavailable"),
        Faults::default().refuse_next(2, 400, "ExpiredTokenException"),
        Faults::default().drop_next(2),
        Faults::default().hang_next(2, 2_000),
        Faults::default().next(2, CallFault::CloseBefore),
        Faults::default().next(2, CallFault::Stall { ms: 2_000 }),
        Faults::default().next(2, CallFault::SlowBody { byte_ms: 1_000 }),
        Faults::default().next(2, CallFault::CutShort),
        Faults::default().next(2, CallFault::Fewer(1)),
        Faults::default().next(2, CallFault::More(1)),
        Faults::default().fail_records(1.0, RecordFault::Throughput),
        Faults::default(),
    ];
    for faults in ways {
        let enough = metric(&service, "adtrack_kinesis_events_accepted_total").await + 1_000.0;
        kinesis.set_faults(faults.only(Operation::PutRecords));
        until_accepted(&service, enough).await;
    }
    let accepted = accepted(&load.finish());
    let delivered = until_delivered(&kinesis, &accepted, DEADLINE * 2).await;
    println!(
        "stream failing in thirteen ways: {} answered, none missing, {} twice",
        accepted.len(),
        delivered.duplicates
    );
    assert_eq!(metric(&service, "adtrack_kinesis_events_dead_lettered_total").await, 0.0);
}

#[tokio::test]
async fn a_stream_that_is_gone_for_a_while_costs_no_event() {
    let _turn = alone().await;
    let mut kinesis = kinesis();
    // Little room in memory, so that most of the outage goes by the log.
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint())
        .env("ADTRACK_KINESIS_QUEUE_EVENTS_MAX", "1000")
        .env("ADTRACK_EVENTS_SEGMENT_BYTES_MAX", "262144")
        .start()
        .unwrap();
    let load = Load::start(service.public(), 16);
    until_accepted(&service, 2_000.0).await;
    kinesis.stop();
    until_accepted(&service, 10_000.0).await;
    assert!(metric(&service, "adtrack_kinesis_disk_mode_entered_total").await > 0.0);
    kinesis.restart().unwrap();
    let more = metric(&service, "adtrack_kinesis_events_accepted_total").await + 2_000.0;
    until_accepted(&service, more).await;
    let accepted = accepted(&load.finish());
    let delivered = until_delivered(&kinesis, &accepted, DEADLINE * 2).await;
    println!(
        "stream gone under load: {} answered, none missing, {} twice, {} read back",
        accepted.len(),
        delivered.duplicates,
        metric(&service, "adtrack_kinesis_events_read_back_total").await,
    );
}
