//! A log that cannot grow: at its bound, and on a full disk. Whoever is refused is told so.

use std::collections::BTreeSet;

use adtrack_tests::adtrack::{Adtrack, Builder};
use adtrack_tests::faults::small_disk::SmallDisk;
use adtrack_tests::kinesis_server::KinesisServer;
use http::StatusCode;

use crate::support::{
    DEADLINE, KNOWN, KNOWN_PATH, Load, RECOVERY, accepted, alone, assert_unavailable, beside_others, delivered, event,
    fill, id_in, kinesis, logged, metric, until, until_delivered, with_stream,
};

/// More than any log of these tests holds.
const REQUESTS_MAX: usize = 20_000;
/// So many refusals come from every loop.
const REFUSED_IN_A_ROW: usize = 20;
const LOG_FULL: &str = r#"adtrack_kinesis_events_refused_total{reason="log_full"}"#;

async fn until_healthy(service: &Adtrack, status: StatusCode) {
    until(&format!("/health/check to be {status}"), RECOVERY, async || {
        (service.get("/health/check").await.unwrap().status == status).then_some(())
    })
    .await;
}

/// A service whose log has room for 256 KiB, in front of this stream.
fn small_log(kinesis: &KinesisServer) -> Builder {
    with_stream(Adtrack::builder(), &kinesis.endpoint())
        .env("ADTRACK_EVENTS_DISK_BYTES_MAX", "262144")
        .env("ADTRACK_EVENTS_SEGMENT_BYTES_MAX", "65536")
}

#[tokio::test]
async fn a_log_at_its_bound_refuses_with_503_and_what_it_took_reaches_the_stream() {
    let _turn = beside_others().await;
    let mut kinesis = kinesis();
    kinesis.stop();
    let service = small_log(&kinesis).start().unwrap();
    let (mut answered, refused) = fill(&service, KNOWN_PATH, REQUESTS_MAX).await;
    assert_unavailable(&refused.unwrap());
    for _ in 0..10 {
        assert_unavailable(&event(&service, KNOWN).await);
    }
    assert_eq!(metric(&service, LOG_FULL).await, 11.0, "every refusal is counted");
    assert_eq!(metric(&service, "adtrack_kinesis_events_accepted_total").await, answered.len() as f64);
    until_healthy(&service, StatusCode::SERVICE_UNAVAILABLE).await;
    kinesis.restart().unwrap();
    let first = until("an event to be taken again", RECOVERY, async || {
        let answer = event(&service, KNOWN).await;
        (answer.status == StatusCode::OK).then(|| id_in(&answer))
    })
    .await;
    answered.insert(first);
    until_healthy(&service, StatusCode::OK).await;
    let delivered = until_delivered(&kinesis, &answered, DEADLINE).await;
    println!("log of 256 KiB full: {} answered before the first 503, all delivered afterwards", answered.len() - 1);
    assert_eq!(delivered.ids, answered, "what was refused is not in the stream");
}

#[tokio::test]
async fn at_a_bound_a_path_that_drops_answers_200_and_one_that_refuses_503_and_both_are_counted() {
    let _turn = beside_others().await;
    let mut kinesis = kinesis();
    kinesis.stop();
    let service = small_log(&kinesis)
        .env("ADTRACK_HTTP_ROUTES", "/impression/ memory drop,/transaction/ sync refuse")
        .start()
        .unwrap();
    let (mut answered, refused) = fill(&service, "/transaction/212313", REQUESTS_MAX).await;
    assert_unavailable(&refused.unwrap());
    let impression = service.get("/impression/212313").await.unwrap();
    assert_eq!((impression.status, impression.header("adtrack-durability")), (StatusCode::OK, "none"));
    let dropped = r#"adtrack_http_events_dropped_total{route="impression",reason="log_full"}"#;
    assert_eq!(metric(&service, dropped).await, 1.0);
    assert_eq!(metric(&service, LOG_FULL).await, 1.0);
    kinesis.restart().unwrap();
    let taken = until("an impression to be taken", RECOVERY, async || {
        let answer = service.get("/impression/212313").await.unwrap();
        (answer.header("adtrack-durability") == "memory").then(|| id_in(&answer))
    })
    .await;
    answered.insert(taken);
    let delivered = until_delivered(&kinesis, &answered, DEADLINE).await;
    assert!(!delivered.ids.contains(&id_in(&impression)), "what was dropped is not in the stream");
}

