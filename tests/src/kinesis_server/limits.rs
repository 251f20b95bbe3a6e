//! What one shard takes in a second.

/// The limits of every shard of a stream; a call's records beyond them fail one by one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ShardLimits {
    /// Records in a second.
    pub records_per_s: f64,
    /// Bytes in a second, partition keys included.
    pub bytes_per_s: f64,
}

impl ShardLimits {
    /// Those of the service: 1,000 records and 1 MiB in a second.
    pub const SERVICE: Self = Self { records_per_s: 1_000.0, bytes_per_s: 1_048_576.0 };
}

/// What one shard may still take: it fills up evenly, to at most one second's worth.
#[derive(Debug, Default)]
pub(crate) struct Bucket {
    records: f64,
    bytes: f64,
    /// Nothing before the first record, which finds it full.
    filled_ms: Option<u64>,
}

impl Bucket {
    /// Takes one record of so many bytes, or nothing when there is not room for it.
    pub(crate) fn take(&mut self, bytes: usize, limits: ShardLimits, now_ms: u64) -> bool {
        // A clock that was set back fills nothing; it goes on from there.
        let elapsed_s = self.filled_ms.map_or(1.0, |filled_ms| now_ms.saturating_sub(filled_ms) as f64 / 1_000.0);
        self.filled_ms = Some(now_ms);
        self.records = (self.records + elapsed_s * limits.records_per_s).min(limits.records_per_s);
        self.bytes = (self.bytes + elapsed_s * limits.bytes_per_s).min(limits.bytes_per_s);
        let bytes = bytes as f64;
        let fits = self.records >= 1.0 && self.bytes >= bytes;
        if fits {
            self.records -= 1.0;
            self.bytes -= bytes;
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(bucket: &mut Bucket, tries: usize, bytes: usize, now_ms: u64) -> usize {
        (0..tries).filter(|_| bucket.take(bytes, ShardLimits::SERVICE, now_ms)).count()
    }

    #[test]
    fn a_shard_takes_a_thousand_records_at_once_and_then_one_each_millisecond() {
        let mut bucket = Bucket::default();
        assert_eq!(taken(&mut bucket, 2_000, 100, 5_000), 1_000);
        assert_eq!(taken(&mut bucket, 2_000, 100, 5_250), 250);
        assert_eq!(taken(&mut bucket, 2_000, 100, 60_000), 1_000, "nothing is saved up beyond a second's worth");
    }

    #[test]
    fn a_shard_takes_a_mebibyte_in_a_second() {
        let mut bucket = Bucket::default();
        assert_eq!(taken(&mut bucket, 1_000, 1 << 18, 5_000), 4);
        assert_eq!(taken(&mut bucket, 1_000, 1 << 18, 5_500), 2);
    }

    #[test]
    fn a_clock_that_is_set_back_gives_nothing_away() {
        let mut bucket = Bucket::default();
        assert_eq!(taken(&mut bucket, 2_000, 1, 5_000), 1_000);
        assert_eq!(taken(&mut bucket, 2_000, 1, 1_000), 0);
        assert_eq!(taken(&mut bucket, 2_000, 1, 1_500), 500);
    }
}
