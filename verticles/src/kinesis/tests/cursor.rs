//! After a crash no more comes twice than what was in a call.

use std::collections::BTreeMap;
use std::fs;

use adtrack_config::PartitionKey;
use bytes::Bytes;

use super::*;
use crate::kinesis::client::Outcome;
use crate::kinesis::cursor::Cursor;
use crate::kinesis::progress::{Progress, Step};
use crate::kinesis::record::Record;
use crate::kinesis::spool::name::Kind;
use crate::kinesis::spool::segment::{FRAME_OVERHEAD, HEADER_LEN};
use crate::kinesis::tests::stream::Answer;

/// How often each event is in the stream that is there more than once.
fn twice(stream: &StubStream) -> BTreeMap<String, usize> {
    let mut times: BTreeMap<String, usize> = BTreeMap::new();
    for id in stream.stored() {
        *times.entry(id).or_default() += 1;
    }
    times.retain(|_, times| *times > 1);
    times
}

fn cursors(fixture: &Fixture) -> usize {
    directory::list(&fixture.folder()).unwrap().cursors.len()
}

#[test]
fn after_a_kill_exactly_what_was_in_a_call_without_an_answer_comes_twice() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.batch_records_max = 10;
        fixture.kinesis.in_flight_max = 2;
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..20)).await;
        until(&rt, "they are there", || fixture.stream.stored().len() == 20).await;
        // Everything behind this call is in the stream, and known to be.
        fixture.stream.then(Answer::StoredButLost);
        track_together(&rt, ids(20..200)).await;
        until(&rt, "all are there", || fixture.stream.stored().len() == 200).await;
        rt.clock().sleep(Duration::from_millis(1)).await;
        run.kill(&rt).await;

        let run = fixture.run(&rt).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert_eq!(twice(&fixture.stream), ids(20..30).into_iter().map(|id| (id, 2)).collect());
        assert_eq!((run.metrics.read_back.get(), fixture.stream.stored().len()), (10, 210));
        assert_eq!(run.metrics.cursor_failures.get(), 0);
        run.stop(&rt).await;
    });
}

#[test]
fn a_backlog_that_was_shipped_in_part_is_shipped_on_from_there_whatever_failed_in_between() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.batch_records_max = 10;
        fixture.kinesis.queue_events_max = 100;
        fixture.stream.always(Answer::Hang);
        let run = fixture.run(&rt).await;
        for start in (0..1_000).step_by(50) {
            track_together(&rt, ids(start..start + 50)).await;
            rt.clock().sleep(Duration::from_millis(100)).await;
        }
        run.kill(&rt).await;
        let some = vec![Outcome::Stored(None), Outcome::Failed("InternalFailure".into()), Outcome::Stored(None)];
        for least in [100, 350, 700] {
            fixture.stream.always(Answer::Outcomes(some.clone()));
            let run = fixture.run(&rt).await;
            until(&rt, "some are there", || fixture.stream.stored().len() > least).await;
            run.kill(&rt).await;
            assert!(cursors(&fixture) >= 1);
        }
        fixture.stream.always(None);
        let run = fixture.run(&rt).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        let mut stored = fixture.stream.stored();
        stored.sort();
        assert_eq!(stored, ids(0..1_000), "each of them once: every call was answered");
        run.stop(&rt).await;
        let run = fixture.run(&rt).await;
        until(&rt, "the cursor of an empty log goes", || cursors(&fixture) == 0).await;
        run.stop(&rt).await;
    });
}

#[test]
fn a_shipper_that_is_replaced_sends_again_what_was_in_a_call_alone() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.batch_records_max = 10;
        let mut run = fixture.run(&rt).await;
        track_together(&rt, ids(0..30)).await;
        until(&rt, "they are there", || fixture.stream.stored().len() == 30).await;
        fixture.stream.then(Answer::StoredButLost);
        track_together(&rt, ids(30..50)).await;
        until(&rt, "they are there, too", || fixture.stream.stored().len() == 50).await;
        run.shipper.take().unwrap().undeploy_within(Duration::ZERO).await.unwrap();
        run.shipper = Some(fixture.deploy_shipper(&rt, &run.log).await);
        track_together(&rt, ids(50..60)).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        let twice = twice(&fixture.stream);
        assert!(ids(30..40).iter().all(|id| twice.contains_key(id)), "{twice:?}");
        assert!(twice.keys().all(|id| (30..40).chain(50..60).any(|nth| *id == ids(nth..nth + 1)[0])), "{twice:?}");
        run.stop(&rt).await;
    });
}

#[test]
fn a_cursor_that_cannot_be_read_costs_duplicates_and_no_event() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..30)).await;
        until(&rt, "they are there", || fixture.stream.stored().len() == 30).await;
        fixture.stream.always(Answer::Hang);
        track(&rt, "on its way").await.unwrap();
        run.kill(&rt).await;
        fixture.stream.always(None);
        for (name, _) in directory::list(&fixture.folder()).unwrap().cursors {
            fs::write(fixture.folder().join(name.file_name(Kind::Cursor)), "this is not a cursor").unwrap();
        }
        let run = fixture.run(&rt).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert_eq!((twice(&fixture.stream).len(), fixture.stream.stored().len()), (30, 61));
        assert_eq!(run.metrics.cursor_failures.get(), 1);
        run.stop(&rt).await;
    });
}

/// Writes a cursor that says of every segment that may be begun within the next seconds that all of it is settled.
fn stale_cursor(fixture: &Fixture, rt: &TestRuntime) -> std::path::PathBuf {
    let payload = Bytes::from(vec![b'x'; 60_000]);
    let now_ms = u64::try_from(rt.clock().unix_ms()).unwrap();
    let names = (now_ms..now_ms + 5_000)
        .flat_map(|created_ms| (1..=3).map(move |seq| SegmentName { created_ms, event_loop: 0, seq }));
    let end = (HEADER_LEN + FRAME_OVERHEAD + payload.len()) as u64;
    let records: Vec<_> = names.map(|name| Record::new(payload.clone(), name, end, PartitionKey::MessageId)).collect();
    let mut progress = Progress::default();
    records.chunks(100).for_each(|records| progress.settled(&Step::of(records.iter())));
    fs::create_dir_all(fixture.folder()).unwrap();
    Cursor::new(&fixture.folder(), Vec::new()).begin(&progress, 1).unwrap();
    let (name, _) = directory::list(&fixture.folder()).unwrap().cursors[0];
    fixture.folder().join(name.file_name(Kind::Cursor))
}

#[test]
fn what_is_known_of_a_segment_that_is_gone_says_nothing_of_one_that_is_begun_when_the_clock_was_set_back_to_then() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let path = stale_cursor(&fixture, &rt);
        let stale = fs::read(&path).unwrap();
        fixture.stream.always(Answer::Hang);
        let run = fixture.run(&rt).await;
        until(&rt, "the cursor is removed", || !path.exists()).await;
        // As if it could not be.
        fs::write(&path, stale).unwrap();
        track_together(&rt, ids(0..10)).await;
        run.kill(&rt).await;

        fixture.stream.always(None);
        let run = fixture.run(&rt).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert_eq!(fixture.stream.stored(), ids(0..10));
        run.stop(&rt).await;
    });
}
