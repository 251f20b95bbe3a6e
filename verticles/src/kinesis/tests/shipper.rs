//! Shipping: what is in the log gets to the stream, whatever the stream does, and then goes.

use std::fs;

use super::*;
use crate::kinesis::client::{Outcome, PutError};
use crate::kinesis::spool::name::Kind;
use crate::kinesis::spool::segment;
use crate::kinesis::tests::stream::Answer;

const SECOND: Duration = Duration::from_secs(1);

fn down() -> Answer {
    Answer::Error(PutError::Unreachable("connection refused".into()))
}

fn failed() -> Outcome {
    Outcome::Failed("InternalFailure".into())
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

fn distinct(ids: Vec<String>) -> Vec<String> {
    let mut ids = sorted(ids);
    ids.dedup();
    ids
}

#[test]
fn events_are_shipped_in_batches_and_in_order_and_their_segments_go() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..1_200)).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert_eq!(fixture.stream.stored(), ids(0..1_200));
        assert_eq!(fixture.stream.calls().iter().map(Vec::len).collect::<Vec<_>>(), [500, 500, 200]);
        assert_eq!((run.log.bytes(), run.log.room().events(), run.metrics.shipped.get()), (0, 0, 1_200));
        assert_eq!(run.metrics.read_back.get(), 0, "all of them came through memory");
        let health = health(&rt).await;
        assert_eq!((health.name, health.up, health.accepting), ("kinesis", true, true));
        run.stop(&rt).await;
    });
}

#[test]
fn a_batch_waits_for_company_and_no_longer_than_it_may() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        track(&rt, "a").await.unwrap();
        rt.clock().sleep(Duration::from_millis(10)).await;
        track(&rt, "b").await.unwrap();
        assert!(fixture.stream.calls().is_empty());
        rt.clock().sleep(Duration::from_millis(15)).await;
        assert_eq!(fixture.stream.calls(), [["a", "b"]]);
        run.stop(&rt).await;
    });
}

#[test]
fn only_the_failed_records_of_a_partial_failure_are_sent_again() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.then(Answer::Outcomes(vec![Outcome::Stored(None), Outcome::Throttled, failed()]));
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..6)).await;
        until(&rt, "all are there", || fixture.stream.stored().len() == 6).await;
        let again: Vec<String> = [1, 2, 4, 5].map(|index| format!("m-{index:06}")).into();
        assert_eq!(fixture.stream.calls(), [ids(0..6), again]);
        assert_eq!((run.metrics.retried.get(), run.metrics.throttled.get()), (4, 2));
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        run.stop(&rt).await;
    });
}

#[test]
fn records_that_a_stream_does_not_take_wait_in_company_and_hold_nobody_up() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.always(Answer::Outcomes(vec![Outcome::Stored(None), Outcome::Stored(None), Outcome::Throttled]));
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..10_000)).await;
        let begun = rt.elapsed();
        until(&rt, "all are there", || fixture.stream.stored().len() == 10_000).await;
        let (took, calls) = (rt.elapsed() - begun, fixture.stream.calls().len());
        assert_eq!(sorted(fixture.stream.stored()), ids(0..10_000));
        assert!(took < 3 * SECOND, "{took:?}");
        assert!(calls <= 60, "{calls} calls for 10000 records, each sent one and a half times");
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        run.stop(&rt).await;
    });
}

#[test]
fn in_order_a_call_holds_one_event_of_a_key_and_the_next_waits_for_its_answer() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.ordered = true;
        fixture.stream.then(Answer::Outcomes(vec![failed(), Outcome::Stored(None)]));
        let run = fixture.run(&rt).await;
        let tracked = ["a", "b", "a", "c", "a"];
        track_together(&rt, tracked.map(str::to_owned)).await;
        until(&rt, "all are there", || fixture.stream.stored().len() == tracked.len()).await;
        let calls = fixture.stream.calls();
        assert_eq!(calls[0], ["a", "b", "c"]);
        let behind: Vec<String> = calls[1..].iter().flatten().cloned().collect();
        assert_eq!(behind.iter().filter(|key| *key == "a").count(), 3, "{calls:?}");
        assert!(calls.iter().all(|call| call.iter().filter(|key| *key == "a").count() <= 1), "{calls:?}");
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        run.stop(&rt).await;
    });
}

