//! A disk that fills up, goes read-only, and loses what was not synced when its power is cut. The files are real; what goes
//! wrong is decided here.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use adtrack::kinesis::spool::writer::{AppendFile, CreateFile, Syncing};

/// The disk under one folder.
#[derive(Debug, Clone, Default)]
pub(crate) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
pub(crate) struct State {
    /// So many bytes more fit; none: any number.
    pub(crate) room: Option<u64>,
    pub(crate) read_only: bool,
    pub(crate) cannot_truncate: bool,
    pub(crate) sync_fails: bool,
    /// The process is killed in the next write, when so many bytes of it are written.
    pub(crate) killed_after: Option<usize>,
    /// The process has been killed: nothing it does has an effect.
    dead: bool,
    files: BTreeMap<PathBuf, Durable>,
}

/// What of a file survives a power cut.
#[derive(Debug, Clone, Copy, Default)]
struct Durable {
    bytes: u64,
    name: bool,
}

impl Disk {
    /// Changes what goes wrong from now on.
    pub(crate) fn set<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Files of a writer on this disk.
    pub(crate) fn files(&self) -> CreateFile {
        let disk = self.clone();
        Box::new(move |path| {
            disk.set(|state| {
                if state.dead || state.read_only {
                    return Err(io::ErrorKind::ReadOnlyFilesystem.into());
                }
                let file = File::options().create_new(true).append(true).open(path)?;
                state.files.insert(path.to_owned(), Durable::default());
                Ok(Box::new(OnDisk { disk: disk.clone(), path: path.to_owned(), file }) as Box<dyn AppendFile>)
            })
        })
    }

    /// A folder was synced: the names in it survive.
    pub(crate) fn names_are_durable(&self) {
        self.set(|state| state.files.values_mut().for_each(|file| file.name = true));
    }

    /// A new process runs on the same disk.
    pub(crate) fn restart(&self) {
        self.set(|state| {
            state.dead = false;
            state.killed_after = None;
        });
    }

    /// Everything that was not synced is lost, kept in part, or is there as zeros: `draw` gives any numbers.
    pub(crate) fn cut_power(&self, mut draw: impl FnMut() -> u64) -> io::Result<()> {
        self.set(|state| {
            for (path, durable) in &state.files {
                let Ok(length) = fs::metadata(path).map(|metadata| metadata.len()) else { continue };
                if !durable.name && draw().is_multiple_of(3) {
                    fs::remove_file(path)?;
                    continue;
                }
                let unsynced = length.saturating_sub(durable.bytes);
                let file = File::options().write(true).open(path)?;
                file.set_len(durable.bytes + draw() % (unsynced + 1))?;
                // The length was written, the bytes were not.
                if draw().is_multiple_of(3) {
                    file.set_len(length)?;
                }
            }
            Ok(())
        })
    }
}

struct OnDisk {
    disk: Disk,
    path: PathBuf,
    file: File,
}

impl AppendFile for OnDisk {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let file = &mut self.file;
        self.disk.set(|state| {
            if state.dead || state.read_only {
                return Err(io::ErrorKind::ReadOnlyFilesystem.into());
            }
            let mut fits = state.room.map_or(bytes.len(), |room| bytes.len().min(room as usize));
            if let Some(written) = state.killed_after.take() {
                fits = fits.min(written);
                state.dead = true;
            }
            if fits == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.write_all(&bytes[..fits])?;
            if let Some(room) = &mut state.room {
                *room -= fits as u64;
            }
            Ok(fits)
        })
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        let file = &self.file;
        self.disk.set(|state| {
            if state.dead || state.read_only || state.cannot_truncate {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            let before = file.metadata()?.len();
            file.set_len(length)?;
            if let Some(room) = &mut state.room {
                *room += before - length;
            }
            Ok(())
        })
    }

    fn is_at(&self, path: &Path) -> bool {
        self.file.is_at(path)
    }

    fn syncing(&self) -> io::Result<Syncing> {
        let (disk, path) = (self.disk.clone(), self.path.clone());
        Ok(Box::new(move || {
            disk.set(|state| {
                if state.dead || state.sync_fails {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let bytes = fs::metadata(&path)?.len();
                if let Some(durable) = state.files.get_mut(&path) {
                    durable.bytes = durable.bytes.max(bytes);
                }
                Ok(())
            })
        }))
    }
}
