//! Appending to the log: one writer a loop, one `write(2)` a turn.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::name::{Kind, SegmentName};
use super::segment::{self, HEADER_LEN};

/// A file that is appended to: the real one, or one that fails on purpose.
pub trait AppendFile {
    /// One `write(2)` at the end of the file.
    ///
    /// # Errors
    /// The file system says no.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// Cuts the file.
    ///
    /// # Errors
    /// The file system says no.
    fn truncate(&mut self, length: u64) -> io::Result<()>;

    /// Whether the file is what is found at this path; when not, what is written there is found by nobody.
    fn is_at(&self, path: &Path) -> bool;

    /// What brings everything that has been appended so far to the disk.
    ///
    /// # Errors
    /// The file system says no.
    fn syncing(&self) -> io::Result<Syncing>;
}

/// Brings something to the disk. Blocks: for a worker.
pub type Syncing = Box<dyn FnOnce() -> io::Result<()> + Send>;

/// Everything that was appended and that no sync has been asked for yet.
#[derive(Default)]
pub struct Unsynced(Vec<Syncing>);

impl Unsynced {
    /// Brings it to the disk. Blocks: for a worker.
    ///
    /// # Errors
    /// The file system says no. What it covers must be taken for lost in a power cut, even if a later sync works: the system
    /// may have dropped what it could not write.
    pub fn sync(self) -> io::Result<()> {
        self.0.into_iter().try_for_each(|syncing| syncing())
    }
}

impl fmt::Debug for Unsynced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Unsynced").field(&self.0.len()).finish()
    }
}

impl AppendFile for File {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write(bytes)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn is_at(&self, path: &Path) -> bool {
        is_at(self, path)
    }

    fn syncing(&self) -> io::Result<Syncing> {
        let file = self.try_clone()?;
        Ok(Box::new(move || file.sync_data()))
    }
}

/// Whether an open file is what is found at a path. Where the system cannot tell, it is.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (fs::metadata(path), file.metadata()) {
        (Ok(found), Ok(open)) => identity(found) == identity(open),
        (Err(error), _) => !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        (Ok(_), Err(_)) => true,
    }
}

/// Where a writer's files come from.
pub type CreateFile = Box<dyn Fn(&Path) -> io::Result<Box<dyn AppendFile>>>;

/// Appends frames to segments of its own.
///
/// After every error the segment ends where it ended before, or is never written to again: what was not written as a
/// whole is never followed by something that was.
pub struct Writer {
    folder: PathBuf,
    event_loop: u32,
    kind: Kind,
    segment_bytes_max: u64,
    seq: u32,
    create: CreateFile,
    open: Option<Open>,
    // None: nobody will ever ask for a sync.
    unsynced: Option<Closed>,
    stray_bytes: u64,
}

/// What is not open any more and not on the disk yet.
#[derive(Default)]
struct Closed {
    segments: Vec<io::Result<Syncing>>,
    // A file has been made: its name is not on the disk before the folder is.
    folder: bool,
}

struct Open {
    name: SegmentName,
    file: Box<dyn AppendFile>,
    bytes: u64,
    broken: bool,
    dirty: bool,
}

/// Where frames have been written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// The segment.
    pub segment: SegmentName,
    /// Where they begin in it, in bytes.
    pub offset: u64,
    /// What the log has grown by, in bytes: the frames, and a header where a segment was begun.
    pub grown_bytes: u64,
}

/// Why frames have not been written.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// No segment could be begun.
    #[error("no segment can be begun in {}: {source}", .folder.display())]
    Create {
        /// The folder.
        folder: PathBuf,
        /// The file system's reason.
        source: io::Error,
    },
    /// The write failed.
    #[error("segment {segment} cannot be written: {source}")]
    Write {
        /// The segment.
        segment: SegmentName,
        /// The file system's reason.
        source: io::Error,
    },
    /// The write stopped short, as it does when the disk is full.
    #[error("segment {segment}: {written} of {wanted} bytes were written, the disk may be full")]
    Short {
        /// The segment.
        segment: SegmentName,
        /// Bytes written, and taken back.
        written: usize,
        /// Bytes to be written.
        wanted: usize,
    },
}

/// A name is taken when a clock was set back; the next number is free then, or the one after it.
const NAMES_TRIED_MAX: u32 = 100;

