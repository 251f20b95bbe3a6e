//! Everything the server holds: the streams of its one account, and its bounds.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::error::{ErrorType, ServiceError};
use super::key_counts::KeyCounts;
use super::limits::ShardLimits;
use super::stream::Stream;

/// Open shards of all streams together.
const SHARDS_MAX: u32 = 500;
/// Data and partition keys of all stored records together. Nothing is ever trimmed, so a test that forgets to stop ends here and not
/// in the machine's memory.
const STORED_BYTES_MAX: usize = 2 << 30;
const ARN_PREFIX: &str = "arn:aws:kinesis:us-east-1:000000000000:stream/";

/// The streams, by name.
#[derive(Debug)]
pub(crate) struct Account {
    streams: BTreeMap<String, Stream>,
    stored_bytes: usize,
    stored_bytes_max: usize,
    /// What each shard takes in a second; without it, anything.
    pub(crate) limits: Option<ShardLimits>,
    /// Counts instead of records, when there are to be no records.
    pub(crate) keys: Option<KeyCounts>,
}

/// What a call that stores records needs of the account.
pub(crate) struct Destination<'a> {
    pub(crate) stream: &'a mut Stream,
    pub(crate) limits: Option<ShardLimits>,
    pub(crate) keys: Option<&'a mut KeyCounts>,
}

/// How a request names its stream: by name or by ARN.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct StreamRef {
    pub(crate) stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    pub(crate) stream_arn: Option<String>,
}

impl StreamRef {
    /// The name meant, if the request gives one.
    pub(crate) fn name(&self) -> Option<&str> {
        let by_arn = || self.stream_arn.as_deref()?.rsplit_once("stream/").map(|(_, name)| name);
        self.stream_name.as_deref().or_else(by_arn)
    }
}

impl Default for Account {
    fn default() -> Self {
        Self { streams: BTreeMap::new(), stored_bytes: 0, stored_bytes_max: STORED_BYTES_MAX, limits: None, keys: None }
    }
}

impl Account {
    /// Adds a stream.
    pub(crate) fn create(&mut self, name: &str, shards: u32, now_ms: u64) -> Result<(), ServiceError> {
        check_name(name)?;
        if shards == 0 {
            return Err(ServiceError::invalid("0", "shardCount", "Member must have value greater than or equal to 1"));
        }
        if self.streams.contains_key(name) {
            return Err(ServiceError::new(ErrorType::ResourceInUse, format!("Stream {name} already exists.")));
        }
        self.check_shards(shards)?;
        let stream = Stream::new(name, format!("{ARN_PREFIX}{name}"), shards, now_ms);
        self.streams.insert(name.to_owned(), stream);
        Ok(())
    }

    /// Removes a stream with all it holds.
    pub(crate) fn delete(&mut self, stream: &StreamRef) -> Result<(), ServiceError> {
        let name = required_name(stream)?;
        let removed = self.streams.remove(name).ok_or_else(|| not_found(name))?;
        let records = removed.shards.iter().flat_map(|shard| &shard.records);
        let freed: usize = records.map(|record| record.data.len() + record.partition_key.len()).sum();
        self.stored_bytes = self.stored_bytes.saturating_sub(freed);
        Ok(())
    }

    /// The stream that a request names.
    pub(crate) fn stream(&self, stream: &StreamRef) -> Result<&Stream, ServiceError> {
        self.stream_named(required_name(stream)?)
    }

    /// The stream of this name.
    pub(crate) fn stream_named(&self, name: &str) -> Result<&Stream, ServiceError> {
        self.streams.get(name).ok_or_else(|| not_found(name))
    }

    /// The stream that a request names, to be changed.
    pub(crate) fn stream_mut(&mut self, stream: &StreamRef) -> Result<&mut Stream, ServiceError> {
        let name = required_name(stream)?;
        self.streams.get_mut(name).ok_or_else(|| not_found(name))
    }

