//! What stands in one place of a call: one record, or several in one.

use adtrack_proto::aggregated::hash_of;
use bytes::Bytes;

use super::record::Record;
use super::shard::ShardId;

/// An entry: what is sent, under which key, and the records that are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    partition_key: Bytes,
    explicit_hash_key: Option<u128>,
    data: Bytes,
    records: Vec<Record>,
    // Where it will go, as far as the shards are known.
    shard: Option<ShardId>,
}

impl Entry {
    /// A record alone, sent as it is.
    pub fn single(record: Record) -> Self {
        Self {
            partition_key: record.key_bytes().clone(),
            explicit_hash_key: None,
            data: record.payload().clone(),
            records: vec![record],
            shard: None,
        }
    }

    /// A record alone, sent as it is, to the shard that has `explicit_hash_key`.
    pub fn single_at(record: Record, explicit_hash_key: u128) -> Self {
        Self { explicit_hash_key: Some(explicit_hash_key), ..Self::single(record) }
    }

    /// Records together, as `data`, sent to the shard that has `explicit_hash_key`.
    pub fn aggregate(partition_key: &str, explicit_hash_key: u128, data: Bytes, records: Vec<Record>) -> Self {
        let partition_key = Bytes::copy_from_slice(partition_key.as_bytes());
        Self { partition_key, explicit_hash_key: Some(explicit_hash_key), data, records, shard: None }
    }

    /// What decides on the shard, unless there is an explicit hash key.
    pub fn partition_key(&self) -> &str {
        // It was text when it was made; this only asks again.
        std::str::from_utf8(&self.partition_key).unwrap_or("-")
    }

    /// What decides on the shard in place of the partition key.
    pub fn explicit_hash_key(&self) -> Option<u128> {
        self.explicit_hash_key
    }

    /// What is sent.
    pub fn data(&self) -> &Bytes {
        &self.data
    }

    /// What is in it, in order.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// How many records are in it.
    pub fn events(&self) -> usize {
        self.records.len()
    }

    /// Its records, each as an entry of its own that goes to the same shard, in order.
    pub fn apart(self) -> impl Iterator<Item = Self> {
        let explicit_hash_key = self.explicit_hash_key;
        self.records.into_iter().map(move |record| Self { explicit_hash_key, ..Self::single(record) })
    }

    /// Its records, in order.
    pub fn into_records(self) -> Vec<Record> {
        self.records
    }

    /// What decides on the shard, made into the number of a lane: the same for entries of one partition key.
    pub fn lane(&self) -> u16 {
        let hash = match self.explicit_hash_key {
            Some(key) => crc32c::crc32c(&key.to_le_bytes()),
            None => crc32c::crc32c(&self.partition_key),
        };
        (hash & 0xffff) as u16
    }

    /// The hash key that decides on the shard.
    pub fn hash_key(&self) -> u128 {
        self.explicit_hash_key.unwrap_or_else(|| hash_of(self.partition_key()))
    }

    /// The shard it will go to, if the shards are as they were known to be when it was put into the queue.
    pub fn shard(&self) -> Option<ShardId> {
        self.shard
    }

    /// The shards are known to be others.
    pub fn set_shard(&mut self, shard: Option<ShardId>) {
        self.shard = shard;
    }

    /// Whether it was read back from the log: it has waited before, and may wait for what comes now.
    pub fn is_backlog(&self) -> bool {
        self.records.first().is_some_and(Record::is_backlog)
    }

    /// What it counts against the limits of the service: data and key, in bytes.
    pub fn bytes(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }

    /// What it holds in memory: the frames of its records, and what is sent if that is something else, in bytes.
    pub fn held_bytes(&self) -> usize {
        self.records.iter().map(Record::frame_bytes).sum::<usize>() + self.copied_bytes()
    }

    /// What is sent, in bytes, if that is not just a record's payload.
    pub fn copied_bytes(&self) -> usize {
        if self.records.len() > 1 { self.data.len() } else { 0 }
    }

    /// What the stream's provider charges for: so many times the 25 KB that it begins.
    pub fn payload_units(&self) -> usize {
        self.bytes().div_ceil(PAYLOAD_UNIT_BYTES)
    }
}

/// One PUT payload unit.
const PAYLOAD_UNIT_BYTES: usize = 25 * 1024;

/// How many events are in these.
pub fn events(entries: &[Entry]) -> usize {
    entries.iter().map(Entry::events).sum()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::kinesis::record::tests::record;

    pub(crate) fn entry(message_id: &str) -> Entry {
        Entry::single(record(message_id))
    }

    pub(crate) fn entries(ids: &[&str]) -> Vec<Entry> {
        ids.iter().map(|id| entry(id)).collect()
    }

    /// Several records in one entry; what is sent is no matter.
    pub(crate) fn several(ids: &[&str]) -> Entry {
        Entry::aggregate("several", 7, Bytes::from_static(b"data"), ids.iter().map(|id| record(id)).collect())
    }

    #[test]
    fn a_record_alone_is_sent_as_it_is_under_its_own_key() {
        let entry = entry("a");
        assert_eq!((entry.partition_key(), entry.explicit_hash_key()), ("a", None));
        assert_eq!((&entry.data()[..], entry.bytes()), (&record("a").payload()[..], record("a").bytes()));
        assert_eq!(entry.into_records(), [record("a")]);
    }

    #[test]
    fn an_entry_of_several_records_counts_as_what_is_sent_and_comes_apart_into_its_records() {
        let entry = several(&["a", "b", "c"]);
        assert_eq!((entry.bytes(), entry.events(), entry.explicit_hash_key()), (4 + 7, 3, Some(7)));
        let apart = ["a", "b", "c"].map(|id| Entry::single_at(record(id), 7));
        assert_eq!(entry.apart().collect::<Vec<_>>(), apart);
    }

    #[test]
    fn an_entry_is_paid_for_by_each_25_kb_that_it_begins_its_key_included() {
        let of = |bytes: usize| Entry::aggregate("a", 0, Bytes::from(vec![0; bytes - 1]), vec![record("a")]);
        assert_eq!([1, 25_600, 25_601, 51_200].map(|bytes| of(bytes).payload_units()), [1, 1, 2, 2]);
    }
}
