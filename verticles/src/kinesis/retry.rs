//! What becomes of entries after a call: stored, sent again, or refused for good. Pure.

use std::time::Duration;

use super::client::{Outcome, PutError};
use super::dead::{Dead, Why};
use super::entry::{self, Entry};
use super::shard::ShardId;

/// What a call means for the entries that were in it: each is in exactly one of the lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// The stream has them.
    pub stored: Vec<Entry>,
    /// To be sent again, in order and in any company.
    pub back: Vec<Entry>,
    /// To be sent again when their shards, which are known, take something again, because those are at their limit or took
    /// nothing of the call; in order and in any company.
    pub turned_away: Vec<Entry>,
    /// Refused together, and to be sent again, each group in a call of its own, in order.
    pub again: Vec<Vec<Entry>>,
    /// To be taken apart, so that their records are sent again each as an entry of its own.
    pub apart: Vec<Entry>,
    /// The stream will never take them; each of one record.
    pub dead: Vec<Dead>,
    /// How many were turned away because the stream is at its limit.
    pub throttled: Count,
    /// Whether to wait before sending `again`.
    pub pause: bool,
    /// What to tell people, when the call as a whole went wrong.
    pub trouble: Option<PutError>,
}

/// A number in both units.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Count {
    /// Of entries.
    pub entries: usize,
    /// Of the events in them.
    pub events: usize,
}

impl Count {
    /// The number of these.
    pub fn of(entries: &[Entry]) -> Self {
        Self { entries: entries.len(), events: entry::events(entries) }
    }
}

/// So often is a record sent alone and refused before it counts as refused for good, while the stream has not shown that
/// it takes others: a wrong setting makes it refuse everything.
pub const LONE_REFUSALS_MAX: u32 = 10;

/// Judges a call. `tries` counts the calls these very entries were in before; `proven` says whether the stream has taken
/// any entry since the start.
///
/// Entries that failed are sent again - the failed ones alone -, for as long as it takes: their records are in the log. A
/// call that was refused as a whole is halved until the entry that is to blame stands alone; one of several records is then
/// taken apart, so that the one that is to blame has no company. An answer that does not have one outcome an entry says
/// nothing about any of them: all are sent again, and some may then be there twice.
pub fn judge(sent: Vec<Entry>, answer: Result<Vec<Outcome>, PutError>, tries: u32, proven: bool) -> Judged {
    match answer {
        Ok(outcomes) if outcomes.len() == sent.len() => each_by_its_outcome(sent, &outcomes),
        Ok(outcomes) => {
            let trouble = PutError::WrongCount { sent: sent.len(), answered: outcomes.len() };
            Judged { back: sent, trouble: Some(trouble), ..Judged::default() }
        }
        Err(trouble @ PutError::Refused(_)) => refused(sent, trouble, tries, proven),
        Err(trouble) => {
            let is_throttled = matches!(trouble, PutError::Throttled(_));
            let throttled = if is_throttled { Count::of(&sent) } else { Count::default() };
            Judged { back: sent, throttled, trouble: Some(trouble), ..Judged::default() }
        }
    }
}

/// Entries longer than an entry may be, which are not to be sent: those of several records are taken apart, and a record
/// alone is never taken.
pub fn oversized(entries: Vec<Entry>) -> Judged {
    given_up(entries, &Why::TooLong)
}

fn given_up(entries: Vec<Entry>, why: &Why) -> Judged {
    let (alone, apart): (Vec<Entry>, _) = entries.into_iter().partition(|entry| entry.events() == 1);
    let dead = alone.into_iter().map(|entry| Dead { entry, why: why.clone() }).collect();
    Judged { dead, apart, ..Judged::default() }
}

fn each_by_its_outcome(sent: Vec<Entry>, outcomes: &[Outcome]) -> Judged {
    let mut judged = Judged::default();
    let takes: Vec<ShardId> = sent
        .iter()
        .zip(outcomes)
        .filter(|(_, outcome)| matches!(outcome, Outcome::Stored(_)))
        .filter_map(|(entry, _)| entry.shard())
        .collect();
    for (entry, outcome) in sent.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Stored(_) => judged.stored.push(entry),
            Outcome::Throttled => {
                judged.throttled.entries += 1;
                judged.throttled.events += entry.events();
                let waits_for_shard = entry.shard().is_some();
                if waits_for_shard { judged.turned_away.push(entry) } else { judged.back.push(entry) }
            }
            // A shard that takes nothing at all is ill, and must not keep the call's place from the others.
            Outcome::Failed(_) if entry.shard().is_some_and(|shard| !takes.contains(&shard)) => {
                judged.turned_away.push(entry);
            }
            Outcome::Failed(_) => judged.back.push(entry),
        }
    }
    judged
}

