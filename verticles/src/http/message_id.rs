//! Ids of events: UUIDs of version 7, in the order they were given out.

use std::cell::Cell;

use smol_str::SmolStr;
use uuid::Builder;

/// The bits of a version 7 UUID beside the time, the version and the variant: 12 before the variant, 62 behind it.
const TAIL_MAX: u128 = (1 << 74) - 1;
const LOW_MASK: u128 = (1 << 62) - 1;

/// Gives out the ids of one event loop.
///
/// They grow, also inside one millisecond and when the clock goes back: the 74 bits behind the time begin at random in
/// each new millisecond and grow by a random step of up to 2^32 inside one, so that two loops or two nodes do not meet.
#[derive(Debug, Default)]
pub(super) struct MessageIds {
    unix_ms: Cell<u64>,
    tail: Cell<u128>,
}

impl MessageIds {
    /// The next id, in its usual text form.
    pub(super) fn next(&self, unix_ms: i64) -> SmolStr {
        self.advance(u64::try_from(unix_ms).unwrap_or(0));
        let tail = self.tail.get();
        let mut bytes = [0; 10];
        let (high, low) = bytes.split_at_mut(2);
        // Both parts fit by the masks; what `try_from` refuses cannot be there.
        high.copy_from_slice(&u16::try_from(tail >> 62).unwrap_or(u16::MAX).to_be_bytes());
        low.copy_from_slice(&u64::try_from(tail & LOW_MASK).unwrap_or(u64::MAX).to_be_bytes());
        let uuid = Builder::from_unix_timestamp_millis(self.unix_ms.get(), &bytes).into_uuid();
        SmolStr::new(uuid.hyphenated().encode_lower(&mut [0; uuid::fmt::Hyphenated::LENGTH]))
    }

    fn advance(&self, unix_ms: u64) {
        if unix_ms <= self.unix_ms.get() {
            let tail = self.tail.get() + 1 + u128::from(fastrand::u32(..));
            if tail <= TAIL_MAX {
                self.tail.set(tail);
                return;
            }
        }
        self.unix_ms.set(unix_ms.max(self.unix_ms.get() + 1));
        self.tail.set(fastrand::u128(..=TAIL_MAX));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_id_is_a_version_7_uuid_of_the_given_time() {
        let id = MessageIds::default().next(1_700_000_000_123);
        let uuid = uuid::Uuid::parse_str(&id).unwrap();
        assert_eq!((uuid.get_version_num(), uuid.get_variant()), (7, uuid::Variant::RFC4122));
        assert_eq!(uuid.get_timestamp().unwrap().to_unix(), (1_700_000_000, 123_000_000));
    }

    #[test]
    fn when_a_millisecond_is_used_up_the_next_one_begins() {
        let ids = MessageIds { unix_ms: Cell::new(5), tail: Cell::new(TAIL_MAX) };
        ids.next(5);
        assert_eq!(ids.unix_ms.get(), 6);
    }

    proptest! {
        #[test]
        fn ids_grow_whatever_the_clock_does(times in prop::collection::vec(-2i64..2, 1..200)) {
            let ids = MessageIds::default();
            let given: Vec<SmolStr> = times.iter().map(|step| ids.next(1_700_000_000_000 + step)).collect();
            prop_assert!(given.is_sorted_by(|a, b| a < b));
        }
    }
}
