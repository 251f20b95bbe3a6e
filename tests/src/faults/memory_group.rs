//! A bound on a process's memory, by the system: a memory cgroup.

use std::io;
use std::path::{Path, PathBuf};

const V1: &str = "/sys/fs/cgroup/memory";
const V2: &str = "/sys/fs/cgroup";

/// A group of its own, removed when dropped; what runs in it must have ended by then.
#[derive(Debug)]
pub(crate) struct MemoryGroup {
    dir: PathBuf,
}

impl MemoryGroup {
    /// A group of at most so many bytes; nothing where this user may not make one.
    pub(crate) fn of_bytes(bytes: u64) -> Option<Self> {
        let name = format!("adtrack-faults-{}", std::process::id());
        let v1 = || Self::make(Path::new(V1).join(&name), "memory.limit_in_bytes", bytes);
        let v2 = || Self::make(Path::new(V2).join(&name), "memory.max", bytes);
        v1().or_else(|_not_v1| v2()).ok()
    }

    fn make(dir: PathBuf, bound: &str, bytes: u64) -> io::Result<Self> {
        // Of a group that cannot be bound nothing is left.
        std::fs::create_dir(&dir)?;
        let group = Self { dir };
        std::fs::write(group.dir.join(bound), bytes.to_string())?;
        Ok(group)
    }

    /// What starts a process inside it.
    pub(crate) fn launcher(&self) -> [String; 4] {
        let enter = format!(r#"echo $$ > "{}/cgroup.procs"; exec "$@""#, self.dir.display());
        ["/bin/sh".to_owned(), "-c".to_owned(), enter, "memory-group".to_owned()]
    }
}

impl Drop for MemoryGroup {
    fn drop(&mut self) {
        // The system removes it when its last process is gone.
        let _still_used = std::fs::remove_dir(&self.dir);
    }
}
