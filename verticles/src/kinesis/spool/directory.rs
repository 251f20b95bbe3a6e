//! The folder of the log: who may write there, what is there, and what goes.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::name::{Kind, SegmentName};
use super::writer::is_at;

/// The folder of the log below a data directory.
pub fn events_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("events")
}

const LOCK: &str = "lock";

/// The number, among the loops, of segments that were `.dead` files; and how many names are tried for one.
const REVIVED: u32 = 999;
const REVIVED_NAMES_MAX: u32 = 100;

/// The folder, held by one process: a second one that wants to write there is refused.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    // The lock goes with the file, at the latest when the process ends, however it ends.
    lock: Mutex<File>,
}

/// Why the log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process writes there.
    #[error("the event log {} is in use by another process: stop it, or give this one a data directory of its own", .path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
    },
    /// The file system says no.
    #[error("the event log {} cannot be opened: {source}", .path.display())]
    Io {
        /// The folder.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

/// What is in the folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listing {
    /// The segments with their lengths in bytes, oldest first.
    pub segments: Vec<(SegmentName, u64)>,
    /// The files kept for a person, damaged segments and records the stream refuses, with their lengths; oldest first.
    pub kept: Vec<(SegmentName, Kind, u64)>,
    /// The files that say what the stream has of the segments, with their lengths; oldest first.
    pub cursors: Vec<(SegmentName, u64)>,
    /// How many other files there are.
    pub foreign: usize,
    /// The names of the first of them.
    pub foreign_names: Vec<String>,
}

/// As many names of foreign files as a log line can bear.
const FOREIGN_NAMES_MAX: usize = 10;

impl Listing {
    /// Bytes of the files kept for a person.
    pub fn kept_bytes(&self) -> u64 {
        self.kept.iter().map(|(.., bytes)| bytes).sum()
    }

    /// How many such files of one kind there are.
    pub fn kept_of(&self, kind: Kind) -> usize {
        self.kept.iter().filter(|(_, each, _)| *each == kind).count()
    }
}

impl Directory {
    /// Creates the folder below `data_dir` if need be, and takes its lock.
    ///
    /// # Errors
    /// As [`OpenError`] says.
    pub fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let path = events_dir(data_dir);
        let lock = Mutex::new(take_lock(&path)?);
        Ok(Self { path, lock })
    }

    /// Sees to it that the lock that is held is the one a second process would find: where somebody has removed or moved
    /// the folder, it is made and locked anew. Whether it was. Blocks.
    ///
    /// # Errors
    /// As [`OpenError`] says: the folder is there anew and another process has it.
    pub fn hold(&self) -> Result<bool, OpenError> {
        let mut lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if is_at(&lock, &self.path.join(LOCK)) {
            return Ok(false);
        }
        *lock = take_lock(&self.path)?;
        Ok(true)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a segment.
    pub fn segment(&self, name: SegmentName) -> PathBuf {
        self.path.join(name.file_name(Kind::Log))
    }

    /// Removes a segment and gives its length; 0 when it is gone already.
    ///
    /// # Errors
    /// The file system says no; the segment is still there.
    pub fn remove(&self, name: SegmentName) -> io::Result<u64> {
        gone_is_zero(remove(&self.segment(name)))
    }

    /// Removes a file that was kept for a person and gives its length; 0 when it is gone already.
    ///
    /// # Errors
    /// The file system says no; it is still there.
    pub fn remove_kept(&self, name: SegmentName, kind: Kind) -> io::Result<u64> {
        gone_is_zero(remove(&self.path.join(name.file_name(kind))))
    }

    /// Makes a `.dead` file a segment, to be read like any other; gives its new name and its length, nothing when it is gone
    /// already.
    ///
    /// # Errors
    /// The file system says no, or no name is free; the file is what it was.
    pub fn revive(&self, name: SegmentName) -> io::Result<Option<(SegmentName, u64)>> {
        let path = self.path.join(name.file_name(Kind::DeadLetter));
        // No loop has that number: a name of such a segment is never a writer's.
        let names =
            (0..REVIVED_NAMES_MAX).map(|more| SegmentName { event_loop: REVIVED, seq: name.seq + more, ..name });
        for segment in names {
            let new = self.segment(segment);
            if !new.try_exists()? {
                let revived = fs::metadata(&path).and_then(|metadata| fs::rename(&path, new).map(|()| metadata.len()));
                return match revived {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    other => other.map(|bytes| Some((segment, bytes))),
                };
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }

    /// Renames a damaged segment, so that it is kept and not read again; gives its length, 0 when it is gone already.
    ///
    /// # Errors
    /// The file system says no; the segment still has its name.
    pub fn set_aside(&self, name: SegmentName) -> io::Result<u64> {
        let path = self.segment(name);
        let kept = self.path.join(name.file_name(Kind::Damaged));
        gone_is_zero(fs::metadata(&path).and_then(|metadata| fs::rename(&path, kept).map(|()| metadata.len())))
    }
}

fn take_lock(folder: &Path) -> Result<File, OpenError> {
    let opened = fs::create_dir_all(folder)
        .and_then(|()| File::options().create(true).truncate(false).write(true).open(folder.join(LOCK)));
    let lock = match opened {
        Ok(lock) => lock,
        Err(source) => return Err(OpenError::Io { path: folder.to_owned(), source }),
    };
    match lock.try_lock() {
        Ok(()) => {
            sync_around(folder);
            Ok(lock)
        }
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path: folder.to_owned() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path: folder.to_owned(), source }),
    }
}

