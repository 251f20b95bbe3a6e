//! `ListShards`.

use serde::{Deserialize, Serialize};

use super::super::account::{Account, StreamRef};
use super::super::error::{ErrorType, ServiceError};
use super::super::shard::{Shard, shard_index};
use super::shard_view::ShardView;
use super::{bounded, milliseconds, read, write};

const RESULTS_DEFAULT: usize = 1_000;
const RESULTS_MAX: usize = 10_000;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    #[serde(flatten)]
    stream: StreamRef,
    next_token: Option<String>,
    exclusive_start_shard_id: Option<String>,
    max_results: Option<u32>,
    shard_filter: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Filter {
    #[serde(rename = "Type")]
    kind: FilterType,
    shard_id: Option<String>,
    timestamp: Option<f64>,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum FilterType {
    AfterShardId,
    AtTrimHorizon,
    FromTrimHorizon,
    AtLatest,
    AtTimestamp,
    FromTimestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListAnswer<'a> {
    shards: Vec<ShardView<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

impl Filter {
    fn lets_through(&self, shard: &Shard) -> Result<bool, ServiceError> {
        let lives_at = |at: u64| shard.closed.is_none_or(|closed| closed.at_ms >= at);
        Ok(match self.kind {
            FilterType::AfterShardId => shard.index > self.after()?,
            // Nothing is ever trimmed, so the horizon is the stream's creation: shards without parents were open then.
            FilterType::AtTrimHorizon => shard.parent.is_none(),
            FilterType::FromTrimHorizon => true,
            FilterType::AtLatest => shard.closed.is_none(),
            FilterType::AtTimestamp => {
                let at = self.at_ms()?;
                shard.created_ms <= at && lives_at(at)
            }
            FilterType::FromTimestamp => lives_at(self.at_ms()?),
        })
    }

    fn after(&self) -> Result<u32, ServiceError> {
        let index = self.shard_id.as_deref().and_then(shard_index);
        index.ok_or_else(|| ServiceError::new(ErrorType::InvalidArgument, "AFTER_SHARD_ID needs a ShardId."))
    }

    fn at_ms(&self) -> Result<u64, ServiceError> {
        let at_ms = self.timestamp.map(milliseconds);
        at_ms.ok_or_else(|| ServiceError::new(ErrorType::InvalidArgument, "This filter needs a Timestamp."))
    }
}

/// A token is the stream's name and the index to go on from; it never expires here.
fn resume(token: &str) -> Result<(&str, u32), ServiceError> {
    let parts = token.rsplit_once('/').and_then(|(name, index)| Some((name, index.parse().ok()?)));
    parts.ok_or_else(|| ServiceError::new(ErrorType::InvalidArgument, "NextToken is invalid."))
}

/// As in the service, a token already says which stream; a filter goes only with the first page.
pub(crate) fn list(body: &[u8], account: &Account) -> Result<Vec<u8>, ServiceError> {
    let request: List = read(body)?;
    let limit = bounded(request.max_results, RESULTS_DEFAULT, RESULTS_MAX, "maxResults")?;
    let (stream, from) = match (&request.next_token, request.stream.name()) {
        (Some(token), None) => {
            let (name, from) = resume(token)?;
            (account.stream_named(name)?, from)
        }
        (None, Some(name)) => {
            let after = request.exclusive_start_shard_id.as_deref().and_then(shard_index);
            (account.stream_named(name)?, after.map_or(0, |index| index.saturating_add(1)))
        }
        (Some(_), Some(_)) => {
            let message = "NextToken and StreamName cannot be provided together.";
            return Err(ServiceError::new(ErrorType::InvalidArgument, message));
        }
        (None, None) => {
            let message = "Either NextToken or StreamName should be provided.";
            return Err(ServiceError::new(ErrorType::InvalidArgument, message));
        }
    };
    let mut listed = Vec::new();
    let mut next_token = None;
    for shard in stream.shards.iter().skip(from as usize) {
        if !request.shard_filter.as_ref().map_or(Ok(true), |filter| filter.lets_through(shard))? {
            continue;
        }
        if listed.len() == limit {
            next_token = Some(format!("{}/{}", stream.name, shard.index));
            break;
        }
        listed.push(ShardView::from(shard));
    }
    write(&ListAnswer { shards: listed, next_token })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::{Value, json};

    use super::super::super::hash_key::HashKey;
    use super::*;

    /// Shards 0 and 1 from the beginning, shard 0 split into 2 and 3 at 5,000 ms.
    fn account() -> Account {
        let mut account = Account::default();
        account.create("s", 2, 1_000).unwrap();
        let stream = StreamRef { stream_name: Some("s".to_owned()), stream_arn: None };
        account.stream_mut(&stream).unwrap().split("0", HashKey(1 << 126), 5_000).unwrap();
        account
    }

    fn listed(request: &Value) -> (Vec<u32>, Option<String>) {
        let answer: Value = serde_json::from_slice(&list(request.to_string().as_bytes(), &account()).unwrap()).unwrap();
        let ids = answer["Shards"].as_array().unwrap().iter();
        let indexes = ids.map(|shard| shard_index(shard["ShardId"].as_str().unwrap()).unwrap()).collect();
        (indexes, answer["NextToken"].as_str().map(str::to_owned))
    }

    fn filtered(filter: &Value) -> Vec<u32> {
        listed(&json!({"StreamName": "s", "ShardFilter": filter})).0
    }

    #[test]
    fn all_shards_are_listed_open_and_closed() {
        assert_eq!(listed(&json!({"StreamName": "s"})), (vec![0, 1, 2, 3], None));
    }

    #[test]
    fn pages_follow_one_another_by_token() {
        let (first, token) = listed(&json!({"StreamName": "s", "MaxResults": 3}));
        assert_eq!(first, [0, 1, 2]);
        assert_eq!(listed(&json!({"NextToken": token.unwrap(), "MaxResults": 3})), (vec![3], None));
    }

    #[test]
    fn a_start_is_left_out_itself() {
        assert_eq!(listed(&json!({"StreamName": "s", "ExclusiveStartShardId": "shardId-000000000001"})).0, [2, 3]);
    }

    #[test]
    fn a_filter_lets_through_what_it_names() {
        assert_eq!(filtered(&json!({"Type": "AT_LATEST"})), [1, 2, 3]);
        assert_eq!(filtered(&json!({"Type": "AT_TRIM_HORIZON"})), [0, 1]);
        assert_eq!(filtered(&json!({"Type": "FROM_TRIM_HORIZON"})), [0, 1, 2, 3]);
        assert_eq!(filtered(&json!({"Type": "AFTER_SHARD_ID", "ShardId": "shardId-000000000002"})), [3]);
        assert_eq!(filtered(&json!({"Type": "AT_TIMESTAMP", "Timestamp": 4.0})), [0, 1]);
        assert_eq!(filtered(&json!({"Type": "FROM_TIMESTAMP", "Timestamp": 6.0})), [1, 2, 3]);
    }

    #[test]
    fn a_stream_is_named_once_by_name_or_token() {
        for body in [&br#"{}"#[..], br#"{"StreamName":"s","NextToken":"s/1"}"#, br#"{"NextToken":"x"}"#] {
            assert_eq!(list(body, &account()).unwrap_err().kind, ErrorType::InvalidArgument);
        }
    }
}
