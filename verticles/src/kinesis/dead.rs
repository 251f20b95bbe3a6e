//! What the stream will never take.

use std::fmt;

use super::client::PutError;
use super::entry::Entry;

/// An entry of one record that the stream will never take, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dead {
    /// The entry.
    pub entry: Entry,
    /// Its own reason, whatever became of the call it was to go with.
    pub why: Why,
}

/// Why an entry is never taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It was not even sent: it is longer than the settings allow.
    TooLong,
    /// It was sent alone, and this was the answer.
    Refused(PutError),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong => f.write_str("longer than a record may be"),
            Self::Refused(error) => error.fmt(f),
        }
    }
}
