//! The ledger comes out even, whatever happens to events; and when it does not, the process says so.

use std::fs;
use std::sync::atomic::Ordering;

use adtrack_proto::bus::{Account, AskLedger, Dropped, LEDGER};

use super::*;
use crate::kinesis::client::PutError;
use crate::kinesis::ledger::Place;
use crate::kinesis::spool::segment::HEADER_LEN;
use crate::kinesis::tests::stream::Answer;

/// What the ledger says of all customers; it must come out even for each.
async fn even(rt: &TestRuntime, run: &Run) -> Account {
    let ledger = &run.metrics.ledger;
    assert!(ledger.differences().is_empty(), "{:?}", ledger.report());
    let report = rt.bus().request(LEDGER, AskLedger).await.unwrap();
    assert_eq!(report, ledger.report(), "what is asked for on the bus");
    report.total
}

fn hanging() -> Fixture {
    let mut fixture = Fixture::with_stream();
    fixture.kinesis.queue_events_max = 20;
    fixture.kinesis.batch_records_max = 10;
    fixture.stream.always(Answer::Hang);
    fixture
}

#[test]
fn what_the_stream_has_is_delivered_and_nothing_else_is_anywhere() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..300)).await;
        until(&rt, "all is shipped", || run.metrics.shipped.get() == 300).await;
        assert_eq!(even(&rt, &run).await, Account { accepted: 300, delivered: 300, ..Account::default() });
    });
}

#[test]
fn while_a_stream_hangs_events_are_in_flight_or_spooled_and_a_new_process_recovers_those_of_a_killed_one() {
    TestRuntime::paused(|rt| async move {
        let fixture = hanging();
        let run = fixture.run(&rt).await;
        for id in ids(0..60) {
            track(&rt, &id).await.unwrap();
        }
        let hung = even(&rt, &run).await;
        assert_eq!((hung.accepted, hung.in_flight + hung.spooled), (60, 60));
        assert!(hung.in_flight > 0 && hung.spooled > 0, "{hung:?}");
        run.kill(&rt).await;

        let run = fixture.run(&rt).await;
        until(&rt, "as much is read as there is room for", || run.metrics.read_back.get() >= 10).await;
        let known = even(&rt, &run).await;
        assert_eq!((known.accepted, known.recovered, known.spooled), (0, known.in_flight, 0));
        fixture.stream.always(None);
        until(&rt, "all is shipped", || run.metrics.shipped.get() == 60).await;
        assert_eq!(even(&rt, &run).await, Account { recovered: 60, delivered: 60, ..Account::default() });
    });
}

#[test]
fn what_the_stream_refuses_is_dead_lettered() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.poison("m-000003");
        let run = fixture.run(&rt).await;
        track(&rt, "before").await.unwrap();
        until(&rt, "the stream is proven", || run.metrics.shipped.get() == 1).await;
        track_together(&rt, ids(0..10)).await;
        until(&rt, "the others are shipped", || run.metrics.shipped.get() == 10).await;
        until(&rt, "it is kept", || run.metrics.dead_lettered.get() == 1).await;
        let told = even(&rt, &run).await;
        assert_eq!(told, Account { accepted: 11, delivered: 10, dead_lettered: 1, ..Account::default() });
    });
}

#[test]
fn what_was_answered_and_could_not_be_written_is_dropped() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        fs::remove_dir_all(fixture.folder()).unwrap();
        fs::write(fixture.folder(), "in the way").unwrap();
        track_together_at(&rt, ids(0..3), Durability::Memory).await;
        until(&rt, "the loss is counted", || run.metrics.dropped.unwritten.get() == 3).await;
        let dropped = Dropped { unwritten: 3, ..Dropped::default() };
        assert_eq!(even(&rt, &run).await, Account { accepted: 3, dropped, ..Account::default() });
    });
}

#[test]
fn without_a_stream_everything_is_spooled_until_it_has_to_go_and_a_new_process_counts_what_is_there() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::without_stream();
        fixture.events.disk_bytes_max = 40_000;
        fixture.events.segment_bytes_max = 5_000;
        let run = fixture.run(&rt).await;
        for id in ids(0..600) {
            track(&rt, &id).await.unwrap();
            rt.clock().sleep(Duration::from_millis(1)).await;
        }
        let told = even(&rt, &run).await;
        let there = i64::try_from(in_log(&fixture.folder()).len()).unwrap();
        assert_eq!((told.accepted, told.spooled, told.dropped.retention), (600, there, 600 - there));
        run.kill(&rt).await;

        let run = fixture.run(&rt).await;
        until(&rt, "what is there is counted", || run.metrics.ledger.report().total.recovered == there).await;
        assert_eq!(even(&rt, &run).await, Account { recovered: there, spooled: there, ..Account::default() });
        fs::remove_dir_all(fixture.folder()).unwrap();
        until(&rt, "it is noticed", || run.metrics.ledger.report().total.spooled == 0).await;
        assert_eq!(even(&rt, &run).await.dropped.gone, there);
    });
}

