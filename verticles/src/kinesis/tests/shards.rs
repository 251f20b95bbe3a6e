//! Shards that are full, that become others, and a service that is not there for a while.

use adtrack_config::RecordFormat;
use adtrack_proto::bus::Account;

use super::*;
use crate::kinesis::client::{Outcome, PutError};
use crate::kinesis::shard::ShardId;
use crate::kinesis::tests::stream::Answer;

const SECOND: Duration = Duration::from_secs(1);

/// Two shards, of half of the hash keys each.
const TWO: [(u64, u128); 2] = [(0, 0), (1, 1 << 127)];

fn down() -> Answer {
    Answer::Error(PutError::Unreachable("connection refused".into()))
}

/// Waits until the shards are known.
async fn listed(rt: &TestRuntime, run: &Run, shards: i64) {
    until(rt, "the shards are known", || run.metrics.shards.get() == shards).await;
}

#[test]
fn a_full_shard_is_left_alone_with_growing_pauses_while_the_others_go_on_and_is_no_outage() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.set_shards(TWO);
        fixture.stream.set_full([1]);
        let run = fixture.run(&rt).await;
        listed(&rt, &run, 2).await;
        track_together(&rt, ids(0..2_000)).await;
        let fine = fine(&fixture, &ids(0..2_000));
        until(&rt, "those of the other shard are there", || fixture.stream.stored().len() == fine).await;
        assert!(rt.elapsed() < SECOND, "{:?}", rt.elapsed());
        rt.clock().sleep(60 * SECOND).await;
        let calls = fixture.stream.calls().len();
        assert!((15..=120).contains(&calls), "{calls} calls in a minute, of four in flight");
        assert!(run.metrics.shard_pauses.get() > 10);
        let health = health(&rt).await;
        assert!(health.up && health.accepting, "{health:?}");
        assert_eq!(run.metrics.call_failures.get(), 0);

        track(&rt, "between").await.unwrap();
        fixture.stream.set_full([]);
        until(&rt, "all are there", || run.metrics.shipped.get() == 2_001).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        run.stop(&rt).await;
    });
}

#[test]
fn a_backlog_is_shipped_at_nearly_the_pace_of_the_shards_and_not_faster() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        (fixture.kinesis.shard_records_per_s, fixture.kinesis.shard_bytes_per_s) = (1_000, 1_048_576);
        fixture.stream.set_shards(TWO);
        fixture.stream.always(down());
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..10_000)).await;
        run.kill(&rt).await;
        fixture.stream.always(None);
        let begun = rt.elapsed();
        let run = fixture.run(&rt).await;
        until(&rt, "all are there", || run.metrics.shipped.get() == 10_000).await;
        let took = rt.elapsed() - begun;
        // Five seconds' worth for each of the two, and a little more for the one that has more than half.
        assert!((Duration::from_millis(4_500)..Duration::from_millis(6_000)).contains(&took), "{took:?}");
        assert_eq!(run.metrics.throttled.get(), 0);
        run.stop(&rt).await;
    });
}

#[test]
fn an_answer_that_names_another_shard_has_the_shards_listed_anew() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.set_shards(TWO);
        let run = fixture.run(&rt).await;
        listed(&rt, &run, 2).await;
        assert_eq!(fixture.stream.listed(), 1);
        // Both are split.
        fixture.stream.set_shards([(2, 0), (3, 1 << 126), (4, 1 << 127), (5, 3 << 126)]);
        track_together(&rt, ids(0..100)).await;
        until(&rt, "the new shards are known", || run.metrics.shards.get() == 4).await;
        assert!(rt.elapsed() < 3 * SECOND, "{:?}", rt.elapsed());
        let misses = run.metrics.shard_misses.get();
        assert_eq!(misses, 100);
        track_together(&rt, ids(100..200)).await;
        until(&rt, "all are there", || fixture.stream.stored().len() == 200).await;
        assert_eq!((run.metrics.shard_misses.get(), fixture.stream.listed()), (misses, 2));
        rt.clock().sleep(61 * SECOND).await;
        assert_eq!(fixture.stream.listed(), 3, "and once a minute");
        run.stop(&rt).await;
    });
}

