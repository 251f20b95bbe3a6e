//! Which part of a segment is settled. Pure.

use std::collections::BTreeMap;
use std::ops::Range;

use super::spool::segment::HEADER_LEN;

/// The places of a segment's settled records, in bytes from the beginning of the file: ranges that neither overlap nor touch.
///
/// Records settle in any order. However many have, there are no more ranges than records in between that have not, and one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Settled(BTreeMap<u64, u64>);

impl Settled {
    /// What stands at this place is settled. Saying it twice is saying it once.
    pub fn add(&mut self, place: Range<u64>) {
        let Range { mut start, mut end } = place;
        if start >= end {
            return;
        }
        if let Some((before, its_end)) = self.0.range(..=start).next_back().map(|(before, end)| (*before, *end))
            && its_end >= start
        {
            start = before;
            end = end.max(its_end);
        }
        while let Some((next, its_end)) = self.0.range(start..=end).next().map(|(next, end)| (*next, *end)) {
            self.0.remove(&next);
            end = end.max(its_end);
        }
        self.0.insert(start, end);
    }

    /// Whether all that stands at this place is settled.
    pub fn covers(&self, place: &Range<u64>) -> bool {
        self.0.range(..=place.start).next_back().is_some_and(|(_, end)| *end >= place.end)
    }

    /// Where the first record stands that is not settled, or may stand; 0 when that is the first of all, so that the header
    /// is read, too.
    pub fn read_from(&self) -> u64 {
        self.0.get(&(HEADER_LEN as u64)).copied().unwrap_or(0)
    }

    /// All of it, in order.
    pub fn places(&self) -> impl Iterator<Item = Range<u64>> {
        self.0.iter().map(|(start, end)| *start..*end)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FIRST: u64 = HEADER_LEN as u64;

    #[test]
    fn what_follows_without_a_gap_from_the_beginning_need_not_be_read() {
        let mut settled = Settled::default();
        settled.add(FIRST + 10..FIRST + 20);
        assert_eq!(settled.read_from(), 0);
        settled.add(FIRST..FIRST + 10);
        assert_eq!(settled.read_from(), FIRST + 20);
        settled.add(FIRST + 30..FIRST + 40);
        assert_eq!(settled.read_from(), FIRST + 20);
        settled.add(FIRST + 7..FIRST + 7);
        assert_eq!(settled.places().collect::<Vec<_>>(), [FIRST..FIRST + 20, FIRST + 30..FIRST + 40]);
    }

    proptest! {
        #[test]
        fn whatever_the_order_exactly_the_settled_records_are_covered_and_the_beginning_ends_at_the_first_other(
            lengths in proptest::collection::vec(9..40_u64, 1..40),
            order in proptest::collection::vec(any::<prop::sample::Index>(), 0..80),
        ) {
            let places: Vec<Range<u64>> = lengths.iter().scan(FIRST, |end, length| {
                let start = *end;
                *end += length;
                Some(start..*end)
            }).collect();
            let mut settled = Settled::default();
            let mut model = vec![false; places.len()];
            for index in order {
                let index = index.index(places.len());
                settled.add(places[index].clone());
                model[index] = true;
                for (place, is_settled) in places.iter().zip(&model) {
                    prop_assert_eq!(settled.covers(place), *is_settled);
                }
                let prefix = model.iter().take_while(|is_settled| **is_settled).count();
                prop_assert_eq!(settled.read_from(), if prefix == 0 { 0 } else { places[prefix - 1].end });
                let open = model.iter().filter(|is_settled| !**is_settled).count();
                let ranges: Vec<_> = settled.places().collect();
                prop_assert!(ranges.len() <= open + 1);
                prop_assert!(ranges.windows(2).all(|two| two[0].end < two[1].start), "{:?}", ranges);
            }
        }
    }
}
