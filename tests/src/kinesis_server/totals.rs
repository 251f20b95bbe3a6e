//! What has been stored, in numbers.

use serde::Serialize;

/// What a stream has taken since it was made.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// `PutRecords` calls that arrived at the server, refused ones included.
    pub calls: u64,
    /// Records stored.
    pub records: u64,
    /// Their bytes, partition keys included.
    pub bytes: u64,
    /// Of all streams: records that were stored by calls which a fault kept from being answered as they should be.
    pub doubtful: u64,
    /// Of all streams: the most records that one call has stored.
    pub largest_call: u64,
    /// Different partition keys, when records are counted and not kept; 16 million are told apart.
    pub distinct_keys: u64,
    /// Records whose partition key had been stored before.
    pub repeated_keys: u64,
    /// Records with a key behind the first 16 million, of which neither is known.
    pub uncounted_keys: u64,
    /// The shards, closed ones too, in the order they were made.
    pub shards: Vec<ShardTotals>,
}

/// What one shard has taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ShardTotals {
    /// Its id.
    pub shard_id: String,
    /// Records stored.
    pub records: u64,
    /// Their bytes, partition keys included.
    pub bytes: u64,
    /// Records turned away because of its limits.
    pub throttled: u64,
}