impl Writer {
    /// A writer of files of this kind in `folder`. Nothing is opened before the first append.
    pub fn new(folder: impl Into<PathBuf>, event_loop: u32, kind: Kind, segment_bytes_max: u64) -> Self {
        Self::with_files(folder, event_loop, kind, segment_bytes_max, Box::new(create_file))
    }

    /// A writer whose files come from `create`.
    pub fn with_files(
        folder: impl Into<PathBuf>,
        event_loop: u32,
        kind: Kind,
        segment_bytes_max: u64,
        create: CreateFile,
    ) -> Self {
        let folder = folder.into();
        let (open, unsynced) = (None, None);
        Self { folder, event_loop, kind, segment_bytes_max, seq: 0, create, open, unsynced, stray_bytes: 0 }
    }

    /// From now on it is known what is not on the disk, so that it can be synced.
    #[must_use]
    pub fn syncable(mut self) -> Self {
        self.unsynced = Some(Closed::default());
        self
    }

    /// Its segments have numbers above this one.
    #[must_use]
    pub fn numbered_above(mut self, seq: u32) -> Self {
        self.seq = seq;
        self
    }

    /// Whether a segment is closed and not on the disk: it must not stay so for long, because its file is kept open.
    pub fn has_closed_unsynced(&self) -> bool {
        self.unsynced.as_ref().is_some_and(|closed| !closed.segments.is_empty())
    }

    /// Takes what is not on the disk and what no sync has been asked for.
    ///
    /// # Errors
    /// The file system says no: it must be taken for unsynced for good.
    pub fn take_unsynced(&mut self) -> io::Result<Unsynced> {
        let Some(closed) = &mut self.unsynced else { return Ok(Unsynced::default()) };
        let closed = std::mem::take(closed);
        let mut all = closed.segments.into_iter().collect::<io::Result<Vec<_>>>()?;
        if let Some(open) = &mut self.open
            && std::mem::take(&mut open.dirty)
        {
            all.push(open.file.syncing()?);
        }
        if closed.folder {
            let folder = self.folder.clone();
            all.push(Box::new(move || File::open(folder)?.sync_all()));
        }
        Ok(Unsynced(all))
    }

    /// Takes the number of bytes that are in files and were not told as growth, since the last time: what was written of a failed
    /// append and could not be taken back.
    pub fn take_stray_bytes(&mut self) -> u64 {
        std::mem::take(&mut self.stray_bytes)
    }

    /// The segment that is open.
    pub fn open_segment(&self) -> Option<SegmentName> {
        self.open.as_ref().map(|open| open.name)
    }

    /// Whether the open segment must be closed before `bytes` more are appended: it would grow too long, or it cannot
    /// be trusted after an error.
    pub fn must_roll(&self, bytes: usize) -> bool {
        self.open.as_ref().is_some_and(|open| {
            let full = open.bytes > HEADER_LEN as u64 && open.bytes + bytes as u64 > self.segment_bytes_max;
            open.broken || full
        })
    }

    /// Closes the open segment and gives its name.
    pub fn close(&mut self) -> Option<SegmentName> {
        let open = self.open.take()?;
        if let Some(closed) = &mut self.unsynced
            && open.dirty
        {
            closed.segments.push(open.file.syncing());
        }
        Some(open.name)
    }

    /// Whether the open segment is not in its folder any more: somebody has removed it, or moved the folder away.
    pub fn is_astray(&self) -> bool {
        self.open.as_ref().is_some_and(|open| !open.file.is_at(&self.folder.join(open.name.file_name(self.kind))))
    }

    /// Begins a segment now, unless one is open; gives the bytes the log has grown by.
    ///
    /// # Errors
    /// [`AppendError::Create`].
    pub fn begin(&mut self, now_ms: u64) -> Result<u64, AppendError> {
        if self.open.is_some() {
            return Ok(0);
        }
        let created = self.create_segment(now_ms);
        self.open = Some(created.map_err(|source| AppendError::Create { folder: self.folder.clone(), source })?);
        Ok(HEADER_LEN as u64)
    }

