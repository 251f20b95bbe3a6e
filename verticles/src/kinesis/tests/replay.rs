//! Events that were refused for good, sent again.

use std::collections::BTreeSet;
use std::fs;

use adtrack_proto::bus::{REPLAY, Replay};

use super::*;
use crate::kinesis::spool::name::Kind;
use crate::kinesis::spool::segment::{header, push_frame};

/// Files and events that are sent again.
async fn replay(rt: &TestRuntime) -> (u64, u64) {
    let replayed = rt.bus().request(REPLAY, Replay).timeout(Duration::from_secs(5)).await.unwrap();
    (replayed.files, replayed.events)
}

#[test]
fn refused_events_are_delivered_once_when_they_are_replayed_to_a_stream_that_takes_them() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.poison("m-000003");
        fixture.stream.poison("m-000005");
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..20)).await;
        until(&rt, "two are refused", || run.metrics.dead_lettered.get() == 2).await;
        fixture.stream.heal();
        assert_eq!(replay(&rt).await, (1, 2));
        until(&rt, "the log is empty", || fixture.segments() == 0).await;
        let stored = fixture.stream.stored();
        assert_eq!((stored.len(), stored.into_iter().collect::<BTreeSet<_>>()), (20, ids(0..20).into_iter().collect()));
        assert_eq!((run.metrics.kept_bytes.get(), run.log.bytes()), (0, 0));
        assert_eq!(replay(&rt).await, (0, 0), "there are no more");
        run.stop(&rt).await;
    });
}

#[test]
fn what_is_refused_again_is_kept_again() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        fixture.stream.poison("m-000001");
        let run = fixture.run(&rt).await;
        track_together(&rt, ids(0..3)).await;
        for refused in 1..4 {
            until(&rt, "it is refused", || run.metrics.dead_lettered.get() == refused).await;
            until(&rt, "the log is empty", || fixture.segments() == 0).await;
            let kept = directory::list(&fixture.folder()).unwrap().kept_of(Kind::DeadLetter);
            assert_eq!((kept, fixture.stream.stored().len()), (1, 2));
            assert_eq!(replay(&rt).await, (1, 1));
        }
        run.stop(&rt).await;
    });
}

#[test]
fn a_file_that_somebody_has_put_there_is_replayed_and_leaves_room_for_the_log() {
    TestRuntime::paused(|rt| async move {
        let fixture = Fixture::with_stream();
        let run = fixture.run(&rt).await;
        let mut bytes = header().to_vec();
        push_frame(&mut bytes, |out| event("from another node").encode(out)).unwrap();
        let name = SegmentName { created_ms: 1, event_loop: 0, seq: 1 };
        fs::write(fixture.folder().join(name.file_name(Kind::DeadLetter)), bytes).unwrap();
        assert_eq!(replay(&rt).await, (1, 1));
        until(&rt, "it is delivered", || fixture.stream.stored() == ["from another node"]).await;
        assert_eq!(run.metrics.kept_bytes.get(), 0);
        track(&rt, "one more").await.unwrap();
        run.stop(&rt).await;
    });
}
