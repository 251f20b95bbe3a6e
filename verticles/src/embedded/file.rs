//! The embedded store's file: one program or deletion a line, the last line of an id is the one that holds.
//!
//! Puts append and are synced before they count. When two lines of three are outdated the file is written anew beside
//! the old one and put in its place, so that there is a whole file at any moment. What cannot be read is never written
//! over: opening fails and names the line.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use adtrack_proto::program::{Deletion, ProgramListError, Update};
use adtrack_proto::{Program, ProgramError, ProgramId};

/// The file, in the data directory.
pub const FILE_NAME: &str = "programs.ndjson";
/// Locked by whoever has the file open, service or command, so that there is one writer.
const LOCK_NAME: &str = "programs.lock";
/// A longer line is damage: no program is ever put that makes one.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Below so many outdated lines the file is not worth writing anew.
const OUTDATED_LINES_MIN: usize = 1_000;

/// Programs by id.
pub type Programs = BTreeMap<ProgramId, Arc<Program>>;

/// Why the file could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error("{} is in use by another process: stop it, or use its admin API", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// There is none, and none is to be made.
    #[error("there is no program store: {} does not exist", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A line is not a program.
    #[error(
        "{} is damaged at line {line}: {error}; mend or remove that line, or move the file away to begin with the sample \
         programs",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        error: ProgramError,
    },
    /// It holds more programs than the store may.
    #[error("{} holds more than store.programs_max = {programs_max} programs", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// The bound.
        programs_max: usize,
    },
    /// The programs a new store begins with are not programs.
    #[error("the sample programs cannot be read")]
    Seed(#[source] ProgramListError),
    /// The operating system refused.
    #[error("{} cannot be opened", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

/// Why programs were not stored. The file is as it was.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file would grow beyond its bound, even written anew.
    #[error("{} would be longer than store.file_bytes_max = {file_bytes_max}", path.display())]
    Full {
        /// The file.
        path: PathBuf,
        /// The bound.
        file_bytes_max: u64,
    },
    /// One program's line is longer than a line may be.
    #[error("program {program_id} takes {bytes} bytes, it must take at most {LINE_BYTES_MAX}")]
    TooLong {
        /// The program.
        program_id: ProgramId,
        /// The length of its line.
        bytes: usize,
    },
    /// The operating system refused.
    #[error("{} cannot be written", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Its reason.
        source: io::Error,
    },
}

/// How much the store may hold.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most programs.
    pub programs_max: usize,
    /// Largest file in bytes.
    pub file_bytes_max: u64,
}

/// The open file, and what was in it.
#[derive(Debug)]
pub struct Opened {
    /// The file, open for writing.
    pub file: ProgramFile,
    /// What it holds.
    pub programs: Programs,
    /// Bytes cut off its end: a write that the end of a process or machine interrupted, and that was never confirmed.
    pub torn_bytes: u64,
    /// Whether it is new and holds the programs it was given to begin with.
    pub seeded: bool,
}

/// The open file. All of it blocks: it belongs on a worker or into a command.
#[derive(Debug)]
pub struct ProgramFile {
    path: PathBuf,
    file: File,
    limits: Limits,
    /// Up to here every byte was synced.
    bytes: u64,
    lines: usize,
    /// A write failed, and what it left behind may still be there.
    torn: bool,
    // Unlocked when it is closed, by whatever end of the process.
    _lock: File,
}

/// What reading a file found.
#[derive(Debug, Default)]
struct Contents {
    programs: Programs,
    lines: usize,
    /// Without what is torn.
    bytes: u64,
    torn_bytes: u64,
    /// The last line is whole but for its line feed.
    needs_line_feed: bool,
}