#[test]
fn what_comes_now_does_not_wait_for_what_was_left_by_an_earlier_run() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.in_flight_max = 1;
        fixture.kinesis.batch_records_max = 100;
        fixture.stream.always(down());
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..10_000)).await;
        run.kill(&rt).await;
        // Each call takes its time.
        fixture.stream.always(Answer::After(rt.clock().clone(), Duration::from_millis(100)));
        let run = fixture.run(&rt).await;
        until(&rt, "the backlog is being shipped", || fixture.stream.stored().len() >= 1_000).await;
        let before = fixture.stream.stored().len();
        track(&rt, "now").await.unwrap();
        until(&rt, "it is there", || fixture.stream.stored().iter().any(|id| id == "now")).await;
        let between = fixture.stream.stored().len() - before;
        assert!(between <= 300, "{between} others went before it, in no more than the call under way and its own");
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        run.stop(&rt).await;
    });
}

#[test]
fn a_stream_that_is_down_is_tried_with_growing_pauses_and_used_within_five_seconds_of_its_return() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.always(down());
        let run = fixture.run(&rt).await;
        track(&rt, "m").await.unwrap();
        rt.clock().sleep(60 * SECOND).await;
        let calls = fixture.stream.calls().len();
        assert!((12..80).contains(&calls), "{calls} calls in a minute");
        let sick = health(&rt).await;
        assert!(!sick.up && sick.accepting && sick.detail.contains("connection refused"), "{sick:?}");
        assert_eq!(in_log(&fixture.folder()), ["m"]);

        fixture.stream.always(None);
        rt.clock().sleep(5 * SECOND + Duration::from_millis(1)).await;
        assert_eq!(fixture.stream.stored(), ["m"]);
        assert!(health(&rt).await.up);
        run.stop(&rt).await;
    });
}

#[test]
fn a_stream_that_is_down_at_the_start_is_known_to_be_before_any_event_comes() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.always(down());
        let run = fixture.run(&rt).await;
        rt.clock().sleep(Duration::from_millis(10)).await;
        let sick = health(&rt).await;
        assert!(!sick.up && sick.accepting && sick.detail.contains("connection refused"), "{sick:?}");
        fixture.stream.always(None);
        rt.clock().sleep(5 * SECOND + Duration::from_millis(1)).await;
        assert!(health(&rt).await.up);
        run.stop(&rt).await;
    });
}

#[test]
fn a_call_that_hangs_is_given_up_in_time_and_its_records_are_sent_again() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.then(Answer::Hang);
        fixture.stream.then(Answer::StoredButLost);
        let run = fixture.run(&rt).await;
        track(&rt, "m").await.unwrap();
        rt.clock().sleep(16 * SECOND).await;
        assert_eq!(fixture.stream.calls().len(), 2);
        rt.clock().sleep(16 * SECOND).await;
        assert_eq!(
            fixture.stream.stored(),
            ["m", "m"],
            "whether a call without an answer stored anything is not known"
        );
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        run.stop(&rt).await;
    });
}

#[test]
fn an_answer_of_the_wrong_length_sends_the_whole_batch_again() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.then(Answer::Count(2));
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..3)).await;
        until(&rt, "all are there", || fixture.stream.stored().len() == 3).await;
        assert_eq!(fixture.stream.calls(), [ids(0..3), ids(0..3)]);
        run.stop(&rt).await;
    });
}

#[test]
fn a_record_the_stream_refuses_is_kept_in_a_file_and_its_neighbours_are_delivered() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.poison("m-000007");
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..100)).await;
        until(&rt, "the others are there", || fixture.stream.stored().len() == 99).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert!(rt.elapsed() < 5 * SECOND);
        let listing = directory::list(&fixture.folder()).unwrap();
        assert_eq!((listing.kept_of(Kind::DeadLetter), run.metrics.dead_lettered.get()), (1, 1));
        let dead = fs::read_dir(fixture.folder()).unwrap().map(|entry| entry.unwrap().path());
        let dead =
            dead.filter(|path| path.extension().is_some_and(|end| end == "dead")).map(|path| fs::read(path).unwrap());
        assert!(dead.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).any(|text| text.contains("m-000007")));
        run.stop(&rt).await;
    });
}

#[test]
fn a_record_longer_than_a_record_may_be_is_not_sent_at_all() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.record_bytes_max = 200;
        let run = fixture.run(&rt).await;
        let long = "x".repeat(100);
        track_together(&rt, ["a".to_owned(), long, "b".to_owned()]).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert_eq!(fixture.stream.calls(), [["a", "b"]]);
        assert_eq!(run.metrics.dead_lettered.get(), 1);
        run.stop(&rt).await;
    });
}

