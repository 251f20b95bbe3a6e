//! Taking events in: what is answered is in the log.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::UNIX_EPOCH;

use adtrack_proto::bus::{Bound, OVERLOADED, UNAVAILABLE};

use super::*;
use crate::kinesis::spool::directory::OpenError;
use crate::kinesis::spool::name::Kind;
use crate::kinesis::tests::stream::Answer;

fn code(error: &RequestError) -> Option<i32> {
    if let RequestError::Failed(failure) = error { Some(failure.code()) } else { None }
}

#[test]
fn the_events_of_one_turn_share_one_write_and_all_are_answered_when_they_are_in_the_log() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        let (accepted, refused) = track_together(&rt, ids(0..300)).await;
        assert_eq!((accepted, refused), (ids(0..300), vec![]));
        assert_eq!(run.metrics.writes.get(), 1);
        assert_eq!(in_log(&fixture.folder()), ids(0..300));
        track(&rt, "later").await.unwrap();
        assert_eq!((run.metrics.writes.get(), run.metrics.accepted.get()), (2, 301));
    });
}

#[test]
fn what_is_in_the_log_is_the_event_in_full() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let _run = fixture.run(&rt).await;
        track(&rt, "m").await.unwrap();
        let mut decoded = Vec::new();
        Tail::new(fixture.folder())
            .poll::<std::io::Error>(|one| {
                if let Found::Record(payload) = one {
                    decoded.push(adtrack_proto::wire::TrackingEvent::from_payload(&payload).unwrap());
                }
                Ok(())
            })
            .unwrap();
        let [event] = &decoded[..] else { panic!("{decoded:?}") };
        assert_eq!((event.programid.as_str(), event.customer_id, event.is_valid), ("212313", 9124, true));
        assert_eq!((event.message_id.as_str(), event.event_type.as_str()), ("m", "click"));
        assert_eq!((event.query[0].name.as_str(), event.query[0].value.as_str()), ("a", "b"));
    });
}

#[test]
fn a_write_that_fails_fails_every_event_of_the_turn_and_later_ones_work_by_themselves() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        fs::remove_dir_all(fixture.folder()).unwrap();
        fs::write(fixture.folder(), "in the way").unwrap();
        let (accepted, refused) = track_together(&rt, ids(0..20)).await;
        assert!(accepted.is_empty());
        assert!(refused.len() == 20 && refused.iter().all(|error| code(error) == Some(UNAVAILABLE)), "{refused:?}");
        let sick = health(&rt).await;
        assert!(!sick.accepting && sick.detail.contains("no segment can be begun"), "{sick:?}");
        assert_eq!((run.metrics.write_failures.get(), run.metrics.accepted.get()), (1, 0));

        fs::remove_file(fixture.folder()).unwrap();
        rt.clock().sleep(Duration::from_secs(2)).await;
        assert!(health(&rt).await.accepting, "it finds out without an event");
        track(&rt, "later").await.unwrap();
        assert_eq!(in_log(&fixture.folder()), ["later"]);
    });
}

#[test]
fn a_write_that_panics_is_answered_at_once_and_another_intake_writes_what_comes_after() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        track(&rt, "before").await.unwrap();
        let began = rt.elapsed();
        run.log.next_write_panics.store(true, Ordering::Relaxed);
        let (accepted, refused) = track_together(&rt, ids(0..20)).await;
        assert!(accepted.is_empty());
        assert!(refused.len() == 20 && refused.iter().all(|error| code(error) == Some(UNAVAILABLE)), "{refused:?}");
        assert!(rt.elapsed() - began < Duration::from_secs(1), "nobody waits for a task that is gone");
        track(&rt, "later").await.unwrap();
        assert_eq!(in_log(&fixture.folder()), ["before", "later"]);
        assert!(health(&rt).await.accepting);
        // Its housekeeping is there again, too.
        rt.clock().sleep(Duration::from_secs(5)).await;
        track(&rt, "much later").await.unwrap();
        run.intake.undeploy().await.unwrap();
    });
}

