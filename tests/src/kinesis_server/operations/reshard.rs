//! `SplitShard`, `MergeShards`, `UpdateShardCount`. All take effect at once.

use serde::{Deserialize, Serialize};

use super::super::account::{Account, StreamRef};
use super::super::error::{ErrorType, ServiceError};
use super::super::hash_key::{HashKey, HashKeyError};
use super::{read, write};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Split {
    #[serde(flatten)]
    stream: StreamRef,
    shard_to_split: String,
    new_starting_hash_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Merge {
    #[serde(flatten)]
    stream: StreamRef,
    shard_to_merge: String,
    adjacent_shard_to_merge: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateCount {
    #[serde(flatten)]
    stream: StreamRef,
    target_shard_count: u32,
    scaling_type: ScalingType,
}

#[derive(Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum ScalingType {
    UniformScaling,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct UpdateCountAnswer<'a> {
    stream_name: &'a str,
    #[serde(rename = "StreamARN")]
    stream_arn: &'a str,
    current_shard_count: u32,
    target_shard_count: u32,
}

pub(crate) fn split(body: &[u8], account: &mut Account, now_ms: u64) -> Result<Vec<u8>, ServiceError> {
    let request: Split = read(body)?;
    let key = HashKey::parse(&request.new_starting_hash_key).map_err(|error| {
        let constraint = "Member must satisfy regular expression pattern: 0|([1-9]\\d{0,38})";
        match error {
            HashKeyError::Malformed => {
                ServiceError::invalid(&request.new_starting_hash_key, "newStartingHashKey", constraint)
            }
            HashKeyError::OutOfRange => {
                let message = format!("NewStartingHashKey {} is {error}.", request.new_starting_hash_key);
                ServiceError::new(ErrorType::InvalidArgument, message)
            }
        }
    })?;
    account.stream(&request.stream)?;
    account.check_shards(1)?;
    account.stream_mut(&request.stream)?.split(&request.shard_to_split, key, now_ms)?;
    Ok(Vec::new())
}

pub(crate) fn merge(body: &[u8], account: &mut Account, now_ms: u64) -> Result<Vec<u8>, ServiceError> {
    let request: Merge = read(body)?;
    let stream = account.stream_mut(&request.stream)?;
    stream.merge(&request.shard_to_merge, &request.adjacent_shard_to_merge, now_ms)?;
    Ok(Vec::new())
}

/// As in the service, one call at most doubles or halves the open shards.
pub(crate) fn update_count(body: &[u8], account: &mut Account, now_ms: u64) -> Result<Vec<u8>, ServiceError> {
    let request: UpdateCount = read(body)?;
    let ScalingType::UniformScaling = request.scaling_type;
    let (current, target) = (account.stream(&request.stream)?.open_count(), request.target_shard_count);
    if target == 0 || target > current * 2 || target * 2 < current {
        let message = format!(
            "UpdateShardCount cannot scale from {current} to {target} shards: at most double and at least half of the current count"
        );
        return Err(ServiceError::new(ErrorType::InvalidArgument, message));
    }
    account.check_shards(target.saturating_sub(current))?;
    let stream = account.stream_mut(&request.stream)?;
    stream.scale_to(target, now_ms)?;
    write(&UpdateCountAnswer {
        stream_name: &stream.name,
        stream_arn: &stream.arn,
        current_shard_count: current,
        target_shard_count: target,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::{Value, json};

    use super::*;

    fn account(shards: u32) -> Account {
        let mut account = Account::default();
        account.create("s", shards, 1_000).unwrap();
        account
    }

    fn open(account: &Account) -> u32 {
        account.stream_named("s").unwrap().open_count()
    }

    #[test]
    fn a_split_and_a_merge_undo_one_another() {
        let mut account = account(1);
        let body = json!({"StreamName": "s", "ShardToSplit": "shardId-000000000000", "NewStartingHashKey": "1000"});
        split(body.to_string().as_bytes(), &mut account, 2_000).unwrap();
        assert_eq!(open(&account), 2);
        let body = json!({"StreamName": "s", "ShardToMerge": "shardId-000000000001", "AdjacentShardToMerge": "shardId-000000000002"});
        merge(body.to_string().as_bytes(), &mut account, 3_000).unwrap();
        assert_eq!(open(&account), 1);
    }

    #[test]
    fn a_hash_key_that_is_no_number_breaks_a_constraint_and_one_too_large_is_no_argument() {
        let mut account = account(1);
        let mut refusal = |key: &str| {
            let body = json!({"StreamName": "s", "ShardToSplit": "0", "NewStartingHashKey": key});
            split(body.to_string().as_bytes(), &mut account, 2_000).unwrap_err().kind
        };
        assert_eq!(refusal("x"), ErrorType::Validation);
        assert_eq!(refusal("340282366920938463463374607431768211456"), ErrorType::InvalidArgument);
    }

    #[test]
    fn a_count_is_at_most_doubled_and_at_least_halved() {
        let mut account = account(3);
        let mut scale = |target: u32| {
            let body = json!({"StreamName": "s", "TargetShardCount": target, "ScalingType": "UNIFORM_SCALING"});
            update_count(body.to_string().as_bytes(), &mut account, 2_000)
        };
        for refused in [0, 1, 7] {
            assert_eq!(scale(refused).unwrap_err().kind, ErrorType::InvalidArgument, "{refused}");
        }
        let answer: Value = serde_json::from_slice(&scale(6).unwrap()).unwrap();
        assert_eq!((&answer["CurrentShardCount"], &answer["TargetShardCount"]), (&json!(3), &json!(6)));
        assert_eq!(open(&account), 6);
    }
}
