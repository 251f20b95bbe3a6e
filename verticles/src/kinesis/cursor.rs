//! The file that remembers what the stream has of the log, so that only what was in flight comes twice after a crash.

use std::fs;
use std::io;
use std::path::Path;

use super::progress::{Progress, Step};
use super::spool::directory::{self, Listing};
use super::spool::name::{Kind, SegmentName};
use super::spool::reader::ReadError;
use super::spool::scan::{self, Found};
use super::spool::segment::FrameError;
use super::spool::writer::{AppendError, Writer};

/// Writes `.cursor` files beside the segments, in the same format: one append for what is settled by one call.
///
/// Each file begins with all that is known. One that has grown by [`FILE_BYTES_MAX`] is followed by another, and is then
/// superfluous. Nothing depends on it but how much comes twice: a write that fails is made up for by the next one that
/// does not, which says everything again.
#[derive(Debug)]
pub(crate) struct Cursor {
    writer: Writer,
    // What the open file has grown by since it said everything; none: it has not, or not all that came later.
    grown_bytes: Option<u64>,
    // Files that an earlier one of ours or of another run has written, needed until a newer one says everything.
    older: Vec<SegmentName>,
    superfluous: Vec<SegmentName>,
}

/// By so much a file grows, after all that was known when it was begun, before another follows.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Why something could not be written down.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoteError {
    /// The file system says no.
    #[error(transparent)]
    Append(#[from] AppendError),
    /// It cannot be put into frames.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

impl Cursor {
    /// In this folder, where an earlier run left these files. Nothing is opened before the first note.
    pub(crate) fn new(folder: &Path, left: Vec<SegmentName>) -> Self {
        Self::of(Writer::new(folder, 0, Kind::Cursor, u64::MAX), left)
    }

    /// The same with files that come from `create`.
    #[cfg(test)]
    fn with_files(folder: &Path, left: Vec<SegmentName>, create: super::spool::writer::CreateFile) -> Self {
        Self::of(Writer::with_files(folder, 0, Kind::Cursor, u64::MAX, create), left)
    }

    fn of(writer: Writer, left: Vec<SegmentName>) -> Self {
        Self { writer, grown_bytes: None, older: left, superfluous: Vec::new() }
    }

    /// Writes down what an earlier run has settled, so that its files can go.
    ///
    /// # Errors
    /// It could not be written.
    pub(crate) fn begin(&mut self, progress: &Progress, now_ms: u64) -> Result<(), NoteError> {
        if progress.is_empty() {
            self.superfluous.append(&mut self.older);
            return Ok(());
        }
        self.write_all(progress, now_ms)
    }

    /// Writes down that something was settled; `progress` has it already.
    ///
    /// # Errors
    /// It could not be written.
    pub(crate) fn settled(&mut self, step: &Step, progress: &Progress, now_ms: u64) -> Result<(), NoteError> {
        let mut frames = Vec::new();
        step.encode(&mut frames)?;
        self.note(&frames, progress, now_ms)
    }

    /// Forgets a segment that is gone, and writes that down.
    ///
    /// # Errors
    /// It could not be written.
    pub(crate) fn gone(&mut self, segment: SegmentName, progress: &mut Progress, now_ms: u64) -> Result<(), NoteError> {
        let mut frames = Vec::new();
        progress.gone(segment, &mut frames)?;
        if frames.is_empty() { Ok(()) } else { self.note(&frames, progress, now_ms) }
    }

    /// Takes the files that are not needed any more, to be removed.
    pub(crate) fn take_superfluous(&mut self) -> Option<SegmentName> {
        self.superfluous.pop()
    }

    fn note(&mut self, frames: &[u8], progress: &Progress, now_ms: u64) -> Result<(), NoteError> {
        match self.grown_bytes {
            Some(grown) if grown + frames.len() as u64 <= FILE_BYTES_MAX && !self.writer.must_roll(0) => {
                // Until it is written, the file does not say everything.
                self.grown_bytes = None;
                self.writer.append(frames, now_ms)?;
                self.grown_bytes = Some(grown + frames.len() as u64);
                Ok(())
            }
            Some(_) => {
                self.older.extend(self.writer.close());
                self.grown_bytes = None;
                self.write_all(progress, now_ms)
            }
            None => self.write_all(progress, now_ms),
        }
    }

    /// Says everything, in the open file or a new one; every other is superfluous then.
    fn write_all(&mut self, progress: &Progress, now_ms: u64) -> Result<(), NoteError> {
        if self.writer.must_roll(0) {
            self.older.extend(self.writer.close());
        }
        let mut frames = Vec::new();
        progress.encode(&mut frames)?;
        self.writer.append(&frames, now_ms)?;
        self.grown_bytes = Some(0);
        self.superfluous.append(&mut self.older);
        Ok(())
    }
}

/// What an earlier run has left.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// What it has settled of the segments that are still there.
    pub(crate) progress: Progress,
    /// The files that say so.
    pub(crate) files: Vec<SegmentName>,
    /// How many of them, or parts of them, cannot be read.
    pub(crate) unreadable: u64,
}

