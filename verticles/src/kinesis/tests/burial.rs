//! What the stream will never take: kept in a file, and told why.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;

use super::*;
use crate::kinesis::client::PutError;
use crate::kinesis::tests::stream::Answer;

const SECOND: Duration = Duration::from_secs(1);

/// What has been logged.
#[derive(Debug, Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    fn with(&self, part: &str) -> Vec<String> {
        let all = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        all.lines().filter(|line| line.contains(part)).map(str::to_owned).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An event of this id is too long, see [`short_records`].
fn long(id: &str) -> String {
    format!("{id}-{}", "x".repeat(100))
}

fn short_records() -> Fixture {
    let mut fixture = Fixture::with_stream();
    fixture.kinesis.record_bytes_max = 200;
    fixture
}

#[test]
fn an_event_too_long_that_was_to_go_with_a_call_that_failed_is_logged_with_its_own_reason() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        TestRuntime::paused(|rt| async move {
            let fixture = short_records();
            fixture.stream.then(Answer::Error(PutError::Unreachable("connection refused".into())));
            let run = fixture.run(&rt).await;
            track_together(&rt, ["a".to_owned(), long("b")]).await;
            until(&rt, "the log is empty", || fixture.segments() == 0).await;
            assert_eq!(fixture.stream.calls(), [["a"], ["a"]]);
            run.stop(&rt).await;
        });
    });
    let kept = lines.with("kept in a .dead file");
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert!(kept[0].contains("longer than a record may be"), "{kept:?}");
}

/// The log's folder, out of the way: what is in it is not lost, and nothing can be added to it.
struct Away {
    folder: PathBuf,
    away: PathBuf,
}

impl Away {
    fn put(fixture: &Fixture) -> Self {
        let folder = fixture.folder();
        let away = folder.with_extension("away");
        fs::rename(&folder, &away).unwrap();
        fs::write(&folder, "in the way").unwrap();
        Self { folder, away }
    }

    fn put_back(self) {
        fs::remove_file(&self.folder).unwrap();
        fs::rename(&self.away, &self.folder).unwrap();
    }
}

#[test]
fn an_event_that_cannot_be_kept_takes_no_place_of_a_call_and_is_kept_when_the_disk_takes_it() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = short_records();
        (fixture.kinesis.in_flight_max, fixture.kinesis.batch_records_max) = (1, 1);
        fixture.stream.then(Answer::Hang);
        let run = fixture.run(&rt).await;
        track(&rt, "first").await.unwrap();
        until(&rt, "the only place is taken", || run.metrics.calls_in_flight.get() == 1).await;
        track_together(&rt, [long("a"), long("b"), "c".to_owned()]).await;
        let away = Away::put(&fixture);
        until(&rt, "the one behind them is there", || fixture.stream.stored().contains(&"c".to_owned())).await;
        rt.clock().sleep(10 * SECOND).await;
        assert_eq!((run.metrics.dead_lettered.get(), run.log.room().events()), (0, 2));
        let total = run.metrics.ledger.report().total;
        assert_eq!((total.accepted, total.in_flight, total.delivered), (4, 2, 2));
        away.put_back();
        let before = rt.elapsed();
        until(&rt, "they are kept", || run.metrics.dead_lettered.get() == 2).await;
        assert!(rt.elapsed() - before <= 2 * SECOND, "{:?}", rt.elapsed() - before);
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert_eq!((run.log.room().events(), run.metrics.ledger.differences()), (0, vec![]));
        assert_eq!(run.metrics.ledger.report().total.dead_lettered, 2);
        run.stop(&rt).await;
    });
}

#[test]
fn events_that_cannot_be_kept_hold_up_no_end_and_are_in_the_log_for_the_next_start() {
    TestRuntime::paused(|rt| async move {
        let fixture = short_records();
        let run = fixture.run(&rt).await;
        track_together(&rt, [long("a"), long("b"), "c".to_owned()]).await;
        let away = Away::put(&fixture);
        until(&rt, "the other one is there", || fixture.stream.stored() == ["c"]).await;
        let (log, before) = (Arc::clone(&run.log), rt.elapsed());
        run.stop(&rt).await;
        assert!(rt.elapsed() - before < 2 * SECOND, "{:?}", rt.elapsed() - before);
        away.put_back();
        let left = log.left(|| true).unwrap();
        // The cursor could not be written either: what is behind it comes twice.
        assert!((2..=3).contains(&left.events) && !left.is_nothing(), "{left}");
        drop(log);

        let run = fixture.run(&rt).await;
        until(&rt, "they are kept", || run.metrics.dead_lettered.get() == 2).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        run.stop(&rt).await;
    });
}

#[test]
fn a_stream_that_refuses_everything_while_nothing_can_be_kept_is_a_wrong_setting_too() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        track(&rt, "proves it").await.unwrap();
        until(&rt, "it is there", || fixture.stream.stored().len() == 1).await;
        fixture.stream.always(Answer::Error(PutError::Refused("a proxy says so".into())));
        track_together(&rt, ids(0..50)).await;
        let away = Away::put(&fixture);
        rt.clock().sleep(5 * SECOND).await;
        fixture.stream.always(None);
        until(&rt, "the others are there", || fixture.stream.stored().len() > 31).await;
        away.put_back();
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        let refused = run.metrics.dead_lettered.get();
        assert!((10..20).contains(&refused), "{refused} were given up");
        assert_eq!(fixture.stream.stored().len() as u64, 51 - refused);
        run.stop(&rt).await;
    });
}