#[test]
fn with_a_stream_what_an_intake_had_written_before_it_panicked_gets_there_and_so_does_what_comes_after() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        track(&rt, "before").await.unwrap();
        run.log.next_write_panics.store(true, Ordering::Relaxed);
        track(&rt, "lost").await.unwrap_err();
        track(&rt, "later").await.unwrap();
        until(&rt, "both are in the stream", || {
            let stored = fixture.stream.stored();
            ["before", "later"].iter().all(|id| stored.iter().any(|known| known == id))
        })
        .await;
        until(&rt, "no segment is left but an open one", || fixture.segments() <= 1).await;
    });
}

#[test]
fn a_segment_that_is_removed_under_the_writer_costs_no_later_event() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        track(&rt, "removed").await.unwrap();
        fs::remove_dir_all(fixture.folder()).unwrap();
        rt.clock().sleep(Duration::from_secs(2)).await;
        track(&rt, "later").await.unwrap();
        assert_eq!(in_log(&fixture.folder()), ["later"]);
        assert!(run.log.bytes() < 300, "what is gone is not counted: {}", run.log.bytes());
    });
}

#[test]
fn a_folder_that_is_moved_away_is_made_anew_and_held() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        track(&rt, "moved").await.unwrap();
        let away = fixture.folder().with_file_name("away");
        fs::rename(fixture.folder(), &away).unwrap();
        rt.clock().sleep(Duration::from_secs(2)).await;
        track(&rt, "later").await.unwrap();
        assert_eq!((in_log(&fixture.folder()), in_log(&away)), (vec!["later".to_owned()], vec!["moved".to_owned()]));
        assert!(health(&rt).await.accepting);
        let second =
            EventLog::open(fixture.data.path(), &fixture.events, &fixture.kinesis, run.metrics.clone(), drain());
        assert!(matches!(second, Err(OpenError::InUse { .. })), "there is one writer");
    });
}

#[test]
fn a_folder_that_another_process_has_meanwhile_is_not_accepted_into() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        fs::rename(fixture.folder(), fixture.folder().with_file_name("away")).unwrap();
        let second =
            EventLog::open(fixture.data.path(), &fixture.events, &fixture.kinesis, run.metrics.clone(), drain())
                .unwrap();
        rt.clock().sleep(Duration::from_secs(2)).await;
        let sick = health(&rt).await;
        assert!(!sick.accepting && sick.detail.contains("in use by another process"), "{sick:?}");
        drop(second);
        rt.clock().sleep(Duration::from_secs(2)).await;
        assert!(health(&rt).await.accepting);
    });
}

#[test]
fn every_event_of_a_burst_above_the_bound_is_accepted_or_refused_and_only_the_accepted_are_there() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::without_stream();
        fixture.events.loop_queue_events_max = 100;
        let run = fixture.run(&rt).await;
        let (accepted, refused) = track_together(&rt, ids(0..3_000)).await;
        assert!(!refused.is_empty() && accepted.len() + refused.len() == 3_000);
        assert!(refused.iter().all(|error| matches!(error, RequestError::Overloaded { .. })), "{:?}", refused[0]);
        let mut found = in_log(&fixture.folder());
        found.sort();
        assert_eq!(found, accepted);
        assert_eq!(run.metrics.accepted.get(), accepted.len() as u64);
    });
}

#[test]
fn an_event_whose_caller_went_away_is_in_the_log_all_the_same() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let run = fixture.run(&rt).await;
        let bus = rt.bus().clone();
        let mut caller = JoinSet::new();
        caller.spawn_local(async move {
            let mut request = std::pin::pin!(
                bus.request(
                    TRACK,
                    Track { event: event("m"), durability: Durability::Spool, at_bound: AtBound::Refuse }
                )
                .into_future()
            );
            let polled =
                std::future::poll_fn(|cx| std::task::Poll::Ready(request.as_mut().poll(cx).is_pending())).await;
            assert!(polled, "nothing is written before the turn ends");
        });
        caller.join_all().await;
        until(&rt, "the event is written", || run.metrics.accepted.get() == 1).await;
        assert_eq!(in_log(&fixture.folder()), ["m"]);
    });
}

