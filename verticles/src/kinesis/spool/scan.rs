//! Reading whole files of the log from outside, each once: segments and what is kept for a person. Nothing is locked and
//! nothing changed.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;

use super::reader::{self, Damaged, End, ReadError, ReadLimits};
use super::segment::Payloads;

/// What a file holds, in its order.
#[derive(Debug)]
pub enum Found {
    /// The payload of a record.
    Record(Bytes),
    /// A part that cannot be read.
    Damaged(Damaged),
}

/// So much is in memory at a time.
const LIMITS: ReadLimits = ReadLimits { bytes_max: 1024 * 1024, records_max: 10_000 };

/// Gives everything in the file at `path` and how it ends. A segment that is being written to ends where it ended when it
/// was looked at. Blocking.
///
/// # Errors
/// The file cannot be read, or `give` says no.
pub fn scan<E: From<ReadError>>(path: &Path, mut give: impl FnMut(Found) -> Result<(), E>) -> Result<End, E> {
    let mut file = File::open(path).map_err(ReadError::from)?;
    let mut offset = 0;
    loop {
        let chunk = reader::read_from(&mut file, offset, LIMITS)?;
        for payload in Payloads::new(chunk.frames) {
            give(Found::Record(payload))?;
        }
        if let Some(damaged) = chunk.damaged {
            give(Found::Damaged(damaged))?;
        }
        if let Some(end) = chunk.end {
            return Ok(end);
        }
        offset = chunk.next_offset;
    }
}
