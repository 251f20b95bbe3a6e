//! What becomes of records after a call: stored, sent again, or refused for good. Pure.

use std::time::Duration;

use super::client::{Outcome, PutError};
use super::record::Record;

/// What a call means for the records that were in it: each is in exactly one of the lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Judged {
    /// The stream has them.
    pub stored: Vec<Record>,
    /// To be sent again, each group in a call of its own, in order.
    pub again: Vec<Vec<Record>>,
    /// The stream will never take them.
    pub dead: Vec<Record>,
    /// How many were turned away because the stream is at its limit.
    pub throttled: usize,
    /// Whether to wait before sending again.
    pub pause: bool,
    /// What to tell people, when the call as a whole went wrong.
    pub trouble: Option<PutError>,
}

/// So often is a record sent alone and refused before it counts as refused for good, while the stream has not shown that
/// it takes others: a wrong setting makes it refuse everything.
pub const LONE_REFUSALS_MAX: u32 = 10;

/// Judges a call. `tries` counts the calls these very records were in before; `proven` says whether the stream has taken
/// any record since the start.
///
/// Records that failed are sent again - the failed ones alone -, for as long as it takes: they are in the log. A call that
/// was refused as a whole is halved until the record that is to blame stands alone. An answer that does not have one
/// outcome a record says nothing about any of them: all are sent again, and some may then be there twice.
pub fn judge(sent: Vec<Record>, answer: Result<Vec<Outcome>, PutError>, tries: u32, proven: bool) -> Judged {
    match answer {
        Ok(outcomes) if outcomes.len() == sent.len() => each_by_its_outcome(sent, &outcomes),
        Ok(outcomes) => {
            let trouble = PutError::WrongCount { sent: sent.len(), answered: outcomes.len() };
            Judged { again: vec![sent], pause: true, trouble: Some(trouble), ..Judged::default() }
        }
        Err(trouble @ PutError::Refused(_)) => refused(sent, trouble, tries, proven),
        Err(trouble) => {
            let throttled = if matches!(trouble, PutError::Throttled(_)) { sent.len() } else { 0 };
            Judged { again: vec![sent], throttled, pause: true, trouble: Some(trouble), ..Judged::default() }
        }
    }
}

fn each_by_its_outcome(sent: Vec<Record>, outcomes: &[Outcome]) -> Judged {
    let mut judged = Judged::default();
    let mut failed = Vec::new();
    for (record, outcome) in sent.into_iter().zip(outcomes) {
        match outcome {
            Outcome::Stored => judged.stored.push(record),
            Outcome::Throttled => {
                judged.throttled += 1;
                failed.push(record);
            }
            Outcome::Failed(_) => failed.push(record),
        }
    }
    if !failed.is_empty() {
        judged.again.push(failed);
        judged.pause = true;
    }
    judged
}

fn refused(mut sent: Vec<Record>, trouble: PutError, tries: u32, proven: bool) -> Judged {
    if sent.len() > 1 {
        let second = sent.split_off(sent.len() / 2);
        // The halves are new calls: nothing has been learned that a pause would help.
        return Judged { again: vec![sent, second], trouble: Some(trouble), ..Judged::default() };
    }
    if proven || tries + 1 >= LONE_REFUSALS_MAX {
        return Judged { dead: sent, trouble: Some(trouble), ..Judged::default() };
    }
    Judged { again: vec![sent], pause: true, trouble: Some(trouble), ..Judged::default() }
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
    use crate::kinesis::record::tests::record;

    fn records(ids: &[&str]) -> Vec<Record> {
        ids.iter().map(|id| record(id)).collect()
    }

    fn failed() -> Outcome {
        Outcome::Failed("InternalFailure".into())
    }

    fn refusal() -> Result<Vec<Outcome>, PutError> {
        Err(PutError::Refused("too long".into()))
    }

    #[test]
    fn only_the_failed_records_of_a_partial_failure_are_sent_again() {
        let answer = vec![Outcome::Stored, Outcome::Throttled, Outcome::Stored, failed()];
        let judged = judge(records(&["a", "b", "c", "d"]), Ok(answer), 0, true);
        assert_eq!(judged.stored, records(&["a", "c"]));
        assert_eq!(judged.again, [records(&["b", "d"])]);
        assert_eq!((judged.throttled, judged.pause, judged.trouble), (1, true, None));
    }

    #[test]
    fn an_answer_of_the_wrong_length_sends_everything_again() {
        for outcomes in [vec![], vec![Outcome::Stored], vec![Outcome::Stored; 3]] {
            let judged = judge(records(&["a", "b"]), Ok(outcomes), 0, true);
            assert_eq!((judged.again, judged.stored), (vec![records(&["a", "b"])], vec![]));
            assert!(matches!(judged.trouble, Some(PutError::WrongCount { .. })));
        }
    }

    #[test]
    fn a_call_that_is_refused_is_halved_until_one_record_stands_alone() {
        let judged = judge(records(&["a", "b", "c"]), refusal(), 50, true);
        assert_eq!(judged.again, [records(&["a"]), records(&["b", "c"])]);
        assert!(!judged.pause && judged.dead.is_empty());
        assert_eq!(judge(records(&["a"]), refusal(), 0, true).dead, records(&["a"]));
    }

    #[test]
    fn a_stream_that_never_took_anything_must_refuse_a_record_ten_times() {
        for tries in 0..9 {
            assert_eq!(judge(records(&["a"]), refusal(), tries, false).again, [records(&["a"])]);
        }
        assert_eq!(judge(records(&["a"]), refusal(), 9, false).dead, records(&["a"]));
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
            let judged = judge(records(&["a", "b"]), Err(error), 1_000_000, true);
            assert_eq!((judged.again, judged.pause), (vec![records(&["a", "b"])], true));
        }
    }

    proptest! {
        #[test]
        fn every_record_is_in_exactly_one_list_in_its_order(
            outcomes in proptest::collection::vec(0..3_u8, 1..30), answered in 0..30_usize, kind in 0..4_u8, proven: bool,
        ) {
            let sent: Vec<Record> = (0..outcomes.len()).map(|index| record(&index.to_string())).collect();
            let outcome = |kind: u8| match kind { 0 => Outcome::Stored, 1 => Outcome::Throttled, _ => failed() };
            let answer = match kind {
                0 => refusal(),
                1 => Err(PutError::TimedOut),
                2 => Ok(outcomes.iter().copied().map(outcome).collect()),
                _ => Ok(vec![Outcome::Stored; answered]),
            };
            let judged = judge(sent.clone(), answer, 0, proven);
            let lists = judged.stored.iter().chain(judged.dead.iter()).chain(judged.again.iter().flatten());
            let mut after: Vec<Record> = lists.cloned().collect();
            after.sort_by_key(|record| record.key().parse::<usize>().ok());
            prop_assert_eq!(after, sent);
            prop_assert!(judged.again.iter().all(|group| !group.is_empty() && group.is_sorted_by_key(|record| record.key().parse::<usize>().ok())));
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
