//! Reading a segment back, in pieces of bounded size.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;

use super::segment::{self, Damage, FRAME_BYTES_MAX, FRAME_OVERHEAD, Frame, HEADER_LEN, Header};

/// How much one read gives at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadLimits {
    /// Bytes of the file; at least one record is read whatever its size.
    pub bytes_max: usize,
    /// Records.
    pub records_max: usize,
}

/// A piece of a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// Whole frames, each checked.
    pub frames: Bytes,
    /// How many.
    pub records: usize,
    /// Where the next read begins.
    pub next_offset: u64,
    /// How the segment ends, when this piece is its last.
    pub end: Option<End>,
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a whole record, or none.
    Clean,
    /// With the beginning of a record that was never completed: its writer was killed, or is writing.
    Torn,
    /// With something that was not written like this. What stands behind it is not read.
    Damaged {
        /// Where, in bytes from the beginning of the file.
        offset: u64,
        /// What is wrong there.
        damage: Damage,
    },
}

/// Why a segment cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is not there any more.
    #[error("the segment is gone")]
    Gone,
    /// It was written by a newer program, which has to read it, too.
    #[error("a segment of format version {0}, this program knows version 1")]
    Version(u32),
    /// The file system says no.
    #[error(transparent)]
    Io(io::Error),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::NotFound { Self::Gone } else { Self::Io(error) }
    }
}

/// Reads one piece of the segment at `path`, from `offset` on; 0 is its beginning.
///
/// Blocking: not for an event loop.
///
/// # Errors
/// As [`ReadError`] says. Damage is not an error but an [`End`].
pub fn read_at(path: &Path, offset: u64, limits: ReadLimits) -> Result<Chunk, ReadError> {
    read_from(&mut File::open(path)?, offset, limits)
}

/// Reads one piece of an open segment; otherwise as [`read_at`].
///
/// # Errors
/// As [`ReadError`] says.
pub fn read_from(file: &mut File, offset: u64, limits: ReadLimits) -> Result<Chunk, ReadError> {
    let header_bytes = if offset == 0 { HEADER_LEN } else { 0 };
    // One frame always fits, so that every read gets further.
    let wanted = header_bytes + limits.bytes_max.max(FRAME_BYTES_MAX);
    let bytes = read_up_to(file, offset, wanted)?;
    let at_end = bytes.len() < wanted;
    if offset == 0 {
        match segment::check_header(&bytes) {
            Header::Fine => {}
            Header::Version(version) => return Err(ReadError::Version(version)),
            Header::Incomplete => return Ok(last(Bytes::new(), 0, End::Torn)),
            Header::Foreign => {
                return Ok(last(Bytes::new(), 0, End::Damaged { offset, damage: Damage::Header }));
            }
        }
    }
    Ok(split(&Bytes::from(bytes).slice(header_bytes..), offset + header_bytes as u64, at_end, limits.records_max))
}

/// Takes the whole frames off the front of `bytes`, which stand at `offset` of the file and reach its end or not.
fn split(bytes: &Bytes, offset: u64, at_end: bool, records_max: usize) -> Chunk {
    let mut length = 0;
    let mut records = 0;
    let end = loop {
        if records == records_max {
            break None;
        }
        let rest = &bytes[length..];
        match segment::next_frame(rest) {
            Frame::Record(payload) => {
                length += FRAME_OVERHEAD + payload.len();
                records += 1;
            }
            Frame::End => break at_end.then_some(End::Clean),
            Frame::Incomplete if !at_end => break None,
            Frame::Incomplete if segment::is_torn(rest) => break Some(End::Torn),
            Frame::Incomplete => break Some(End::Damaged { offset: offset + length as u64, damage: Damage::Covers }),
            Frame::Damaged(damage) => break Some(End::Damaged { offset: offset + length as u64, damage }),
        }
    };
    Chunk { frames: bytes.slice(..length), records, next_offset: offset + length as u64, end }
}

fn last(frames: Bytes, next_offset: u64, end: End) -> Chunk {
    Chunk { frames, records: 0, next_offset, end: Some(end) }
}