#[test]
fn with_a_stream_that_is_gone_the_log_grows_to_its_bound_and_nothing_in_it_is_given_up() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.events.disk_bytes_max = 20_000;
        fixture.kinesis.queue_events_max = 10;
        fixture.stream.always(Answer::Error(crate::kinesis::client::PutError::Unreachable("down".into())));
        let run = fixture.run(&rt).await;
        let mut accepted = Vec::new();
        let mut refused = 0;
        for id in ids(0..400) {
            match track(&rt, &id).await {
                Ok(_) => accepted.push(id),
                Err(error) => {
                    assert_eq!(code(&error), Some(OVERLOADED));
                    refused += 1;
                }
            }
        }
        assert!(refused > 0 && run.log.bytes() <= 20_200, "{refused} refused, {} bytes", run.log.bytes());
        assert_eq!(run.metrics.refused.log_full.get(), refused);
        assert_eq!(in_log(&fixture.folder()), accepted);
        let full = health(&rt).await;
        assert!(!full.accepting && full.detail.contains("reached its bound"), "{full:?}");

        fixture.stream.always(None);
        until(&rt, "everything is shipped", || fixture.stream.stored().len() == accepted.len()).await;
        track(&rt, "later").await.unwrap();
        run.stop(&rt).await;
    });
}

#[test]
fn without_a_stream_the_oldest_segments_go_and_no_event_is_refused() {
    // Small segments, and the longest there may be: two fill the log.
    for (segment_bytes_max, dropped_min, left_min) in [(5_000, 10, 100), (20_000, 3, 80)] {
        TestRuntime::paused(|rt| async move {
            let mut fixture = Fixture::without_stream();
            fixture.events.disk_bytes_max = 40_000;
            fixture.events.segment_bytes_max = segment_bytes_max;
            let run = fixture.run(&rt).await;
            for id in ids(0..1_000) {
                track(&rt, &id).await.unwrap();
                assert!(run.log.bytes() < 40_000);
                rt.clock().sleep(Duration::from_millis(1)).await;
            }
            assert!(run.metrics.segments_dropped.get() >= dropped_min);
            let left = in_log(&fixture.folder());
            assert!(left.len() > left_min, "{} events", left.len());
            assert_eq!(left, ids(1_000 - left.len()..1_000), "the newest ones, without a gap");
            let listed = directory::list(&fixture.folder()).unwrap().segments;
            assert_eq!(run.log.bytes(), listed.iter().map(|(_, bytes)| bytes).sum::<u64>());
        });
    }
}

#[test]
fn without_a_stream_events_go_when_they_are_as_old_as_they_may_be_and_none_before() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::without_stream();
        fixture.events.log_age_max = Some(Duration::from_secs(80));
        let run = fixture.run(&rt).await;
        let written_at = |segment: usize, age_ms: i64| {
            let (name, _) = directory::list(&fixture.folder()).unwrap().segments[segment];
            let at = u64::try_from(rt.clock().unix_ms() - age_ms).unwrap();
            let file = fs::File::options().append(true).open(fixture.folder().join(name.file_name(Kind::Log))).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_millis(at)).unwrap();
        };
        track(&rt, "old").await.unwrap();
        written_at(0, 0);
        // An eighth of the time, and the segment is closed.
        rt.clock().sleep(Duration::from_secs(12)).await;
        track(&rt, "new").await.unwrap();
        assert_eq!(fixture.segments(), 2);
        written_at(0, 79_000);
        rt.clock().sleep(Duration::from_millis(900)).await;
        assert_eq!(in_log(&fixture.folder()), ["old", "new"]);
        rt.clock().sleep(Duration::from_secs(2)).await;
        until(&rt, "the old one is gone", || in_log(&fixture.folder()) == ["new"]).await;
        assert_eq!(run.metrics.segments_dropped.get(), 1);
        run.stop(&rt).await;
    });
}

