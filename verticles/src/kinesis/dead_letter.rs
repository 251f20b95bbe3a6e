//! Records the stream refuses for good: kept in a file of their own, so that they are neither lost nor in the way.

use std::io;

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
}

/// The longest file; half of the bound if that is less, so that the open one never has to go.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

impl DeadLetters {
    /// In this folder. Nothing is opened before the first record.
    pub(crate) fn new(folder: &std::path::Path, kept_bytes_max: u64) -> Self {
        Self { writer: Writer::new(folder, 0, Kind::DeadLetter, FILE_BYTES_MAX.min(kept_bytes_max / 2)).syncable() }
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

    /// Keeps the records of an entry; gives the bytes they take.
    ///
    /// # Errors
    /// They could not be written.
    pub(crate) fn keep(&mut self, entry: &Entry, now_ms: u64) -> Result<u64, AppendError> {
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
