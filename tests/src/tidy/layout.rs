//! What lies where.

use super::{RepositoryFile, Violation};

/// Must be at the top level.
const REQUIRED: [&str; 15] = [
    "Cargo.toml",
    "runtime",
    "verticles",
    "proto",
    "config",
    "benches",
    "tests",
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Dockerfile",
    "compose.yaml",
    ".ci",
];
/// May be there too: the lock file, further documents, and settings of tools.
const ALLOWED: [&str; 12] = [
    "Cargo.lock",
    "docs",
    "infra",
    ".cargo",
    ".dockerignore",
    ".editorconfig",
    ".gitattributes",
    ".gitignore",
    "clippy.toml",
    "deny.toml",
    "rust-toolchain.toml",
    "rustfmt.toml",
];
const ARCHITECTURE: &str = "ARCHITECTURE.md";
const ARCHITECTURE_LINES_MAX: usize = 200;
/// Paths of the machines this is developed on; put together here, so that this file does not hold them.
const MACHINE_PATHS: [&str; 3] = [concat!("/", "work/"), concat!("/", "farm/"), concat!("../", "shared")];

/// The top level is the fixed list and nothing else.
pub fn top_level(names: &[String]) -> Vec<Violation> {
    let missing = REQUIRED.iter().filter(|required| !names.iter().any(|name| name == *required));
    let missing = missing.map(|name| Violation::new(name, 0, "is missing at the top level"));
    let is_known = |name: &str| REQUIRED.contains(&name) || ALLOWED.contains(&name);
    let strange = names.iter().filter(|name| !is_known(name));
    missing.chain(strange.map(|name| Violation::new(name, 0, "does not belong at the top level"))).collect()
}

/// The map of the house is short enough to be read.
pub fn architecture_length(files: &[RepositoryFile]) -> Vec<Violation> {
    let Some(file) = files.iter().find(|file| file.path == ARCHITECTURE) else {
        return vec![Violation::new(ARCHITECTURE, 0, "is missing")];
    };
    let lines = file.text.lines().count();
    let long = lines > ARCHITECTURE_LINES_MAX;
    let what = || format!("has {lines} lines; {ARCHITECTURE_LINES_MAX} are allowed");
    long.then(|| Violation::new(ARCHITECTURE, 0, what())).into_iter().collect()
}

/// No file holds a path of a machine it was written on.
pub fn machine_paths(files: &[RepositoryFile]) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in files {
        for (index, line) in file.text.lines().enumerate() {
            let path = MACHINE_PATHS.iter().find(|path| line.contains(*path));
            found.extend(
                path.map(|path| Violation::new(&file.path, index + 1, format!("holds the machine path {path:?}"))),
            );
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_stranger_and_a_gap_at_the_top_level_are_caught() {
        let mut level = names(&REQUIRED);
        assert!(top_level(&level).is_empty());
        level.push("scripts".to_owned());
        level.retain(|name| name != "LICENSE");
        let places: Vec<_> = top_level(&level).into_iter().map(|violation| violation.place).collect();
        assert_eq!(places, ["LICENSE", "scripts"]);
    }

    #[test]
    fn a_map_of_201_lines_is_caught_and_one_of_200_is_not() {
        let map = |lines: usize| architecture_length(&[RepositoryFile::new(ARCHITECTURE, &"line\n".repeat(lines))]);
        assert!(map(200).is_empty());
        assert_eq!(map(201).len(), 1);
        assert_eq!(architecture_length(&[]).len(), 1);
    }

    #[test]
    fn a_machine_path_is_caught_in_any_file() {
        for path in MACHINE_PATHS {
            let file = RepositoryFile::new("docs/guide.md", &format!("first\nsee {path}x\n"));
            assert_eq!(machine_paths(&[file]).first().map(|violation| violation.line), Some(2));
        }
        assert!(machine_paths(&[RepositoryFile::new("docs/guide.md", "work, a farm, shared/")]).is_empty());
    }
}