fn refused(mut sent: Vec<Entry>, refusal: PutError, tries: u32, proven: bool) -> Judged {
    let trouble = Some(refusal.clone());
    if sent.len() > 1 {
        let second = sent.split_off(sent.len() / 2);
        // The halves are new calls: nothing has been learned that a pause would help.
        return Judged { again: vec![sent, second], trouble, ..Judged::default() };
    }
    if !proven && tries + 1 < LONE_REFUSALS_MAX {
        return Judged { again: vec![sent], pause: true, trouble, ..Judged::default() };
    }
    Judged { trouble, ..given_up(sent, &Why::Refused(refusal)) }
}

/// How long to wait before the next call: exponential from `min` to `max`, with full jitter above `min`, so that calls
/// that failed together do not come back together.
///
/// `tries` counts from 1, `random` is any number.
pub fn pause(tries: u32, min: Duration, max: Duration, random: u32) -> Duration {
    let ceiling = min.saturating_mul(2_u32.saturating_pow(tries)).min(max);
    let spread = ceiling.saturating_sub(min);
    min.min(max) + spread.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::kinesis::entry::tests::{entries, entry, several};
    use crate::kinesis::record::Record;

    fn failed() -> Outcome {
        Outcome::Failed("InternalFailure".into())
    }

    fn refusal() -> Result<Vec<Outcome>, PutError> {
        Err(PutError::Refused("too long".into()))
    }

    fn refused_for_good(id: &str) -> Vec<Dead> {
        vec![Dead { entry: entry(id), why: Why::Refused(PutError::Refused("too long".into())) }]
    }

    #[test]
    fn only_the_failed_entries_of_a_partial_failure_are_sent_again() {
        let answer = vec![Outcome::Stored(None), Outcome::Throttled, Outcome::Stored(None), failed()];
        let judged = judge(entries(&["a", "b", "c", "d"]), Ok(answer), 0, true);
        assert_eq!(judged.stored, entries(&["a", "c"]));
        assert_eq!(judged.back, entries(&["b", "d"]));
        assert_eq!((judged.throttled, judged.trouble), (Count { entries: 1, events: 1 }, None));
    }

    #[test]
    fn what_a_known_shard_turned_away_waits_for_that_shard_alone() {
        let mut sent = entries(&["a", "b", "c"]);
        sent[1].set_shard(Some(ShardId(7)));
        let (throttled, failed) = (sent[1].clone(), sent[2].clone());
        let judged = judge(sent, Ok(vec![Outcome::Throttled, Outcome::Throttled, self::failed()]), 0, true);
        assert_eq!((judged.turned_away, judged.back), (vec![throttled], vec![entry("a"), failed]));
    }

    #[test]
    fn what_failed_waits_for_its_shard_alone_when_that_took_nothing_of_the_call() {
        let mut sent = entries(&["a", "b", "c", "d"]);
        for (entry, shard) in sent.iter_mut().zip([7, 8, 7, 9]) {
            entry.set_shard(Some(ShardId(shard)));
        }
        let outcomes = vec![Outcome::Stored(None), self::failed(), self::failed(), self::failed()];
        let judged = judge(sent.clone(), Ok(outcomes), 0, true);
        assert_eq!(judged.turned_away, [sent[1].clone(), sent[3].clone()]);
        assert_eq!(judged.back, [sent[2].clone()], "its shard took the one before it");
    }

    #[test]
    fn an_answer_of_the_wrong_length_sends_everything_again() {
        for outcomes in [vec![], vec![Outcome::Stored(None)], vec![Outcome::Stored(None); 3]] {
            let judged = judge(entries(&["a", "b"]), Ok(outcomes), 0, true);
            assert_eq!((judged.back, judged.stored), (entries(&["a", "b"]), vec![]));
            assert!(matches!(judged.trouble, Some(PutError::WrongCount { .. })));
        }
    }

    #[test]
    fn a_call_that_is_refused_is_halved_until_one_entry_stands_alone() {
        let judged = judge(entries(&["a", "b", "c"]), refusal(), 50, true);
        assert_eq!(judged.again, [entries(&["a"]), entries(&["b", "c"])]);
        assert!(!judged.pause && judged.dead.is_empty());
        assert_eq!(judge(entries(&["a"]), refusal(), 0, true).dead, refused_for_good("a"));
    }

    #[test]
    fn a_lone_entry_of_several_records_that_is_refused_or_too_long_is_taken_apart() {
        let judged = judge(vec![several(&["a", "b"])], refusal(), 0, true);
        assert_eq!((judged.apart, judged.dead.len(), judged.again.len()), (vec![several(&["a", "b"])], 0, 0));
        assert!(judged.trouble.is_some());
        let judged = oversized(vec![several(&["a", "b"]), entry("c")]);
        let too_long = Dead { entry: entry("c"), why: Why::TooLong };
        assert_eq!((judged.apart, judged.dead), (vec![several(&["a", "b"])], vec![too_long]));
    }

    #[test]
    fn what_is_throttled_is_counted_in_both_units() {
        let sent = vec![several(&["a", "b"]), entry("c"), several(&["d", "e", "f"])];
        let outcomes = vec![Outcome::Throttled, Outcome::Stored(None), Outcome::Throttled];
        assert_eq!(judge(sent.clone(), Ok(outcomes), 0, true).throttled, Count { entries: 2, events: 5 });
        let whole = judge(sent, Err(PutError::Throttled(String::new())), 0, true);
        assert_eq!(whole.throttled, Count { entries: 3, events: 6 });
    }

    #[test]
    fn a_stream_that_never_took_anything_must_refuse_a_record_ten_times() {
        for tries in 0..9 {
            assert_eq!(judge(entries(&["a"]), refusal(), tries, false).again, [entries(&["a"])]);
        }
        assert_eq!(judge(entries(&["a"]), refusal(), 9, false).dead, refused_for_good("a"));
    }

    #[test]
    fn no_other_error_ever_gives_an_event_up() {
        let errors = [
            PutError::Throttled(String::new()),
            PutError::TimedOut,
            PutError::Unreachable(String::new()),
            PutError::NoStream(String::new()),
            PutError::Credentials(String::new()),
            PutError::Denied(String::new()),
            PutError::Failed(String::new()),
        ];
        for error in errors {
            let judged = judge(entries(&["a", "b"]), Err(error), 1_000_000, true);
            assert_eq!((judged.back, judged.dead), (entries(&["a", "b"]), vec![]));
        }
    }

    proptest! {
        #[test]
        fn every_record_is_in_exactly_one_list_in_its_order(
            outcomes in proptest::collection::vec(0..3_u8, 1..30), aggregated in proptest::collection::vec(1..4_usize, 30),
            answered in 0..30_usize, kind in 0..4_u8, proven: bool,
        ) {
            let mut ids = (0..).map(|id: usize| id.to_string());
            let sent: Vec<Entry> = aggregated.iter().take(outcomes.len()).map(|events| {
                let ids: Vec<String> = ids.by_ref().take(*events).collect();
                let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
                if let [id] = ids[..] { entry(id) } else { several(&ids) }
            }).collect();
            let outcome = |kind: u8| match kind { 0 => Outcome::Stored(None), 1 => Outcome::Throttled, _ => failed() };
            let answer = match kind {
                0 => refusal(),
                1 => Err(PutError::TimedOut),
                2 => Ok(outcomes.iter().copied().map(outcome).collect()),
                _ => Ok(vec![Outcome::Stored(None); answered]),
            };
            let judged = judge(sent.clone(), answer, 0, proven);
            let index = |record: &Record| record.key().parse::<usize>().ok();
            let in_order = |group: &Vec<Entry>| group.iter().flat_map(Entry::records).is_sorted_by_key(index);
            prop_assert!(judged.again.iter().all(|group| !group.is_empty() && in_order(group)));
            prop_assert!(in_order(&judged.stored) && in_order(&judged.apart));
            prop_assert!(in_order(&judged.back) && in_order(&judged.turned_away));
            let entries = judged.stored.into_iter().chain(judged.again.into_iter().flatten()).chain(judged.apart);
            let dead = judged.dead.into_iter().map(|dead| dead.entry);
            let entries = entries.chain(dead).chain(judged.back).chain(judged.turned_away);
            let mut after: Vec<Record> = entries.flat_map(Entry::into_records).collect();
            after.sort_by_key(index);
            prop_assert_eq!(after, sent.into_iter().flat_map(Entry::into_records).collect::<Vec<_>>());
        }

        #[test]
        fn a_pause_is_within_its_bounds(tries: u32, min in 0..10_000_u64, more in 0..100_000_u64, random: u32) {
            let (min, max) = (Duration::from_millis(min), Duration::from_millis(min + more));
            let pause = pause(tries, min, max, random);
            prop_assert!((min..=max).contains(&pause), "{:?}", pause);
        }
    }

    #[test]
    fn pauses_grow_up_to_their_bound_and_are_spread_below_it() {
        let (min, max) = (Duration::from_millis(50), Duration::from_secs(5));
        let longest: Vec<u128> = [1, 2, 3, 7, 60].map(|tries| pause(tries, min, max, u32::MAX).as_millis()).into();
        assert_eq!(longest, [100, 200, 400, 5_000, 5_000]);
        assert_eq!(pause(60, min, max, 0), min);
        assert_eq!(pause(60, min, max, u32::MAX / 2).as_millis(), 2_524);
    }
}
