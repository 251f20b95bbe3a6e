//! Trouble on demand: what the server does wrong, and how often.

use super::error::ErrorType;
use super::operation::Operation;

/// What goes wrong from now on; [`Faults::default`] is nothing.
///
/// Counts go down as calls use them up; a share of records fails until the faults are replaced. Every draw comes from the seed, so
/// the same calls in the same order meet the same faults.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    only: Option<Operation>,
    refusals: Option<Refusals>,
    records: Option<RecordFaults>,
    hang: Option<Hang>,
    drop_answers: u32,
}

#[derive(Debug, Clone)]
struct Refusals {
    calls: u32,
    kind: ErrorType,
}

#[derive(Debug, Clone)]
struct RecordFaults {
    share: f64,
    random: fastrand::Rng,
    kind: RecordFault,
}

#[derive(Debug, Clone, Copy)]
struct Hang {
    calls: u32,
    hang_ms: u64,
}

/// Why one record of a `PutRecords` call is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordFault {
    /// The shard takes no more in this second.
    Throughput,
    /// The service failed.
    Internal,
    /// One or the other, drawn by the seed.
    Either,
}

/// What happens to one call.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Verdict {
    /// Not carried out: answered with this.
    pub(crate) refuse: Option<ErrorType>,
    /// The answer is held back this long, after the call was carried out.
    pub(crate) hang_ms: u64,
    /// Carried out, but the connection is closed instead of an answer.
    pub(crate) drop_answer: bool,
}

impl Faults {
    /// Limits these faults to one operation; without it they meet every operation.
    #[must_use]
    pub fn only(mut self, operation: Operation) -> Self {
        self.only = Some(operation);
        self
    }

    /// Refuses the next `calls` calls with an HTTP status and a `__type`; nothing of them is carried out.
    #[must_use]
    pub fn refuse_next(mut self, calls: u32, status: u16, name: &str) -> Self {
        self.refusals = Some(Refusals { calls, kind: ErrorType::Injected { status, name: name.to_owned() } });
        self
    }

    /// Fails this share (0.0 to 1.0) of the records in every `PutRecords` call; failed ones are not stored.
    #[must_use]
    pub fn fail_records(mut self, share: f64, kind: RecordFault, seed: u64) -> Self {
        self.records = Some(RecordFaults { share, random: fastrand::Rng::with_seed(seed), kind });
        self
    }

    /// Carries the next `calls` calls out, but answers them this many milliseconds late.
    #[must_use]
    pub fn hang_next(mut self, calls: u32, hang_ms: u64) -> Self {
        self.hang = Some(Hang { calls, hang_ms });
        self
    }

    /// Carries the next `calls` calls out and closes the connection instead of answering.
    #[must_use]
    pub fn drop_next(mut self, calls: u32) -> Self {
        self.drop_answers = calls;
        self
    }

    /// What happens to this call; uses up what it takes. A refused call uses up nothing else.
    pub(crate) fn decide(&mut self, operation: Operation) -> Verdict {
        let mut verdict = Verdict::default();
        if self.only.is_some_and(|only| only != operation) {
            return verdict;
        }
        if let Some(refusals) = &mut self.refusals
            && take_one(&mut refusals.calls)
        {
            verdict.refuse = Some(refusals.kind.clone());
            return verdict;
        }
        if let Some(hang) = &mut self.hang
            && take_one(&mut hang.calls)
        {
            verdict.hang_ms = hang.hang_ms;
        }
        verdict.drop_answer = take_one(&mut self.drop_answers);
        verdict
    }

    /// Whether the next record of a `PutRecords` call fails, and why: a code and a message.
    pub(crate) fn next_record(&mut self) -> Option<(&'static str, &'static str)> {
        let faults = self.records.as_mut()?;
        if faults.random.f64() >= faults.share {
            return None;
        }
        let throughput = match faults.kind {
            RecordFault::Throughput => true,
            RecordFault::Internal => false,
            RecordFault::Either => faults.random.bool(),
        };
        Some(if throughput {
            ("ProvisionedThroughputExceededException", "Rate exceeded for shard.")
        } else {
            ("InternalFailure", "Internal service failure.")
        })
    }
}

fn take_one(left: &mut u32) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_faults_nothing_happens() {
        let mut faults = Faults::default();
        assert_eq!(faults.decide(Operation::PutRecords), Verdict::default());
        assert_eq!(faults.next_record(), None);
    }

    #[test]
    fn as_many_calls_are_refused_as_were_asked_for() {
        let mut faults = Faults::default().refuse_next(2, 500, "InternalFailure");
        let refused = [(); 4].map(|()| faults.decide(Operation::PutRecords).refuse.is_some());
        assert_eq!(refused, [true, true, false, false]);
    }

    #[test]
    fn a_fault_for_one_operation_leaves_the_others_alone() {
        let mut faults = Faults::default().refuse_next(1, 500, "InternalFailure").only(Operation::PutRecords);
        assert_eq!(faults.decide(Operation::GetRecords), Verdict::default());
        assert!(faults.decide(Operation::PutRecords).refuse.is_some());
    }

    #[test]
    fn a_refused_call_uses_up_neither_a_hang_nor_a_drop() {
        let mut faults = Faults::default().refuse_next(1, 503, "ServiceUnavailable").hang_next(1, 70).drop_next(1);
        let first = faults.decide(Operation::PutRecords);
        assert_eq!((first.hang_ms, first.drop_answer), (0, false));
        let second = faults.decide(Operation::PutRecords);
        assert_eq!((second.hang_ms, second.drop_answer), (70, true));
    }

    #[test]
    fn the_same_seed_fails_the_same_records() {
        let draw = |seed| {
            let mut faults = Faults::default().fail_records(0.3, RecordFault::Either, seed);
            (0..1_000).map(|_| faults.next_record().map(|fault| fault.0)).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let failed = draw(7).iter().filter(|fault| fault.is_some()).count();
        assert!((200..400).contains(&failed), "{failed} of 1000 for a share of 0.3");
    }

    #[test]
    fn a_share_of_one_fails_every_record_and_a_share_of_zero_none() {
        let mut all = Faults::default().fail_records(1.0, RecordFault::Throughput, 1);
        let mut none = Faults::default().fail_records(0.0, RecordFault::Internal, 1);
        assert!((0..100).all(|_| all.next_record().is_some()));
        assert!((0..100).all(|_| none.next_record().is_none()));
    }
}
