//! Why one record of a call is not stored.

use super::shard::shard_index;

/// Why one record of a `PutRecords` call is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordFault {
    /// The shard takes no more in this second.
    Throughput,
    /// The service failed.
    Internal,
    /// One or the other, drawn by the seed.
    Either,
}

/// A code of the service and what it says beside it.
pub(crate) type Failure = (&'static str, &'static str);

/// What a record hears whose shard takes no more.
pub(crate) const THROUGHPUT: Failure = ("ProvisionedThroughputExceededException", "Rate exceeded for shard.");
const INTERNAL: Failure = ("InternalFailure", "Internal service failure.");

/// A share of the records fails, of all shards or of one.
#[derive(Debug, Clone)]
pub(crate) struct RecordRule {
    pub(crate) share: f64,
    pub(crate) kind: RecordFault,
    /// The index of the only shard it concerns.
    pub(crate) shard: Option<u32>,
}

impl RecordRule {
    /// A rule for the shard with this id; an id that is none concerns no shard.
    pub(crate) fn of_shard(id: &str, share: f64, kind: RecordFault) -> Self {
        Self { share, kind, shard: Some(shard_index(id).unwrap_or(u32::MAX)) }
    }

    /// Whether the next record, which belongs to this shard, fails.
    pub(crate) fn strikes(&self, shard: u32, random: &mut fastrand::Rng) -> Option<Failure> {
        if self.shard.is_some_and(|only| only != shard) || random.f64() >= self.share {
            return None;
        }
        let throughput = match self.kind {
            RecordFault::Throughput => true,
            RecordFault::Internal => false,
            RecordFault::Either => random.bool(),
        };
        Some(if throughput { THROUGHPUT } else { INTERNAL })
    }
}