    /// Appends whole frames with one `write(2)`, beginning a segment when none is open.
    ///
    /// All of them are written, or none counts as written.
    ///
    /// # Errors
    /// As [`AppendError`] says. The next append tries again.
    pub fn append(&mut self, frames: &[u8], now_ms: u64) -> Result<Appended, AppendError> {
        let header_bytes = self.begin(now_ms)?;
        let Some(open) = &mut self.open else {
            return Err(AppendError::Create { folder: self.folder.clone(), source: io::ErrorKind::NotFound.into() });
        };
        let segment = open.name;
        let offset = open.bytes;
        match write_once(&mut *open.file, frames) {
            Ok(written) if written == frames.len() => {
                open.bytes += written as u64;
                open.dirty = true;
                Ok(Appended { segment, offset, grown_bytes: header_bytes + written as u64 })
            }
            Ok(written) => {
                self.stray_bytes += open.take_back(written);
                Err(AppendError::Short { segment, written, wanted: frames.len() })
            }
            Err(source) => {
                self.stray_bytes += open.take_back(0);
                Err(AppendError::Write { segment, source })
            }
        }
    }

    /// Finds out whether the disk takes data again, by writing some to the open segment and taking it back.
    ///
    /// # Errors
    /// It does not, or no segment can be begun.
    pub fn probe(&mut self, now_ms: u64) -> Result<u64, AppendError> {
        // If the process is killed now this is the beginning of a record that was never completed.
        let mut unfinished = [0; 4096];
        unfinished[..4].copy_from_slice(&8192_u32.to_le_bytes());
        let appended = self.append(&unfinished, now_ms)?;
        if let Some(open) = &mut self.open {
            open.bytes = appended.offset;
            self.stray_bytes += open.take_back(unfinished.len());
        }
        Ok(appended.grown_bytes - unfinished.len() as u64)
    }

    fn create_segment(&mut self, now_ms: u64) -> io::Result<Open> {
        let mut tried = 0;
        loop {
            self.seq = self.seq.wrapping_add(1);
            let name = SegmentName { created_ms: now_ms, event_loop: self.event_loop, seq: self.seq };
            let path = self.folder.join(name.file_name(self.kind));
            tried += 1;
            match (self.create)(&path) {
                Ok(mut file) => {
                    let header = segment::header();
                    let error = match write_once(&mut *file, &header) {
                        Ok(HEADER_LEN) => {
                            if let Some(closed) = &mut self.unsynced {
                                closed.folder = true;
                            }
                            return Ok(Open { name, file, bytes: HEADER_LEN as u64, broken: false, dirty: true });
                        }
                        Ok(_) => io::ErrorKind::StorageFull.into(),
                        Err(error) => error,
                    };
                    // On a full disk this happens again and again: no file may be left each time. The error that
                    // counts is the first one.
                    let _removed = fs::remove_file(&path);
                    return Err(error);
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && tried < NAMES_TRIED_MAX => {}
                Err(error) => return Err(error),
            }
        }
    }
}

impl Open {
    /// Cuts off what was written of a failed append; a file that cannot be cut is not written to again. Gives the bytes that
    /// stay.
    fn take_back(&mut self, written: usize) -> u64 {
        let stays = self.file.truncate(self.bytes).is_err();
        self.broken |= stays;
        if stays { written as u64 } else { 0 }
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer")
            .field("folder", &self.folder)
            .field("open", &self.open_segment())
            .finish_non_exhaustive()
    }
}

fn write_once(file: &mut dyn AppendFile, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match file.append(bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

fn create_file(path: &Path) -> io::Result<Box<dyn AppendFile>> {
    let create = || File::options().create_new(true).append(true).open(path);
    let file = match create() {
        // Somebody has removed the folder of a running service.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            fs::create_dir_all(path.parent().unwrap_or(path))?;
            create()?
        }
        other => other?,
    };
    Ok(Box::new(file))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::cell::RefCell;
    use std::collections::VecDeque;
    use std::rc::Rc;

    use super::*;
    use crate::kinesis::spool::reader::{End, ReadLimits, read_at};
    use crate::kinesis::spool::segment::{Payloads, push_frame};

    /// What a faulty file does at its next operations; it works when nothing is planned.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Fault {
        Works,
        Short(usize),
        Fails(io::ErrorKind),
        Interrupted,
        CannotTruncate,
    }

    type Plan = Rc<RefCell<VecDeque<Fault>>>;

    struct FaultyFile {
        file: File,
        plan: Plan,
    }

    impl AppendFile for FaultyFile {
        fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fault = self.plan.borrow_mut().pop_front().unwrap_or(Fault::Works);
            match fault {
                Fault::Works | Fault::CannotTruncate => self.file.append(bytes),
                Fault::Short(written) => self.file.append(&bytes[..written.min(bytes.len())]),
                Fault::Fails(kind) => Err(kind.into()),
                Fault::Interrupted => Err(io::ErrorKind::Interrupted.into()),
            }
        }

        fn truncate(&mut self, length: u64) -> io::Result<()> {
            if self.plan.borrow_mut().pop_front_if(|fault| *fault == Fault::CannotTruncate).is_some() {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            self.file.truncate(length)
        }

        fn is_at(&self, path: &Path) -> bool {
            self.file.is_at(path)
        }

        fn syncing(&self) -> io::Result<Syncing> {
            self.file.syncing()
        }
    }

    fn faulty(folder: &Path, plan: &[Fault]) -> (Writer, Plan) {
        let plan: Plan = Rc::new(RefCell::new(plan.iter().copied().collect()));
        let shared = Rc::clone(&plan);
        let create: CreateFile = Box::new(move |path| {
            let file = File::options().create_new(true).append(true).open(path)?;
            Ok(Box::new(FaultyFile { file, plan: Rc::clone(&shared) }))
        });
        (Writer::with_files(folder, 0, Kind::Log, 1024, create), plan)
    }

    fn frame(text: &str) -> Vec<u8> {
        let mut out = Vec::new();
        push_frame(&mut out, |out| out.extend_from_slice(text.as_bytes())).unwrap();
        out
    }

    fn read(folder: &Path, name: SegmentName) -> (Vec<String>, Option<End>) {
        let limits = ReadLimits { bytes_max: 0, records_max: usize::MAX };
        let chunk = read_at(&folder.join(name.file_name(Kind::Log)), 0, limits).unwrap();
        let texts = Payloads::new(chunk.frames).map(|payload| String::from_utf8(payload.to_vec()).unwrap());
        (texts.collect(), chunk.end)
    }

    #[test]
    fn what_was_appended_is_read_back_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(folder.path(), 3, Kind::Log, 1024);
        let first = writer.append(&[frame("a"), frame("b")].concat(), 77).unwrap();
        let second = writer.append(&frame("c"), 78).unwrap();
        assert_eq!(first.segment, second.segment);
        assert_eq!((first.segment.created_ms, first.segment.event_loop), (77, 3));
        assert_eq!(second.offset, first.offset + 18);
        assert_eq!((first.grown_bytes, second.grown_bytes), (16 + 18, 9));
        assert_eq!(read(folder.path(), first.segment), (vec!["a".into(), "b".into(), "c".into()], Some(End::Clean)));
    }