#[test]
fn what_is_kept_for_a_person_has_a_bound_and_the_oldest_of_it_goes() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.record_bytes_max = 200;
        fixture.events.disk_bytes_max = 100_000; // A fifth of it for what is kept.
        let run = fixture.run(&rt).await;
        for n in 10..40 {
            track(&rt, &format!("{n}-{}", "x".repeat(2_000))).await.unwrap();
            rt.clock().sleep(Duration::from_millis(50)).await;
        }
        until(&rt, "all are refused", || run.metrics.dead_lettered.get() == 30).await;
        until(&rt, "no more is kept than may be", || run.metrics.kept_bytes.get() <= 20_000).await;
        let listing = directory::list(&fixture.folder()).unwrap();
        assert_eq!(listing.kept_bytes(), run.metrics.kept_bytes.get() as u64);
        assert!((10_000..=20_000).contains(&listing.kept_bytes()), "no more goes than must: {}", listing.kept_bytes());
        assert!(run.metrics.kept_files_dropped.get() > 3, "{}", run.metrics.kept_files_dropped.get());
        let (newest, kind, _) = *listing.kept.last().unwrap();
        let newest = fs::read(fixture.folder().join(newest.file_name(kind))).unwrap();
        assert!(String::from_utf8_lossy(&newest).contains("39-xxx"), "the newest is there");
        run.stop(&rt).await;
    });
}

#[test]
fn what_an_earlier_run_kept_is_within_the_bound_after_the_start() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.events.disk_bytes_max = 5_000;
        fs::create_dir_all(fixture.folder()).unwrap();
        for seq in 1..=4 {
            let name = SegmentName { created_ms: 1, event_loop: 0, seq };
            let kind = if seq % 2 == 0 { Kind::Damaged } else { Kind::DeadLetter };
            fs::write(fixture.folder().join(name.file_name(kind)), vec![0; 400]).unwrap();
        }
        let run = fixture.run(&rt).await;
        let kept = directory::list(&fixture.folder()).unwrap().kept;
        assert_eq!(kept.iter().map(|(name, ..)| name.seq).collect::<Vec<_>>(), [3, 4]);
        assert_eq!((run.metrics.kept_files_dropped.get(), run.metrics.kept_bytes.get()), (2, 800));
        run.stop(&rt).await;
    });
}

#[test]
fn a_stream_that_comes_to_refuse_everything_costs_ten_events_and_then_each_is_tried_again_and_again() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..50)).await;
        until(&rt, "all are there", || fixture.stream.stored().len() == 50).await;
        fixture.stream.always(Answer::Error(PutError::Refused("a proxy says so".into())));
        track_together(&rt, ids(50..100)).await;
        rt.clock().sleep(SECOND).await;
        let refused = run.metrics.dead_lettered.get();
        assert!((10..20).contains(&refused), "{refused} were given up");
        fixture.stream.always(None);
        until(&rt, "the others are there", || fixture.stream.stored().len() as u64 == 100 - refused).await;
        run.stop(&rt).await;
    });
}

#[test]
fn a_stream_that_refuses_everything_is_a_wrong_setting_and_costs_no_event_at_once() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.always(Answer::Error(PutError::Refused("stream name".into())));
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..50)).await;
        rt.clock().sleep(SECOND).await;
        assert_eq!(run.metrics.dead_lettered.get(), 0);
        fixture.stream.always(None);
        until(&rt, "all are there", || fixture.stream.stored().len() == 50).await;
        run.stop(&rt).await;
    });
}

#[test]
fn memory_is_bounded_while_the_stream_hangs_and_what_did_not_fit_is_read_back_exactly_once() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.queue_events_max = 100;
        fixture.kinesis.batch_records_max = 10;
        fixture.events.segment_bytes_max = 20_000;
        fixture.stream.always(down());
        let run = fixture.run(&rt).await;
        for start in (0..2_000).step_by(25) {
            let (_, refused) = track_together(&rt, ids(start..start + 25)).await;
            assert_eq!(refused, []);
            assert!(run.log.room().events() <= 100);
            rt.clock().sleep(Duration::from_millis(20)).await;
        }
        assert!(run.metrics.disk_mode_entered.get() >= 1);
        fixture.stream.always(None);
        until(&rt, "all are there", || fixture.stream.stored().len() >= 2_000).await;
        assert_eq!(sorted(fixture.stream.stored()), ids(0..2_000));
        assert!(run.log.room().events() <= 100 && run.metrics.read_back.get() > 1_000);
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert_eq!(run.log.bytes(), 0);

        track(&rt, "later").await.unwrap();
        let read_back = run.metrics.read_back.get();
        until(&rt, "it is there", || fixture.stream.stored().len() == 2_001).await;
        assert_eq!(run.metrics.read_back.get(), read_back, "memory is used again");
        run.stop(&rt).await;
    });
}