#[test]
fn answers_that_name_a_shard_that_is_in_no_list_have_it_asked_for_less_and_less() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.set_shards(TWO);
        fixture.stream.always(Answer::Outcomes(vec![Outcome::Stored(Some(ShardId(9)))]));
        let run = fixture.run(&rt).await;
        for id in ids(0..1_200) {
            track(&rt, &id).await.unwrap();
            rt.clock().sleep(SECOND / 10).await;
        }
        let listed = fixture.stream.listed();
        assert!((6..=9).contains(&listed), "{listed} times in two minutes");
        fixture.stream.always(None);
        rt.clock().sleep(180 * SECOND).await;
        let listed = fixture.stream.listed();
        fixture.stream.set_shards([(2, 0), (3, 1 << 127)]);
        track(&rt, "elsewhere").await.unwrap();
        rt.clock().sleep(2 * SECOND).await;
        assert_eq!(fixture.stream.listed(), listed + 1, "and at once again, when it has been right for a while");
        run.stop(&rt).await;
    });
}

#[test]
fn shards_that_cannot_be_listed_are_asked_for_less_and_less_but_once_a_minute() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.always(down());
        let run = fixture.run(&rt).await;
        rt.clock().sleep(10 * 60 * SECOND).await;
        let times = fixture.stream.listed();
        assert!((11..=15).contains(&times), "{times} times in ten minutes");
        fixture.stream.set_shards(TWO);
        fixture.stream.always(None);
        listed(&rt, &run, 2).await;
        run.stop(&rt).await;
    });
}

#[test]
fn without_the_right_to_list_shards_everything_is_shipped() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.shard_records_per_s = 10;
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..1_000)).await;
        until(&rt, "all are there", || fixture.stream.stored().len() == 1_000).await;
        assert!(rt.elapsed() < SECOND, "at no particular pace: {:?}", rt.elapsed());
        assert_eq!((run.metrics.shards.get(), fixture.stream.listed()), (0, 1));
        run.stop(&rt).await;
    });
}

#[test]
fn in_an_outage_one_call_goes_at_a_time_and_behind_it_more_and_more() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.in_flight_max = 8;
        fixture.stream.always(down());
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..8_000)).await;
        rt.clock().sleep(SECOND).await;
        let before = fixture.stream.calls().len();
        rt.clock().sleep(60 * SECOND).await;
        let calls = fixture.stream.calls().len() - before;
        assert!((12..60).contains(&calls), "{calls} calls in a minute, whatever may be in flight");
        assert!(!health(&rt).await.up);

        let takes = Duration::from_millis(100);
        fixture.stream.always(Answer::After(rt.clock().clone(), takes));
        until(&rt, "the first call is under way", || run.metrics.calls_in_flight.get() == 1).await;
        let mut most = Vec::new();
        for _ in 0..4 {
            most.push(run.metrics.calls_in_flight.get());
            rt.clock().sleep(takes).await;
        }
        assert!(most[0] == 1 && most[1] <= 2 && most[2] <= 4, "{most:?}");
        until(&rt, "all are there", || run.metrics.shipped.get() == 8_000).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        run.stop(&rt).await;
    });
}

#[test]
fn a_stream_that_may_be_described_and_takes_nothing_is_down_until_it_takes_something() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        // Between two calls there is time to ask how the stream is.
        (fixture.kinesis.backoff_min, fixture.kinesis.backoff_max) = (12 * SECOND, 12 * SECOND);
        let run = fixture.run(&rt).await;
        until(&rt, "it is there, and was asked", || run.log.is_stream_up()).await;
        fixture.stream.always(Answer::Error(PutError::Denied("no right to put records".into())));
        track(&rt, "m").await.unwrap();
        until(&rt, "it takes nothing", || !run.log.is_stream_up()).await;
        for _ in 0..600 {
            rt.clock().sleep(SECOND / 10).await;
            let health = health(&rt).await;
            assert!(!health.up && health.detail.contains("no right to put records"), "{health:?}");
        }
        assert!((5..=7).contains(&fixture.stream.calls().len()), "{:?}", fixture.stream.calls());
        fixture.stream.always(None);
        until(&rt, "it takes something", || run.log.is_stream_up()).await;
        assert_eq!(fixture.stream.stored(), ["m"]);
        run.stop(&rt).await;
    });
}