#[test]
fn a_segment_written_at_a_time_that_is_still_to_come_goes_by_when_it_was_begun_and_holds_up_no_other() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::without_stream();
        fixture.events.log_age_max = Some(Duration::from_secs(80));
        let run = fixture.run(&rt).await;
        for id in ["first", "second"] {
            track(&rt, id).await.unwrap();
            rt.clock().sleep(Duration::from_secs(12)).await;
        }
        assert_eq!(fixture.segments(), 2);
        for ((name, _), ahead_ms) in directory::list(&fixture.folder()).unwrap().segments.iter().zip([3_600_000, 0]) {
            let at = u64::try_from(rt.clock().unix_ms()).unwrap() + ahead_ms;
            let file = fs::File::options().append(true).open(fixture.folder().join(name.file_name(Kind::Log))).unwrap();
            file.set_modified(UNIX_EPOCH + Duration::from_millis(at)).unwrap();
        }
        rt.clock().sleep(Duration::from_secs(54)).await;
        assert_eq!(in_log(&fixture.folder()), ["first", "second"], "the first was begun 78 s ago");
        rt.clock().sleep(Duration::from_secs(5)).await;
        until(&rt, "the first is gone", || in_log(&fixture.folder()) == ["second"]).await;
        rt.clock().sleep(Duration::from_secs(25)).await;
        until(&rt, "and the second, by its own time", || fixture.segments() == 0).await;
        run.stop(&rt).await;
    });
}

#[test]
fn the_log_of_an_earlier_run_stays_where_there_is_no_stream_and_is_shipped_where_there_is_one() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::without_stream();
        for id in ["first", "second"] {
            let run = fixture.run(&rt).await;
            track(&rt, id).await.unwrap();
            run.stop(&rt).await;
        }
        assert_eq!(in_log(&fixture.folder()), ["first", "second"]);
        fixture.kinesis.stream = Some("events".into());
        let run = fixture.run(&rt).await;
        until(&rt, "it is shipped and gone", || fixture.segments() == 0).await;
        assert_eq!(fixture.stream.stored(), ["first", "second"]);
        run.stop(&rt).await;
    });
}

#[test]
fn a_second_process_on_the_same_folder_is_refused() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let _run = fixture.run(&rt).await;
        let metrics = Metrics::register(&mut Registry::default());
        let second = EventLog::open(fixture.data.path(), &fixture.events, &fixture.kinesis, metrics, drain());
        assert!(matches!(second, Err(OpenError::InUse { .. })));
    });
}

#[test]
fn a_healthy_log_without_a_stream_says_so() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::without_stream();
        let _run = fixture.run(&rt).await;
        track(&rt, "m").await.unwrap();
        let health = health(&rt).await;
        assert_eq!((health.name, health.up, health.accepting), ("event log", true, true));
        assert!(health.detail.contains("no stream is configured"), "{health:?}");
    });
}

#[test]
fn an_event_that_may_be_dropped_at_a_bound_is_answered_so_and_counted_and_no_other_is() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.events.loop_queue_events_max = 2;
        fixture.stream.always(Answer::Hang);
        let run = fixture.run(&rt).await;
        let ask = |id: &'static str, at_bound| {
            let track = Track { event: event(id), durability: Durability::Memory, at_bound };
            rt.bus().request(TRACK, track)
        };
        let taken = Accepted::Held { durability: Durability::Memory };
        // All of one turn: nothing is written in between.
        let (first, second, third, fourth) = tokio::join!(
            ask("1", AtBound::Drop),
            ask("2", AtBound::Refuse),
            ask("3", AtBound::Drop),
            ask("4", AtBound::Refuse)
        );
        assert_eq!((first.unwrap(), second.unwrap()), (taken, taken));
        assert_eq!(third.unwrap(), Accepted::Dropped { bound: Bound::Queue });
        assert_eq!(code(&fourth.unwrap_err()), Some(OVERLOADED));
        assert_eq!((run.metrics.dropped.queue_full.get(), run.metrics.refused.queue_full.get()), (1, 1));
        until(&rt, "the others are written", || in_log(&fixture.folder()) == ["1", "2"]).await;
    });
}