#[test]
fn stopping_ships_what_is_in_memory_without_waiting_for_company() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.linger = 60 * SECOND;
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..700)).await;
        let before = rt.elapsed();
        run.stop(&rt).await;
        assert_eq!(fixture.stream.stored(), ids(0..700));
        assert_eq!(fixture.segments(), 0);
        assert!(rt.elapsed() - before < SECOND);
    });
}

#[test]
fn stopping_while_the_stream_hangs_takes_the_time_allowed_and_leaves_the_events_in_the_log() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.always(Answer::Hang);
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..50)).await;
        let before = rt.elapsed();
        run.stop(&rt).await;
        let took = rt.elapsed() - before;
        assert!((6 * SECOND..7 * SECOND).contains(&took), "{took:?}");
        assert_eq!(in_log(&fixture.folder()), ids(0..50));

        fixture.stream.always(None);
        let run = fixture.run(&rt).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert_eq!(fixture.stream.stored(), ids(0..50));
        run.stop(&rt).await;
    });
}

#[test]
fn nothing_that_was_answered_is_missing_after_a_kill_at_any_moment() {
    TestRuntime::paused(|rt| async move {
        for round in 0..30_u64 {
            let mut fixture = Fixture::with_stream();
            fixture.kinesis.queue_events_max = 60;
            let mut accepted = Vec::new();
            for life in 0..3 {
                let run = fixture.run(&rt).await;
                for start in 0..5 + round as usize % 4 {
                    let first = life * 1_000 + start * 20;
                    accepted.extend(track_together(&rt, ids(first..first + 20)).await.0);
                    rt.clock().sleep(Duration::from_millis(7 * round)).await;
                }
                run.kill(&rt).await;
            }
            let run = fixture.run(&rt).await;
            until(&rt, "the log is empty", || fixture.segments() == 0).await;
            assert_eq!(distinct(fixture.stream.stored()), accepted, "round {round}");
            run.stop(&rt).await;
        }
    });
}

#[test]
fn whatever_the_stream_does_every_event_arrives_and_the_log_is_empty_in_the_end() {
    for seed in 0..20_u64 {
        TestRuntime::paused(|rt| async move {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut fixture = Fixture::with_stream();
            fixture.kinesis.queue_events_max = random.usize(20..200);
            fixture.kinesis.batch_records_max = random.usize(1..50);
            fixture.kinesis.operation_timeout = SECOND;
            for _ in 0..random.usize(0..60) {
                fixture.stream.then(match random.u8(0..6) {
                    0 => Answer::Hang,
                    1 => Answer::StoredButLost,
                    2 => down(),
                    3 => Answer::Count(random.usize(0..3)),
                    4 => Answer::Outcomes(vec![failed(), Outcome::Stored(None), Outcome::Throttled]),
                    _ => Answer::Error(PutError::Refused("for once".into())),
                });
            }
            let run = fixture.run(&rt).await;
            let mut accepted = Vec::new();
            for start in (0..600).step_by(30) {
                accepted.extend(track_together(&rt, ids(start..start + 30)).await.0);
                rt.clock().sleep(Duration::from_millis(random.u64(0..400))).await;
            }
            until(&rt, "the log is empty", || fixture.segments() == 0).await;
            let buried = run.metrics.dead_lettered.get() as usize;
            let arrived = distinct(fixture.stream.stored());
            assert!(arrived.len() + buried >= accepted.len(), "seed {seed}: {} of {}", arrived.len(), accepted.len());
            assert_eq!((run.log.bytes(), run.log.room().events()), (0, 0), "seed {seed}");
            run.stop(&rt).await;
        });
    }
}