#[test]
fn the_age_of_the_oldest_event_grows_in_an_outage_and_goes_with_it() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.always(down());
        let run = fixture.run(&rt).await;
        track(&rt, "m").await.unwrap();
        rt.clock().sleep(90 * SECOND).await;
        let age = run.metrics.oldest_seconds.get();
        assert!((88..=91).contains(&age), "{age}");
        fixture.stream.always(None);
        until(&rt, "nothing waits", || run.metrics.oldest_seconds.get() == 0).await;
        run.stop(&rt).await;
    });
}

/// Those of these events that go to the shard which is not the second of the two.
fn fine(fixture: &Fixture, ids: &[String]) -> usize {
    ids.iter().filter(|id| fixture.stream.shard_of(id).is_some_and(|shard| shard.0 == 0)).count()
}

/// A second shard that takes nothing while four times as much comes as there is room for.
async fn crowd(rt: &TestRuntime, fixture: &Fixture, run: &Run) -> Vec<String> {
    fixture.stream.set_full([1]);
    listed(rt, run, 2).await;
    let all = ids(0..8_000);
    for (nth, some) in all.chunks(200).enumerate() {
        let (accepted, refused) = track_together(rt, some.iter().cloned()).await;
        assert_eq!((accepted.len(), refused.len()), (200, 0));
        let come = fine(fixture, &all[..200 * (nth + 1)]);
        let asked = rt.elapsed();
        until(rt, "those of the other shard are there", || run.metrics.shipped.get() == come as u64).await;
        let waited = rt.elapsed() - asked;
        assert!(waited <= Duration::from_millis(100), "they have waited for {waited:?}");
        rt.clock().sleep(Duration::from_millis(100)).await;
    }
    assert!(run.log.room().events() < 1_000, "{} of 2,000 places are taken", run.log.room().events());
    assert_eq!(run.metrics.disk_mode_entered.get(), 0);
    assert!(run.metrics.let_go.get() > 3_000);
    all
}

fn crowded_fixture() -> Fixture {
    let mut fixture = Fixture::with_stream();
    fixture.kinesis.queue_events_max = 2_000;
    fixture.stream.set_shards(TWO);
    fixture
}

fn delivered(fixture: &Fixture) -> Vec<String> {
    let mut ids: Vec<String> = fixture
        .stream
        .entries()
        .iter()
        .flat_map(|entry| entry.records().iter().map(|record| record.id().to_owned()))
        .collect();
    ids.sort();
    ids
}

#[test]
fn a_shard_that_takes_nothing_has_its_share_of_the_memory_and_holds_nobody_up() {
    for format in [RecordFormat::Record, RecordFormat::Aggregated] {
        TestRuntime::paused(move |rt| async move {
            let mut fixture = crowded_fixture();
            fixture.kinesis.format = format;
            fixture.kinesis.aggregate_bytes_max = 2_000;
            let run = fixture.run(&rt).await;
            let all = crowd(&rt, &fixture, &run).await;
            rt.clock().sleep(10 * SECOND).await;
            let held = run.metrics.ledger.report().total;
            assert_eq!(held.in_flight + held.spooled, 8_000 - fine(&fixture, &all) as i64);
            assert!(held.spooled > 3_000, "{held:?}");

            fixture.stream.set_full([]);
            let begun = rt.elapsed();
            until(&rt, "all are there", || run.metrics.shipped.get() == 8_000).await;
            let took = rt.elapsed() - begun;
            assert!(took < 10 * SECOND, "{took:?}");
            until(&rt, "the log is empty", || fixture.segments() == 0).await;
            assert_eq!(delivered(&fixture), all, "each once");
            assert!(run.log.room().is_below(0));
            assert!(run.metrics.ledger.differences().is_empty());
            let account = Account { accepted: 8_000, delivered: 8_000, ..Account::default() };
            assert_eq!(run.metrics.ledger.report().total, account);
            run.stop(&rt).await;
        });
    }
}

