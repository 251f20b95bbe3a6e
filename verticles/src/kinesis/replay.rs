//! Sending once more what the stream has refused for good: `.dead` files become segments of the log again, each by one rename, so
//! that its events are in the one or in the other, and never in both or in none.

use std::io;

use adtrack_proto::bus::{Replayed, UNAVAILABLE};
use vertebra::Failure;

use super::log::EventLog;
use super::spool::directory::{self, Directory};
use super::spool::name::{Kind, SegmentName};
use super::spool::reader::ReadError;
use super::spool::scan::{self, Found};

/// A `.dead` file that is a segment now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revived {
    /// Its name among the segments.
    pub segment: SegmentName,
    /// Its length.
    pub bytes: u64,
    /// How many events are in it.
    pub events: u64,
}

/// The `.dead` files there are, the oldest first. Blocks.
///
/// # Errors
/// The folder cannot be read.
pub fn dead_letters(directory: &Directory) -> io::Result<Vec<SegmentName>> {
    let kept = directory::list(directory.path())?.kept;
    Ok(kept.into_iter().filter(|(_, kind, _)| *kind == Kind::DeadLetter).map(|(name, ..)| name).collect())
}

/// Makes each of these `.dead` files a segment, and gives it. Nobody may write to one of them any more: what is appended to a
/// segment that is shipped is lost. Blocks.
///
/// # Errors
/// The file system says no: those that were given are segments, the others are what they were.
pub fn revive(directory: &Directory, names: &[SegmentName], mut give: impl FnMut(Revived)) -> io::Result<()> {
    for name in names.iter().copied() {
        let path = directory.path().join(name.file_name(Kind::DeadLetter));
        let mut events = 0;
        let scanned = scan::scan::<ReadError>(&path, |found| {
            events += u64::from(matches!(found, Found::Record(_)));
            Ok(())
        });
        match scanned {
            Ok(_) => {}
            // Somebody else has removed it, or made it a segment.
            Err(ReadError::Gone) => continue,
            Err(error) => return Err(io::Error::other(format!("{}: {error}", name.file_name(Kind::DeadLetter)))),
        }
        if let Some((segment, bytes)) = directory.revive(name)? {
            give(Revived { segment, bytes, events });
        }
    }
    Ok(())
}

/// What revived segments come to, and the answer to whoever has asked for it.
pub(super) fn answer(revived: &[Revived], error: Option<io::Error>) -> Result<Replayed, Failure> {
    let files = revived.len() as u64;
    let events = revived.iter().map(|each| each.events).sum();
    let bytes = revived.iter().map(|each| each.bytes).sum();
    if files > 0 {
        tracing::info!(files, events, bytes, "events the stream has refused are in the log again");
    }
    match error {
        None => Ok(Replayed { files, events, bytes }),
        Some(error) => {
            let told = format!("{files} files are in the log again, the next one is not: {error}");
            Err(Failure::new(UNAVAILABLE, told))
        }
    }
}

/// Revives these files of a log, and counts their bytes. Blocks.
pub(super) fn revive_in(log: &EventLog, names: &[SegmentName]) -> (Vec<Revived>, Option<io::Error>) {
    let mut all = Vec::new();
    let revived = revive(log.directory(), names, |revived| {
        log.revived(revived.bytes);
        all.push(revived);
    });
    (all, revived.err())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::fs;

    use super::*;
    use crate::kinesis::spool::segment::{header, push_frame};

    fn name(created_ms: u64) -> SegmentName {
        SegmentName { created_ms, event_loop: 0, seq: 1 }
    }

    fn file(directory: &Directory, name: SegmentName, kind: Kind, payloads: &[&str]) {
        let mut bytes = header().to_vec();
        for payload in payloads {
            push_frame(&mut bytes, |out| out.extend_from_slice(payload.as_bytes())).unwrap();
        }
        fs::write(directory.path().join(name.file_name(kind)), bytes).unwrap();
    }

    #[test]
    fn dead_files_become_segments_and_no_other_file_is_touched() {
        let data = tempfile::tempdir().unwrap();
        let directory = Directory::open(data.path()).unwrap();
        file(&directory, name(1), Kind::DeadLetter, &["a", "b"]);
        file(&directory, name(2), Kind::DeadLetter, &["c"]);
        file(&directory, name(3), Kind::Damaged, &["d"]);
        // A segment of the loop with the number of dead letters' writer, of the same moment.
        file(&directory, name(1), Kind::Log, &["e"]);
        let mut given = Vec::new();
        let names = dead_letters(&directory).unwrap();
        assert_eq!(names, [name(1), name(2)]);
        // Written to from here on: it is none of those.
        file(&directory, name(4), Kind::DeadLetter, &["f"]);
        revive(&directory, &names, |revived| given.push(revived)).unwrap();
        assert_eq!(given.iter().map(|revived| revived.events).collect::<Vec<_>>(), [2, 1]);
        let listing = directory::list(directory.path()).unwrap();
        assert_eq!(listing.segments.len(), 3);
        for revived in &given {
            assert!(listing.segments.contains(&(revived.segment, revived.bytes)), "{revived:?}");
        }
        assert_eq!((listing.kept_of(Kind::DeadLetter), listing.kept_of(Kind::Damaged)), (1, 1));
        revive(&directory, &names, |_| panic!("they are segments")).unwrap();
    }

    #[test]
    fn a_file_that_cannot_be_read_stays_what_it_is_and_so_do_those_behind_it() {
        let data = tempfile::tempdir().unwrap();
        let directory = Directory::open(data.path()).unwrap();
        file(&directory, name(1), Kind::DeadLetter, &["a"]);
        let mut newer = header().to_vec();
        // The version, as a newer program would write it.
        newer[8] = 99;
        let crc = crc32c::crc32c(&newer[..12]);
        newer[12..].copy_from_slice(&crc.to_le_bytes());
        fs::write(directory.path().join(name(2).file_name(Kind::DeadLetter)), newer).unwrap();
        file(&directory, name(3), Kind::DeadLetter, &["c"]);
        let mut given = 0;
        let names = dead_letters(&directory).unwrap();
        let error = revive(&directory, &names, |_| given += 1).unwrap_err().to_string();
        assert!(error.contains(".dead") && error.contains("version"), "{error}");
        let listing = directory::list(directory.path()).unwrap();
        assert_eq!((given, listing.segments.len(), listing.kept_of(Kind::DeadLetter)), (1, 1, 2));
    }
}
