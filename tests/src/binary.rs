//! The program under test, built the way this test was.

use std::env;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

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
}

/// How many of cargo's last lines an error quotes.
const QUOTED_LINES: usize = 40;

/// The `adtrack` binary of the running test's profile, built when it is not fresh; at most one build in a process.
///
/// # Errors
/// [`BuildError`], the same for every caller in the process.
pub fn adtrack_binary() -> Result<PathBuf, BuildError> {
    static BINARY: OnceLock<Result<PathBuf, BuildError>> = OnceLock::new();
    BINARY.get_or_init(build).clone()
}

fn build() -> Result<PathBuf, BuildError> {
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
    Ok(repository::profile_dir().join("adtrack"))
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
    fn an_error_quotes_the_end_of_what_cargo_said() {
        let long: Vec<_> = (0..100).map(|line| line.to_string()).collect();
        let quoted = last_lines(&long.join("\n"));
        assert!(quoted.starts_with("60\n") && quoted.ends_with("\n99"), "{quoted}");
        assert_eq!(last_lines("short"), "short");
    }
}