#[tokio::test]
async fn a_log_at_its_bound_under_load_drops_nothing_it_has_answered() {
    let _turn = alone().await;
    let mut kinesis = kinesis();
    kinesis.stop();
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint())
        .env("ADTRACK_EVENTS_DISK_BYTES_MAX", "524288")
        .env("ADTRACK_EVENTS_SEGMENT_BYTES_MAX", "65536")
        .start()
        .unwrap();
    let load = Load::start(service.public(), 16);
    until("refusals", DEADLINE, async || (metric(&service, LOG_FULL).await >= 1_000.0).then_some(())).await;
    kinesis.restart().unwrap();
    until("everything in the stream", DEADLINE, async || {
        (metric(&service, "adtrack_kinesis_events_shipped_total").await >= 5_000.0).then_some(())
    })
    .await;
    let answered = load.finish();
    let refused = answered.iter().filter(|answer| answer.status == StatusCode::SERVICE_UNAVAILABLE).count();
    let accepted = accepted(&answered);
    until_delivered(&kinesis, &accepted, DEADLINE * 2).await;
    println!("log full under load: {} answered 200, {refused} answered 503, 0 missing", accepted.len());
    assert!(refused > 0);
}

#[tokio::test]
async fn a_log_without_a_stream_lets_its_oldest_segments_go_and_counts_them() {
    let _turn = beside_others().await;
    let service = Adtrack::builder()
        .env("ADTRACK_EVENTS_DISK_BYTES_MAX", "262144")
        .env("ADTRACK_EVENTS_SEGMENT_BYTES_MAX", "65536")
        .start()
        .unwrap();
    let path = format!("/event/212313?filler={}", "x".repeat(500));
    let (answered, refused) = fill(&service, &path, 1_500).await;
    assert!(refused.is_none(), "{refused:?}");
    assert!(metric(&service, "adtrack_kinesis_segments_dropped_total").await > 0.0);
    assert!(metric(&service, "adtrack_kinesis_log_bytes").await <= 262_144.0);
    let logged = logged(&service);
    assert!(logged.ids.len() < answered.len() && logged.ids.is_subset(&answered));
    let newest = answered.iter().next_back().unwrap();
    assert!(logged.ids.contains(newest), "ids sort by time, and the newest stay");
}

/// A small file system; nothing where this user may not mount.
fn disk_of_4_mib() -> Option<SmallDisk> {
    let disk = SmallDisk::of_mib(4).unwrap();
    if disk.is_none() {
        println!("skipped: a small file system cannot be mounted here (it needs root)");
    }
    disk
}

/// Sends requests until none is accepted any more, and gives the accepted ones: each loop's file may have some room left in its
/// last block.
async fn until_refused(service: &Adtrack) -> BTreeSet<String> {
    let mut accepted = BTreeSet::new();
    let mut refused_in_a_row = 0;
    for _ in 0..REQUESTS_MAX {
        let answer = event(service, KNOWN).await;
        if answer.status == StatusCode::OK {
            refused_in_a_row = 0;
            accepted.insert(id_in(&answer));
            continue;
        }
        assert_unavailable(&answer);
        refused_in_a_row += 1;
        if refused_in_a_row == REFUSED_IN_A_ROW {
            return accepted;
        }
    }
    panic!("a full disk took {} events", accepted.len());
}

#[tokio::test]
async fn a_full_disk_is_503_and_never_200_and_over_as_soon_as_there_is_room() {
    let _turn = beside_others().await;
    let Some(disk) = disk_of_4_mib() else { return };
    let service = Adtrack::builder().data_dir(disk.data_dir()).start().unwrap();
    let mut answered = BTreeSet::new();
    for _ in 0..3 {
        answered.insert(id_in(&event(&service, KNOWN).await));
        disk.fill(4 << 20);
        answered.extend(until_refused(&service).await);
        until_healthy(&service, StatusCode::SERVICE_UNAVAILABLE).await;
        disk.make_room().unwrap();
        until_healthy(&service, StatusCode::OK).await;
    }
    answered.insert(id_in(&event(&service, KNOWN).await));
    let logged = logged(&service);
    assert_eq!(
        (&logged.ids, logged.duplicates),
        (&answered, 0),
        "the log holds what was answered with 200, and nothing else"
    );
    assert!(metric(&service, "adtrack_kinesis_write_failures_total").await > 0.0);
}

#[tokio::test]
async fn a_full_disk_in_front_of_a_stream_loses_nothing_it_has_answered() {
    let _turn = beside_others().await;
    let Some(disk) = disk_of_4_mib() else { return };
    let mut kinesis = kinesis();
    kinesis.stop();
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint()).data_dir(disk.data_dir()).start().unwrap();
    let path = format!("/event/212313?filler={}", "x".repeat(3_000));
    let (answered, refused) = fill(&service, &path, REQUESTS_MAX).await;
    assert_unavailable(&refused.unwrap());
    kinesis.restart().unwrap();
    until_delivered(&kinesis, &answered, DEADLINE).await;
    until("an event to be taken again", DEADLINE, async || {
        (event(&service, KNOWN).await.status == StatusCode::OK).then_some(())
    })
    .await;
    println!("disk of 4 MiB full: {} answered 200 before, {} delivered", answered.len(), delivered(&kinesis).ids.len());
}
