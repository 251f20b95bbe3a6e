//! Reading a segment back, in pieces of bounded size.

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;

use super::segment::{self, Damage, FRAME_BYTES_MAX, FRAME_OVERHEAD, Frame, HEADER_LEN, Header, Search};

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
    /// What was found in the place of records. Then there are no frames in this piece: it ends where records stand again.
    pub damaged: Option<Damaged>,
    /// How the segment ends, when this piece is its last.
    pub end: Option<End>,
}

/// A part of a segment that was not written like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Damaged {
    /// Where it begins, in bytes from the beginning of the file.
    pub offset: u64,
    /// How long it is, in bytes.
    pub bytes: u64,
    /// What is wrong at its beginning.
    pub damage: Damage,
}

impl fmt::Display for Damaged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at byte {}: {} bytes are lost", self.damage, self.offset, self.bytes)
    }
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// With a whole record, or none.
    Clean,
    /// With the beginning of a record that was never completed: its writer was killed, or is writing.
    Torn,
    /// With something that was not written like this: no record stands behind it.
    Damaged,
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
/// Damage costs the records it hit and no other: what stands behind it is searched for, and the next read goes on there.
///
/// Blocking: not for an event loop.
///
/// # Errors
/// As [`ReadError`] says. Damage is not an error but [`Damaged`].
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
            Header::Incomplete => return Ok(last(0, End::Torn)),
            Header::Foreign => return skip(file, &bytes, 0, Damage::Header),
        }
    }
    let rest = Bytes::from(bytes).slice(header_bytes..);
    let offset = offset + header_bytes as u64;
    match split(&rest, offset, at_end, limits.records_max) {
        Ok(chunk) => Ok(chunk),
        Err(damage) => skip(file, &rest, offset, damage),
    }
}

/// Takes the whole frames off the front of `bytes`, which stand at `offset` of the file and reach its end or not. An error
/// when the first of them is damaged.
fn split(bytes: &Bytes, offset: u64, at_end: bool, records_max: usize) -> Result<Chunk, Damage> {
    let mut length = 0;
    let mut records = 0;
    let end = loop {
        if records == records_max {
            break None;
        }
        let rest = &bytes[length..];
        let damage = match segment::next_frame(rest) {
            Frame::Record(payload) => {
                length += FRAME_OVERHEAD + payload.len();
                records += 1;
                continue;
            }
            Frame::End => break at_end.then_some(End::Clean),
            Frame::Incomplete if !at_end => break None,
            Frame::Incomplete if segment::is_torn(rest) => break Some(End::Torn),
            Frame::Incomplete => Damage::Covers,
            Frame::Damaged(damage) => damage,
        };
        match records {
            0 => return Err(damage),
            // The next read begins there.
            _ => break None,
        }
    };
    Ok(Chunk { frames: bytes.slice(..length), records, next_offset: offset + length as u64, damaged: None, end })
}

/// Searches the next record behind the damage at `offset`, where `bytes` stand.
fn skip(file: &mut File, bytes: &[u8], offset: u64, damage: Damage) -> Result<Chunk, ReadError> {
    let damaged = |next_offset: u64, end| Chunk {
        frames: Bytes::new(),
        records: 0,
        next_offset,
        damaged: Some(Damaged { offset, bytes: next_offset - offset, damage }),
        end,
    };
    if damage == Damage::Checksum
        && let Some(behind) = segment::record_behind(bytes)
    {
        return Ok(damaged(offset + behind as u64, None));
    }
    // What stands at the damage itself is no record.
    let (mut from, mut first) = (offset, 1);
    loop {
        let bytes = read_up_to(file, from, FRAME_BYTES_MAX)?;
        match segment::find_record(&bytes, first, bytes.len() < FRAME_BYTES_MAX) {
            Search::Record(at) => return Ok(damaged(from + at as u64, None)),
            // A whole frame fits what is read at a time, so that this gets further.
            Search::Perhaps(at) => from += at as u64,
            Search::Nothing | Search::GivenUp => {
                return Ok(damaged(file.metadata()?.len().max(from), Some(End::Damaged)));
            }
        }
        first = 0;
    }
}

