//! A place in a shard, as the opaque text that clients pass back.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::error::{ErrorType, ServiceError};

/// How long an iterator may be used.
const LIFETIME_MS: u64 = 300_000;
/// Begins every iterator, so that a foreign text is known at once.
const MARK: &str = "adtrack-test-iterator";

/// The next record to read: the `position`th of a shard, counted from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ShardIterator {
    pub(crate) stream: String,
    pub(crate) shard_index: u32,
    pub(crate) position: usize,
    pub(crate) issued_ms: u64,
}

impl ShardIterator {
    pub(crate) fn encode(&self) -> String {
        let Self { stream, shard_index, position, issued_ms } = self;
        STANDARD.encode(format!("{MARK}/{stream}/{shard_index}/{position}/{issued_ms}"))
    }

    /// Reads an iterator; refuses what this server did not write, and what is older than five minutes.
    pub(crate) fn decode(text: &str, now_ms: u64) -> Result<Self, ServiceError> {
        let invalid = || ServiceError::new(ErrorType::InvalidArgument, "Invalid ShardIterator.");
        let iterator = Self::parts(text).ok_or_else(invalid)?;
        let age_ms = now_ms.saturating_sub(iterator.issued_ms);
        if age_ms > LIFETIME_MS {
            let message = format!("Iterator expired. It is {age_ms} ms old; {LIFETIME_MS} ms are tolerated.");
            return Err(ServiceError::new(ErrorType::ExpiredIterator, message));
        }
        Ok(iterator)
    }

    fn parts(text: &str) -> Option<Self> {
        let plain = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        let mut parts = plain.split('/');
        if parts.next()? != MARK {
            return None;
        }
        let iterator = Self {
            stream: parts.next()?.to_owned(),
            shard_index: parts.next()?.parse().ok()?,
            position: parts.next()?.parse().ok()?,
            issued_ms: parts.next()?.parse().ok()?,
        };
        parts.next().is_none().then_some(iterator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iterator() -> ShardIterator {
        ShardIterator { stream: "s".to_owned(), shard_index: 3, position: 17, issued_ms: 1_000 }
    }

    #[test]
    fn an_iterator_is_read_back_for_five_minutes() {
        assert_eq!(ShardIterator::decode(&iterator().encode(), 301_000), Ok(iterator()));
        let late = ShardIterator::decode(&iterator().encode(), 301_001).map_err(|error| error.kind);
        assert_eq!(late, Err(ErrorType::ExpiredIterator));
    }

    #[test]
    fn what_this_server_did_not_write_is_invalid() {
        let foreign = STANDARD.encode("s/3/17/1000");
        let longer = STANDARD.encode(format!("{MARK}/s/3/17/1000/more"));
        for text in ["", "bogus", "////", &foreign, &longer] {
            let kind = ShardIterator::decode(text, 1_000).map_err(|error| error.kind);
            assert_eq!(kind, Err(ErrorType::InvalidArgument), "{text:?}");
        }
    }
}
