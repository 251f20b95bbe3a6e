//! Records the stream refuses for good: kept in a file of their own, so that they are neither lost nor in the way.

use std::collections::VecDeque;
use std::io;

use super::dead::Dead;
use super::entry::Entry;
use super::spool::name::{Kind, SegmentName};
use super::spool::segment;
use super::spool::writer::{AppendError, Unsynced, Writer};

/// Writes `.dead` files beside the segments, in the same format.
///
/// Each is a matter for a person, and a metric and a log line say that it is there. Together with damaged segments they have
/// a bound of their own, a part of `events.disk_bytes_max`; the log sees to it.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    writer: Writer,
    // In the order in which they came. Bounded by the room in memory that each of them holds.
    waiting: VecDeque<Dead>,
    // Whether the last one could not be kept, and nobody has asked to try again.
    stuck: bool,
    fails: bool,
}

/// The longest file; half of the bound if that is less, so that the open one never has to go.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

impl DeadLetters {
    /// In this folder. Nothing is opened before the first record.
    pub(crate) fn new(folder: &std::path::Path, kept_bytes_max: u64) -> Self {
        let writer = Writer::new(folder, 0, Kind::DeadLetter, FILE_BYTES_MAX.min(kept_bytes_max / 2)).syncable();
        Self { writer, waiting: VecDeque::new(), stuck: false, fails: false }
    }

    /// The file that is written to.
    pub(crate) fn open_file(&self) -> Option<SegmentName> {
        self.writer.open_segment()
    }

    /// The next record goes into another file.
    pub(crate) fn close(&mut self) {
        self.writer.close();
    }

    /// What is kept and not on the disk.
    ///
    /// # Errors
    /// The file system says no: it must be taken for unsynced for good.
    pub(crate) fn take_unsynced(&mut self) -> io::Result<Unsynced> {
        self.writer.take_unsynced()
    }

    /// These are to be kept, behind those that wait already.
    pub(crate) fn bring(&mut self, dead: Vec<Dead>) {
        self.waiting.extend(dead);
    }

    /// Whether some wait because they could not be kept.
    pub(crate) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What could not be kept is to be tried again.
    pub(crate) fn try_again(&mut self) {
        self.stuck = false;
    }

    /// Keeps the one that has come first, and gives it with the bytes it takes; nothing when there is none, and when it cannot be
    /// kept: then it waits, and all others behind it, until [`try_again`](Self::try_again).
    pub(crate) fn keep_next(&mut self, now_ms: u64) -> Option<(Dead, u64)> {
        if self.stuck {
            return None;
        }
        let dead = self.waiting.pop_front()?;
        let kept = self.keep(&dead.entry, now_ms);
        let failed = kept.is_err();
        let changed = std::mem::replace(&mut self.fails, failed) != failed;
        match kept {
            Ok(bytes) => {
                if changed {
                    tracing::info!("events the stream refuses can be kept again");
                }
                Some((dead, bytes))
            }
            Err(error) => {
                if changed {
                    tracing::error!(%error, "events the stream refuses cannot be kept: they wait in the event log");
                }
                self.stuck = true;
                self.waiting.push_front(dead);
                None
            }
        }
    }

    fn keep(&mut self, entry: &Entry, now_ms: u64) -> Result<u64, AppendError> {
        let mut frames = Vec::new();
        for record in entry.records() {
            // A record came out of a frame, so it fits one.
            if let Err(error) = segment::push_frame(&mut frames, |out| out.extend_from_slice(record.payload())) {
                tracing::error!(%error, id = record.id(), "a record that cannot be kept");
            }
        }
        // Somebody who has exported the file may have removed it: what is appended to it then is found by nobody.
        if self.writer.is_astray() || self.writer.must_roll(frames.len()) {
            self.writer.close();
        }
        self.writer.append(&frames, now_ms).map(|appended| appended.grown_bytes)
    }
}