#[test]
fn what_is_damaged_before_it_is_read_back_is_dropped() {
    TestRuntime::paused(|rt| async move {
        let fixture = hanging();
        let run = fixture.run(&rt).await;
        for id in ids(0..60) {
            track(&rt, &id).await.unwrap();
        }
        until(&rt, "all is closed", || directory::list(&fixture.folder()).unwrap().segments.len() > 1).await;
        rt.clock().sleep(Duration::from_secs(3)).await;
        let last = directory::list(&fixture.folder()).unwrap().segments.last().unwrap().0;
        let path = run.log.directory().segment(last);
        let mut bytes = fs::read(&path).unwrap();
        // Inside of the first record.
        bytes[HEADER_LEN + 20] ^= 1;
        fs::write(&path, bytes).unwrap();
        fixture.stream.always(None);
        until(&rt, "all else is shipped", || run.metrics.shipped.get() == 59).await;
        let dropped = Dropped { damaged: 1, ..Dropped::default() };
        until(&rt, "the damage is counted", || run.metrics.ledger.report().total.dropped == dropped).await;
        assert_eq!(even(&rt, &run).await, Account { accepted: 60, delivered: 59, dropped, ..Account::default() });
    });
}

#[test]
fn an_intake_that_panics_costs_no_evenness() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.always(Answer::Error(PutError::Unreachable("down".into())));
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..5)).await;
        run.log.next_write_panics.store(true, Ordering::Relaxed);
        track_at(&rt, "answered", Durability::Memory).await.unwrap();
        until(&rt, "another one is there", || !run.log.next_write_panics.load(Ordering::Relaxed)).await;
        track_later(&rt).await;
        fixture.stream.always(None);
        until(&rt, "all is shipped", || fixture.stream.stored().contains(&"later".to_owned())).await;
        rt.clock().sleep(Duration::from_secs(5)).await;
        let told = even(&rt, &run).await;
        assert_eq!((told.accepted, told.in_flight, told.spooled, told.dropped.unwritten), (7, 0, 0, 1));
    });
}

/// Waits until another instance takes events, and tracks one.
async fn track_later(rt: &TestRuntime) {
    for _ in 0..1_000 {
        if track(rt, "later").await.is_ok() {
            return;
        }
        rt.clock().sleep(Duration::from_millis(1)).await;
    }
    panic!("nobody takes events any more");
}

#[test]
fn an_intake_that_panics_when_events_are_written_and_not_counted_yet_costs_no_evenness_and_drops_nothing() {
    TestRuntime::paused(|rt| async move {
        let fixture = hanging();
        let run = fixture.run(&rt).await;
        for id in ids(0..60) {
            track(&rt, &id).await.unwrap();
        }
        assert!(run.metrics.ledger.report().total.spooled > 0, "some of the open segment are in the log alone");
        run.log.next_booking_panics.store(true, Ordering::Relaxed);
        track_at(&rt, "answered", Durability::Memory).await.unwrap();
        until(&rt, "another one is there", || !run.log.next_booking_panics.load(Ordering::Relaxed)).await;
        track_later(&rt).await;
        assert_eq!(even(&rt, &run).await.accepted, 62);
        fixture.stream.always(None);
        let is_there = |id: &str| fixture.stream.stored().iter().any(|stored| stored == id);
        until(&rt, "all is shipped", || is_there("answered") && is_there("later")).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        let told = even(&rt, &run).await;
        assert_eq!((told.accepted, told.in_flight, told.spooled, told.dropped), (62, 0, 0, Dropped::default()));
    });
}

#[test]
fn an_event_that_is_miscounted_is_found_within_seconds_and_not_before_it_is_certain() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..10)).await;
        until(&rt, "all is shipped", || run.metrics.shipped.get() == 10).await;
        let ledger = &run.metrics.ledger;
        ledger.account(ledger.account_of(9124)).add(Place::Delivered, -2);
        assert_eq!(ledger.imbalance(), 0);
        until(&rt, "it is found", || ledger.imbalance() == 2).await;
        ledger.account(ledger.account_of(9124)).add(Place::Delivered, 2);
        until(&rt, "it is even again", || ledger.imbalance() == 0).await;
    });
}
