//! The format of a segment: a header, then one frame a record. Pure: bytes in, records out.
//!
//! ```text
//! header   "adtrklog" | u32 LE version | u32 LE CRC32C of the twelve bytes before it
//! frame    u32 LE length of the payload | u32 LE CRC32C of the payload | payload
//! ```
//!
//! A payload is never empty, so that a run of zeros is not a run of records.

use bytes::Bytes;

/// The length of the header in bytes.
pub const HEADER_LEN: usize = 16;
/// What a frame adds to its payload, in bytes.
pub const FRAME_OVERHEAD: usize = 8;
/// The largest payload in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 1024 * 1024;
/// The largest frame in bytes.
pub const FRAME_BYTES_MAX: usize = FRAME_OVERHEAD + PAYLOAD_BYTES_MAX;

const MAGIC: &[u8; 8] = b"adtrklog";
const VERSION: u32 = 1;

/// The header every segment begins with.
pub fn header() -> [u8; HEADER_LEN] {
    let mut header = [0; HEADER_LEN];
    header[..8].copy_from_slice(MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    let crc = crc32c::crc32c(&header[..12]);
    header[12..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// What the beginning of a file says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Header {
    /// A segment of this version: records follow from [`HEADER_LEN`] on.
    Fine,
    /// The beginning of a header: whoever began the file did not get further.
    Incomplete,
    /// Not a segment, or not any more.
    Foreign,
    /// A segment of a version this program does not know.
    Version(u32),
}

/// Reads the header out of the beginning of a file.
pub fn check_header(file: &[u8]) -> Header {
    let expected = header();
    let Some(found) = file.get(..HEADER_LEN) else {
        return if expected.starts_with(file) { Header::Incomplete } else { Header::Foreign };
    };
    if *found == expected {
        return Header::Fine;
    }
    let (Some(version), Some(crc)) = (u32_le(found, 8), u32_le(found, 12)) else { return Header::Foreign };
    if found.starts_with(MAGIC) && crc32c::crc32c(&found[..12]) == crc {
        Header::Version(version)
    } else {
        Header::Foreign
    }
}

/// Why a payload cannot be a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a record of {payload_bytes} bytes, it must have 1 to {PAYLOAD_BYTES_MAX}")]
pub struct FrameError {
    /// Its length.
    pub payload_bytes: usize,
}

/// Appends one frame; `write_payload` appends the payload. Gives the length of the frame.
///
/// # Errors
/// The payload is empty or longer than [`PAYLOAD_BYTES_MAX`]: `out` is as it was.
pub fn push_frame(out: &mut Vec<u8>, write_payload: impl FnOnce(&mut Vec<u8>)) -> Result<usize, FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; FRAME_OVERHEAD]);
    write_payload(out);
    let payload = &out[start + FRAME_OVERHEAD..];
    let payload_bytes = payload.len();
    let crc = crc32c::crc32c(payload);
    match u32::try_from(payload_bytes) {
        Ok(length) if (1..=PAYLOAD_BYTES_MAX).contains(&payload_bytes) => {
            out[start..start + 4].copy_from_slice(&length.to_le_bytes());
            out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
            Ok(FRAME_OVERHEAD + payload_bytes)
        }
        _ => {
            out.truncate(start);
            Err(FrameError { payload_bytes })
        }
    }
}

/// What stands at one place of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// A whole record.
    Record(&'a [u8]),
    /// Nothing: the bytes end here.
    End,
    /// The beginning of a frame whose end is not among the bytes.
    Incomplete,
    /// Bytes that no writer has written like this.
    Damaged(Damage),
}

/// What is wrong with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// Its length cannot be.
    #[error("a length of {0} bytes")]
    Length(u32),
    /// Its payload is not what was written.
    #[error("a checksum that does not fit")]
    Checksum,
    /// It seems to reach beyond the end, but whole records stand in what it covers: its length is wrong.
    #[error("a length that covers other records")]
    Covers,
    /// What should be the header is not one.
    #[error("no header")]
    Header,
}

