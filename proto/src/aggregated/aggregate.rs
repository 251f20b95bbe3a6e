//! Making an aggregate.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use super::{MAGIC, OVERHEAD_BYTES, UserRecord, digest};
use crate::varint::{self, LENGTH_DELIMITED, NUMBER};

/// Records on their way into one record of the stream.
///
/// Keys that were named before take no room again. It has no bound of its own: [`push_within`](Self::push_within) keeps one.
/// After [`finish`](Self::finish) it is empty and keeps its buffers for the next.
#[derive(Debug, Default)]
pub struct Aggregate {
    partition_keys: Keys,
    hash_keys: HashKeys,
    records: Vec<u8>,
    count: usize,
}

impl Aggregate {
    /// How many records it holds.
    pub fn records(&self) -> usize {
        self.count
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// How long [`finish`](Self::finish) would be now, exactly.
    pub fn len(&self) -> usize {
        OVERHEAD_BYTES + self.partition_keys.encoded.len() + self.hash_keys.encoded.len() + self.records.len()
    }

    /// Appends a record.
    pub fn push(&mut self, record: UserRecord<'_>) {
        let _always = self.push_within(record, usize::MAX);
    }

    /// Appends a record if the aggregate is then at most `len_max` bytes long; whether it did. Otherwise it is as before.
    #[must_use]
    pub fn push_within(&mut self, record: UserRecord<'_>, len_max: usize) -> bool {
        let key = self.partition_keys.find(record.partition_key);
        let hash_key = record.hash_key.map(|number| self.hash_keys.find(number));
        let body = 1
            + varint::len(key.index)
            + hash_key.as_ref().map_or(0, |hash_key| 1 + varint::len(hash_key.index))
            + delimited_len(record.data.len());
        let grows = key.grows + hash_key.as_ref().map_or(0, |hash_key| hash_key.grows) + delimited_len(body);
        if self.len().saturating_add(grows) > len_max {
            return false;
        }
        self.partition_keys.keep(&key, record.partition_key);
        if let (Some(place), Some(number)) = (&hash_key, record.hash_key) {
            self.hash_keys.keep(place, number);
        }
        put_key(&mut self.records, 3, LENGTH_DELIMITED);
        varint::put(&mut self.records, body as u64);
        put_key(&mut self.records, 1, NUMBER);
        // Index 0 too: the field is required.
        varint::put(&mut self.records, key.index);
        if let Some(hash_key) = hash_key {
            put_key(&mut self.records, 2, NUMBER);
            varint::put(&mut self.records, hash_key.index);
        }
        put_delimited(&mut self.records, 3, record.data);
        self.count += 1;
        true
    }

    /// What goes into the stream: magic, message, digest. Empty afterwards.
    pub fn finish(&mut self) -> Vec<u8> {
        let mut blob = Vec::with_capacity(self.len());
        blob.extend_from_slice(&MAGIC);
        blob.extend_from_slice(&self.partition_keys.encoded);
        blob.extend_from_slice(&self.hash_keys.encoded);
        blob.extend_from_slice(&self.records);
        let digest = digest(blob.get(MAGIC.len()..).unwrap_or_default());
        blob.extend_from_slice(&digest);
        self.clear();
        blob
    }

    /// Forgets all records.
    pub fn clear(&mut self) {
        self.partition_keys.clear();
        self.hash_keys.clear();
        self.records.clear();
        self.count = 0;
    }
}

/// Where a key stands, or would stand, in its table.
#[derive(Debug)]
struct Place {
    index: u64,
    /// By how much the table grows when the key is kept: nothing when it stands there already.
    grows: usize,
    hash: u64,
}

/// The table of partition keys.
#[derive(Debug, Default)]
struct Keys {
    encoded: Vec<u8>,
    count: u64,
    /// By the key's hash: its index, and where its text is in `encoded`. Two keys of one hash - that nobody can bring
    /// about - only cost room: the second is not found again.
    known: HashMap<u64, (u64, std::ops::Range<usize>)>,
    hasher: RandomState,
}

impl Keys {
    fn find(&self, key: &str) -> Place {
        let hash = self.hasher.hash_one(key);
        match self.known.get(&hash) {
            Some((index, text)) if self.encoded.get(text.clone()) == Some(key.as_bytes()) => {
                Place { index: *index, grows: 0, hash }
            }
            _ => Place { index: self.count, grows: delimited_len(key.len()), hash },
        }
    }

    fn keep(&mut self, place: &Place, key: &str) {
        if place.grows == 0 {
            return;
        }
        put_delimited(&mut self.encoded, 1, key.as_bytes());
        let end = self.encoded.len();
        self.known.insert(place.hash, (place.index, end - key.len()..end));
        self.count += 1;
    }

    fn clear(&mut self) {
        self.encoded.clear();
        self.known.clear();
        self.count = 0;
    }
}

/// The table of explicit hash keys.
#[derive(Debug, Default)]
struct HashKeys {
    encoded: Vec<u8>,
    known: HashMap<u128, u64>,
}

impl HashKeys {
    fn find(&self, number: u128) -> Place {
        match self.known.get(&number) {
            Some(index) => Place { index: *index, grows: 0, hash: 0 },
            None => {
                let digits = number.checked_ilog10().unwrap_or(0) as usize + 1;
                Place { index: self.known.len() as u64, grows: delimited_len(digits), hash: 0 }
            }
        }
    }

    fn keep(&mut self, place: &Place, number: u128) {
        if place.grows > 0 {
            put_delimited(&mut self.encoded, 2, number.to_string().as_bytes());
            self.known.insert(number, place.index);
        }
    }

    fn clear(&mut self) {
        self.encoded.clear();
        self.known.clear();
    }
}

fn put_key(out: &mut Vec<u8>, field: u64, wire_type: u64) {
    varint::put(out, field << 3 | wire_type);
}

fn put_delimited(out: &mut Vec<u8>, field: u64, bytes: &[u8]) {
    put_key(out, field, LENGTH_DELIMITED);
    varint::put(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// How many bytes [`put_delimited`] writes.
fn delimited_len(bytes: usize) -> usize {
    1 + varint::len(bytes as u64) + bytes
}
