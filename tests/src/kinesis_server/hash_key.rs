//! Where a record goes: the 128-bit number that a shard's range must hold.

use std::fmt;

use md5::{Digest, Md5};

/// A point on the stream's circle of 2^128 hash keys; written in decimal on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct HashKey(pub(crate) u128);

/// Why a text is not a hash key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HashKeyError {
    /// Not a decimal number without leading zeros, or longer than 39 digits.
    #[error("not a decimal number of at most 39 digits")]
    Malformed,
    /// A decimal number of 2^128 or more.
    #[error("not in the range [0, 2^128-1]")]
    OutOfRange,
}

impl HashKey {
    /// The hash key of a record that names none: MD5 of its partition key, read as a big-endian number.
    pub(crate) fn of_partition_key(partition_key: &str) -> Self {
        Self(u128::from_be_bytes(Md5::digest(partition_key.as_bytes()).into()))
    }

    /// Its first 64 bits: as good as random for a key that is an MD5.
    pub(crate) fn high(self) -> u64 {
        (self.0 >> 64) as u64
    }

    /// Reads the decimal form.
    pub(crate) fn parse(text: &str) -> Result<Self, HashKeyError> {
        let digits = !text.is_empty() && text.len() <= 39 && text.bytes().all(|b| b.is_ascii_digit());
        if !digits || (text.len() > 1 && text.starts_with('0')) {
            return Err(HashKeyError::Malformed);
        }
        text.parse().map(Self).map_err(|_too_large| HashKeyError::OutOfRange)
    }
}

impl fmt::Display for HashKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where each of `count` even ranges of the circle begins; the first begins at 0.
///
/// `count` must not be 0.
pub(crate) fn even_starts(count: u32) -> impl Iterator<Item = u128> {
    // 2^128 does not fit in a u128: (2^128 - count) / count + 1 is floor(2^128 / count), except for a count of 1, whose width is
    // never used.
    let width = (u128::MAX - u128::from(count) + 1) / u128::from(count);
    let width = width.saturating_add(1);
    (0..count).map(move |index| width.wrapping_mul(u128::from(index)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_key_hashes_to_its_md5_as_a_big_endian_number() {
        // printf a | md5sum: 0cc175b9c0f1b6a831c399e269772661
        assert_eq!(HashKey::of_partition_key("a").0, 0x0cc1_75b9_c0f1_b6a8_31c3_99e2_6977_2661);
    }

    #[test]
    fn the_largest_hash_key_is_read_and_written() {
        let text = "340282366920938463463374607431768211455";
        assert_eq!(HashKey::parse(text), Ok(HashKey(u128::MAX)));
        assert_eq!(HashKey(u128::MAX).to_string(), text);
    }

    #[test]
    fn one_more_than_the_largest_is_out_of_range() {
        assert_eq!(HashKey::parse("340282366920938463463374607431768211456"), Err(HashKeyError::OutOfRange));
    }

    #[test]
    fn what_is_not_a_plain_decimal_number_is_malformed() {
        for text in ["", "-1", "+1", "01", "1.5", "0x10", " 1", "1111111111111111111111111111111111111111"] {
            assert_eq!(HashKey::parse(text), Err(HashKeyError::Malformed), "{text:?}");
        }
    }

    #[test]
    fn even_starts_divide_the_circle_evenly() {
        assert_eq!(even_starts(1).collect::<Vec<_>>(), [0]);
        assert_eq!(even_starts(2).collect::<Vec<_>>(), [0, 1 << 127]);
        let third = 113_427_455_640_312_821_154_458_202_477_256_070_485;
        assert_eq!(even_starts(3).collect::<Vec<_>>(), [0, third, 2 * third]);
        assert_eq!(even_starts(4).collect::<Vec<_>>(), [0, 1 << 126, 1 << 127, 3 << 126]);
    }
}
