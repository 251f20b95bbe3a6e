//! Where a value came from.

use std::fmt;
use std::path::PathBuf;

use crate::error::shown_path;

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A flag of the command line, with its dashes.
    Flag(String),
    /// An environment variable.
    Variable(String),
    /// A line of the configuration file.
    File {
        /// The file as it was named.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// The content of a file named by a `..._file` key.
    SecretFile(PathBuf),
    /// A default of the replaced system, asked for by `compat = "reference"`.
    Compat,
    /// The compiled-in default.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "from {flag}"),
            Self::Variable(name) => write!(f, "from {name}"),
            Self::File { path, line } => {
                write!(f, "from {}:{line}", shown_path(path))
            }
            Self::SecretFile(path) => write!(f, "from the content of {}", shown_path(path)),
            Self::Compat => f.write_str("default of compat = \"reference\""),
            Self::Default => f.write_str("default"),
        }
    }
}
