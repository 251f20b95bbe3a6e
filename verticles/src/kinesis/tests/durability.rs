//! What an answer promises, level by level.

use std::fs;
use std::sync::atomic::Ordering;

use adtrack_proto::bus::{OVERLOADED, UNAVAILABLE};

use super::*;
use crate::kinesis::tests::stream::Answer;

fn is_unavailable<T>(answer: &Result<T, RequestError>) -> bool {
    matches!(answer, Err(RequestError::Failed(failure)) if failure.code() == UNAVAILABLE)
}

#[test]
fn every_answer_names_the_level_that_was_asked_for() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        for level in Durability::ALL {
            let accepted = track_at(&rt, level.name(), level).await.unwrap();
            assert_eq!(accepted, Accepted::Held { durability: level });
        }
        until(&rt, "the stream has all of them", || fixture.stream.stored().len() == 4).await;
        run.stop(&rt).await;
    });
}

#[test]
fn at_memory_the_answer_does_not_wait_for_the_write() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        track_at(&rt, "m", Durability::Memory).await.unwrap();
        assert_eq!(run.metrics.writes.get(), 0, "answered before the turn is written");
        until(&rt, "it is written all the same", || in_log(&fixture.folder()) == ["m"]).await;
        assert_eq!(run.metrics.dropped.unwritten.get(), 0);
    });
}

#[test]
fn at_memory_what_cannot_be_written_afterwards_is_counted() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        fs::remove_dir_all(fixture.folder()).unwrap();
        fs::write(fixture.folder(), "in the way").unwrap();
        let (accepted, _) = track_together_at(&rt, ids(0..3), Durability::Memory).await;
        assert_eq!(accepted.len(), 3);
        until(&rt, "the loss is counted", || run.metrics.dropped.unwritten.get() == 3).await;
        assert!(
            is_unavailable(&track_at(&rt, "refused", Durability::Memory).await),
            "it is known that nothing can be written"
        );
        assert_eq!(run.metrics.dropped.unwritten.get(), 3);
        fs::remove_file(fixture.folder()).unwrap();
        until(&rt, "the log can be written again", || run.log.accepting().is_ok()).await;
        track_at(&rt, "taken", Durability::Memory).await.unwrap();
        until(&rt, "it is written", || run.metrics.accepted.get() == 1).await;
    });
}

#[test]
fn at_sync_the_events_that_wait_when_a_sync_begins_share_it() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        let (accepted, refused) = track_together_at(&rt, ids(0..300), Durability::Sync).await;
        assert_eq!((accepted.len(), refused), (300, vec![]));
        let first = run.metrics.syncs.get();
        assert!((1..=2).contains(&first), "{first} syncs for one turn");
        track(&rt, "spool").await.unwrap();
        assert_eq!(run.metrics.syncs.get(), first, "nobody asked for one");
        track_at(&rt, "sync", Durability::Sync).await.unwrap();
        assert_eq!(run.metrics.syncs.get(), first + 1);
    });
}

#[test]
fn a_sync_that_fails_refuses_who_waited_for_it_and_the_next_segment_is_synced() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        run.log.next_sync_fails.store(true, Ordering::Relaxed);
        assert!(is_unavailable(&track_at(&rt, "refused", Durability::Sync).await));
        assert_eq!((run.metrics.sync_failures.get(), fixture.segments()), (1, 1));
        track_at(&rt, "synced", Durability::Sync).await.unwrap();
        assert_eq!(fixture.segments(), 2, "what could not be synced is not trusted any more");
        assert_eq!(in_log(&fixture.folder()), ["refused", "synced"], "refused is not lost: it may come twice");
    });
}

#[test]
fn an_event_that_a_failed_sync_may_have_covered_is_not_answered_by_the_next_one() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        track(&rt, "a segment is open").await.unwrap();
        run.log.next_sync_fails.store(true, Ordering::Relaxed);
        // All of them are written before the first sync ends; those that come behind it wait for the second.
        let (accepted, refused) = track_together_at(&rt, ids(0..50), Durability::Sync).await;
        assert_eq!((accepted.len(), refused.len()), (0, 50));
        track_at(&rt, "later", Durability::Sync).await.unwrap();
    });
}

