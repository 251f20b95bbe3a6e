//! What each operation reads, does and answers: JSON in, JSON out, no HTTP.

pub(crate) mod get_records;
pub(crate) mod iterators;
pub(crate) mod put;
pub(crate) mod put_answer;
pub(crate) mod reshard;
pub(crate) mod shard_view;
pub(crate) mod shards;
pub(crate) mod streams;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::error::ServiceError;

/// Reads a request's body.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(body).map_err(|error| ServiceError::unreadable(&error))
}

/// Writes an answer's body.
fn write<T: Serialize>(answer: &T) -> Result<Vec<u8>, ServiceError> {
    serde_json::to_vec(answer).map_err(|error| ServiceError::unreadable(&error))
}

/// Milliseconds as the seconds with a fraction that the protocol calls a timestamp.
fn timestamp(ms: u64) -> f64 {
    // Exact below 2^53 ms.
    ms as f64 / 1_000.0
}

/// The other way; a time before 1970 is 0.
fn milliseconds(timestamp: f64) -> u64 {
    // A float cast saturates and maps NaN to 0.
    (timestamp * 1_000.0).round() as u64
}

/// `limit`, or the default, held to the operation's maximum.
fn bounded(limit: Option<u32>, default: usize, max: usize, field: &str) -> Result<usize, ServiceError> {
    match limit {
        None => Ok(default),
        Some(limit) if limit >= 1 && limit as usize <= max => Ok(limit as usize),
        Some(limit) => {
            let constraint = format!("Member must have value between 1 and {max}");
            Err(ServiceError::invalid(&limit.to_string(), field, &constraint))
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_timestamp_keeps_its_milliseconds() {
        for ms in [0, 1, 1_900_000_000_123, 4_102_444_799_999] {
            assert_eq!(milliseconds(timestamp(ms)), ms);
        }
        assert_eq!((milliseconds(-1.0), milliseconds(f64::NAN)), (0, 0));
    }

    #[test]
    fn a_limit_outside_its_range_breaks_a_constraint() {
        assert_eq!(bounded(None, 10, 100, "limit").unwrap(), 10);
        assert_eq!(bounded(Some(100), 10, 100, "limit").unwrap(), 100);
        assert!(bounded(Some(0), 10, 100, "limit").is_err());
        assert!(bounded(Some(101), 10, 100, "limit").is_err());
    }
}
