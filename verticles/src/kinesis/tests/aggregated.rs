//! Shipping in aggregates: what holds for records holds for what is in them.

use std::collections::BTreeSet;

use super::*;
use crate::kinesis::client::Outcome;
use crate::kinesis::entry::Entry;
use crate::kinesis::record::Record;
use crate::kinesis::tests::stream::Answer;

fn aggregating() -> Fixture {
    let mut fixture = Fixture::with_stream();
    fixture.kinesis.format = config::RecordFormat::Aggregated;
    fixture
}

fn ids_in(entries: &[Entry]) -> Vec<String> {
    let mut ids: Vec<String> = entries.iter().flat_map(Entry::records).map(|record| record.id().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn events_go_in_aggregates_each_once_and_are_counted_in_both_units() {
    TestRuntime::paused(|rt| async move {
        let fixture = aggregating();
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..1_200)).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        let entries = fixture.stream.entries();
        assert_eq!(ids_in(&entries), ids(0..1_200));
        let places: BTreeSet<Option<u128>> = entries.iter().map(Entry::explicit_hash_key).collect();
        assert_eq!((entries.len(), places.len()), (32, 32), "one for each range, since none was full");
        assert_eq!((fixture.stream.calls().len(), run.metrics.calls.get()), (1, 1));
        assert_eq!((run.metrics.shipped.get(), run.metrics.entries_stored.get()), (1_200, 32));
        assert_eq!((run.metrics.payload_units.get(), run.metrics.retried.get(), run.log.room().events()), (32, 0, 0));
        run.stop(&rt).await;
    });
}

#[test]
fn an_aggregate_waits_for_company_and_no_longer_than_it_may() {
    TestRuntime::paused(|rt| async move {
        let fixture = aggregating();
        let run = fixture.run(&rt).await;
        track(&rt, "a").await.unwrap();
        rt.clock().sleep(Duration::from_millis(10)).await;
        track(&rt, "b").await.unwrap();
        assert!(fixture.stream.calls().is_empty());
        rt.clock().sleep(Duration::from_millis(15)).await;
        assert_eq!(
            (ids_in(&fixture.stream.entries()), fixture.stream.calls().len()),
            (vec!["a".into(), "b".into()], 1)
        );
        run.stop(&rt).await;
    });
}

#[test]
fn an_aggregate_that_fails_is_sent_again_whole_and_alone() {
    TestRuntime::paused(|rt| async move {
        let fixture = aggregating();
        let run = fixture.run(&rt).await;
        fixture.stream.then(Answer::Outcomes(vec![Outcome::Throttled, Outcome::Stored(None)]));
        track_together(&rt, ids(0..1_200)).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        let entries = fixture.stream.entries();
        assert_eq!((ids_in(&entries), entries.len()), (ids(0..1_200), 32));
        assert_eq!(fixture.stream.calls().iter().map(Vec::len).collect::<Vec<_>>(), [32, 16]);
        let again: usize = entries[16..].iter().map(Entry::events).sum();
        let counted = (run.metrics.retried.get(), run.metrics.throttled.get(), run.metrics.entries_retried.get());
        assert_eq!(counted, (again as u64, again as u64, 16));
        run.stop(&rt).await;
    });
}

#[test]
fn one_event_that_is_refused_does_not_take_its_company_along() {
    TestRuntime::paused(|rt| async move {
        let fixture = aggregating();
        let run = fixture.run(&rt).await;
        fixture.stream.poison("m-000007");
        track_together(&rt, ids(0..600)).await;
        until(&rt, "one is kept", || run.metrics.dead_lettered.get() == 1).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        let others = ids(0..600).into_iter().filter(|id| id != "m-000007").collect::<Vec<_>>();
        assert_eq!(ids_in(&fixture.stream.entries()), others);
        assert_eq!((run.metrics.shipped.get(), run.metrics.dead_lettered.get()), (599, 1));
        run.stop(&rt).await;
    });
}

#[test]
fn what_waits_is_sent_at_the_end_and_what_is_left_in_the_log_at_the_next_start() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = aggregating();
        fixture.kinesis.linger = Duration::from_secs(10);
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..50)).await;
        run.kill(&rt).await;
        assert!(fixture.stream.calls().is_empty());
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(50..100)).await;
        until(&rt, "the rest is read back", || run.metrics.read_back.get() == 50).await;
        assert!(fixture.stream.calls().is_empty());
        run.stop(&rt).await;
        assert_eq!(ids_in(&fixture.stream.entries()), ids(0..100));
    });
}

#[test]
fn events_of_one_key_are_in_one_aggregate_in_their_order() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = aggregating();
        fixture.kinesis.partition_key = config::PartitionKey::Program;
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..600)).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        let entries = fixture.stream.entries();
        let told: Vec<&str> = entries.iter().flat_map(Entry::records).map(Record::id).collect();
        assert_eq!(told, ids(0..600));
        assert!(entries.iter().all(|entry| entry.bytes() <= 51_200) && entries.len() <= 4, "{}", entries.len());
        run.stop(&rt).await;
    });
}

#[test]
fn the_shards_decide_what_goes_together_also_when_they_are_split() {
    TestRuntime::paused(|rt| async move {
        let fixture = aggregating();
        fixture.stream.set_shards([(0, 0), (1, 1 << 127)]);
        let run = fixture.run(&rt).await;
        until(&rt, "the shards are known", || run.metrics.shards.get() == 2).await;
        track_together(&rt, ids(0..200)).await;
        until(&rt, "the first are there", || run.metrics.shipped.get() == 200).await;
        fixture.stream.set_shards([(2, 0), (3, 1 << 126), (4, 1 << 127), (5, 3 << 126)]);
        track_together(&rt, ids(200..400)).await;
        until(&rt, "the new shards are known", || run.metrics.shards.get() == 4).await;
        track_together(&rt, ids(400..600)).await;
        until(&rt, "all are there", || run.metrics.shipped.get() == 600).await;
        let entries = fixture.stream.entries();
        assert_eq!(ids_in(&entries), ids(0..600));
        let mut places: Vec<u128> = entries.iter().filter_map(Entry::explicit_hash_key).collect();
        // The shards of a call come in any order.
        for call in [0..2, 2..4, 4..8] {
            places[call].sort_unstable();
        }
        // What is sent before the split is noticed goes to the first child of each.
        assert_eq!(places, [0, 1 << 127, 0, 1 << 127, 0, 1 << 126, 1 << 127, 3 << 126]);
        run.stop(&rt).await;
    });
}