fn last(next_offset: u64, end: End) -> Chunk {
    Chunk { frames: Bytes::new(), records: 0, next_offset, damaged: None, end: Some(end) }
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

    /// Everything a file delivers, piece by piece, what is damaged in it, and how it ends.
    struct All {
        found: Vec<Vec<u8>>,
        damaged: Vec<Damaged>,
        end: End,
    }

    fn read_all(bytes: &[u8], limits: ReadLimits) -> Result<All, ReadError> {
        let mut file = tempfile::tempfile().unwrap();
        io::Write::write_all(&mut file, bytes).unwrap();
        let (mut found, mut damaged) = (Vec::new(), Vec::new());
        let mut offset = 0;
        loop {
            let chunk = read_from(&mut file, offset, limits)?;
            let before = found.len();
            found.extend(Payloads::new(chunk.frames).map(|payload| payload.to_vec()));
            assert_eq!(found.len() - before, chunk.records);
            assert!(chunk.damaged.is_none() || chunk.records == 0);
            damaged.extend(chunk.damaged);
            if let Some(end) = chunk.end {
                return Ok(All { found, damaged, end });
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
        let all = read_all(&segment_of(&payloads), limits).unwrap();
        assert!(all.found == payloads);
        assert_eq!((all.damaged.len(), all.end), (0, End::Clean));
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
    fn garbage_is_damage_from_the_beginning_and_an_empty_file_is_torn() {
        let all = read_all(b"this is not a segment at all", LIMITS).unwrap();
        assert_eq!((all.found.len(), all.end), (0, End::Damaged));
        assert_eq!(all.damaged, [Damaged { offset: 0, bytes: 28, damage: Damage::Header }]);
        let empty = read_all(b"", LIMITS).unwrap();
        assert_eq!((empty.found.len(), empty.damaged.len(), empty.end), (0, 0, End::Torn));
    }

    #[test]
    fn damage_longer_than_a_read_is_one_piece_and_records_behind_it_are_delivered() {
        let (before, behind) = (vec![b"a".to_vec(), b"b".to_vec()], vec![b"c".to_vec(), b"d".to_vec()]);
        for garbage in [vec![0_u8; 3_000_000], vec![0xff; 3_000_000]] {
            let mut bytes = segment_of(&before);
            let offset = bytes.len() as u64;
            bytes.extend(&garbage);
            bytes.extend(&segment_of(&behind)[HEADER_LEN..]);
            let all = read_all(&bytes, LIMITS).unwrap();
            assert_eq!(all.found, [before.clone(), behind.clone()].concat());
            assert_eq!(all.end, End::Clean);
            let [damaged] = all.damaged[..] else { panic!("{:?}", all.damaged) };
            assert_eq!((damaged.offset, damaged.bytes), (offset, 3_000_000));
        }
    }

    proptest! {
        #[test]
        fn a_segment_cut_anywhere_delivers_its_whole_records_and_is_torn_or_clean(
            payloads in any_payloads(), cut in any::<prop::sample::Index>(),
        ) {
            let bytes = segment_of(&payloads);
            let cut = cut.index(bytes.len() + 1);
            let all = read_all(&bytes[..cut], LIMITS).unwrap();
            prop_assert_eq!(&all.found[..], &payloads[..all.found.len()]);
            let clean = segment_of(&all.found).len() == cut;
            prop_assert_eq!(all.end, if clean { End::Clean } else { End::Torn });
            prop_assert_eq!(all.damaged, []);
        }

        #[test]
        fn a_flipped_bit_costs_no_record_but_the_one_it_hits_and_is_told_unless_it_looks_like_a_torn_last_one(
            payloads in any_payloads(), bit in any::<prop::sample::Index>(),
        ) {
            let mut bytes = segment_of(&payloads);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mut ends = payloads.iter().scan(HEADER_LEN, |end, payload| {
                *end += FRAME_OVERHEAD + payload.len();
                Some(*end)
            });
            let hit = if bit / 8 < HEADER_LEN { None } else { ends.position(|end| bit / 8 < end) };
            let mut left = payloads.clone();
            let is_last = hit.is_some_and(|hit| hit + 1 == payloads.len());
            hit.map(|hit| left.remove(hit));
            let all = read_all(&bytes, LIMITS).unwrap();
            prop_assert_eq!(all.found, left);
            match all.end {
                End::Clean => prop_assert_eq!(all.damaged.len(), 1),
                End::Torn => prop_assert!(is_last && all.damaged.is_empty()),
                End::Damaged => prop_assert!(all.damaged.len() == 1 && (is_last || payloads.is_empty())),
            }
        }

        #[test]
        fn overwritten_bytes_cost_no_record_they_do_not_touch(
            payloads in any_payloads(), garbage in proptest::collection::vec(any::<u8>(), 1..80),
            at in any::<prop::sample::Index>(),
        ) {
            let mut bytes = segment_of(&payloads);
            let at = at.index(bytes.len());
            let to = (at + garbage.len()).min(bytes.len());
            bytes[at..to].copy_from_slice(&garbage[..to - at]);
            let mut end = HEADER_LEN;
            let untouched: Vec<&Vec<u8>> = payloads.iter().filter(|payload| {
                let begin = end;
                end += FRAME_OVERHEAD + payload.len();
                to <= begin || end <= at
            }).collect();
            let all = read_all(&bytes, LIMITS).unwrap();
            let mut rest = all.found.iter();
            prop_assert!(untouched.iter().all(|wanted| rest.any(|found| found == *wanted)), "{:?}", all.found);
        }

        #[test]
        fn no_file_makes_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), whole: bool) {
            let mut file = if whole { header().to_vec() } else { vec![] };
            file.extend(bytes);
            let _read = read_all(&file, LIMITS);
        }
    }
}
