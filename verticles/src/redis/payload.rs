//! What is accepted from the channel. Anybody who can publish there can write it.

use adtrack_proto::ProgramError;
use adtrack_proto::program::Update;

/// Why a payload is not a change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Rejected {
    /// Longer than it may be; it was not parsed.
    #[error("{bytes} bytes, it must have at most {bytes_max}")]
    Oversized { bytes: usize, bytes_max: usize },
    /// Not a text at all.
    #[error("not a bulk string")]
    NotText,
    /// Not a program.
    #[error(transparent)]
    NotProgram(#[from] ProgramError),
}

impl Rejected {
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Oversized { .. } => "oversized",
            Self::NotText => "not_text",
            Self::NotProgram(error) => error.kind(),
        }
    }
}

/// Checks the size, then parses.
pub(super) fn update(payload: &[u8], bytes_max: usize) -> Result<Update, Rejected> {
    if payload.len() > bytes_max {
        return Err(Rejected::Oversized { bytes: payload.len(), bytes_max });
    }
    Ok(Update::from_json(payload)?)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_size_is_looked_at_before_the_text() {
        let rejected = update(&[b'['; 101], 100).unwrap_err();
        assert_eq!(rejected, Rejected::Oversized { bytes: 101, bytes_max: 100 });
        assert_eq!(update(&[b'['; 100], 100).unwrap_err().kind(), "json");
    }

    proptest! {
        #[test]
        fn no_payload_makes_the_listener_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
            drop(update(&payload, 256));
        }
    }
}