#[test]
fn what_was_let_go_is_there_after_a_kill_and_what_the_others_have_does_not_come_twice() {
    TestRuntime::paused(|rt| async move {
        let fixture = crowded_fixture();
        let run = fixture.run(&rt).await;
        let all = crowd(&rt, &fixture, &run).await;
        run.kill(&rt).await;
        fixture.stream.set_full([]);
        let run = fixture.run(&rt).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert_eq!(delivered(&fixture), all, "each once");
        run.stop(&rt).await;
    });
}

#[test]
fn no_more_is_let_go_than_may_be_remembered_and_then_the_others_wait_with_it() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = crowded_fixture();
        fixture.events.memory_bytes_max = 1_048_576;
        fixture.stream.set_full([1]);
        let run = fixture.run(&rt).await;
        listed(&rt, &run, 2).await;
        for some in ids(0..16_000).chunks(200) {
            track_together(&rt, some.iter().cloned()).await;
            rt.clock().sleep(Duration::from_millis(30)).await;
        }
        let let_go = run.metrics.let_go.get();
        assert!((2_048..2_048 + 200).contains(&let_go), "{let_go}");
        assert!(run.metrics.disk_mode_entered.get() > 0);
        fixture.stream.set_full([]);
        until(&rt, "all are there", || run.metrics.shipped.get() == 16_000).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert_eq!(delivered(&fixture), ids(0..16_000), "each once");
        run.stop(&rt).await;
    });
}

#[test]
fn a_shard_that_is_full_for_long_fills_no_more_than_half_of_the_log_with_what_the_others_have() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = crowded_fixture();
        fixture.events.disk_bytes_max = 1_048_576;
        fixture.events.segment_bytes_max = 65_536;
        fixture.stream.set_full([1]);
        let run = fixture.run(&rt).await;
        listed(&rt, &run, 2).await;
        let mut longest = 0;
        for some in ids(0..6_000).chunks(200) {
            track_together(&rt, some.iter().cloned()).await;
            rt.clock().sleep(Duration::from_millis(500)).await;
            longest = longest.max(run.log.bytes());
            if run.log.bytes() >= run.log.bytes_max() / 2 {
                break;
            }
        }
        let let_go = run.metrics.let_go.get();
        assert!(let_go > 0 && longest >= run.log.bytes_max() / 2, "{let_go} let go, {longest} bytes");
        track_together(&rt, ids(6_000..6_400)).await;
        rt.clock().sleep(SECOND).await;
        assert!(run.metrics.let_go.get() <= let_go + 200, "{} let go", run.metrics.let_go.get());
        fixture.stream.set_full([]);
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert_eq!(delivered(&fixture).len() as u64, run.metrics.accepted.get(), "each once");
        assert!(run.metrics.ledger.differences().is_empty());
        run.stop(&rt).await;
    });
}

#[test]
fn damage_in_what_was_let_go_is_told_and_the_segment_is_kept() {
    TestRuntime::paused(|rt| async move {
        let fixture = crowded_fixture();
        let run = fixture.run(&rt).await;
        crowd(&rt, &fixture, &run).await;
        rt.clock().sleep(3 * SECOND).await;
        // The last frame of each: half of them are events that were let go.
        for (name, _) in directory::list(&fixture.folder()).unwrap().segments {
            let path = run.log.directory().segment(name);
            let mut bytes = std::fs::read(&path).unwrap();
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
        fixture.stream.set_full([]);
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        let damaged = run.metrics.segments_damaged.get();
        assert!(damaged > 0 && run.metrics.damaged_bytes.get() > 0);
        let kept = directory::list(&fixture.folder()).unwrap().kept_of(crate::kinesis::spool::name::Kind::Damaged);
        assert_eq!(kept as u64, damaged);
        assert!(run.metrics.ledger.differences().is_empty());
        run.stop(&rt).await;
    });
}
