//! A program while it is being read: each field at most once, each value checked as it comes.

use std::borrow::Cow;
use std::str::FromStr;

use super::{Deletion, Program, ProgramError, ProgramId, Update};

/// How many characters of a wrong value an error shows.
const SHOWN_CHARS_MAX: usize = 64;

/// A field of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    UserAgent,
    ProgramId,
    ProgramName,
    Checksum,
    CustomerId,
    CustomerName,
    MessageId,
    Valid,
    Version,
    Deleted,
}

impl Field {
    const ALL: [Self; 10] = [
        Self::UserAgent,
        Self::ProgramId,
        Self::ProgramName,
        Self::Checksum,
        Self::CustomerId,
        Self::CustomerName,
        Self::MessageId,
        Self::Valid,
        Self::Version,
        Self::Deleted,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::UserAgent => "userAgent",
            Self::ProgramId => "programId",
            Self::ProgramName => "programName",
            Self::Checksum => "checksum",
            Self::CustomerId => "customerId",
            Self::CustomerName => "customerName",
            Self::MessageId => "messageId",
            Self::Valid => "valid",
            Self::Version => "version",
            Self::Deleted => "deleted",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }
}

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'a> {
    Text(Cow<'a, str>),
    Integer(i128),
    Float(f64),
    Bool(bool),
    Null,
    Nested,
}

impl Scalar<'_> {
    /// The value for a person: on one line, of bounded length.
    fn shown(&self) -> String {
        match self {
            Self::Text(text) if text.chars().nth(SHOWN_CHARS_MAX).is_some() => {
                let start: String = text.chars().take(SHOWN_CHARS_MAX).collect();
                format!("{start:?}...")
            }
            Self::Text(text) => format!("{text:?}"),
            Self::Integer(number) => number.to_string(),
            // With its point: 5.0 shown as 5 would look like what is allowed.
            Self::Float(number) if number.abs() < 1e15 => format!("{number:?}"),
            Self::Float(number) => number.to_string(),
            Self::Bool(value) => value.to_string(),
            Self::Null => "null".to_owned(),
            Self::Nested => "an array or object".to_owned(),
        }
    }
}

/// The fields read so far.
#[derive(Debug, Default)]
pub(super) struct Draft {
    program_id: Option<ProgramId>,
    program_name: Option<String>,
    checksum: Option<String>,
    customer_id: Option<i32>,
    customer_name: Option<String>,
    valid: Option<bool>,
    version: Option<u64>,
    deleted: bool,
}

impl Draft {
    /// Takes one field's value.
    pub(super) fn set(&mut self, field: Field, value: Scalar<'_>) -> Result<(), ProgramError> {
        match field {
            // What a program has there is of no interest: an event brings its own.
            Field::UserAgent | Field::MessageId => Ok(()),
            Field::ProgramId => put(&mut self.program_id, field, ProgramId::new(text(field, value)?)?),
            Field::ProgramName => put(&mut self.program_name, field, text(field, value)?),
            Field::Checksum => put(&mut self.checksum, field, text(field, value)?),
            Field::CustomerId => put(&mut self.customer_id, field, customer_id(field, &value)?),
            Field::CustomerName => put(&mut self.customer_name, field, text(field, value)?),
            Field::Valid => put(&mut self.valid, field, truth(field, &value)?),
            Field::Version => put(&mut self.version, field, version(field, &value)?),
            // Whatever else somebody may have there is not looked at, as with any field that is not known.
            Field::Deleted => {
                self.deleted |= truth(field, &value).unwrap_or_default();
                Ok(())
            }
        }
    }

    /// The program or its deletion, when nothing is missing.
    pub(super) fn finish_update(self) -> Result<Update, ProgramError> {
        if !self.deleted {
            return self.finish().map(Update::Put);
        }
        let program_id = needed(self.program_id, Field::ProgramId)?;
        Ok(Update::Deleted(Deletion { program_id, version: self.version }))
    }

    /// The program, when nothing is missing.
    pub(super) fn finish(self) -> Result<Program, ProgramError> {
        if self.deleted {
            return Err(ProgramError::Deleted);
        }
        Ok(Program {
            program_id: needed(self.program_id, Field::ProgramId)?,
            program_name: needed(self.program_name, Field::ProgramName)?,
            checksum: needed(self.checksum, Field::Checksum)?,
            customer_id: needed(self.customer_id, Field::CustomerId)?,
            customer_name: needed(self.customer_name, Field::CustomerName)?,
            valid: needed(self.valid, Field::Valid)?,
            version: self.version,
        })
    }
}

fn put<T>(slot: &mut Option<T>, field: Field, value: T) -> Result<(), ProgramError> {
    match slot.replace(value) {
        Some(_) => Err(ProgramError::Duplicate { field: field.name() }),
        None => Ok(()),
    }
}

fn needed<T>(slot: Option<T>, field: Field) -> Result<T, ProgramError> {
    slot.ok_or(ProgramError::Missing { field: field.name() })
}

fn wrong(field: Field, value: &Scalar<'_>, allowed: &'static str) -> ProgramError {
    ProgramError::Value { field: field.name(), value: value.shown(), allowed }
}

fn text(field: Field, value: Scalar<'_>) -> Result<String, ProgramError> {
    match value {
        Scalar::Text(text) => Ok(text.into_owned()),
        other => Err(wrong(field, &other, "text")),
    }
}

fn number<N: TryFrom<i128> + FromStr>(value: &Scalar<'_>) -> Option<N> {
    match value {
        Scalar::Integer(number) => N::try_from(*number).ok(),
        // `parse` alone would take "+9124", which no writer of ours or of the reference produces.
        Scalar::Text(text) if !text.starts_with('+') => text.parse().ok(),
        _ => None,
    }
}

fn version(field: Field, value: &Scalar<'_>) -> Result<u64, ProgramError> {
    number(value).ok_or_else(|| wrong(field, value, "an integer between 0 and 18446744073709551615, or that as text"))
}

fn customer_id(field: Field, value: &Scalar<'_>) -> Result<i32, ProgramError> {
    number(value).ok_or_else(|| {
        let allowed = match value {
            Scalar::Float(number) if number.fract() == 0.0 && number.abs() < 1e15 => {
                "an integer between -2147483648 and 2147483647 without a point or an exponent, or that as text"
            }
            _ => "an integer between -2147483648 and 2147483647, or that as text",
        };
        wrong(field, value, allowed)
    })
}

fn truth(field: Field, value: &Scalar<'_>) -> Result<bool, ProgramError> {
    match value {
        Scalar::Bool(value) => Ok(*value),
        Scalar::Text(text) if text == "true" => Ok(true),
        Scalar::Text(text) if text == "false" => Ok(false),
        other => Err(wrong(field, other, "true or false")),
    }
}