/// Reads what an earlier run has left. Damage costs what stood there, and with that events that come twice. Blocking.
///
/// # Errors
/// The folder cannot be read.
pub(crate) fn read(folder: &Path) -> io::Result<Left> {
    let listing = directory::list(folder)?;
    let mut left = read_all(folder, &listing);
    left.progress.retain(|segment| listing.segments.binary_search_by_key(&segment, |(name, _)| *name).is_ok());
    Ok(left)
}

/// The highest number of a segment that is there, or of which something is known though it is not: a cursor that could not be
/// removed, or written, says more than there is. Blocking.
pub(crate) fn highest_seq(folder: &Path, listing: &Listing) -> u32 {
    let there = listing.segments.iter().map(|(name, _)| *name);
    let known = read_all(folder, listing).progress;
    there.chain(known.segments()).map(|name| name.seq).max().unwrap_or(0)
}

fn read_all(folder: &Path, listing: &Listing) -> Left {
    let mut left = Left::default();
    for (name, _) in &listing.cursors {
        let (progress, unreadable) = (&mut left.progress, &mut left.unreadable);
        let read = scan::scan::<ReadError>(&folder.join(name.file_name(Kind::Cursor)), |found| {
            let is_read = matches!(&found, Found::Record(payload) if progress.apply(payload));
            *unreadable += u64::from(!is_read);
            Ok(())
        });
        if let Err(error) = read {
            tracing::warn!(file = %name.file_name(Kind::Cursor), %error, "a cursor cannot be read: some events may come twice");
            left.unreadable += 1;
        }
        left.files.push(*name);
    }
    left
}

