//! Where the repository and its build are.

use std::env;
use std::path::{Path, PathBuf};

/// The repository's root.
pub fn root() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    // This package lies directly below the root.
    package.parent().unwrap_or(package).to_owned()
}

/// The target directory: two or more above the running test, which is `TARGET/PROFILE/deps/NAME`.
pub fn target_dir() -> PathBuf {
    let profile_dir = profile_dir();
    profile_dir.parent().map_or_else(|| root().join("target"), Path::to_owned)
}

/// The profile the running test was built with: what `cargo build --profile` calls it.
pub fn profile() -> String {
    let profile_dir = profile_dir();
    let name = profile_dir.file_name().unwrap_or_default().to_string_lossy().into_owned();
    // The directory of the dev profile is the one that is not called like it.
    if name == "debug" { "dev".to_owned() } else { name }
}

/// Where the running test's profile puts its results.
pub fn profile_dir() -> PathBuf {
    let executable = env::current_exe().unwrap_or_default();
    profile_dir_of(&executable).unwrap_or_else(|| root().join("target/debug"))
}

/// Tests lie in `deps`, binaries directly in the profile's directory.
fn profile_dir_of(executable: &Path) -> Option<PathBuf> {
    let dir = executable.parent()?;
    let dir = if dir.ends_with("deps") { dir.parent()? } else { dir };
    Some(dir.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_profile_is_read_from_where_the_test_lies() {
        let dir_of = |path: &str| profile_dir_of(Path::new(path));
        assert_eq!(dir_of("/t/release/deps/tidy-0123"), Some(PathBuf::from("/t/release")));
        assert_eq!(dir_of("/t/debug/kinesis-test-server"), Some(PathBuf::from("/t/debug")));
    }

    #[test]
    fn the_root_holds_this_package() {
        assert!(root().join("tests/src/repository.rs").exists());
    }
}
