//! What the stream will never take: kept in a file, and told why.

use std::io;
use std::sync::Mutex;

use super::*;
use crate::kinesis::client::PutError;
use crate::kinesis::tests::stream::Answer;

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