impl ProgramFile {
    /// Opens the file in the data directory; creates both when they are not there, and puts `seed` - a JSON array of
    /// programs - into a new file.
    ///
    /// # Errors
    /// [`OpenError`]; the file is as it was.
    pub fn open(data_dir: &Path, seed: &str, limits: Limits) -> Result<Opened, OpenError> {
        fs::create_dir_all(data_dir).map_err(|source| OpenError::Io { path: data_dir.to_owned(), source })?;
        let lock = lock(data_dir)?;
        let path = data_dir.join(FILE_NAME);
        let io_error = |source| OpenError::Io { path: path.clone(), source };
        let seeded = !path.try_exists().map_err(io_error)?;
        if seeded {
            let programs = Program::list_from_json(seed.as_bytes()).map_err(OpenError::Seed)?;
            let lines: String = programs.iter().map(line_of).collect();
            replace(&path, |file| file.write_all(lines.as_bytes())).map_err(io_error)?;
        }
        let contents = read(&path, limits.programs_max)?;
        let mut file = OpenOptions::new().read(true).write(true).open(&path).map_err(io_error)?;
        if contents.torn_bytes > 0 {
            file.set_len(contents.bytes).map_err(io_error)?;
        }
        let mut bytes = file.seek(SeekFrom::Start(contents.bytes)).map_err(io_error)?;
        if contents.needs_line_feed {
            file.write_all(b"\n").map_err(io_error)?;
            bytes += 1;
        }
        let file = Self { path, file, limits, bytes, lines: contents.lines, torn: false, _lock: lock };
        Ok(Opened { file, programs: contents.programs, torn_bytes: contents.torn_bytes, seeded })
    }

    /// What the file in the data directory holds; nothing is made, changed or locked. A service that writes to it meanwhile
    /// is not disturbed: what it has confirmed is in there.
    ///
    /// # Errors
    /// [`OpenError`], but not `InUse` and `Seed`.
    pub fn read(data_dir: &Path, programs_max: usize) -> Result<Programs, OpenError> {
        Ok(read(&data_dir.join(FILE_NAME), programs_max)?.programs)
    }

    /// Whether somebody has the store in the data directory open. Nothing is made or changed.
    pub fn is_in_use(data_dir: &Path) -> bool {
        let lock = File::open(data_dir.join(LOCK_NAME));
        // Shared, so that two who only look are not in each other's way; it is given back at once.
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    /// Whether the file that is open is the one that the next start will find.
    ///
    /// # Errors
    /// It was removed, or another one has its place.
    pub fn is_in_place(&self) -> io::Result<()> {
        let (open, named) = (self.file.metadata()?, fs::metadata(&self.path));
        match named {
            Ok(named) if (named.dev(), named.ino()) == (open.dev(), open.ino()) => Ok(()),
            Ok(_) => Err(io::Error::other("the file was replaced while the store was open")),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                Err(io::Error::new(io::ErrorKind::NotFound, "the file was removed while the store was open"))
            }
            Err(error) => Err(error),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Adds or replaces programs: one write, and they are on the disk when this returns.
    ///
    /// `stored` is how many programs the store holds once these are in; it decides whether the file is written anew.
    ///
    /// # Errors
    /// [`WriteError`]; none of the programs is stored, and the file can be written again when the cause is gone.
    pub fn append<'a>(
        &mut self,
        programs: impl IntoIterator<Item = &'a Arc<Program>>,
        stored: usize,
    ) -> Result<(), WriteError> {
        let mut text = String::new();
        let mut lines = 0;
        for program in programs {
            let line = line_of(program);
            if line.len() > LINE_BYTES_MAX {
                return Err(WriteError::TooLong { program_id: program.program_id.clone(), bytes: line.len() });
            }
            text.push_str(&line);
            lines += 1;
        }
        self.append_lines(&text, lines, stored)
    }

    /// Adds the deletion of a program: on the disk when this returns. `stored` as for [`ProgramFile::append`].
    ///
    /// # Errors
    /// [`WriteError`]; the program is still there.
    pub fn delete(&mut self, deletion: &Deletion, stored: usize) -> Result<(), WriteError> {
        self.append_lines(&format!("{}\n", deletion.to_json()), 1, stored)
    }

    fn append_lines(&mut self, text: &str, lines: usize, stored: usize) -> Result<(), WriteError> {
        let outdated = (self.lines + lines).saturating_sub(stored);
        let too_long = self.bytes + text.len() as u64 > self.limits.file_bytes_max;
        if (too_long && outdated > 0) || (outdated > OUTDATED_LINES_MIN && outdated > 2 * stored) {
            self.compact()?;
        }
        if self.bytes + text.len() as u64 > self.limits.file_bytes_max {
            let file_bytes_max = self.limits.file_bytes_max;
            return Err(WriteError::Full { path: self.path.clone(), file_bytes_max });
        }
        self.write(text.as_bytes()).map_err(|source| self.io_error(source))?;
        self.lines += lines;
        Ok(())
    }

    /// Forgets every program; done on the disk when this returns.
    ///
    /// # Errors
    /// [`WriteError`]; every program is still there.
    pub fn clear(&mut self) -> Result<(), WriteError> {
        let emptied = self.is_in_place().and_then(|()| replace(&self.path, |_| Ok(()))).and_then(|()| self.reopen(0));
        emptied.map_err(|source| self.io_error(source))?;
        self.lines = 0;
        Ok(())
    }

    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        // Written and synced, and gone with the process: a file that was removed under us takes everything.
        self.is_in_place()?;
        self.mend()?;
        self.torn = true;
        self.file.write_all(text).and_then(|()| self.file.sync_data()).inspect_err(|_| {
            // It is tried again before the next write; the error to report is the first one.
            drop(self.mend());
        })?;
        self.torn = false;
        self.bytes += text.len() as u64;
        Ok(())
    }

