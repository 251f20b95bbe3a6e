//! A small file system of its own, in memory.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Mounted below a temporary directory, gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    mount: tempfile::TempDir,
}

impl SmallDisk {
    /// One of so many MiB; nothing where this user may not mount.
    ///
    /// # Errors
    /// When there is no directory to mount it on.
    pub fn of_mib(mib: u32) -> io::Result<Option<Self>> {
        let mount = tempfile::tempdir()?;
        let size = format!("size={mib}m");
        let is_mounted = run("mount", &["-t", "tmpfs", "-o", &size, "tmpfs"], mount.path());
        Ok(is_mounted.then_some(Self { mount }))
    }

    /// A directory on it, for a service's data.
    pub fn data_dir(&self) -> PathBuf {
        self.mount.path().join("data")
    }

    /// Writes a file of so many bytes beside the data, or as many as there is room for.
    pub fn fill(&self, bytes: usize) {
        let _full = std::fs::write(self.filler(), vec![0_u8; bytes]);
    }

    /// Removes that file.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn make_room(&self) -> io::Result<()> {
        std::fs::remove_file(self.filler())
    }

    fn filler(&self) -> PathBuf {
        self.mount.path().join("filler")
    }

    /// Lays a read-only view over the data: nothing can be made, removed or opened for writing there. A file that is open for writing
    /// stays so; because of such files the system refuses to make the disk itself read-only.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn make_read_only(&self) -> io::Result<()> {
        let data = self.data_dir();
        let bind = Command::new("mount").arg("--bind").arg(&data).arg(&data).output()?;
        done(bind.status.success() && run("mount", &["-o", "remount,bind,ro"], &data))
    }

    /// Takes that view away.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn make_writable(&self) -> io::Result<()> {
        done(run("umount", &["-l"], &self.data_dir()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a service that is just being killed may still be at it. What lies over the data goes with it.
        run("umount", &["-l"], self.mount.path());
    }
}

fn done(is_done: bool) -> io::Result<()> {
    if is_done { Ok(()) } else { Err(io::ErrorKind::PermissionDenied.into()) }
}

fn run(program: &str, arguments: &[&str], mount: &Path) -> bool {
    Command::new(program).args(arguments).arg(mount).output().is_ok_and(|output| output.status.success())
}