/// Reads the frame at the beginning of `bytes`.
pub fn next_frame(bytes: &[u8]) -> Frame<'_> {
    if bytes.is_empty() {
        return Frame::End;
    }
    let (Some(length), Some(crc)) = (u32_le(bytes, 0), u32_le(bytes, 4)) else { return Frame::Incomplete };
    let payload_bytes = length as usize;
    if !(1..=PAYLOAD_BYTES_MAX).contains(&payload_bytes) {
        return Frame::Damaged(Damage::Length(length));
    }
    match bytes.get(FRAME_OVERHEAD..FRAME_OVERHEAD + payload_bytes) {
        None => Frame::Incomplete,
        Some(payload) if crc32c::crc32c(payload) == crc => Frame::Record(payload),
        Some(_) => Frame::Damaged(Damage::Checksum),
    }
}

/// Whether an incomplete frame at the end of a file is what a writer leaves that was killed in the middle of a write.
///
/// The other cause is a length that was damaged; then whole records stand behind it. Where the bound on the work does not
/// suffice to find out the answer is `false`, because keeping a torn end costs a file and throwing away a damaged one costs
/// records.
pub fn is_torn(rest: &[u8]) -> bool {
    find_record(rest, 1, true) == Search::Nothing
}

/// What is found behind damage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Search {
    /// A whole record begins here.
    Record(usize),
    /// No record begins before this place; whether one begins there, bytes behind these will tell.
    Perhaps(usize),
    /// No record begins in these bytes.
    Nothing,
    /// It would cost too much to find out.
    GivenUp,
}

/// As many bytes are put through the checksum for one search.
const SEARCH_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Searches the first whole record of `bytes`, from `from` on. `at_end`: nothing stands behind these bytes.
///
/// A record is taken for one when its checksum fits: four bytes in a thousand million of what is none would pass, times
/// those whose first bytes can be a length at all. The work is bounded.
pub fn find_record(bytes: &[u8], from: usize, at_end: bool) -> Search {
    let mut work_bytes = SEARCH_BYTES_MAX;
    for start in from..bytes.len() {
        let rest = &bytes[start..];
        let Some(payload_bytes) = u32_le(rest, 0).map(|length| length as usize) else {
            return if at_end { Search::Nothing } else { Search::Perhaps(start) };
        };
        if !(1..=PAYLOAD_BYTES_MAX).contains(&payload_bytes) {
            continue;
        }
        if rest.len() < FRAME_OVERHEAD + payload_bytes {
            if at_end {
                continue;
            }
            return Search::Perhaps(start);
        }
        if work_bytes < payload_bytes {
            return Search::GivenUp;
        }
        work_bytes -= payload_bytes;
        if matches!(next_frame(rest), Frame::Record(_)) {
            return Search::Record(start);
        }
    }
    if at_end { Search::Nothing } else { Search::Perhaps(bytes.len()) }
}

/// Where the next record stands if the length of the damaged frame at the beginning of `bytes` is right, which it is when
/// its payload is what was damaged.
///
/// A payload's content came from outside: what looks like a record within it is none. Unless whole records fill the place
/// to its very end: then the length is what was damaged, and covers them.
pub fn record_behind(bytes: &[u8]) -> Option<usize> {
    let payload_bytes = u32_le(bytes, 0)? as usize;
    let behind = FRAME_OVERHEAD + payload_bytes;
    let plausible = (1..=PAYLOAD_BYTES_MAX).contains(&payload_bytes);
    if !plausible || !bytes.get(behind..).is_some_and(|rest| matches!(next_frame(rest), Frame::Record(_))) {
        return None;
    }
    match find_record(&bytes[..behind], 1, true) {
        Search::Record(within) if is_whole(&bytes[within..behind]) => Some(within),
        _ => Some(behind),
    }
}