/// Removes a file that is not needed any more. Blocking.
///
/// # Errors
/// The file system says no.
pub(crate) fn remove(folder: &Path, name: SegmentName) -> io::Result<()> {
    match fs::remove_file(folder.join(name.file_name(Kind::Cursor))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::cell::Cell;
    use std::fs::File;
    use std::rc::Rc;

    use bytes::Bytes;

    use super::*;
    use crate::kinesis::record::Record;
    use crate::kinesis::spool::segment::HEADER_LEN;
    use crate::kinesis::spool::writer::{AppendFile, CreateFile, Syncing};

    fn segment(seq: u32) -> SegmentName {
        SegmentName { created_ms: 1, event_loop: 0, seq }
    }

    /// A step of one record of ten bytes, the how-many-eth of its segment.
    fn step(seq: u32, nth: u64) -> Step {
        let end = HEADER_LEN as u64 + 10 * (nth + 1);
        Step::of(
            [Record::new(Bytes::from_static(b"xx"), segment(seq), end, adtrack_config::PartitionKey::MessageId)].iter(),
        )
    }

    struct Fixture {
        folder: tempfile::TempDir,
        progress: Progress,
        cursor: Cursor,
    }

    impl Fixture {
        fn new() -> Self {
            let folder = tempfile::tempdir().unwrap();
            for seq in 0..5 {
                File::create(folder.path().join(segment(seq).file_name(Kind::Log))).unwrap();
            }
            let cursor = Cursor::new(folder.path(), Vec::new());
            Self { folder, progress: Progress::default(), cursor }
        }

        fn settle(&mut self, seq: u32, nth: u64) -> Result<(), NoteError> {
            let step = step(seq, nth);
            self.progress.settled(&step);
            self.cursor.settled(&step, &self.progress, 7)
        }

        fn read(&self) -> Left {
            read(self.folder.path()).unwrap()
        }

        fn clean_up(&mut self) -> usize {
            let superfluous: Vec<_> = std::iter::from_fn(|| self.cursor.take_superfluous()).collect();
            superfluous.iter().for_each(|name| remove(self.folder.path(), *name).unwrap());
            superfluous.len()
        }
    }

    #[test]
    fn what_was_settled_is_known_to_the_next_run_which_says_it_anew_and_removes_the_old_file() {
        let mut fixture = Fixture::new();
        for nth in [0, 1, 3] {
            fixture.settle(1, nth).unwrap();
        }
        fixture.settle(2, 0).unwrap();
        fixture.cursor.gone(segment(2), &mut fixture.progress, 7).unwrap();
        let left = fixture.read();
        assert_eq!((&left.progress, left.files.len(), left.unreadable), (&fixture.progress, 1, 0));
        assert_eq!((left.progress.read_from(segment(1)), left.progress.of(segment(2))), (36, None));

        fixture.cursor = Cursor::new(fixture.folder.path(), left.files);
        fixture.cursor.begin(&left.progress, 8).unwrap();
        assert_eq!((fixture.read().files.len(), fixture.clean_up()), (2, 1));
        let left = fixture.read();
        assert_eq!((left.progress, left.files.len()), (fixture.progress.clone(), 1));
    }

    #[test]
    fn what_is_known_of_a_segment_that_is_not_there_is_dropped_and_a_file_that_says_nothing_goes() {
        let mut fixture = Fixture::new();
        fixture.settle(4, 0).unwrap();
        std::fs::remove_file(fixture.folder.path().join(segment(4).file_name(Kind::Log))).unwrap();
        let left = fixture.read();
        assert!(left.progress.is_empty());
        fixture.cursor = Cursor::new(fixture.folder.path(), left.files);
        fixture.cursor.begin(&left.progress, 8).unwrap();
        assert_eq!((fixture.clean_up(), fixture.read().files.len()), (1, 0));
    }

    #[test]
    fn files_stay_within_their_bound_and_the_newest_alone_says_everything() {
        let mut fixture = Fixture::new();
        let mut superfluous = 0;
        for nth in 0..20_000 {
            fixture.settle(1, 2 * nth % 20_001).unwrap();
            superfluous += fixture.clean_up();
            if nth % 1_000 == 0 {
                let bytes: u64 =
                    directory::list(fixture.folder.path()).unwrap().cursors.iter().map(|(_, bytes)| bytes).sum();
                assert!(bytes <= FILE_BYTES_MAX + 16 * 11_000, "{bytes}");
            }
        }
        assert!(superfluous > 1);
        let left = fixture.read();
        assert_eq!((left.progress, left.files.len()), (fixture.progress.clone(), 1));
    }

    #[test]
    fn damage_costs_what_stood_there() {
        let mut fixture = Fixture::new();
        for nth in 0..3 {
            fixture.settle(1, nth).unwrap();
        }
        let path = fixture.folder.path().join(fixture.read().files[0].file_name(Kind::Cursor));
        let mut bytes = fs::read(&path).unwrap();
        let middle = HEADER_LEN + 40 + 20;
        bytes[middle] ^= 1;
        bytes.truncate(bytes.len() - 3);
        fs::write(&path, bytes).unwrap();
        let left = fixture.read();
        assert_eq!((left.progress.read_from(segment(1)), left.unreadable), (26, 1));
    }

    /// A file on a disk that is full as long as the flag says so.
    struct FullFile(File, Rc<Cell<bool>>);

    impl AppendFile for FullFile {
        fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.1.get() { self.0.append(&bytes[..bytes.len() / 2]) } else { self.0.append(bytes) }
        }

        fn truncate(&mut self, length: u64) -> io::Result<()> {
            self.0.truncate(length)
        }

        fn is_at(&self, path: &Path) -> bool {
            self.0.is_at(path)
        }

        fn syncing(&self) -> io::Result<Syncing> {
            self.0.syncing()
        }
    }

    #[test]
    fn what_could_not_be_written_is_made_up_for_by_the_next_write_and_leaves_no_files_behind() {
        let mut fixture = Fixture::new();
        let full = Rc::new(Cell::new(false));
        let flag = Rc::clone(&full);
        let create: CreateFile = Box::new(move |path| {
            let file = File::options().create_new(true).append(true).open(path)?;
            Ok(Box::new(FullFile(file, Rc::clone(&flag))))
        });
        fixture.cursor = Cursor::with_files(fixture.folder.path(), Vec::new(), create);
        full.set(true);
        fixture.settle(1, 0).unwrap_err();
        full.set(false);
        fixture.settle(1, 1).unwrap();
        full.set(true);
        for nth in 2..50 {
            fixture.settle(1, nth).unwrap_err();
        }
        assert_eq!(fixture.read().progress.read_from(segment(1)), 36);
        full.set(false);
        fixture.settle(2, 0).unwrap();
        let left = fixture.read();
        assert_eq!((left.progress, left.files.len(), left.unreadable), (fixture.progress.clone(), 1, 0));
    }
}
