//! How long something took, counted by powers of two.

use std::time::Duration;

/// Buckets: up to 1 µs, 2 µs, 4 µs and so on to 4.2 s, and one for what is longer.
const BUCKETS: usize = 24;

/// Durations, counted in buckets: each twice as wide as the one before, from 1 µs to 4.2 s, and one for what is longer.
///
/// ```
/// use std::time::Duration;
/// use vertebra::Histogram;
///
/// let empty = Histogram::default();
/// assert_eq!((empty.count(), empty.quantile(0.99)), (0, None));
/// let bounds: Vec<_> = empty.buckets().map(|(bound, _)| bound).collect();
/// assert_eq!(bounds[..3], [1, 2, 4].map(|micros| Some(Duration::from_micros(micros))));
/// assert_eq!(bounds.last(), Some(&None));
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    sum_ns: u64,
}

impl Histogram {
    pub(crate) fn add(&mut self, nanos: u64) {
        let micros = nanos.div_ceil(1_000).max(1);
        // The number of the first power of two that is not less.
        let bucket = (u64::BITS - (micros - 1).leading_zeros()) as usize;
        self.counts[bucket.min(BUCKETS - 1)] += 1;
        self.sum_ns = self.sum_ns.saturating_add(nanos);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (own, other) in self.counts.iter_mut().zip(other.counts) {
            *own += other;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    /// Each bucket, narrowest first: the longest that belongs in it, `None` for the last, and how many are in it - in this
    /// one, not in those before it as well.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<Duration>, u64)> + '_ {
        self.counts.iter().enumerate().map(|(at, count)| {
            let bound = (at < BUCKETS - 1).then(|| Duration::from_micros(1 << at));
            (bound, *count)
        })
    }

    /// The bound of the bucket in which this part of the durations has been reached: 0.5 is the median, what is outside of 0
    /// to 1 counts as the nearest. `None` when there are no durations; the longest there is for what is beyond 4.2 s.
    pub fn quantile(&self, part: f64) -> Option<Duration> {
        let wanted = (part.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0) as u64;
        let mut reached = 0;
        self.buckets().find_map(|(bound, count)| {
            reached += count;
            (reached >= wanted).then(|| bound.unwrap_or(Duration::MAX))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(nanos: &[u64]) -> Histogram {
        let mut histogram = Histogram::default();
        nanos.iter().for_each(|nanos| histogram.add(*nanos));
        histogram
    }

    #[test]
    fn a_duration_is_counted_in_the_narrowest_bucket_that_holds_it() {
        for (nanos, bound_us) in [(0, 1), (1_000, 1), (1_001, 2), (2_000, 2), (2_001, 4), (4_194_304_000, 4_194_304)] {
            let counted: Vec<_> = of(&[nanos]).buckets().filter(|(_, count)| *count > 0).collect();
            assert_eq!(counted, [(Some(Duration::from_micros(bound_us)), 1)], "{nanos} ns");
        }
        for nanos in [4_194_304_001, u64::MAX] {
            assert_eq!(of(&[nanos]).buckets().last(), Some((None, 1)), "{nanos} ns");
        }
    }

    #[test]
    fn quantiles_and_sums_are_of_all_that_was_merged() {
        let mut histogram = of(&[500; 98]);
        histogram.merge(&of(&[3_000, 5_000_000_000]));
        assert_eq!(histogram.count(), 100);
        assert_eq!(histogram.sum(), Duration::from_nanos(98 * 500 + 3_000 + 5_000_000_000));
        let micros = |part| histogram.quantile(part).map(|bound| bound.as_micros());
        assert_eq!((micros(0.0), micros(0.5), micros(0.98), micros(0.99)), (Some(1), Some(1), Some(1), Some(4)));
        assert_eq!(histogram.quantile(1.0), Some(Duration::MAX));
    }
}
