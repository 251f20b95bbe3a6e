//! `adtrack events tail`: what the event log holds, for people and for pipes.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use adtrack_proto::wire::TrackingEvent;

use super::files::LogError;
use crate::kinesis::spool::directory::events_dir;
use crate::kinesis::spool::tail::{Found, Tail};

/// Why the log was not, or not completely, printed.
#[derive(Debug, thiserror::Error)]
pub enum TailError {
    /// It cannot be looked at.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Everything that can be read was printed, but some cannot.
    #[error("{unreadable} parts of the event log cannot be read; the first: {first}")]
    Damaged {
        /// How many.
        unreadable: usize,
        /// The first of them, in words.
        first: String,
    },
}

impl From<io::Error> for TailError {
    fn from(error: io::Error) -> Self {
        Self::Log(error.into())
    }
}

/// How often the log is looked at when it is followed.
const POLL: Duration = Duration::from_millis(200);

/// Prints every event the log below `data_dir` holds, one JSON object a line, segment by segment, the oldest first; with
/// `follow` goes on with those that come, for ever.
///
/// Works while a service writes there: nothing is locked and nothing changed. With a stream the log holds what is not
/// shipped yet, and an event that is shipped between two looks (200 ms) is not seen. Blocking: for a program of its own.
///
/// An output that is closed - `| head` - is no error.
///
/// # Errors
/// As [`TailError`] says. Followed, a damaged part is a log line instead of an error.
pub fn tail(data_dir: &Path, follow: bool, out: &mut impl Write) -> Result<(), TailError> {
    let folder = events_dir(data_dir);
    if !follow && !folder.is_dir() {
        return Err(LogError::NoLog { folder }.into());
    }
    let mut printer = Printer { out: BufWriter::new(out), line: Vec::new(), unreadable: Vec::new() };
    match printer.print(Tail::new(folder), follow) {
        Err(TailError::Log(error)) => Ok(error.unless_closed()?),
        other => other,
    }
}

struct Printer<W: Write> {
    out: BufWriter<W>,
    line: Vec<u8>,
    unreadable: Vec<String>,
}

impl<W: Write> Printer<W> {
    fn print(&mut self, mut log: Tail, follow: bool) -> Result<(), TailError> {
        loop {
            log.poll(|found| self.one(&found))?;
            self.out.flush().map_err(LogError::Write)?;
            if !follow {
                return match self.unreadable.first() {
                    Some(first) => Err(TailError::Damaged { unreadable: self.unreadable.len(), first: first.clone() }),
                    None => Ok(()),
                };
            }
            for reason in self.unreadable.drain(..) {
                tracing::warn!(reason, "a part of the event log cannot be read");
            }
            // No event loop is held up: this is a command of its own. Nobody unparks it, so this is the wait.
            std::thread::park_timeout(POLL);
        }
    }

    fn one(&mut self, found: &Found) -> Result<(), TailError> {
        match found {
            Found::Record(payload) => match TrackingEvent::from_payload(payload) {
                Ok(event) => {
                    self.line.clear();
                    event.write_json(&mut self.line);
                    self.line.push(b'\n');
                    return Ok(self.out.write_all(&self.line).map_err(LogError::Write)?);
                }
                Err(error) => self.note(error.to_string()),
            },
            Found::Unreadable { segment, reason } => self.note(format!("segment {segment}: {reason}")),
        }
        Ok(())
    }

    fn note(&mut self, reason: String) {
        self.unreadable.push(reason);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::io::ErrorKind;

    use super::super::tests::write;
    use super::*;

    fn printed(data_dir: &Path) -> (Vec<String>, Result<(), TailError>) {
        let mut out = Vec::new();
        let result = tail(data_dir, false, &mut out);
        let lines = serde_json::Deserializer::from_slice(&out).into_iter::<serde_json::Value>();
        let ids = lines.map(|json| json.unwrap()["messageId"].as_str().unwrap().to_owned()).collect();
        assert_eq!(out.iter().filter(|byte| **byte == b'\n').count(), Vec::len(&ids));
        (ids, result)
    }

    #[test]
    fn every_event_is_one_json_object_a_line_oldest_segment_first() {
        let data = tempfile::tempdir().unwrap();
        write(data.path(), &["c"], 2);
        write(data.path(), &["a", "b"], 1);
        let (ids, result) = printed(data.path());
        assert_eq!(ids, ["a", "b", "c"]);
        result.unwrap();
    }

    #[test]
    fn a_directory_without_a_log_is_named() {
        let data = tempfile::tempdir().unwrap();
        let error = printed(data.path()).1.unwrap_err();
        assert!(error.to_string().contains(&events_dir(data.path()).display().to_string()), "{error}");
    }

    #[test]
    fn damage_costs_no_other_event_and_is_told_in_the_end() {
        let data = tempfile::tempdir().unwrap();
        write(data.path(), &["a"], 1);
        let damaged = events_dir(data.path()).join("0000000000002-000-000001.log");
        std::fs::write(damaged, "not a segment at all").unwrap();
        write(data.path(), &["b"], 3);
        let (ids, result) = printed(data.path());
        assert_eq!(ids, ["a", "b"]);
        let error = result.unwrap_err();
        assert!(error.to_string().contains("0000000000002-000-000001"), "{error}");
    }

    /// An output that takes so many bytes and is closed then.
    struct Closing(usize);

    impl Write for Closing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(ErrorKind::BrokenPipe.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn an_output_that_is_closed_is_a_success_even_when_the_log_is_followed() {
        let data = tempfile::tempdir().unwrap();
        write(data.path(), &["a", "b", "c"], 1);
        for follow in [false, true] {
            tail(data.path(), follow, &mut Closing(100)).unwrap();
        }
    }

    #[test]
    fn events_that_come_while_the_log_is_followed_are_printed() {
        let data = tempfile::tempdir().unwrap();
        write(data.path(), &["a"], 1);
        // The output closes after the second event, which comes when the first one has been printed.
        struct Then<'a>(&'a Path, Vec<u8>);
        impl Write for Then<'_> {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.1.extend_from_slice(bytes);
                match self.1.iter().filter(|byte| **byte == b'\n').count() {
                    1 => drop(write(self.0, &["b"], 2)),
                    _ => return Err(ErrorKind::BrokenPipe.into()),
                }
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut out = Then(data.path(), Vec::new());
        tail(data.path(), true, &mut out).unwrap();
        let text = String::from_utf8(out.1).unwrap();
        assert!(text.contains("\"messageId\":\"a\"") && text.contains("\"messageId\":\"b\""), "{text}");
    }
}
