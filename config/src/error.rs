//! What can be wrong with a configuration.

use std::fmt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::Origin;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// A value that is not allowed, alone or beside another one.
    #[error("{key} = {value} ({origin}): must be {allowed}")]
    Invalid {
        /// As in `default.toml`.
        key: &'static str,
        /// As written, cut at 128 characters; `***` for a secret.
        value: String,
        /// Kind, unit and range.
        allowed: String,
        /// Where the value was written.
        origin: Origin,
    },
    /// A setting without which another one must not be used.
    #[error("{key} is not set, but {because}: must be {allowed}")]
    Missing {
        /// As in `default.toml`.
        key: &'static str,
        /// The other setting and where it was written.
        because: String,
        /// Kind, unit and range.
        allowed: String,
    },
    /// Two settings that exclude each other.
    #[error("{key} ({origin}) and {other} ({other_origin}) exclude each other: must be only one of them")]
    Conflict {
        /// One key.
        key: &'static str,
        /// Where it was written.
        origin: Origin,
        /// The other key.
        other: &'static str,
        /// Where that was written.
        other_origin: Origin,
    },
    /// A key of a file or flag that does not exist.
    #[error("{key} ({origin}): no such setting, the nearest known one is {nearest}")]
    UnknownKey {
        /// As written, cut at 128 characters.
        key: String,
        /// Where.
        origin: Origin,
        /// The known key that looks most like it.
        nearest: String,
    },
    /// An `ADTRACK_*` variable that does not exist.
    #[error("{name}: no such variable, the nearest known one is {nearest}")]
    UnknownVariable {
        /// As written, cut at 128 characters.
        name: String,
        /// The known variable that looks most like it.
        nearest: String,
    },
    /// A file that could not be read.
    #[error("{} (named by {named_by}) cannot be read: {reason}", shown_path(path))]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Flag, variable or key that names the file.
        named_by: String,
        /// What the operating system said, or the size it must not exceed.
        reason: String,
    },
    /// A configuration file that is not TOML.
    #[error("{}:{line}: not valid TOML: {message}", shown_path(path))]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// What the parser met, in one line.
        message: String,
    },
}

/// A path may hold line breaks and escape sequences, and a message is one line.
pub(crate) fn shown_path(path: &Path) -> String {
    path.to_string_lossy().escape_debug().to_string()
}

/// All that is wrong with a configuration, in the order in which it was found; at least one error.
///
/// Prints one error a line. At most [`ConfigErrors::KEPT_MAX`] are kept; the others are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    kept: Vec<ConfigError>,
    left_out: usize,
}

impl ConfigErrors {
    /// Errors that are kept. A megabyte of nonsense in the file would otherwise become as long a message.
    pub const KEPT_MAX: usize = 100;

    /// None yet. Not public: who holds one has at least one error.
    pub(crate) fn new() -> Self {
        Self { kept: Vec::new(), left_out: 0 }
    }

    /// The errors kept.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.kept.iter()
    }

    /// Errors beyond [`ConfigErrors::KEPT_MAX`].
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Builds the error only if it is kept: to name the nearest key is work.
    pub(crate) fn push_with(&mut self, error: impl FnOnce() -> ConfigError) {
        if self.kept.len() < Self::KEPT_MAX {
            self.kept.push(error());
        } else {
            self.left_out += 1;
        }
    }

    pub(crate) fn push(&mut self, error: ConfigError) {
        self.push_with(|| error);
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.kept.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{error}")?;
        }
        if self.left_out > 0 {
            write!(f, "\nand {} more", self.left_out)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
