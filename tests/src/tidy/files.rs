//! The repository's files, as it would be cloned.

use std::io;
use std::path::Path;

/// A text file.
#[derive(Debug, Clone)]
pub struct RepositoryFile {
    /// From the root, with slashes.
    pub path: String,
    /// All of it.
    pub text: String,
}

impl RepositoryFile {
    /// A file of this path and text.
    pub fn new(path: &str, text: &str) -> Self {
        Self { path: path.to_owned(), text: text.to_owned() }
    }
}

/// Every text file below `root`, sorted; what `.gitignore` at the root names is left out.
///
/// # Errors
/// When a directory or a file cannot be read.
pub fn repository_files(root: &Path) -> io::Result<Vec<RepositoryFile>> {
    let ignored = Ignored::read(root)?;
    let mut files = Vec::new();
    collect(root, "", &ignored, &mut files)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(files)
}

/// The names at the top level, sorted; what `.gitignore` names is left out.
///
/// # Errors
/// When the directory cannot be read.
pub fn top_level_names(root: &Path) -> io::Result<Vec<String>> {
    let ignored = Ignored::read(root)?;
    let mut names = Vec::new();
    for entry in root.read_dir()? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !ignored.matches(&name, &name) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

fn collect(dir: &Path, prefix: &str, ignored: &Ignored, files: &mut Vec<RepositoryFile>) -> io::Result<()> {
    for entry in dir.read_dir()? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        if ignored.matches(&path, &name) {
            continue;
        }
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), &format!("{path}/"), ignored, files)?;
        } else if kind.is_file()
            // What is not UTF-8 is a picture or the like.
            && let Ok(text) = String::from_utf8(std::fs::read(entry.path())?)
        {
            files.push(RepositoryFile { path, text });
        }
    }
    Ok(())
}

/// The simple patterns of a `.gitignore`: `name`, `name/`, `/path`, `*.ending`.
struct Ignored(Vec<String>);

impl Ignored {
    fn read(root: &Path) -> io::Result<Self> {
        let text = match std::fs::read_to_string(root.join(".gitignore")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let patterns = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let mut patterns: Vec<String> = patterns.map(|line| line.trim_end_matches('/').to_owned()).collect();
        patterns.push(".git".to_owned());
        Self(patterns)
    }

    fn matches(&self, path: &str, name: &str) -> bool {
        self.0.iter().any(|pattern| match (pattern.strip_prefix('/'), pattern.strip_prefix('*')) {
            (Some(anchored), _) => path == anchored,
            (None, Some(ending)) => name.ends_with(ending),
            (None, None) => name == pattern || path == pattern,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn files_are_found_in_all_directories_but_ignored_ones() {
        let dir = tempfile::tempdir().unwrap();
        let write = |path: &str, bytes: &[u8]| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        write(".gitignore", b"target/\n# comment\n/data\n*.log\n");
        for path in ["a/b/c.rs", "a/target/x.rs", "data/x", "a/data/kept", "x.log", ".git/HEAD", ".ci/run"] {
            write(path, b"text");
        }
        write("picture", &[0xff, 0xfe]);
        let files = repository_files(dir.path()).unwrap();
        let paths: Vec<_> = files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, [".ci/run", ".gitignore", "a/b/c.rs", "a/data/kept"]);
        assert_eq!(top_level_names(dir.path()).unwrap(), [".ci", ".gitignore", "a", "picture"]);
    }
}
