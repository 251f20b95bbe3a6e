//! How fast one shard is sent to: no faster than it takes, and not at all for a while after it turned something away. Pure:
//! time comes in.

use std::time::Duration;

/// What a shard takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShardRate {
    /// Entries in a second; 0: as many as come.
    pub entries_per_s: u32,
    /// Bytes in a second, keys included; 0: as many as come.
    pub bytes_per_s: u32,
}

impl ShardRate {
    /// As much as comes.
    pub const UNPACED: Self = Self { entries_per_s: 0, bytes_per_s: 0 };
}

/// The pace of one shard.
#[derive(Debug)]
pub struct Pacer {
    entries: Option<Bucket>,
    bytes: Option<Bucket>,
    paused_until: Duration,
    tries: u32,
}

impl Pacer {
    /// At this rate, and ready.
    pub fn new(rate: ShardRate) -> Self {
        Self {
            entries: Bucket::new(rate.entries_per_s),
            bytes: Bucket::new(rate.bytes_per_s),
            paused_until: Duration::ZERO,
            tries: 0,
        }
    }

    /// When something may be sent; not after `now`: at once.
    pub fn ready_at(&mut self, now: Duration) -> Duration {
        let buckets = [&mut self.entries, &mut self.bytes].into_iter().flatten();
        buckets.map(|bucket| bucket.ready_at(now)).fold(self.paused_until, Duration::max)
    }

    /// Whether one more entry may be sent, at a time when something may.
    pub fn has_room(&self) -> bool {
        [&self.entries, &self.bytes].into_iter().flatten().all(|bucket| bucket.tokens > 0.0)
    }

    /// An entry of so many bytes is sent. One that is longer than there is room for is sent all the same, and paid for later.
    pub fn sent(&mut self, bytes: usize) {
        for (bucket, amount) in [(&mut self.entries, 1.0), (&mut self.bytes, bytes as f64)] {
            if let Some(bucket) = bucket {
                bucket.take(amount);
            }
        }
    }

    /// The shard has taken something.
    pub fn took(&mut self) {
        self.tries = 0;
    }

    /// The shard has turned something away, again and again if it took nothing in between: gives how often. It is left alone
    /// until [`pause`](Self::pause) says.
    pub fn turned_away(&mut self) -> u32 {
        self.tries = self.tries.saturating_add(1);
        self.tries
    }

    /// Nothing is sent until then. What was saved up by now is gone: the shard has no room for it.
    pub fn pause(&mut self, now: Duration, until: Duration) {
        self.paused_until = self.paused_until.max(until);
        for bucket in [&mut self.entries, &mut self.bytes].into_iter().flatten() {
            bucket.ready_at(now);
            bucket.tokens = bucket.tokens.min(0.0);
        }
    }
}

/// Fills evenly, up to a quarter of a second's worth: less than a shard saves up, so that sending at this pace is never too much
/// for it.
#[derive(Debug)]
struct Bucket {
    per_s: f64,
    tokens: f64,
    filled_at: Duration,
    // It was emptied, and is left alone until it is half full: many small calls would do no more than a few large ones.
    dry: bool,
}

const CAPACITY_S: f64 = 0.25;

impl Bucket {
    fn new(per_s: u32) -> Option<Self> {
        let per_s = f64::from(per_s);
        let full = Self { per_s, tokens: per_s * CAPACITY_S, filled_at: Duration::ZERO, dry: false };
        (per_s > 0.0).then_some(full)
    }

    fn ready_at(&mut self, now: Duration) -> Duration {
        let elapsed = now.saturating_sub(self.filled_at).as_secs_f64();
        self.filled_at = self.filled_at.max(now);
        self.tokens = (self.tokens + elapsed * self.per_s).min(self.per_s * CAPACITY_S);
        let wanted = self.per_s * CAPACITY_S / 2.0;
        self.dry &= self.tokens < wanted;
        if !self.dry && self.tokens > 0.0 {
            return now;
        }
        self.dry = true;
        // A little later rather than a little too early, whatever the rounding.
        now + Duration::from_secs_f64((wanted - self.tokens) / self.per_s) + Duration::from_micros(1)
    }

