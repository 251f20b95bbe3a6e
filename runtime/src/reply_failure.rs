//! A failed request as the other side of a bridge sees it: a type with a fixed number, a code, and words.

use std::error::Error;
use std::fmt;
use std::sync::Arc;

use crate::error::{Failure, RequestError};

/// What kind of failure ended a request. The numbers and names are those of Vert.x, for what leaves the process.
///
/// ```
/// use vertebra::FailureType;
///
/// assert_eq!(FailureType::NoHandlers.number(), 1);
/// assert_eq!(FailureType::NoHandlers.to_string(), "NO_HANDLERS");
/// assert_eq!(FailureType::try_from(3), Ok(FailureType::Error));
/// assert_eq!(FailureType::try_from(4).unwrap_err().to_string(), "4 is no failure type, those are 0 to 3");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureType {
    /// No reply, and nobody knows whether there was a handler: a time-out, a full mailbox, a consumer that went away.
    Timeout,
    /// Nobody serves the address.
    NoHandlers,
    /// The handler said no, or broke off.
    RecipientFailure,
    /// The message could not be understood where it arrived.
    Error,
}

/// A number that stands for no [`FailureType`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{number} is no failure type, those are 0 to 3")]
pub struct UnknownFailureType {
    /// The number.
    pub number: i32,
}

impl FailureType {
    const ALL: [Self; 4] = [Self::Timeout, Self::NoHandlers, Self::RecipientFailure, Self::Error];

    /// The number that stands for it.
    pub fn number(self) -> i32 {
        self as i32
    }
}

impl TryFrom<i32> for FailureType {
    type Error = UnknownFailureType;

    fn try_from(number: i32) -> Result<Self, UnknownFailureType> {
        Self::ALL.into_iter().find(|known| known.number() == number).ok_or(UnknownFailureType { number })
    }
}

impl fmt::Display for FailureType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Timeout => "TIMEOUT",
            Self::NoHandlers => "NO_HANDLERS",
            Self::RecipientFailure => "RECIPIENT_FAILURE",
            Self::Error => "ERROR",
        })
    }
}

/// A failed request in the form in which it leaves the process: to a bridge's client, into a log that others read.
///
/// ```
/// use vertebra::{Failure, FailureType, RequestError};
///
/// let refused = RequestError::Failed(Failure::new(409, "too old")).reply_failure();
/// assert_eq!((refused.failure_type(), refused.code()), (FailureType::RecipientFailure, 409));
/// assert_eq!(refused.to_string(), "(RECIPIENT_FAILURE,409) too old");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyFailure {
    failure_type: FailureType,
    failure: Failure,
}

impl ReplyFailure {
    /// A failure of this type.
    pub fn new(failure_type: FailureType, code: i32, message: impl Into<Arc<str>>) -> Self {
        Self { failure_type, failure: Failure::new(code, message) }
    }

    /// Its type.
    pub fn failure_type(&self) -> FailureType {
        self.failure_type
    }

    /// The handler's code; [`Failure::UNSPECIFIED`] when it is not the handler that failed, or it chose none.
    pub fn code(&self) -> i32 {
        self.failure.code()
    }

    /// What a person reads; empty when there are no words.
    pub fn message(&self) -> &str {
        self.failure.message()
    }
}

impl fmt::Display for ReplyFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({},{}) {}", self.failure_type, self.code(), self.message())
    }
}

impl Error for ReplyFailure {}

/// A request's error in the form in which it leaves the process.
impl RequestError {
    /// Which of the four kinds of failure this is. [`Overloaded`](Self::Overloaded) and [`Closed`](Self::Closed) are of the
    /// kind [`Timeout`](FailureType::Timeout), as a discarded message is in Vert.x: no reply will come.
    pub fn failure_type(&self) -> FailureType {
        match self {
            Self::NoHandlers { .. } => FailureType::NoHandlers,
            Self::Timeout { .. } | Self::Overloaded { .. } | Self::Closed { .. } => FailureType::Timeout,
            Self::Failed(_) => FailureType::RecipientFailure,
            Self::WrongType { .. } => FailureType::Error,
        }
    }

    /// Type, code and words, for what leaves the process.
    pub fn reply_failure(&self) -> ReplyFailure {
        let failure = match self {
            Self::Failed(failure) => failure.clone(),
            // Clients of bridges compare this text.
            Self::NoHandlers { address } => {
                Failure::new(Failure::UNSPECIFIED, format!("No handlers for address {address}"))
            }
            other => Failure::new(Failure::UNSPECIFIED, other.to_string()),
        };
        ReplyFailure { failure_type: self.failure_type(), failure }
    }
}
