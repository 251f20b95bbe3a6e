//! The files of an event log, by what they are for.

use std::io;
use std::path::{Path, PathBuf};

use crate::kinesis::spool::directory::{self, events_dir};
use crate::kinesis::spool::name::{Kind, SegmentName};
use crate::kinesis::spool::reader::{End, ReadError};
use crate::kinesis::spool::scan::{self, Found};

/// A part of what is in the log's folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// The segments: events not shipped yet, or all that are kept when there is no stream
    Log,
    /// Events that the stream refuses for good
    Dead,
    /// Segments that were found damaged; with a stream, what can be read of them was shipped
    Damaged,
}

impl Part {
    fn kind(self) -> Kind {
        match self {
            Self::Log => Kind::Log,
            Self::Dead => Kind::DeadLetter,
            Self::Damaged => Kind::Damaged,
        }
    }
}

/// Why the log cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// There is no event log below the data directory.
    #[error("there is no event log in {}: is it the data directory of a service that has run?", .folder.display())]
    NoLog {
        /// Where it would be.
        folder: PathBuf,
    },
    /// The folder cannot be read.
    #[error("the event log cannot be read: {0}")]
    Folder(#[from] io::Error),
    /// A file in it cannot be read.
    #[error("{file} cannot be read: {source}")]
    File {
        /// Its name.
        file: String,
        /// Why.
        source: ReadError,
    },
    /// The output says no.
    #[error("the output cannot be written: {0}")]
    Write(io::Error),
}

impl LogError {
    /// An output that is closed - `| head` - has had enough, and that is no error.
    pub(super) fn unless_closed(self) -> Result<(), Self> {
        match self {
            Self::Write(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => Err(other),
        }
    }
}

/// One file.
#[derive(Debug)]
pub(super) struct LogFile {
    pub(super) name: SegmentName,
    pub(super) bytes: u64,
    kind: Kind,
    path: PathBuf,
}

impl LogFile {
    pub(super) fn file_name(&self) -> String {
        self.name.file_name(self.kind)
    }

    /// Gives everything in it and how it ends; `None`: it was shipped and removed meanwhile.
    pub(super) fn scan(&self, mut give: impl FnMut(Found) -> Result<(), LogError>) -> Result<Option<End>, LogError> {
        // `scan` knows errors of reading only: that of `give` goes round it.
        let mut refused = None;
        let read = scan::scan::<Stop>(&self.path, |found| {
            give(found).map_err(|error| {
                refused = Some(error);
                Stop::Refused
            })
        });
        match read {
            Ok(end) => Ok(Some(end)),
            Err(Stop::Unreadable(ReadError::Gone)) => Ok(None),
            Err(Stop::Unreadable(source)) => Err(LogError::File { file: self.file_name(), source }),
            Err(Stop::Refused) => refused.map_or(Ok(None), Err),
        }
    }
}

enum Stop {
    Unreadable(ReadError),
    Refused,
}

impl From<ReadError> for Stop {
    fn from(error: ReadError) -> Self {
        Self::Unreadable(error)
    }
}

/// The files that say what the stream has of the segments, the oldest first.
pub(super) fn cursors(data_dir: &Path) -> Result<Vec<LogFile>, LogError> {
    let folder = events_dir(data_dir);
    let listed = directory::list(&folder)?.cursors.into_iter();
    let kind = Kind::Cursor;
    Ok(listed.map(|(name, bytes)| LogFile { name, bytes, kind, path: folder.join(name.file_name(kind)) }).collect())
}

/// The files of one part, the oldest first.
pub(super) fn files(data_dir: &Path, part: Part) -> Result<Vec<LogFile>, LogError> {
    let folder = events_dir(data_dir);
    if !folder.is_dir() {
        return Err(LogError::NoLog { folder });
    }
    let listing = directory::list(&folder)?;
    let all = listing.segments.into_iter().map(|(name, bytes)| (name, Kind::Log, bytes)).chain(listing.kept);
    let of_part = all.filter(|(_, kind, _)| *kind == part.kind());
    Ok(of_part
        .map(|(name, kind, bytes)| LogFile { name, bytes, kind, path: folder.join(name.file_name(kind)) })
        .collect())
}
