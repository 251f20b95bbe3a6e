//! What is said of a program where changes are told: on a channel, in a stream of changes, in a file.

use super::json;
use super::{Program, ProgramError, ProgramId};

/// A program, or that it is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update {
    /// It is this now.
    Put(Program),
    /// It is gone.
    Deleted(Deletion),
}

/// That a program is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deletion {
    /// Which one.
    pub program_id: ProgramId,
    /// The version of this: what has a lower one is from before. `None`: whoever deleted it counts none.
    pub version: Option<u64>,
}

impl Update {
    /// Reads one JSON object: a program as [`Program::from_json`] does, or its deletion,
    /// `{"programId":"7","deleted":true,"version":8}`, where the version may be missing and other fields are not needed.
    ///
    /// # Errors
    /// Those of [`ProgramError`] but `Deleted`; the first one found.
    pub fn from_json(json: &[u8]) -> Result<Self, ProgramError> {
        json::update(json)
    }
}

impl Deletion {
    /// The deletion as one JSON object, on one line.
    pub fn to_json(&self) -> String {
        json::write_deletion(&self.program_id, self.version)
    }
}
