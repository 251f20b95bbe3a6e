//! Records the stream refuses for good: kept in a file of their own, so that they are neither lost nor in the way.

use bytes::Bytes;

use super::record::Record;
use super::spool::name::Kind;
use super::spool::segment;
use super::spool::writer::{AppendError, Writer};

/// Writes `.dead` files beside the segments, in the same format.
///
/// They are never removed and do not count against the bound of the log: each is a matter for a person, and a metric and a
/// log line say that it is there.
#[derive(Debug)]
pub(crate) struct DeadLetters {
    writer: Writer,
}

const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

impl DeadLetters {
    /// In this folder. Nothing is opened before the first record.
    pub(crate) fn new(folder: &std::path::Path) -> Self {
        Self { writer: Writer::new(folder, 0, Kind::DeadLetter, FILE_BYTES_MAX) }
    }

    /// Keeps a record.
    ///
    /// # Errors
    /// It could not be written.
    pub(crate) fn keep(&mut self, record: &Record, now_ms: u64) -> Result<(), AppendError> {
        let mut frame = Vec::new();
        // A record came out of a frame, so it fits one.
        if let Err(error) = segment::push_frame(&mut frame, |out| out.extend_from_slice(record.payload())) {
            tracing::error!(%error, key = record.key(), "a record that cannot be kept");
            return Ok(());
        }
        if self.writer.must_roll(frame.len()) {
            self.writer.close();
        }
        self.writer.append(&Bytes::from(frame), now_ms).map(|_| ())
    }
}