    #[test]
    fn a_segment_is_full_when_the_next_frames_would_pass_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(folder.path(), 0, Kind::Log, 100);
        assert!(!writer.must_roll(1000), "a segment of its own must take what is longer than the bound");
        writer.append(&frame("a"), 1).unwrap();
        assert!(!writer.must_roll(75));
        assert!(writer.must_roll(76));
        let first = writer.close().unwrap();
        let second = writer.append(&frame("b"), 1).unwrap();
        assert_ne!(first, second.segment);
    }

    #[test]
    fn a_name_that_is_taken_is_not_written_to() {
        let folder = tempfile::tempdir().unwrap();
        let first = Writer::new(folder.path(), 0, Kind::Log, 100).append(&frame("a"), 1).unwrap();
        let second = Writer::new(folder.path(), 0, Kind::Log, 100).append(&frame("b"), 1).unwrap();
        assert_ne!(first.segment, second.segment);
        assert_eq!(read(folder.path(), first.segment).0, ["a"]);
    }

    #[test]
    fn a_full_disk_fails_the_append_as_a_whole_and_the_next_one_works_when_there_is_room() {
        for fault in [Fault::Short(5), Fault::Short(0), Fault::Fails(io::ErrorKind::StorageFull)] {
            let folder = tempfile::tempdir().unwrap();
            let (mut writer, _plan) = faulty(folder.path(), &[Fault::Works, Fault::Works, fault]);
            let written = writer.append(&frame("kept"), 1).unwrap();
            let error = writer.append(&frame("refused"), 2).unwrap_err();
            assert!(!matches!(error, AppendError::Create { .. }), "{error}");
            assert!(!writer.must_roll(0), "the segment was cut back and is good");
            writer.append(&frame("later"), 3).unwrap();
            assert_eq!(read(folder.path(), written.segment).0, ["kept", "later"], "{fault:?}");
        }
    }

    #[test]
    fn a_segment_that_cannot_be_cut_back_is_not_written_to_again() {
        let folder = tempfile::tempdir().unwrap();
        let plan = [Fault::Works, Fault::Works, Fault::Short(5), Fault::CannotTruncate];
        let (mut writer, _plan) = faulty(folder.path(), &plan);
        let written = writer.append(&frame("kept"), 1).unwrap();
        writer.append(&frame("refused"), 2).unwrap_err();
        assert!(writer.must_roll(0));
        assert_eq!(writer.close(), Some(written.segment));
        let next = writer.append(&frame("later"), 3).unwrap();
        assert_eq!(read(folder.path(), written.segment), (vec!["kept".into()], Some(End::Torn)));
        assert_eq!(read(folder.path(), next.segment).0, ["later"]);
    }

    #[test]
    fn an_interrupted_write_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, _plan) = faulty(folder.path(), &[Fault::Interrupted, Fault::Works, Fault::Interrupted]);
        let written = writer.append(&frame("a"), 1).unwrap();
        assert_eq!(read(folder.path(), written.segment).0, ["a"]);
    }

    #[test]
    fn a_header_that_cannot_be_written_is_a_segment_that_cannot_be_begun() {
        let folder = tempfile::tempdir().unwrap();
        let (mut writer, _plan) = faulty(folder.path(), &[Fault::Short(3)]);
        assert!(matches!(writer.append(&frame("a"), 1), Err(AppendError::Create { .. })));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing of it is left");
        writer.append(&frame("b"), 2).unwrap();
    }

    #[test]
    fn a_probe_finds_out_whether_the_disk_takes_data_and_leaves_none() {
        let folder = tempfile::tempdir().unwrap();
        let plan = [Fault::Works, Fault::Works, Fault::Fails(io::ErrorKind::StorageFull)];
        let (mut writer, _plan) = faulty(folder.path(), &plan);
        let written = writer.append(&frame("a"), 1).unwrap();
        writer.probe(2).unwrap_err();
        assert_eq!(writer.probe(3).unwrap(), 0);
        writer.append(&frame("b"), 4).unwrap();
        assert_eq!(read(folder.path(), written.segment), (vec!["a".into(), "b".into()], Some(End::Clean)));
    }

    #[test]
    fn a_sync_covers_what_was_written_since_the_last_one_and_names_of_new_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(folder.path(), 0, Kind::Log, 100).syncable();
        let pieces = |writer: &mut Writer| writer.take_unsynced().unwrap().0.len();
        assert_eq!(pieces(&mut writer), 0);
        writer.append(&frame("a"), 1).unwrap();
        assert_eq!(pieces(&mut writer), 2, "the segment and the folder");
        assert_eq!(pieces(&mut writer), 0);
        writer.append(&frame("b"), 1).unwrap();
        writer.close();
        assert!(writer.has_closed_unsynced());
        writer.append(&frame("c"), 2).unwrap();
        let unsynced = writer.take_unsynced().unwrap();
        assert_eq!(unsynced.0.len(), 3, "the closed segment, the open one and the folder");
        assert!(!writer.has_closed_unsynced());
        unsynced.sync().unwrap();
        writer.close();
        assert!(!writer.has_closed_unsynced(), "nothing was written since");
    }

    #[test]
    fn a_writer_that_nobody_syncs_keeps_no_closed_file() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(folder.path(), 0, Kind::Log, 100);
        writer.append(&frame("a"), 1).unwrap();
        writer.close();
        assert!(!writer.has_closed_unsynced());
        assert_eq!(writer.take_unsynced().unwrap().0.len(), 0);
    }

    #[test]
    fn a_folder_removed_under_the_writer_is_noticed_and_made_again() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("events");
        let mut writer = Writer::new(&folder, 0, Kind::Log, 1024);
        writer.append(&frame("a"), 1).unwrap();
        assert!(!writer.is_astray());
        fs::remove_dir_all(&folder).unwrap();
        assert!(writer.is_astray());
        writer.close();
        let written = writer.append(&frame("b"), 2).unwrap();
        assert_eq!(read(&folder, written.segment).0, ["b"]);
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_an_error_that_names_it() {
        let data = tempfile::tempdir().unwrap();
        let folder = data.path().join("events");
        fs::write(&folder, "x").unwrap();
        let mut writer = Writer::new(&folder, 0, Kind::Log, 1024);
        let error = writer.append(&frame("a"), 1).unwrap_err();
        assert!(error.to_string().contains("events"), "{error}");
        fs::remove_file(&folder).unwrap();
        writer.append(&frame("a"), 1).unwrap();
    }
}
