//! The shards of the stream.

use std::fmt;

/// The id of a shard, which the service writes as `shardId-` and a number of twelve digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(pub u64);

impl ShardId {
    /// Reads one; `None` for what is not an id.
    pub fn parse(text: &str) -> Option<Self> {
        let number = text.strip_prefix("shardId-")?.parse().ok()?;
        let id = Self(number);
        // Parsing is lenient (signs, missing zeros); an id is written back the same.
        (id.to_string() == text).then_some(id)
    }
}

/// A shard that takes records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shard {
    /// Which.
    pub id: ShardId,
    /// Where its hash keys begin; they end where those of the next one do.
    pub first_hash_key: u128,
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shardId-{:012}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written_and_nothing_else_is() {
        assert_eq!(ShardId::parse("shardId-000000000042"), Some(ShardId(42)));
        for text in ["", "shardId-", "shardId-42", "shardId-+00000000042", "42", "shardId-00000000004x"] {
            assert_eq!(ShardId::parse(text), None, "{text}");
        }
    }
}
