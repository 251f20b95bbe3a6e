//! A record's place in its shard, in the 56 digits that clients see.

use std::fmt;

/// The greatest power of ten in a u64: numbers are written in chunks of this many digits.
const CHUNK: u64 = 10_000_000_000_000_000_000;
const CHUNK_DIGITS: usize = 19;
/// 57 digits hold every number of 188 bits.
const DIGITS_MAX: usize = 3 * CHUNK_DIGITS;
/// The first and the last hexadecimal digit of every number of this format.
const VERSION: u64 = 2;
/// The counter of a closed shard's ending number: above every record's.
const ENDING_COUNTER: u64 = i64::MAX as u64;

/// A 188-bit number that grows strictly within a shard and tells which shard it came from.
///
/// In hexadecimal digits: version 1, second of the shard's creation 9, last digit of the shard's index 1, counter 16, zero 2, second
/// of arrival 9, shard's index 8, version 1. This is the layout seen in real streams, so a client that looks inside finds what it expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SequenceNumber {
    // The order of the fields is the order of significance, so that derived ordering is numeric.
    high: u64,
    middle: u64,
    low: u64,
}

/// The text is not a number that any shard of this server gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a sequence number")]
pub(crate) struct NotASequenceNumber;

impl SequenceNumber {
    /// The number a shard starts with; no record carries it.
    pub(crate) fn starting(created_s: u64, shard_index: u32) -> Self {
        Self::new(created_s, shard_index, 0, created_s)
    }

    /// The number a closed shard ends with; no record carries it.
    pub(crate) fn ending(created_s: u64, shard_index: u32, closed_s: u64) -> Self {
        Self::new(created_s, shard_index, ENDING_COUNTER, closed_s)
    }

    /// The number of the `counter`th record; seconds are cut to 36 bits.
    pub(crate) fn new(created_s: u64, shard_index: u32, counter: u64, arrived_s: u64) -> Self {
        let seconds_mask = (1 << 36) - 1;
        let (created_s, arrived_s) = (created_s & seconds_mask, arrived_s & seconds_mask);
        let shard = u64::from(shard_index);
        Self {
            high: VERSION << 56 | created_s << 20 | (shard & 0xf) << 16 | counter >> 48,
            middle: counter << 16 | arrived_s >> 28,
            low: arrived_s << 36 | shard << 4 | VERSION,
        }
    }

    /// The shard that gave this number out, and the second that shard was created.
    pub(crate) fn origin(self) -> (u64, u32) {
        let created_s = self.high >> 20 & ((1 << 36) - 1);
        // 32 bits after the shift, by the mask.
        (created_s, (self.low >> 4 & 0xffff_ffff) as u32)
    }

    /// Reads the decimal form.
    pub(crate) fn parse(text: &str) -> Result<Self, NotASequenceNumber> {
        let digits = !text.is_empty() && text.len() <= DIGITS_MAX && text.bytes().all(|b| b.is_ascii_digit());
        if !digits {
            return Err(NotASequenceNumber);
        }
        let mut limbs = [0_u64; 3];
        for digit in text.bytes() {
            limbs = times_ten_plus(limbs, u64::from(digit - b'0')).ok_or(NotASequenceNumber)?;
        }
        let [high, middle, low] = limbs;
        let number = Self { high, middle, low };
        if high >> 56 != VERSION || low & 0xf != VERSION {
            return Err(NotASequenceNumber);
        }
        Ok(number)
    }
}

impl fmt::Display for SequenceNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (rest, low) = divide([self.high, self.middle, self.low]);
        let (rest, middle) = divide(rest);
        let (_zero, high) = divide(rest);
        write!(f, "{high}{middle:0CHUNK_DIGITS$}{low:0CHUNK_DIGITS$}")
    }
}

/// Quotient and remainder by [`CHUNK`], most significant limb first.
fn divide(limbs: [u64; 3]) -> ([u64; 3], u64) {
    let mut quotient = [0; 3];
    let mut remainder = 0_u64;
    for (limb, out) in limbs.into_iter().zip(&mut quotient) {
        let value = u128::from(remainder) << 64 | u128::from(limb);
        // The remainder is below CHUNK, so the quotient of each step fits a limb.
        *out = (value / u128::from(CHUNK)) as u64;
        remainder = (value % u128::from(CHUNK)) as u64;
    }
    (quotient, remainder)
}

/// `limbs * 10 + digit`, or nothing when that needs more than 192 bits.
fn times_ten_plus(mut limbs: [u64; 3], digit: u64) -> Option<[u64; 3]> {
    let mut carry = digit;
    for limb in limbs.iter_mut().rev() {
        let value = u128::from(*limb) * 10 + u128::from(carry);
        *limb = value as u64;
        carry = (value >> 64) as u64;
    }
    (carry == 0).then_some(limbs)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    #[test]
    fn a_number_has_56_digits() {
        assert_eq!(SequenceNumber::new(1_700_000_000, 0, 1, 1_700_000_001).to_string().len(), 56);
        assert_eq!(SequenceNumber::ending(u64::MAX, u32::MAX, u64::MAX).to_string().len(), 56);
    }

    #[test]
    fn the_layout_is_the_one_seen_in_real_streams() {
        // A number printed in the public documentation of the service.
        let number = SequenceNumber::parse("49543463076548007577105092703039560359975228518395019266").unwrap();
        assert_eq!(number.origin(), (1_411_403_981, 0));
    }

    #[test]
    fn the_decimal_form_is_read_back() {
        for counter in [0, 1, 9_999, u64::MAX >> 1] {
            let number = SequenceNumber::new(1_900_000_000, 65_537, counter, 1_900_086_400);
            assert_eq!(SequenceNumber::parse(&number.to_string()), Ok(number));
            assert_eq!(number.origin(), (1_900_000_000, 65_537));
        }
    }

    #[test]
    fn a_later_counter_is_a_greater_number_whatever_the_clock_says() {
        let early = SequenceNumber::new(1_900_000_000, 3, 7, 1_900_000_500);
        let late = SequenceNumber::new(1_900_000_000, 3, 8, 1_900_000_400);
        assert!(early < late);
        assert!(SequenceNumber::starting(1_900_000_000, 3) < early);
        assert!(late < SequenceNumber::ending(1_900_000_000, 3, 1_900_000_100));
    }

    #[test]
    fn numeric_order_is_the_order_of_the_texts() {
        let numbers = [1, 2, 255, 65_536, 1 << 40].map(|c| SequenceNumber::new(1_900_000_000, 1, c, 1_900_000_001));
        let mut texts = numbers.map(|n| n.to_string());
        texts.sort();
        assert_eq!(texts, numbers.map(|n| n.to_string()));
    }

    #[test]
    fn what_no_shard_gives_out_is_refused() {
        let too_large = "9".repeat(57);
        for text in ["", "0", "1", "-5", "abc", "49543463076548007577105092703039560359975228518395019267", &too_large]
        {
            assert_eq!(SequenceNumber::parse(text), Err(NotASequenceNumber), "{text:?}");
        }
    }
}