    fn take(&mut self, amount: f64) {
        self.tokens -= amount;
        self.dry |= self.tokens <= 0.0;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const SERVICE: ShardRate = ShardRate { entries_per_s: 1_000, bytes_per_s: 1_048_576 };

    /// Sends as fast as it may for so long; gives what was sent, each with its time.
    fn send(mut pacer: Pacer, lasting: Duration, mut bytes: impl FnMut() -> usize) -> Vec<(Duration, usize)> {
        let (mut now, mut sent) = (SECOND, Vec::new());
        while now < SECOND + lasting {
            let ready = pacer.ready_at(now);
            if ready > now {
                now = ready;
                continue;
            }
            while pacer.has_room() {
                let bytes = bytes();
                pacer.sent(bytes);
                sent.push((now, bytes));
            }
        }
        sent
    }

    #[test]
    fn a_shard_is_sent_what_it_takes_and_nearly_all_of_it_in_pieces_of_some_size() {
        let sent = send(Pacer::new(SERVICE), 10 * SECOND, || 200);
        assert!((9_800..=10_300).contains(&sent.len()), "{} in ten seconds", sent.len());
        let mut pieces: Vec<Duration> = sent.iter().map(|(at, _)| *at).collect();
        pieces.dedup();
        assert!(pieces.len() <= 85, "{} calls", pieces.len());
    }

    #[test]
    fn bytes_count_as_well_and_a_long_entry_is_paid_for_afterwards() {
        let sent = send(Pacer::new(SERVICE), 10 * SECOND, || 1_000_000);
        assert!((9..=12).contains(&sent.len()), "{} in ten seconds", sent.len());
    }

    #[test]
    fn without_a_rate_there_is_always_room() {
        let mut pacer = Pacer::new(ShardRate::UNPACED);
        (0..100_000).for_each(|_| pacer.sent(1_000_000));
        assert!(pacer.has_room() && pacer.ready_at(SECOND) <= SECOND);
    }

    #[test]
    fn a_shard_that_turned_something_away_is_left_alone_and_has_saved_up_nothing() {
        let mut pacer = Pacer::new(SERVICE);
        assert_eq!((pacer.turned_away(), pacer.turned_away()), (1, 2));
        pacer.pause(SECOND, 2 * SECOND);
        assert!(pacer.ready_at(SECOND) >= 2 * SECOND);
        pacer.took();
        assert_eq!(pacer.turned_away(), 1);
        let mut pacer = Pacer::new(SERVICE);
        pacer.pause(SECOND, SECOND);
        let ready = pacer.ready_at(SECOND);
        assert!((100..130).contains(&(ready - SECOND).as_millis()), "{ready:?}");
    }

    proptest! {
        #[test]
        fn in_no_second_more_is_sent_than_a_second_and_a_quarter_allows(
            lengths in proptest::collection::vec(1..60_000_usize, 1..50), entries_per_s in 1..500_u32, seed in 0..50_usize,
        ) {
            let rate = ShardRate { entries_per_s, ..SERVICE };
            let mut lengths = lengths.into_iter().cycle().skip(seed);
            let sent = send(Pacer::new(rate), 3 * SECOND, || lengths.next().unwrap_or(1));
            for (first, (from, _)) in sent.iter().enumerate() {
                let within = sent[first..].iter().take_while(|(at, _)| *at < *from + SECOND);
                let (entries, bytes) = within.fold((0, 0), |(entries, bytes), (_, length)| (entries + 1, bytes + length));
                prop_assert!(f64::from(entries) <= 1.25 * f64::from(entries_per_s) + 2.0);
                // One entry more than there was room for, and another one at each refill.
                prop_assert!(bytes <= 1_310_720 + 9 * 60_000, "{bytes}");
            }
        }
    }
}