    /// Takes back what a failed write left behind: neither the next write nor the next start may find it.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.bytes)?;
            self.file.seek(SeekFrom::Start(self.bytes))?;
            self.torn = false;
        }
        Ok(())
    }

    /// Writes the file anew without the lines that are outdated.
    fn compact(&mut self) -> Result<(), WriteError> {
        self.is_in_place().map_err(|source| self.io_error(source))?;
        let contents = match read(&self.path, usize::MAX) {
            Ok(contents) => contents,
            Err(error) => return Err(self.io_error(io::Error::other(error))),
        };
        let all: usize = contents.programs.values().map(|program| line_of(program).len()).sum();
        let replaced = replace(&self.path, |file| {
            contents.programs.values().try_for_each(|program| file.write_all(line_of(program).as_bytes()))
        });
        replaced.and_then(|()| self.reopen(all as u64)).map_err(|source| self.io_error(source))?;
        self.lines = contents.programs.len();
        Ok(())
    }

    fn reopen(&mut self, bytes: u64) -> io::Result<()> {
        let mut file = OpenOptions::new().read(true).write(true).open(&self.path)?;
        file.seek(SeekFrom::Start(bytes))?;
        (self.file, self.bytes, self.torn) = (file, bytes, false);
        Ok(())
    }

    fn io_error(&self, source: io::Error) -> WriteError {
        WriteError::Io { path: self.path.clone(), source }
    }
}

fn line_of(program: &Program) -> String {
    let mut line = program.to_json();
    line.push('\n');
    line
}

fn lock(data_dir: &Path) -> Result<File, OpenError> {
    let path = data_dir.join(LOCK_NAME);
    let opened = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let file = opened.map_err(|source| OpenError::Io { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

/// Puts a new file in the place of the old one: whoever looks finds one of the two, whole.
fn replace(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let temporary = tempfile::Builder::new().prefix(FILE_NAME).suffix(".new").tempfile_in(directory)?;
    let mut writer = BufWriter::new(temporary.as_file());
    fill(&mut writer)?;
    writer.flush()?;
    drop(writer);
    temporary.as_file().sync_all()?;
    temporary.persist(path)?;
    File::open(directory)?.sync_all()
}

fn read(path: &Path, programs_max: usize) -> Result<Contents, OpenError> {
    let io_error = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => OpenError::Missing { path: path.to_owned() },
        _ => OpenError::Io { path: path.to_owned(), source },
    };
    let mut reader = BufReader::with_capacity(64 << 10, File::open(path).map_err(io_error)?);
    let mut contents = Contents::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let bytes = read_line(&mut reader, &mut line).map_err(io_error)?;
        if bytes == 0 {
            return Ok(contents);
        }
        let whole = line.last() == Some(&b'\n');
        match Update::from_json(&line) {
            Ok(Update::Put(program)) => {
                contents.programs.insert(program.program_id.clone(), Arc::new(program));
                contents.needs_line_feed = !whole;
            }
            Ok(Update::Deleted(deletion)) => {
                contents.programs.remove(&deletion.program_id);
                contents.needs_line_feed = !whole;
            }
            Err(_) if !whole && line.len() <= LINE_BYTES_MAX => {
                contents.torn_bytes = bytes;
                return Ok(contents);
            }
            Err(error) => {
                return Err(OpenError::Damaged { path: path.to_owned(), line: contents.lines + 1, error });
            }
        }
        if contents.programs.len() > programs_max {
            return Err(OpenError::Full { path: path.to_owned(), programs_max });
        }
        contents.lines += 1;
        contents.bytes += bytes;
    }
}

/// Reads up to a line feed, or a little more than a line may have.
fn read_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    let bytes = io::Read::take(reader, LINE_BYTES_MAX as u64 + 1).read_until(b'\n', line)?;
    Ok(bytes as u64)
}

#[cfg(test)]
mod tests;