#[test]
fn damaged_torn_foreign_and_newer_files_stop_nobody() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fs::create_dir_all(fixture.folder()).unwrap();
        let file = |seq: u32, bytes: &[u8]| {
            let name = SegmentName { created_ms: 1, event_loop: seq % 7, seq };
            fs::write(fixture.folder().join(name.file_name(Kind::Log)), bytes).unwrap();
        };
        let whole = |ids: &[&str]| {
            let mut bytes = segment::header().to_vec();
            for id in ids {
                segment::push_frame(&mut bytes, |out| event(id).encode(out)).unwrap();
            }
            bytes
        };
        let mut damaged = whole(&["before damage", "damaged", "behind damage"]);
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        file(1, &damaged);
        let torn = whole(&["before the cut", "cut"]);
        file(2, &torn[..torn.len() - 3]);
        file(3, b"");
        file(4, b"garbage, and rather a lot of it");
        let mut newer = whole(&[]);
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..12]).to_le_bytes();
        newer[12..16].copy_from_slice(&crc);
        file(5, &newer);
        file(6, &whole(&["whole"]));
        fs::write(fixture.folder().join("notes.txt"), "foreign").unwrap();

        let run = fixture.run(&rt).await;
        until(&rt, "the readable are there", || fixture.stream.stored().len() == 4).await;
        let readable = ["before damage", "before the cut", "behind damage", "whole"];
        assert_eq!(sorted(fixture.stream.stored()), readable);
        track(&rt, "new").await.unwrap();
        until(&rt, "the new one is there", || fixture.stream.stored().len() == 5).await;
        until(&rt, "only the newer file is left", || fixture.segments() == 1).await;
        let listing = directory::list(&fixture.folder()).unwrap();
        assert_eq!((listing.kept_of(Kind::Damaged), listing.foreign), (2, 1));
        assert_eq!((run.metrics.segments_damaged.get(), run.metrics.files_unreadable.get()), (2, 2));
        let frame_bytes = (damaged.len() - segment::HEADER_LEN) / 3; // the three ids differ in length by little
        let lost = run.metrics.damaged_bytes.get();
        assert!(lost < 31 + 2 * frame_bytes as u64 && lost > 31, "one record and the garbage, not {lost} bytes");
        run.stop(&rt).await;
    });
}

#[test]
fn a_shipper_that_is_replaced_knows_nothing_and_nothing_is_lost() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.always(Answer::Hang);
        let mut run = fixture.run(&rt).await;
        track_together(&rt, ids(0..30)).await;
        run.shipper.take().unwrap().undeploy_within(Duration::ZERO).await.unwrap();
        track_together(&rt, ids(30..60)).await;
        fixture.stream.always(None);
        run.shipper = Some(fixture.deploy_shipper(&rt, &run.log).await);
        track_together(&rt, ids(60..90)).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert_eq!(distinct(fixture.stream.stored()), ids(0..90));
        assert_eq!(run.log.room().events(), 0);
        run.stop(&rt).await;
    });
}

#[test]
fn on_real_loops_every_event_is_shipped_exactly_once_and_the_log_is_empty_in_the_end() {
    TestRuntime::on_loops(2, |rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.queue_events_max = 500;
        let metrics = Metrics::register(&mut Registry::default());
        let log =
            EventLog::open(fixture.data.path(), &fixture.events, &fixture.kinesis, metrics.clone(), drain()).unwrap();
        let (own, stream) = (Arc::clone(&log), fixture.stream.clone());
        let shipper = Deploy::new(move || Shipper::new(Arc::clone(&own), stream.clone())).on_loop("io");
        let shipper = rt.deploy(shipper).await.unwrap();
        let own = Arc::clone(&log);
        let intake = rt.deploy(Deploy::new(move || Intake::new(Arc::clone(&own))).instances(2)).await.unwrap();
        let callers: Vec<_> = (0..40)
            .map(|caller| {
                let bus = rt.bus().clone();
                async move {
                    for id in ids(caller * 50..caller * 50 + 50) {
                        bus.request(
                            TRACK,
                            Track { event: event(&id), durability: Durability::Spool, at_bound: AtBound::Refuse },
                        )
                        .await
                        .unwrap();
                    }
                }
            })
            .collect();
        together(callers).await;
        intake.undeploy().await.unwrap();
        shipper.undeploy().await.unwrap();
        assert_eq!(metrics.accepted.get(), 2_000);
        let left = in_log(&fixture.folder());
        let all = distinct(fixture.stream.stored().into_iter().chain(left).collect());
        assert_eq!(all, ids(0..2_000));
        assert_eq!(fixture.stream.stored().len() as u64, metrics.shipped.get(), "nothing twice");
    });
}

/// Polls all of them until all have ended.
async fn together(futures: Vec<impl Future<Output = ()>>) {
    let mut running: Vec<_> = futures.into_iter().map(Box::pin).collect();
    std::future::poll_fn(|cx| {
        running.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if running.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}
