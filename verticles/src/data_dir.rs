//! The data directory's own name: the same one however it was written, and also when it is not there.

use std::io;
use std::path::{Path, PathBuf};

/// The absolute path without links, as far as the directory and those above it exist. Blocks.
///
/// # Errors
/// The operating system's: the working directory is gone, or the path is empty.
pub fn real_path(dir: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(dir)?;
    for existing in absolute.ancestors() {
        if let (Ok(real), Ok(rest)) = (existing.canonicalize(), absolute.strip_prefix(existing)) {
            return Ok(real.components().chain(rest.components()).collect());
        }
    }
    Ok(absolute)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    #[test]
    fn a_directory_has_one_name_there_or_not() {
        let dir = tempfile::tempdir().unwrap();
        let (data, link) = (dir.path().join("data"), dir.path().join("link"));
        std::os::unix::fs::symlink(dir.path(), &link).unwrap();
        let not_there = real_path(&link.join("data/")).unwrap();
        std::fs::create_dir(&data).unwrap();
        for name in [data.clone(), link.join("data"), link.join("data/."), link.join("data/../data")] {
            assert_eq!(real_path(&name).unwrap(), not_there, "{}", name.display());
        }
        assert_eq!(not_there, data.canonicalize().unwrap());
        assert!(real_path(Path::new("relative")).unwrap().is_absolute());
    }
}