/// The name of a folder that was made just now is on the disk when the folder around it has been synced: without it, what was
/// synced in the new one is lost with the power.
fn sync_around(folder: &Path) {
    // The log's own folder, and the data directory: either may be new.
    for around in folder.ancestors().skip(1).take(2) {
        let around = if around.as_os_str().is_empty() { Path::new(".") } else { around };
        if let Err(error) = File::open(around).and_then(|around| around.sync_all()) {
            tracing::warn!(%error, folder = %around.display(), "a folder cannot be synced: a power cut may take what is new in it");
        }
    }
}

fn remove(path: &Path) -> io::Result<u64> {
    fs::metadata(path).and_then(|metadata| fs::remove_file(path).map(|()| metadata.len()))
}

fn gone_is_zero(result: io::Result<u64>) -> io::Result<u64> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        other => other,
    }
}

/// What is in the folder at `path`, without its lock. A folder that is not there is empty.
///
/// # Errors
/// The folder cannot be read.
pub fn list(path: &Path) -> io::Result<Listing> {
    let mut listing = Listing::default();
    let entries = match fs::read_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(listing),
        other => other?,
    };
    for entry in entries {
        let entry = entry?;
        let file_name = entry.file_name();
        let file_name = file_name.to_string_lossy();
        // A segment may go while the folder is listed.
        let Ok(metadata) = entry.metadata() else { continue };
        match SegmentName::parse(&file_name).filter(|_| metadata.is_file()) {
            Some((name, Kind::Log)) => listing.segments.push((name, metadata.len())),
            Some((name, kind @ (Kind::Damaged | Kind::DeadLetter))) => listing.kept.push((name, kind, metadata.len())),
            Some((name, Kind::Cursor)) => listing.cursors.push((name, metadata.len())),
            None if file_name == LOCK => {}
            None => {
                listing.foreign += 1;
                if listing.foreign_names.len() < FOREIGN_NAMES_MAX {
                    listing.foreign_names.push(file_name.into_owned());
                }
            }
        }
    }
    listing.segments.sort_unstable();
    listing.cursors.sort_unstable();
    listing.kept.sort_unstable_by_key(|(name, ..)| *name);
    Ok(listing)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn name(created_ms: u64) -> SegmentName {
        SegmentName { created_ms, event_loop: 0, seq: 1 }
    }

    #[test]
    fn a_second_writer_is_refused_with_words_and_welcome_when_the_first_is_gone() {
        let data = tempfile::tempdir().unwrap();
        let first = Directory::open(data.path()).unwrap();
        let refused = Directory::open(data.path()).unwrap_err();
        assert!(matches!(refused, OpenError::InUse { .. }));
        assert!(refused.to_string().contains("in use by another process"), "{refused}");
        drop(first);
        Directory::open(data.path()).unwrap();
    }

    #[test]
    fn a_folder_that_was_removed_or_moved_away_is_made_and_held_anew() {
        let data = tempfile::tempdir().unwrap();
        let first = Directory::open(data.path()).unwrap();
        assert!(!first.hold().unwrap(), "nothing has happened");
        fs::remove_dir_all(first.path()).unwrap();
        assert!(first.hold().unwrap());
        assert!(matches!(Directory::open(data.path()), Err(OpenError::InUse { .. })));
        fs::rename(first.path(), data.path().join("away")).unwrap();
        let second = Directory::open(data.path()).unwrap();
        assert!(matches!(first.hold(), Err(OpenError::InUse { .. })), "the other one has it now");
        drop(second);
        assert!(first.hold().unwrap());
    }

    #[test]
    fn a_file_in_the_way_is_an_error_that_names_the_folder() {
        let data = tempfile::tempdir().unwrap();
        fs::write(events_dir(data.path()), "x").unwrap();
        let error = Directory::open(data.path()).unwrap_err();
        assert!(error.to_string().contains("events cannot be opened"), "{error}");
    }

    #[test]
    fn segments_are_listed_oldest_first_and_everything_else_is_counted() {
        let data = tempfile::tempdir().unwrap();
        let directory = Directory::open(data.path()).unwrap();
        for created_ms in [30, 10, 20] {
            fs::write(directory.segment(name(created_ms)), vec![0; 5]).unwrap();
        }
        fs::write(directory.path().join("notes.txt"), "x").unwrap();
        fs::create_dir(directory.path().join(name(40).file_name(Kind::Log))).unwrap();
        fs::write(directory.path().join(name(50).file_name(Kind::DeadLetter)), "x").unwrap();
        fs::write(directory.path().join(name(60).file_name(Kind::Cursor)), "abc").unwrap();
        directory.set_aside(name(20)).unwrap();
        let listing = list(directory.path()).unwrap();
        assert_eq!(listing.segments, [(name(10), 5), (name(30), 5)]);
        assert_eq!(listing.cursors, [(name(60), 3)]);
        assert_eq!(listing.kept, [(name(20), Kind::Damaged, 5), (name(50), Kind::DeadLetter, 1)]);
        assert_eq!((listing.kept_bytes(), listing.kept_of(Kind::DeadLetter), listing.foreign), (6, 1, 2));
    }

    #[test]
    fn removing_what_is_gone_is_no_error_and_frees_nothing() {
        let data = tempfile::tempdir().unwrap();
        let directory = Directory::open(data.path()).unwrap();
        fs::write(directory.segment(name(1)), vec![0; 7]).unwrap();
        assert_eq!(directory.remove(name(1)).unwrap(), 7);
        assert_eq!(directory.remove(name(1)).unwrap(), 0);
        assert_eq!(directory.set_aside(name(1)).unwrap(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_empty() {
        let data = tempfile::tempdir().unwrap();
        assert_eq!(list(&events_dir(data.path())).unwrap(), Listing::default());
    }
}