#[test]
fn whoever_waits_for_a_sync_of_an_intake_that_panics_is_told() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        run.log.next_write_panics.store(true, Ordering::Relaxed);
        let begun = rt.elapsed();
        assert!(is_unavailable(&track_at(&rt, "lost", Durability::Sync).await));
        assert!((rt.elapsed() - begun).as_secs() < 1, "at once");
        until(&rt, "another one syncs", || run.log.accepting().is_ok()).await;
        track_at(&rt, "synced", Durability::Sync).await.unwrap();
    });
}

#[test]
fn a_sync_that_the_settings_do_not_allow_is_refused() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::without_stream();
        fixture.events.may_sync = false;
        let _run = fixture.run(&rt).await;
        assert!(is_unavailable(&track_at(&rt, "m", Durability::Sync).await));
    });
}

#[test]
fn at_stream_the_answer_comes_when_the_stream_has_the_event() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        fixture.stream.then(Answer::Hang);
        let begun = rt.elapsed();
        // The first call is given up after 15 s, the next one stores it: nobody waits so long.
        assert!(track_at(&rt, "late", Durability::Stream).await.is_err());
        assert_eq!((rt.elapsed() - begun).as_secs(), 5);
        until(&rt, "it is delivered all the same", || fixture.stream.stored() == ["late"]).await;
        track_at(&rt, "in time", Durability::Stream).await.unwrap();
        assert_eq!(fixture.stream.stored(), ["late", "in time"]);
        run.stop(&rt).await;
    });
}

#[test]
fn at_stream_an_event_the_stream_refuses_is_refused_and_kept() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        track(&rt, "proof").await.unwrap();
        until(&rt, "the stream works", || fixture.stream.stored() == ["proof"]).await;
        fixture.stream.poison("poison");
        assert!(is_unavailable(&track_at(&rt, "poison", Durability::Stream).await));
        assert_eq!(run.metrics.dead_lettered.get(), 1);
        run.stop(&rt).await;
    });
}

#[test]
fn at_stream_nobody_waits_for_an_event_that_goes_by_the_log() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.queue_events_max = 500;
        fixture.stream.always(Answer::Hang);
        let run = fixture.run(&rt).await;
        let (accepted, _) = track_together(&rt, ids(0..600)).await;
        assert_eq!(accepted.len(), 600);
        let begun = rt.elapsed();
        assert!(is_unavailable(&track_at(&rt, "m", Durability::Stream).await));
        assert_eq!(rt.elapsed(), begun);
        run.kill(&rt).await;
    });
}

#[test]
fn without_a_stream_that_level_cannot_be_had() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let _run = fixture.run(&rt).await;
        assert!(is_unavailable(&track_at(&rt, "m", Durability::Stream).await));
    });
}

#[test]
fn as_many_may_wait_for_the_stream_as_leave_half_of_the_places_to_others() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.events.loop_queue_events_max = 10;
        fixture.stream.always(Answer::Hang);
        let run = fixture.run(&rt).await;
        let others = async {
            rt.clock().sleep(Duration::from_secs(1)).await;
            assert_eq!(run.metrics.refused.queue_full.get(), 3, "at once");
            track(&rt, "beside").await.unwrap();
        };
        let ((accepted, refused), ()) = tokio::join!(track_together_at(&rt, ids(0..8), Durability::Stream), others);
        let overloaded =
            |error: &RequestError| matches!(error, RequestError::Failed(failure) if failure.code() == OVERLOADED);
        assert_eq!((accepted.len(), refused.len()), (0, 8));
        assert_eq!(refused.iter().filter(|error| overloaded(error)).count(), 3);
        fixture.stream.always(None);
        until(&rt, "it is taken again", || run.metrics.shipped.get() == 6).await;
        track_at(&rt, "later", Durability::Stream).await.unwrap();
        run.stop(&rt).await;
    });
}
