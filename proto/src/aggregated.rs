//! Many records in one record of the stream: the format of the Kinesis Producer Library.
//!
//! A record of the stream costs by the 25 KB it begins, an aggregate of a hundred events as much as one of them. The Kinesis
//! Client Library takes aggregates apart by itself; `aggregated_record.proto` says what they hold. Here are
//!
//! * [`Aggregate`], which makes one and knows at each moment how long it would be;
//! * [`deaggregate`], which takes one apart, whatever the bytes are;
//! * [`AggregatedRecord`], the message as it is generated, for who wants it whole.
//!
//! ```
//! use adtrack_proto::aggregated::{Aggregate, Deaggregated, UserRecord, deaggregate};
//!
//! let mut aggregate = Aggregate::default();
//! aggregate.push(UserRecord { partition_key: "a", hash_key: None, data: b"first" });
//! aggregate.push(UserRecord { partition_key: "b", hash_key: None, data: b"second" });
//! let blob = aggregate.finish();
//!
//! let Deaggregated::Aggregate(records) = deaggregate(&blob) else { panic!("not what was written") };
//! let data: Vec<&[u8]> = records.map(|record| record.data).collect();
//! assert_eq!(data, [&b"first"[..], b"second"]);
//! ```

use md5::{Digest, Md5};

mod aggregate;
mod deaggregate;
#[rustfmt::skip]
mod generated;

pub use aggregate::Aggregate;
pub use deaggregate::{Corrupt, Deaggregated, UserRecords, deaggregate};
pub use generated::{AggregatedRecord, Record, Tag};

/// What an aggregate begins with. No protobuf message of ours does.
pub const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// What an aggregate has beside its message: [`MAGIC`] before, the MD5 of the message behind it.
pub const OVERHEAD_BYTES: usize = MAGIC.len() + DIGEST_BYTES;

const DIGEST_BYTES: usize = 16;

/// One record of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UserRecord<'a> {
    /// Its partition key.
    pub partition_key: &'a str,
    /// Its explicit hash key.
    pub hash_key: Option<u128>,
    /// What it holds.
    pub data: &'a [u8],
}

impl UserRecord<'_> {
    /// Where the record belongs: the shard whose range holds this number.
    ///
    /// The Kinesis Client Library asks for it, and throws a whole aggregate away when it is outside the shard it was read
    /// from for one of its records.
    pub fn hash(&self) -> u128 {
        self.hash_key.unwrap_or_else(|| hash_of(self.partition_key))
    }
}

/// Where a record of this partition key belongs when it has no explicit hash key: the MD5 of the key as a big-endian number.
///
/// ```
/// // printf a | md5sum
/// assert_eq!(adtrack_proto::aggregated::hash_of("a"), 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
/// ```
pub fn hash_of(partition_key: &str) -> u128 {
    u128::from_be_bytes(digest(partition_key.as_bytes()))
}

fn digest(bytes: &[u8]) -> [u8; DIGEST_BYTES] {
    Md5::digest(bytes).into()
}
