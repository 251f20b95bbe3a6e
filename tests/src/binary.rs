//! The program under test, built the way this test was.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::SystemTime;
use std::{env, fs, io};

use crate::repository;

/// Why there is no binary to test.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Cargo itself could not be run.
    #[error("cannot run cargo: {0}")]
    Cargo(String),
    /// The build failed; cargo's last lines say why.
    #[error("cargo build failed: {0}")]
    Failed(String),
    /// There is none where there should be one already.
    #[error("{} is missing: build it first", .0.display())]
    Missing(PathBuf),
}

/// What every caller in the process is given.
static BINARY: OnceLock<Result<PathBuf, BuildError>> = OnceLock::new();

/// How many of cargo's last lines an error quotes.
const QUOTED_LINES: usize = 40;

/// What the binary is made of; a test that changes makes it no staler.
const SOURCES: [&str; 8] = [
    "Cargo.toml",
    "Cargo.lock",
    "runtime/src",
    "proto/src",
    "config/src",
    "config/default.toml",
    "config/sample_programs.json",
    "verticles/src",
];

/// The `adtrack` binary of the running test's profile, built when a source is newer; at most one build in a process.
///
/// `cargo test --workspace` has built it before any test runs; then this only looks at times. Cargo itself is not asked,
/// because inside a test it takes some of what it has compiled for stale, and a build costs minutes.
///
/// # Errors
/// [`BuildError`], the same for every caller in the process.
pub fn adtrack_binary() -> Result<PathBuf, BuildError> {
    BINARY.get_or_init(build).clone()
}

/// Takes the binary beside this program as it is, whatever its sources look like now: for who has just built both, and for long runs
/// beside which the sources change. Of no effect once [`adtrack_binary`] was asked.
///
/// # Errors
/// [`BuildError::Missing`] when there is none.
pub fn take_as_built() -> Result<(), BuildError> {
    let binary = repository::profile_dir().join("adtrack");
    if !binary.exists() {
        return Err(BuildError::Missing(binary));
    }
    BINARY.get_or_init(|| Ok(binary));
    Ok(())
}

fn build() -> Result<PathBuf, BuildError> {
    let binary = repository::profile_dir().join("adtrack");
    if is_fresh(&binary, &SOURCES.map(|source| repository::root().join(source))) {
        return Ok(binary);
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(repository::root())
        .args(arguments(&repository::profile()))
        .arg("--target-dir")
        .arg(repository::target_dir())
        .output()
        .map_err(|error| BuildError::Cargo(error.to_string()))?;
    if !output.status.success() {
        return Err(BuildError::Failed(last_lines(&String::from_utf8_lossy(&output.stderr))));
    }
    Ok(binary)
}

/// Whether the binary is there and nothing it is made of has changed since. What cannot be read counts as changed.
fn is_fresh(binary: &Path, sources: &[PathBuf]) -> bool {
    let built = fs::metadata(binary).and_then(|binary| binary.modified());
    built.is_ok_and(|built| sources.iter().all(|source| newest(source).is_ok_and(|changed| changed <= built)))
}

/// When the newest file of a folder, or this one file, was changed.
fn newest(path: &Path) -> io::Result<SystemTime> {
    let about = fs::metadata(path)?;
    if !about.is_dir() {
        return about.modified();
    }
    let mut last = SystemTime::UNIX_EPOCH;
    for entry in fs::read_dir(path)? {
        last = last.max(newest(&entry?.path())?);
    }
    Ok(last)
}

/// The whole workspace with its tests, and not the one binary: cargo chooses the features of dependencies by what is asked for, and
/// asking for what `cargo test --workspace` asks for finds everything compiled already. `-p adtrack` alone would compile 45
/// dependencies, the AWS client among them, a second time.
fn arguments(profile: &str) -> [&str; 6] {
    ["build", "--workspace", "--bins", "--tests", "--profile", profile]
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(QUOTED_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_built_in_the_profile_of_the_test() {
        assert_eq!(arguments("release")[4..], ["--profile", "release"]);
    }

    #[test]
    fn a_binary_is_stale_when_a_source_in_any_folder_is_newer_or_it_is_missing() {
        let dir = tempfile::tempdir().unwrap();
        let (binary, source) = (dir.path().join("binary"), dir.path().join("src/deep/a.rs"));
        fs::create_dir_all(source.parent().unwrap()).unwrap();
        fs::write(&source, "").unwrap();
        let sources = [dir.path().join("src")];
        assert!(!is_fresh(&binary, &sources));
        fs::write(&binary, "").unwrap();
        let built = fs::metadata(&binary).unwrap().modified().unwrap();
        let touch = |time| fs::File::open(&source).unwrap().set_modified(time).unwrap();
        touch(built);
        assert!(is_fresh(&binary, &sources));
        touch(built + std::time::Duration::from_secs(1));
        assert!(!is_fresh(&binary, &sources));
    }

    #[test]
    fn an_error_quotes_the_end_of_what_cargo_said() {
        let long: Vec<_> = (0..100).map(|line| line.to_string()).collect();
        let quoted = last_lines(&long.join("\n"));
        assert!(quoted.starts_with("60\n") && quoted.ends_with("\n99"), "{quoted}");
        assert_eq!(last_lines("short"), "short");
    }
}
