//! How often each partition key was stored, without the records.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Different keys that are told apart: 512 MiB of table at most. Keys beyond are counted together.
const KEYS_MAX: usize = 16 << 20;

/// Counts by the first 64 bits of a key's MD5. Two of 16 million keys share them once in 130,000 runs.
#[derive(Debug, Default)]
pub(crate) struct KeyCounts {
    counts: HashMap<u64, u32, BuildHasherDefault<AsItIs>>,
    beyond: u64,
}

/// The keys are hashes already.
#[derive(Debug, Default)]
struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _bytes: &[u8]) {
        debug_assert!(false, "a u64 is written as one");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl KeyCounts {
    /// One more record with this key.
    pub(crate) fn add(&mut self, hash: u64) {
        if self.counts.len() < KEYS_MAX {
            let count = self.counts.entry(hash).or_default();
            *count = count.saturating_add(1);
        } else if let Some(count) = self.counts.get_mut(&hash) {
            *count = count.saturating_add(1);
        } else {
            self.beyond += 1;
        }
    }

    /// How many different keys there are, without those beyond the bound.
    pub(crate) fn distinct(&self) -> u64 {
        self.counts.len() as u64
    }

    /// Records whose key had been stored before.
    pub(crate) fn repeated(&self) -> u64 {
        self.counts.values().map(|count| u64::from(count - 1)).sum()
    }

    /// Records with a key that came after the bound.
    pub(crate) fn beyond(&self) -> u64 {
        self.beyond
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_comes_again_is_repeated() {
        let mut counts = KeyCounts::default();
        for key in [1, 2, 1, 3, 1] {
            counts.add(key);
        }
        assert_eq!((counts.distinct(), counts.repeated(), counts.beyond()), (3, 2, 0));
    }
}
