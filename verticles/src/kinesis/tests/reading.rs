//! Reading the log back.

use std::fs;

use super::*;
use crate::kinesis::spool::name::Kind;
use crate::kinesis::tests::stream::Answer;

#[test]
fn a_segment_that_cannot_be_read_for_a_while_holds_nobody_up_and_is_read_when_it_can_be() {
    TestRuntime::paused(|rt| async move {
        let mut fixture = Fixture::with_stream();
        fixture.kinesis.queue_events_max = 20;
        fixture.kinesis.batch_records_max = 10;
        fixture.stream.always(Answer::Hang);
        let run = fixture.run(&rt).await;
        for id in ids(0..60) {
            track(&rt, &id).await.unwrap();
        }
        // All of them are closed by then.
        rt.clock().sleep(Duration::from_secs(3)).await;
        let aside = tempfile::tempdir().unwrap();
        let names: Vec<String> = directory::list(&fixture.folder())
            .unwrap()
            .segments
            .iter()
            .map(|(name, _)| name.file_name(Kind::Log))
            .collect();
        for name in &names {
            fs::rename(fixture.folder().join(name), aside.path().join(name)).unwrap();
            // It can be opened, and not be read.
            fs::create_dir(fixture.folder().join(name)).unwrap();
        }
        fixture.stream.always(None);
        until(&rt, "what was in memory is there", || run.metrics.shipped.get() > 0).await;
        rt.clock().sleep(Duration::from_secs(100)).await;
        assert!(fixture.stream.stored().len() < 60);
        let unreadable = run.metrics.files_unreadable.get();
        assert!((1..=names.len() as u64).contains(&unreadable), "{unreadable}: each is told once");
        let asked = rt.elapsed();
        track(&rt, "now").await.unwrap();
        until(&rt, "what comes now is there", || fixture.stream.stored().contains(&"now".to_owned())).await;
        assert!(rt.elapsed() - asked < Duration::from_millis(100));

        for name in &names {
            fs::remove_dir(fixture.folder().join(name)).unwrap();
            fs::rename(aside.path().join(name), fixture.folder().join(name)).unwrap();
        }
        until(&rt, "all are there", || run.metrics.shipped.get() == 61).await;
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        assert!(run.metrics.ledger.differences().is_empty());
        run.stop(&rt).await;
    });
}
