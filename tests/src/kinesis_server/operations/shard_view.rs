//! A shard as the protocol shows it.

use serde::Serialize;

use super::super::shard::{Shard, shard_id};

/// `Shard`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ShardView<'a> {
    shard_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    parent_shard_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    adjacent_parent_shard_id: Option<String>,
    hash_key_range: HashKeyRange,
    sequence_number_range: SequenceNumberRange,
}

/// `HashKeyRange`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct HashKeyRange {
    starting_hash_key: String,
    ending_hash_key: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct SequenceNumberRange {
    starting_sequence_number: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ending_sequence_number: Option<String>,
}

/// `ChildShard`
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ChildShardView<'a> {
    shard_id: &'a str,
    parent_shards: Vec<String>,
    hash_key_range: HashKeyRange,
}

impl HashKeyRange {
    fn of(shard: &Shard) -> Self {
        Self { starting_hash_key: shard.range.0.to_string(), ending_hash_key: shard.range.1.to_string() }
    }
}

impl<'a> From<&'a Shard> for ShardView<'a> {
    fn from(shard: &'a Shard) -> Self {
        Self {
            shard_id: &shard.id,
            parent_shard_id: shard.parent.map(shard_id),
            adjacent_parent_shard_id: shard.adjacent_parent.map(shard_id),
            hash_key_range: HashKeyRange::of(shard),
            sequence_number_range: SequenceNumberRange {
                starting_sequence_number: shard.starting().to_string(),
                ending_sequence_number: shard.closed.map(|closed| closed.ending.to_string()),
            },
        }
    }
}

impl<'a> From<&'a Shard> for ChildShardView<'a> {
    fn from(shard: &'a Shard) -> Self {
        let parents = [shard.parent, shard.adjacent_parent].into_iter().flatten();
        Self {
            shard_id: &shard.id,
            parent_shards: parents.map(shard_id).collect(),
            hash_key_range: HashKeyRange::of(shard),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::super::super::hash_key::HashKey;
    use super::*;

    #[test]
    fn an_open_shard_without_parents_shows_neither_an_end_nor_parents() {
        let shard = Shard::new(0, (HashKey(0), HashKey(9)), 1_900_000_000_000);
        let json = serde_json::to_value(ShardView::from(&shard)).unwrap();
        let shown: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(shown, ["HashKeyRange", "SequenceNumberRange", "ShardId"]);
        assert_eq!(json["HashKeyRange"]["EndingHashKey"], "9");
        assert!(json["SequenceNumberRange"].get("EndingSequenceNumber").is_none());
    }

    #[test]
    fn a_merged_child_names_both_parents() {
        let mut shard = Shard::new(2, (HashKey(0), HashKey(9)), 1_900_000_000_000);
        (shard.parent, shard.adjacent_parent) = (Some(0), Some(1));
        let json = serde_json::to_value(ChildShardView::from(&shard)).unwrap();
        assert_eq!(json["ParentShards"], serde_json::json!(["shardId-000000000000", "shardId-000000000001"]));
    }
}