    /// The stream that a request names, with room for `bytes` of records reserved.
    pub(crate) fn destination(&mut self, stream: &StreamRef, bytes: usize) -> Result<Destination<'_>, ServiceError> {
        let name = required_name(stream)?;
        if !self.streams.contains_key(name) {
            return Err(not_found(name));
        }
        // Counts have a bound of their own.
        if self.keys.is_none() {
            self.reserve(bytes)?;
        }
        let stream = self.streams.get_mut(name).ok_or_else(|| not_found(name))?;
        Ok(Destination { stream, limits: self.limits, keys: self.keys.as_mut() })
    }

    /// Records that all streams have taken.
    pub(crate) fn stored(&self) -> u64 {
        self.streams.values().flat_map(|stream| &stream.shards).map(|shard| shard.stored).sum()
    }

    /// All names after `after`, sorted.
    pub(crate) fn names_after(&self, after: Option<&str>) -> impl Iterator<Item = &str> {
        let after = after.map(str::to_owned);
        self.streams.keys().map(String::as_str).filter(move |name| after.as_deref().is_none_or(|after| *name > after))
    }

    /// Refuses when `more` open shards are more than the account may have.
    pub(crate) fn check_shards(&self, more: u32) -> Result<(), ServiceError> {
        let open: u32 = self.streams.values().map(Stream::open_count).sum();
        if open.saturating_add(more) <= SHARDS_MAX {
            return Ok(());
        }
        let message = format!(
            "This request would exceed the shard limit for the account. Current shard count: {open}. Limit: {SHARDS_MAX}. \
             Number of additional shards that would have resulted from this request: {more}."
        );
        Err(ServiceError::new(ErrorType::LimitExceeded, message))
    }

    /// Counts `bytes` as stored, or refuses when the server holds too much already.
    pub(crate) fn reserve(&mut self, bytes: usize) -> Result<(), ServiceError> {
        let total = self.stored_bytes.saturating_add(bytes);
        if total > self.stored_bytes_max {
            let message = format!("This test server holds at most {} bytes of records.", self.stored_bytes_max);
            return Err(ServiceError::new(ErrorType::InternalFailure, message));
        }
        self.stored_bytes = total;
        Ok(())
    }
}

fn required_name(stream: &StreamRef) -> Result<&str, ServiceError> {
    let missing = || {
        ServiceError::new(
            ErrorType::Validation,
            "1 validation error detected: Value null at 'streamName' failed to satisfy constraint: Member must not be null",
        )
    };
    stream.name().ok_or_else(missing)
}

fn check_name(name: &str) -> Result<(), ServiceError> {
    let pattern = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
    if name.is_empty() || name.len() > 128 {
        return Err(ServiceError::invalid(name, "streamName", "Member must have length between 1 and 128"));
    }
    if !pattern {
        let constraint = "Member must satisfy regular expression pattern: [a-zA-Z0-9_.-]+";
        return Err(ServiceError::invalid(name, "streamName", constraint));
    }
    Ok(())
}

fn not_found(name: &str) -> ServiceError {
    ServiceError::new(ErrorType::ResourceNotFound, format!("Stream {name} under account 000000000000 not found."))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::Bytes;

    use super::super::hash_key::HashKey;
    use super::*;

    fn by_name(name: &str) -> StreamRef {
        StreamRef { stream_name: Some(name.to_owned()), stream_arn: None }
    }

    #[test]
    fn a_stream_is_found_by_name_and_by_arn() {
        let mut account = Account::default();
        account.create("s", 1, 0).unwrap();
        let by_arn = StreamRef { stream_name: None, stream_arn: Some(format!("{ARN_PREFIX}s")) };
        assert_eq!(account.stream(&by_name("s")).unwrap().name, "s");
        assert_eq!(account.stream(&by_arn).unwrap().name, "s");
    }

    #[test]
    fn a_stream_that_does_not_exist_is_not_found() {
        let mut account = Account::default();
        assert_eq!(account.stream(&by_name("s")).unwrap_err().kind, ErrorType::ResourceNotFound);
        assert_eq!(account.delete(&by_name("s")).unwrap_err().kind, ErrorType::ResourceNotFound);
    }

    #[test]
    fn a_name_is_used_once() {
        let mut account = Account::default();
        account.create("s", 1, 0).unwrap();
        assert_eq!(account.create("s", 1, 0).unwrap_err().kind, ErrorType::ResourceInUse);
        account.delete(&by_name("s")).unwrap();
        account.create("s", 1, 0).unwrap();
    }

    #[test]
    fn a_request_without_a_stream_or_with_a_bad_name_breaks_a_constraint() {
        let mut account = Account::default();
        assert_eq!(account.stream(&StreamRef::default()).unwrap_err().kind, ErrorType::Validation);
        for name in ["", "a b", "ä", &"x".repeat(129)] {
            assert_eq!(account.create(name, 1, 0).unwrap_err().kind, ErrorType::Validation, "{name:?}");
        }
        assert_eq!(account.create("s", 0, 0).unwrap_err().kind, ErrorType::Validation);
    }

    #[test]
    fn shards_beyond_the_limit_are_refused() {
        let mut account = Account::default();
        account.create("a", SHARDS_MAX - 1, 0).unwrap();
        assert_eq!(account.create("b", 2, 0).unwrap_err().kind, ErrorType::LimitExceeded);
        account.create("b", 1, 0).unwrap();
    }

    #[test]
    fn what_is_stored_is_bounded_and_a_deleted_stream_makes_room() {
        let mut account = Account { stored_bytes_max: 10, ..Account::default() };
        account.create("s", 1, 0).unwrap();
        account.reserve(10).unwrap();
        account.stream_mut(&by_name("s")).unwrap().route(HashKey(0)).unwrap().append("key", Bytes::from("1234567"), 0);
        assert_eq!(account.reserve(1).unwrap_err().kind, ErrorType::InternalFailure);
        account.delete(&by_name("s")).unwrap();
        account.reserve(10).unwrap();
    }
}
