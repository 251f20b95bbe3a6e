//! Percentiles of latencies, exact.

/// Latencies in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Latencies {
    sorted_us: Vec<u32>,
}

impl Latencies {
    /// Of these latencies in microseconds.
    pub fn of(latencies_us: impl IntoIterator<Item = u32>) -> Self {
        let mut sorted_us: Vec<u32> = latencies_us.into_iter().collect();
        sorted_us.sort_unstable();
        Self { sorted_us }
    }

    /// The latency in milliseconds that this share (0.0 to 1.0) of them does not exceed; 0 when there are none.
    pub fn percentile_ms(&self, share: f64) -> f64 {
        // The smallest rank that covers the share; a float cast saturates.
        let rank = (share * self.sorted_us.len() as f64).ceil() as usize;
        let at = rank.saturating_sub(1);
        self.sorted_us.get(at).or(self.sorted_us.last()).map_or(0.0, |us| f64::from(*us) / 1_000.0)
    }

    /// All of them in microseconds, in order.
    pub(crate) fn us(&self) -> impl Iterator<Item = u32> + '_ {
        self.sorted_us.iter().copied()
    }

    /// How many are longer than so many milliseconds.
    pub fn longer_than_ms(&self, ms: f64) -> usize {
        self.sorted_us.len() - self.sorted_us.partition_point(|us| f64::from(*us) <= ms * 1_000.0)
    }

    /// The longest, in milliseconds; 0 when there are none.
    pub fn max_ms(&self) -> f64 {
        self.percentile_ms(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_latency_that_was_measured() {
        let latencies = Latencies::of((1..=1_000).rev().map(|ms| ms * 1_000));
        assert_eq!(
            [0.0, 0.5, 0.99, 0.999, 1.0].map(|share| latencies.percentile_ms(share)),
            [1.0, 500.0, 990.0, 999.0, 1_000.0]
        );
        assert_eq!(latencies.longer_than_ms(990.0), 10);
        assert_eq!(Latencies::of([7]).percentile_ms(0.5), 0.007);
        assert_eq!(Latencies::default().max_ms(), 0.0);
    }
}