fn read_up_to(file: &mut File, offset: u64, wanted: usize) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(offset))?;
    let left = file.metadata()?.len().saturating_sub(offset);
    let mut bytes = Vec::with_capacity(usize::try_from(left).unwrap_or(usize::MAX).min(wanted));
    file.take(wanted as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;
    use crate::kinesis::spool::segment::{Payloads, header, push_frame};

    const LIMITS: ReadLimits = ReadLimits { bytes_max: 0, records_max: 3 };

    fn segment_of(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = header().to_vec();
        for payload in payloads {
            push_frame(&mut bytes, |out| out.extend_from_slice(payload)).unwrap();
        }
        bytes
    }

    /// Everything a file delivers, piece by piece, and how it ends.
    fn read_all(bytes: &[u8], limits: ReadLimits) -> Result<(Vec<Vec<u8>>, End), ReadError> {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        let mut found = Vec::new();
        let mut offset = 0;
        loop {
            let chunk = read_from(&mut file, offset, limits)?;
            let before = found.len();
            found.extend(Payloads::new(chunk.frames).map(|payload| payload.to_vec()));
            assert_eq!(found.len() - before, chunk.records);
            if let Some(end) = chunk.end {
                return Ok((found, end));
            }
            assert!(chunk.next_offset > offset, "every read gets further");
            offset = chunk.next_offset;
        }
    }

    fn any_payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 0..12)
    }

    #[test]
    fn records_longer_than_a_read_are_read_in_more_than_one_piece() {
        let payloads: Vec<Vec<u8>> = (1..=5).map(|byte| vec![byte; 700_000]).collect();
        let limits = ReadLimits { bytes_max: 1, records_max: 100 };
        let (found, end) = read_all(&segment_of(&payloads), limits).unwrap();
        assert!(found == payloads);
        assert_eq!(end, End::Clean);
    }

    #[test]
    fn a_missing_file_is_gone_and_a_newer_one_is_left_to_the_newer_program() {
        let folder = tempfile::tempdir().unwrap();
        assert!(matches!(read_at(&folder.path().join("x"), 0, LIMITS), Err(ReadError::Gone)));
        let mut newer = segment_of(&[]);
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..12]);
        newer[12..16].copy_from_slice(&crc.to_le_bytes());
        assert!(matches!(read_all(&newer, LIMITS), Err(ReadError::Version(2))));
    }

    #[test]
    fn garbage_is_damage_at_the_beginning_and_an_empty_file_is_torn() {
        let (found, end) = read_all(b"this is not a segment at all", LIMITS).unwrap();
        assert_eq!((found.len(), end), (0, End::Damaged { offset: 0, damage: Damage::Header }));
        assert_eq!(read_all(b"", LIMITS).unwrap(), (vec![], End::Torn));
    }

    proptest! {
        #[test]
        fn a_segment_cut_anywhere_delivers_its_whole_records_and_is_torn_or_clean(
            payloads in any_payloads(), cut in any::<prop::sample::Index>(),
        ) {
            let bytes = segment_of(&payloads);
            let cut = cut.index(bytes.len() + 1);
            let (found, end) = read_all(&bytes[..cut], LIMITS).unwrap();
            prop_assert_eq!(&found[..], &payloads[..found.len()]);
            let clean = segment_of(&found).len() == cut;
            prop_assert_eq!(end, if clean { End::Clean } else { End::Torn });
        }

        #[test]
        fn a_flipped_bit_costs_no_record_before_it_and_is_damage_unless_it_looks_like_a_torn_last_record(
            payloads in any_payloads(), bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = segment_of(&payloads);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (found, end) = match read_all(&bytes, LIMITS) {
                Ok(read) => read,
                Err(error) => return Err(TestCaseError::fail(error.to_string())),
            };
            prop_assert_eq!(&found[..], &payloads[..found.len()]);
            let at = segment_of(&found).len();
            prop_assert!(bit / 8 < HEADER_LEN || at + FRAME_OVERHEAD + payloads[found.len()].len() > bit / 8);
            match end {
                End::Clean => prop_assert!(false, "the damage was not noticed"),
                End::Torn => prop_assert_eq!(found.len() + 1, payloads.len(), "records behind it were thrown away"),
                End::Damaged { .. } => {}
            }
        }

        #[test]
        fn no_file_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), whole: bool) {
            let mut file = if whole { header().to_vec() } else { vec![] };
            file.extend(bytes);
            let _read = read_all(&file, LIMITS);
        }
    }
}
