//! What stays in the event log when the service ends.

use std::fmt;
use std::io;

use super::cursor;
use super::spool::directory::Directory;
use super::spool::name::SegmentName;
use super::spool::reader::ReadError;
use super::spool::scan::{self, Found};
use super::spool::segment::{FRAME_OVERHEAD, HEADER_LEN};

/// Events that the stream does not have, as far as the log tells: the next start on the same directory sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// How many.
    pub events: u64,
    /// The bytes of their segments.
    pub bytes: u64,
    /// Whether all of them were counted; when not there are more events than that.
    pub counted: bool,
}

impl Left {
    /// Whether the stream has everything.
    pub fn is_nothing(&self) -> bool {
        self.counted && self.events == 0
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let least = if self.counted { "" } else { "at least " };
        write!(f, "{least}{} events ({} bytes)", self.events, self.bytes)
    }
}

enum Stop {
    Late,
    Gone,
    Unreadable,
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        if matches!(error, ReadError::Gone) { Self::Gone } else { Self::Unreadable }
    }
}

/// Counts what is in these segments and was not settled, as long as there is time. Blocks.
pub(super) fn count(
    directory: &Directory,
    segments: &[(SegmentName, u64)],
    mut has_time: impl FnMut() -> bool,
) -> io::Result<Left> {
    let bytes = segments.iter().map(|(_, bytes)| bytes).sum();
    let mut left = Left { events: 0, bytes, counted: true };
    let progress = cursor::read(directory.path())?.progress;
    for (name, bytes) in segments {
        let settled = progress.of(*name);
        let mut end = HEADER_LEN as u64;
        let scanned = scan::scan::<Stop>(&directory.segment(*name), |found| {
            let begin = end;
            match found {
                Found::Record(payload) => {
                    end += (FRAME_OVERHEAD + payload.len()) as u64;
                    let is_settled = settled.is_some_and(|settled| settled.covers(&(begin..end)));
                    left.events += u64::from(!is_settled);
                }
                Found::Damaged(damaged) => end = damaged.offset + damaged.bytes,
            }
            if has_time() { Ok(()) } else { Err(Stop::Late) }
        });
        match scanned {
            Ok(_) => {}
            // It was removed since it was listed, by what ran last: the stream has it.
            Err(Stop::Gone) => left.bytes = left.bytes.saturating_sub(*bytes),
            Err(Stop::Unreadable) => left.counted = false,
            Err(Stop::Late) => {
                left.counted = false;
                break;
            }
        }
    }
    Ok(left)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::fs;

    use super::*;
    use crate::kinesis::spool::segment::{header, push_frame};

    #[test]
    fn a_segment_that_is_removed_while_it_is_counted_is_nothing_that_is_left() {
        let data = tempfile::tempdir().unwrap();
        let directory = Directory::open(data.path()).unwrap();
        let [gone, there, foreign] = [1, 2, 3].map(|seq| SegmentName { created_ms: 1, event_loop: 0, seq });
        assert!(count(&directory, &[(gone, 70)], || true).unwrap().is_nothing());

        let mut bytes = header().to_vec();
        push_frame(&mut bytes, |out| out.extend_from_slice(b"one")).unwrap();
        fs::write(directory.segment(there), &bytes).unwrap();
        let length = bytes.len() as u64;
        let left = count(&directory, &[(gone, 70), (there, length)], || true).unwrap();
        assert_eq!(left, Left { events: 1, bytes: length, counted: true });

        fs::create_dir(directory.segment(foreign)).unwrap();
        let left = count(&directory, &[(foreign, 9), (there, length)], || true).unwrap();
        assert_eq!(left, Left { events: 1, bytes: length + 9, counted: false }, "what cannot be read may be left");
    }
}
