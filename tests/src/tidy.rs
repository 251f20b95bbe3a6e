//! The rules of the house, as functions of text: `tests/tidy.rs` applies them to the repository.

mod code;
mod dependencies;
mod files;
mod layout;
mod modules;
mod paths;
mod rules;
mod surface;
mod words;

use std::fmt;

pub use self::dependencies::{Metadata, dependency_directions, outside_dependencies, workspace_defaults};
pub use self::files::{RepositoryFile, repository_files, top_level_names};
pub use self::layout::{architecture_length, machine_paths, top_level};
pub use self::rules::{
    aws_imports, environment_reads, exits, redis_imports, sibling_imports, time_reads, unfinished, unsafe_code,
};
pub use self::surface::unused_surface;
pub use self::words::runtime_words;

/// One breach of one rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The file, from the root; or the package.
    pub place: String,
    /// The line, counted from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong with it.
    pub what: String,
}

impl Violation {
    fn new(place: &str, line: usize, what: impl Into<String>) -> Self {
        Self { place: place.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.place, self.what),
            line => write!(f, "{}:{line}: {}", self.place, self.what),
        }
    }
}
