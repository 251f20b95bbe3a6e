//! Reading the log from outside, while another process writes it: without the lock, and changing nothing.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;

use bytes::Bytes;

use super::directory;
use super::name::{Kind, SegmentName};
use super::reader::{self, Chunk, End, ReadError, ReadLimits};
use super::segment::Payloads;

/// Where a reader of the whole log has got to.
///
/// Records come segment by segment, the oldest first, and in the order they were written within one; segments of several
/// loops overlap in time.
#[derive(Debug)]
pub struct Tail {
    folder: PathBuf,
    segments: BTreeMap<SegmentName, Place>,
}

/// How far one segment is read.
#[derive(Debug, Default)]
struct Place {
    // Kept open: what is read stays readable when the segment is deleted meanwhile.
    file: Option<File>,
    offset: u64,
    given_up: bool,
}

/// What [`Tail::poll`] came upon.
#[derive(Debug)]
pub enum Found {
    /// The payload of a record.
    Record(Bytes),
    /// A segment, or a part of one, that cannot be read.
    Unreadable {
        /// Which.
        segment: SegmentName,
        /// Why, in words.
        reason: String,
    },
}

const LIMITS: ReadLimits = ReadLimits { bytes_max: 1024 * 1024, records_max: 10_000 };

impl Tail {
    /// A reader of the log in `folder`, from its beginning.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), segments: BTreeMap::new() }
    }

    /// Gives everything that has come since the last call, and ends.
    ///
    /// # Errors
    /// The folder cannot be read, or `give` says no: the record it refused is not given again.
    pub fn poll<E: From<io::Error>>(&mut self, mut give: impl FnMut(Found) -> Result<(), E>) -> Result<(), E> {
        let listed = directory::list(&self.folder)?.segments;
        // A deleted segment is forgotten, once what it held when it was open has been read.
        let gone: Vec<SegmentName> = self.segments.keys().filter(|name| !is_listed(&listed, **name)).copied().collect();
        for name in gone.iter().copied().chain(listed.into_iter().map(|(name, _)| name)) {
            self.read_on(name, &mut give)?;
        }
        for name in gone {
            self.segments.remove(&name);
        }
        Ok(())
    }

    fn read_on<E: From<io::Error>>(
        &mut self,
        segment: SegmentName,
        give: &mut impl FnMut(Found) -> Result<(), E>,
    ) -> Result<(), E> {
        let path = self.folder.join(segment.file_name(Kind::Log));
        let place = self.segments.entry(segment).or_default();
        while !place.given_up {
            let chunk = match place.next_chunk(&path) {
                Ok(chunk) => chunk,
                Err(ReadError::Gone) => return Ok(()),
                Err(error) => {
                    place.given_up = true;
                    return give(Found::Unreadable { segment, reason: error.to_string() });
                }
            };
            place.offset = chunk.next_offset;
            if let Some(damaged) = chunk.damaged {
                place.given_up = chunk.end.is_some();
                give(Found::Unreadable { segment, reason: damaged.to_string() })?;
            }
            for payload in Payloads::new(chunk.frames) {
                give(Found::Record(payload))?;
            }
            match chunk.end {
                None | Some(End::Damaged) => {}
                // The writer may be in the middle of it: the next poll looks again.
                Some(End::Clean | End::Torn) => return Ok(()),
            }
        }
        Ok(())
    }
}

impl Place {
    fn next_chunk(&mut self, path: &std::path::Path) -> Result<Chunk, ReadError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(File::open(path)?),
        };
        reader::read_from(file, self.offset, LIMITS)
    }
}

fn is_listed(listed: &[(SegmentName, u64)], name: SegmentName) -> bool {
    listed.binary_search_by_key(&name, |(listed, _)| *listed).is_ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::fs;

    use super::*;
    use crate::kinesis::spool::segment::push_frame;
    use crate::kinesis::spool::writer::Writer;

    fn frame(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        push_frame(&mut out, |out| out.extend_from_slice(text.as_bytes())).unwrap();
        out
    }

    fn poll(tail: &mut Tail) -> Vec<String> {
        let mut found = Vec::new();
        tail.poll::<io::Error>(|one| {
            found.push(match one {
                Found::Record(payload) => String::from_utf8(payload.to_vec()).unwrap(),
                Found::Unreadable { reason, .. } => format!("unreadable: {reason}"),
            });
            Ok(())
        })
        .unwrap();
        found
    }

    #[test]
    fn a_growing_log_is_followed_over_its_segments_and_nothing_comes_twice() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(folder.path(), 0, Kind::Log, 1024);
        let mut tail = Tail::new(folder.path());
        assert_eq!(poll(&mut tail), Vec::<String>::new());
        writer.append(&[frame("a"), frame("b")].concat(), 1).unwrap();
        assert_eq!(poll(&mut tail), ["a", "b"]);
        writer.append(&frame("c"), 1).unwrap();
        writer.close();
        writer.append(&frame("d"), 2).unwrap();
        assert_eq!(poll(&mut tail), ["c", "d"]);
        assert_eq!(poll(&mut tail), Vec::<String>::new());
    }

    #[test]
    fn a_record_that_is_being_written_comes_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(folder.path(), 0, Kind::Log, 1024);
        let (first, second) = (frame("first"), frame("second"));
        let mut tail = Tail::new(folder.path());
        writer.append(&[&first[..], &second[..6]].concat(), 1).unwrap();
        assert_eq!(poll(&mut tail), ["first"]);
        writer.append(&second[6..], 1).unwrap();
        assert_eq!(poll(&mut tail), ["second"]);
    }

    #[test]
    fn a_segment_that_is_deleted_while_it_is_read_is_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(folder.path(), 0, Kind::Log, 1024);
        let mut tail = Tail::new(folder.path());
        let appended = writer.append(&frame("a"), 1).unwrap();
        assert_eq!(poll(&mut tail), ["a"]);
        writer.append(&frame("b"), 1).unwrap();
        fs::remove_file(folder.path().join(appended.segment.file_name(Kind::Log))).unwrap();
        assert_eq!(poll(&mut tail), ["b"]);
        assert!(tail.segments.is_empty());
    }

    #[test]
    fn a_damaged_segment_is_told_once_and_the_others_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let damaged = SegmentName { created_ms: 1, event_loop: 0, seq: 1 };
        fs::write(folder.path().join(damaged.file_name(Kind::Log)), "this is not a segment").unwrap();
        Writer::new(folder.path(), 0, Kind::Log, 1024).append(&frame("a"), 2).unwrap();
        let mut tail = Tail::new(folder.path());
        assert_eq!(poll(&mut tail), ["unreadable: no header at byte 0: 21 bytes are lost", "a"]);
        assert_eq!(poll(&mut tail), Vec::<String>::new());
    }

    #[test]
    fn what_stands_behind_damage_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(folder.path(), 0, Kind::Log, 1024);
        let written = writer.append(&[frame("first"), frame("second"), frame("third")].concat(), 1).unwrap();
        let path = folder.path().join(written.segment.file_name(Kind::Log));
        let mut bytes = fs::read(&path).unwrap();
        bytes[16 + 13 + 8] ^= 1;
        fs::write(&path, bytes).unwrap();
        let told = "unreadable: a checksum that does not fit at byte 29: 14 bytes are lost";
        let mut tail = Tail::new(folder.path());
        assert_eq!(poll(&mut tail), ["first", told, "third"]);
        assert_eq!(poll(&mut tail), Vec::<String>::new());
    }

    #[test]
    fn a_log_that_is_not_there_yet_is_empty() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(poll(&mut Tail::new(folder.path().join("nothing"))), Vec::<String>::new());
    }
}
