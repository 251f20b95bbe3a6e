//! Which shard an entry will go to. Pure.

use super::shard::{Shard, ShardId};

/// The open shards of the stream, by where their hash keys begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardMap(Vec<Shard>);

impl ShardMap {
    /// The map of these; none of no shard.
    pub fn new(mut shards: Vec<Shard>) -> Option<Self> {
        shards.sort_by_key(|shard| (shard.first_hash_key, shard.id));
        (!shards.is_empty()).then_some(Self(shards))
    }

    /// The shard that has a hash key; the first one what comes before it.
    pub fn of(&self, hash_key: u128) -> Option<ShardId> {
        let behind = self.0.partition_point(|shard| shard.first_hash_key <= hash_key);
        self.0.get(behind.saturating_sub(1)).map(|shard| shard.id)
    }

    /// All of them, in the order of their hash keys.
    pub fn shards(&self) -> &[Shard] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_key_belongs_to_the_shard_that_begins_at_or_before_it() {
        let shard = |id, first_hash_key| Shard { id: ShardId(id), first_hash_key };
        let map = ShardMap::new(vec![shard(7, 100), shard(3, 0), shard(5, u128::MAX)]);
        let of = |hash_key| map.as_ref().and_then(|map| map.of(hash_key)).map(|id| id.0);
        let found = [0, 99, 100, u128::MAX - 1, u128::MAX].map(of);
        assert_eq!(found, [Some(3), Some(3), Some(7), Some(7), Some(5)]);
        assert_eq!(ShardMap::new(Vec::new()), None);
    }
}
