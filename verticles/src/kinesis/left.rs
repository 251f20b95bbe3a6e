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
    Unreadable,
}

impl From<ReadError> for Stop {
    fn from(_: ReadError) -> Self {
        Self::Unreadable
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
    for (name, _) in segments {
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
        left.counted &= scanned.is_ok();
        if matches!(scanned, Err(Stop::Late)) {
            break;
        }
    }
    Ok(left)
}
