//! What the service says when it refuses a call.

use serde::Serialize;

/// The kind of refusal: the `__type` that a client branches on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorType {
    /// A field is missing, too long or not of its pattern.
    Validation,
    /// Each field is right in itself, but not for this stream.
    InvalidArgument,
    /// No such stream or shard.
    ResourceNotFound,
    /// The stream exists already.
    ResourceInUse,
    /// More than the account may have.
    LimitExceeded,
    /// The shard takes no more in this second.
    Throughput,
    /// The iterator is older than five minutes.
    ExpiredIterator,
    /// The body is not JSON, or a blob is not base64.
    Serialization,
    /// No such operation.
    UnknownOperation,
    /// The body is larger than the service reads.
    RequestTooLarge,
    /// The server's own bound was reached.
    InternalFailure,
    /// What a [fault](super::Faults) says, with its HTTP status.
    Injected {
        /// HTTP status.
        status: u16,
        /// The `__type`.
        name: String,
    },
}

impl ErrorType {
    /// The name on the wire.
    pub fn name(&self) -> &str {
        match self {
            Self::Validation => "ValidationException",
            Self::InvalidArgument => "InvalidArgumentException",
            Self::ResourceNotFound => "ResourceNotFoundException",
            Self::ResourceInUse => "ResourceInUseException",
            Self::LimitExceeded => "LimitExceededException",
            Self::Throughput => "ProvisionedThroughputExceededException",
            Self::ExpiredIterator => "ExpiredIteratorException",
            Self::Serialization => "SerializationException",
            Self::UnknownOperation => "UnknownOperationException",
            Self::RequestTooLarge => "RequestEntityTooLargeException",
            Self::InternalFailure => "InternalFailure",
            Self::Injected { name, .. } => name,
        }
    }

    /// The HTTP status it travels with.
    pub fn status(&self) -> u16 {
        match self {
            Self::RequestTooLarge => 413,
            Self::InternalFailure => 500,
            Self::Injected { status, .. } => *status,
            Self::Validation
            | Self::InvalidArgument
            | Self::ResourceNotFound
            | Self::ResourceInUse
            | Self::LimitExceeded
            | Self::Throughput
            | Self::ExpiredIterator
            | Self::Serialization
            | Self::UnknownOperation => 400,
        }
    }
}

/// A refused call.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}: {message}", kind.name())]
pub(crate) struct ServiceError {
    pub(crate) kind: ErrorType,
    pub(crate) message: String,
}

#[derive(Serialize)]
struct Body<'a> {
    #[serde(rename = "__type")]
    kind: &'a str,
    message: &'a str,
}

impl ServiceError {
    pub(crate) fn new(kind: ErrorType, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The constraint of one field that a value breaks, in the words of the service.
    pub(crate) fn invalid(value: &str, field: &str, constraint: &str) -> Self {
        let message = format!(
            "1 validation error detected: Value '{value}' at '{field}' failed to satisfy constraint: {constraint}"
        );
        Self::new(ErrorType::Validation, message)
    }

    /// A body that is not what the operation reads.
    pub(crate) fn unreadable(error: &serde_json::Error) -> Self {
        // A body of the wrong shape breaks a field's constraint; one that is not JSON cannot be read at all.
        let kind = if error.is_data() { ErrorType::Validation } else { ErrorType::Serialization };
        Self::new(kind, error.to_string())
    }

    /// The answer's body.
    pub(crate) fn body(&self) -> Vec<u8> {
        let body = Body { kind: self.kind.name(), message: &self.message };
        // Two strings are always representable in JSON.
        serde_json::to_vec(&body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_its_type_and_message() {
        let error = ServiceError::new(ErrorType::ResourceNotFound, "Stream \"x\" not found.");
        assert_eq!(error.body(), br#"{"__type":"ResourceNotFoundException","message":"Stream \"x\" not found."}"#);
        assert_eq!(error.kind.status(), 400);
    }

    #[test]
    fn an_injected_fault_has_the_status_and_type_it_was_given() {
        let kind = ErrorType::Injected { status: 503, name: "ServiceUnavailable".to_owned() };
        assert_eq!((kind.status(), kind.name()), (503, "ServiceUnavailable"));
    }
}
