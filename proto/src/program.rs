//! Core data: a program, and how it is written in JSON and in a Redis hash.

use std::borrow::{Borrow, Cow};
use std::fmt;

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

mod draft;
mod json;
mod update;

use draft::{Draft, Field, Scalar};

pub use update::{Deletion, Update};

/// A program's id: 1 to 128 visible ASCII characters.
///
/// Which of those characters a tracking URL may use is decided at the HTTP door; this is what can be an id at all. Up to
/// 23 characters are held without an allocation.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "SmolStr", into = "SmolStr")]
pub struct ProgramId(SmolStr);

/// Why a text cannot be a program's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramIdError {
    /// It has no characters.
    #[error("programId is empty, it must have 1 to {} characters", ProgramId::BYTES_MAX)]
    Empty,
    /// It is longer than [`ProgramId::BYTES_MAX`].
    #[error("programId has {bytes} bytes, it must have at most {}", ProgramId::BYTES_MAX)]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// It has a character that is no visible ASCII character.
    #[error("programId has {character:?} at byte {at}, it must be visible ASCII without spaces")]
    Character {
        /// The first such character.
        character: char,
        /// Where it is, in bytes from 0.
        at: usize,
    },
}

impl ProgramId {
    /// The longest id, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// Checks a text and makes it an id.
    ///
    /// # Errors
    /// Those of [`ProgramIdError`], in the order of its variants.
    pub fn new(text: impl AsRef<str>) -> Result<Self, ProgramIdError> {
        let text = text.as_ref();
        if text.is_empty() {
            return Err(ProgramIdError::Empty);
        }
        if text.len() > Self::BYTES_MAX {
            return Err(ProgramIdError::TooLong { bytes: text.len() });
        }
        match text.char_indices().find(|(_, character)| !character.is_ascii_graphic()) {
            Some((at, character)) => Err(ProgramIdError::Character { character, at }),
            None => Ok(Self(SmolStr::new(text))),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for ProgramId {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

// The derived `Hash`, `Eq` and `Ord` are those of the text, which is what this promises to maps.
impl Borrow<str> for ProgramId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for ProgramId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl std::str::FromStr for ProgramId {
    type Err = ProgramIdError;

    fn from_str(text: &str) -> Result<Self, ProgramIdError> {
        Self::new(text)
    }
}

impl TryFrom<SmolStr> for ProgramId {
    type Error = ProgramIdError;

    fn try_from(text: SmolStr) -> Result<Self, ProgramIdError> {
        Self::new(text)
    }
}

impl From<ProgramId> for SmolStr {
    fn from(id: ProgramId) -> Self {
        id.0
    }
}

/// One program of one customer: what a tracking URL is checked against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Its id; also its key in the store.
    pub program_id: ProgramId,
    /// Its name.
    pub program_name: String,
    /// The customer's checksum for it, opaque to us.
    pub checksum: String,
    /// Whose it is.
    pub customer_id: i32,
    /// The customer's name.
    pub customer_name: String,
    /// Whether events are valid for it now.
    pub valid: bool,
    /// Which state of the program this is: of two, the higher one is the newer. `None`: whoever wrote it counts none.
    pub version: Option<u64>,
}

/// Why something is not a program. Values are shown cut to a length that is fit for a log line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// It is not one JSON object.
    #[error("not a JSON object: {reason}")]
    Json {
        /// What the parser says.
        reason: String,
    },
    /// A field that must be there is not.
    #[error("{field} is missing")]
    Missing {
        /// Its name.
        field: &'static str,
    },
    /// A field is there twice, and it is not told which of the two is meant.
    #[error("{field} is given twice")]
    Duplicate {
        /// Its name.
        field: &'static str,
    },
    /// A field has a value that it cannot have.
    #[error("{field} is {value}, it must be {allowed}")]
    Value {
        /// Its name.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it can have.
        allowed: &'static str,
    },
    /// It says that a program is gone, where one is wanted.
    #[error("it is no program but the deletion of one")]
    Deleted,
    /// The id cannot be one.
    #[error(transparent)]
    Id(#[from] ProgramIdError),
}

impl ProgramError {
    /// One word for the kind of error, for counters.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Json { .. } => "json",
            Self::Missing { .. } => "missing",
            Self::Duplicate { .. } => "duplicate",
            Self::Value { .. } => "value",
            Self::Deleted => "deleted",
            Self::Id(_) => "id",
        }
    }
}

/// Which element of a list of programs is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("program {index}: {error}")]
pub struct ProgramListError {
    /// The element, from 1; 1 also for a text that is no list.
    pub index: usize,
    /// What is wrong with it.
    pub error: ProgramError,
}

impl Program {
    /// Reads a program from one JSON object in the contract's shape:
    /// `{"userAgent":"","programId":"212313","programName":"program2","checksum":"124","customerId":9124,
    /// "customerName":"Customer2","messageId":"","valid":true}`.
    ///
    /// `customerId` may be text (`"9124"`), `valid` may be `"true"` or `"false"`. A `"version"`, a number or text, may be
    /// there. `userAgent`, `messageId` and fields that are not known are not looked at. How much text is parsed is for the caller to bound.
    ///
    /// # Errors
    /// Those of [`ProgramError`]; the first one found.
    pub fn from_json(json: &[u8]) -> Result<Self, ProgramError> {
        json::one(json)
    }

    /// Reads programs from a JSON array of such objects, or from one such object. How much text is parsed is for the
    /// caller to bound.
    ///
    /// # Errors
    /// Names the first element that is not a program.
    pub fn list_from_json(json: &[u8]) -> Result<Vec<Self>, ProgramListError> {
        json::list(json)
    }

    /// The program as one JSON object in the contract's shape, on one line; `userAgent` and `messageId` are empty. The
    /// version comes last, if there is one.
    pub fn to_json(&self) -> String {
        json::write(self)
    }

    /// As [`Program::to_json`], without the version: for a store that counts them itself.
    pub fn to_json_unversioned(&self) -> String {
        json::write_unversioned(self)
    }

    /// Reads a program from the fields of a Redis hash; the rules are those of [`Program::from_json`].
    ///
    /// # Errors
    /// Those of [`ProgramError`] but `Json`; the first one found.
    pub fn from_fields<N, V>(fields: impl IntoIterator<Item = (N, V)>) -> Result<Self, ProgramError>
    where
        N: AsRef<str>,
        V: AsRef<str>,
    {
        let mut draft = Draft::default();
        for (name, value) in fields {
            if let Some(field) = Field::named(name.as_ref()) {
                draft.set(field, Scalar::Text(Cow::Borrowed(value.as_ref())))?;
            }
        }
        draft.finish()
    }

    /// The fields of the Redis hash that holds this program, named and ordered as the reference has them. The version is
    /// not among them: whoever writes the hash decides on it.
    pub fn to_fields(&self) -> [(&'static str, Cow<'_, str>); 8] {
        [
            (Field::UserAgent.name(), Cow::Borrowed("")),
            (Field::ProgramId.name(), Cow::Borrowed(self.program_id.as_str())),
            (Field::ProgramName.name(), Cow::Borrowed(self.program_name.as_str())),
            (Field::Checksum.name(), Cow::Borrowed(self.checksum.as_str())),
            (Field::CustomerId.name(), Cow::Owned(self.customer_id.to_string())),
            (Field::CustomerName.name(), Cow::Borrowed(self.customer_name.as_str())),
            (Field::MessageId.name(), Cow::Borrowed("")),
            (Field::Valid.name(), Cow::Borrowed(if self.valid { "true" } else { "false" })),
        ]
    }
}

#[cfg(test)]
mod tests;