/// Whether these bytes are records from the first to the last.
fn is_whole(mut bytes: &[u8]) -> bool {
    while let Frame::Record(payload) = next_frame(bytes) {
        bytes = &bytes[FRAME_OVERHEAD + payload.len()..];
    }
    bytes.is_empty()
}

/// The payloads of a buffer of whole frames, without copying them. Ends at the first thing that is not a record.
#[derive(Debug, Clone)]
pub struct Payloads(Bytes);

impl Payloads {
    /// The payloads of `frames`.
    pub fn new(frames: Bytes) -> Self {
        Self(frames)
    }
}

impl Iterator for Payloads {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let Frame::Record(payload) = next_frame(&self.0) else { return None };
        let frame_bytes = FRAME_OVERHEAD + payload.len();
        Some(self.0.split_to(frame_bytes).split_off(FRAME_OVERHEAD))
    }
}

fn u32_le(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|four| u32::from_le_bytes(*four))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn frames(payloads: &[Vec<u8>]) -> Vec<u8> {
        let mut out = Vec::new();
        for payload in payloads {
            push_frame(&mut out, |out| out.extend_from_slice(payload)).unwrap();
        }
        out
    }

    fn read(bytes: &[u8]) -> Vec<Vec<u8>> {
        Payloads::new(Bytes::copy_from_slice(bytes)).map(|payload| payload.to_vec()).collect()
    }

    fn any_payloads() -> impl Strategy<Value = Vec<Vec<u8>>> {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..60), 0..8)
    }

    #[test]
    fn an_empty_or_oversized_payload_is_refused_and_leaves_the_buffer_as_it_was() {
        let mut out = b"before".to_vec();
        assert_eq!(push_frame(&mut out, |_| {}), Err(FrameError { payload_bytes: 0 }));
        let oversized = PAYLOAD_BYTES_MAX + 1;
        let refused = push_frame(&mut out, |out| out.resize(out.len() + oversized, 1));
        assert_eq!(refused, Err(FrameError { payload_bytes: oversized }));
        assert_eq!(out, b"before");
    }

    #[test]
    fn the_largest_payload_is_taken() {
        let payload = vec![7; PAYLOAD_BYTES_MAX];
        let bytes = frames(std::slice::from_ref(&payload));
        assert_eq!(next_frame(&bytes), Frame::Record(&payload));
    }

    #[test]
    fn a_header_is_told_from_its_beginning_from_a_newer_one_and_from_anything_else() {
        let fine = header();
        assert_eq!(check_header(&fine), Header::Fine);
        for length in 0..HEADER_LEN {
            assert_eq!(check_header(&fine[..length]), Header::Incomplete);
        }
        assert_eq!(check_header(b"{\"programs\":[]}......"), Header::Foreign);
        let mut newer = fine;
        newer[8..12].copy_from_slice(&9_u32.to_le_bytes());
        let crc = crc32c::crc32c(&newer[..12]);
        newer[12..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(check_header(&newer), Header::Version(9));
        newer[15] ^= 1;
        assert_eq!(check_header(&newer), Header::Foreign);
    }

    #[test]
    fn zeros_are_not_records() {
        assert_eq!(next_frame(&[0; 64]), Frame::Damaged(Damage::Length(0)));
    }

    #[test]
    fn a_flipped_length_is_not_taken_for_a_torn_end() {
        let mut bytes = frames(&[b"first".to_vec(), b"second".to_vec(), b"third".to_vec()]);
        bytes[2] = 1; // 65,541 bytes instead of 5
        assert_eq!(next_frame(&bytes), Frame::Incomplete);
        assert!(!is_torn(&bytes));
        assert_eq!(find_record(&bytes, 1, true), Search::Record(FRAME_OVERHEAD + 5));
    }

    #[test]
    fn a_search_in_part_of_a_file_stops_where_the_rest_is_needed() {
        let bytes = [&[0xff; 20][..], &frames(&[b"whole".to_vec()])].concat();
        assert_eq!(find_record(&bytes, 1, true), Search::Record(20));
        assert_eq!(find_record(&bytes, 1, false), Search::Perhaps(18), "ff ff 05 00 may be a length");
        assert_eq!(find_record(&bytes[..21], 1, false), Search::Perhaps(18), "three bytes are not a length");
        assert_eq!(find_record(&bytes[..30], 1, true), Search::Nothing);
    }

    #[test]
    fn a_record_within_a_damaged_payload_is_not_taken_for_one() {
        let forged = frames(&[b"forged".to_vec()]);
        let mut bytes = frames(&[[b"a user agent: ", &forged[..], b"."].concat(), b"next".to_vec()]);
        let behind = bytes.len() - FRAME_OVERHEAD - 4;
        bytes[FRAME_OVERHEAD] ^= 1;
        assert_eq!(next_frame(&bytes), Frame::Damaged(Damage::Checksum));
        assert_eq!(record_behind(&bytes), Some(behind));
    }

    #[test]
    fn records_that_a_damaged_length_covers_are_found() {
        let mut bytes = frames(&[b"12345678".to_vec(), b"abcdefgh".to_vec(), b"third".to_vec()]);
        bytes[0] = 24; // up to the end of the second record
        assert_eq!(next_frame(&bytes), Frame::Damaged(Damage::Checksum));
        assert_eq!(record_behind(&bytes), Some(16));
    }

    #[test]
    fn a_search_that_would_cost_too_much_keeps_the_file() {
        // Every fourth byte begins a plausible length of half a mebibyte.
        let bytes: Vec<u8> = [0, 0, 8, 0].into_iter().cycle().take(FRAME_BYTES_MAX - 1).collect();
        assert!(!is_torn(&bytes));
    }

    proptest! {
        #[test]
        fn records_are_read_back_as_they_were_written(payloads in any_payloads()) {
            prop_assert_eq!(read(&frames(&payloads)), payloads);
        }

        #[test]
        fn a_cut_at_any_byte_delivers_every_whole_record_and_leaves_a_torn_end(payloads in any_payloads()) {
            let bytes = frames(&payloads);
            for cut in 0..bytes.len() {
                let found = read(&bytes[..cut]);
                let consumed = frames(&found).len();
                prop_assert_eq!(&found[..], &payloads[..found.len()]);
                let whole = payloads.get(found.len()).is_none_or(|next| consumed + FRAME_OVERHEAD + next.len() > cut);
                prop_assert!(whole, "a whole record was not delivered");
                let rest = &bytes[consumed..cut];
                let ended = matches!(next_frame(rest), Frame::End | Frame::Incomplete);
                prop_assert!(ended && is_torn(rest));
            }
        }

        #[test]
        fn whatever_bit_is_flipped_every_record_before_it_is_delivered(payloads in any_payloads()) {
            let bytes = frames(&payloads);
            let mut flipped = bytes.clone();
            for bit in 0..bytes.len() * 8 {
                flipped[bit / 8] ^= 1 << (bit % 8);
                let found = read(&flipped);
                let mut intact = 0;
                let mut end = 0;
                while intact < payloads.len() && end + FRAME_OVERHEAD + payloads[intact].len() <= bit / 8 {
                    end += FRAME_OVERHEAD + payloads[intact].len();
                    intact += 1;
                }
                prop_assert_eq!(&found, &payloads[..intact], "bit {}", bit);
                flipped[bit / 8] ^= 1 << (bit % 8);
            }
        }

        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _found = read(&bytes);
            let _torn = is_torn(&bytes);
            let _behind = record_behind(&bytes);
            for at_end in [false, true] {
                if let Search::Record(at) | Search::Perhaps(at) = find_record(&bytes, 0, at_end) {
                    prop_assert!(at <= bytes.len());
                }
            }
            let _header = check_header(&bytes);
        }
    }
}
