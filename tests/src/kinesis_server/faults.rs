//! Trouble on demand: what the server does wrong, and how often.

use super::call_fault::{CallFault, Verdict, When};
use super::caller::Caller;
use super::error::ErrorType;
use super::operation::Operation;
use super::record_fault::{Failure, RecordFault, RecordRule};

/// How far the time of a signature may be from the server's: five minutes.
const SKEW_MS_MAX: u64 = 300_000;

/// What goes wrong from now on; [`Faults::default`] is nothing.
///
/// Counts go down as calls use them up; a share fails until the faults are replaced. Every draw comes from one seed, so the same
/// calls in the same order meet the same faults.
#[derive(Debug, Clone)]
pub struct Faults {
    only: Option<Operation>,
    random: fastrand::Rng,
    calls: Vec<(When, CallFault)>,
    records: Vec<RecordRule>,
    poison: Option<Vec<u8>>,
    expired_key: Option<String>,
    clock: Option<Clock>,
}

/// A server whose clock is not the client's.
#[derive(Debug, Clone)]
struct Clock {
    offset_ms: i64,
    /// The `__type` of a signature from too far away.
    refusal: String,
}

impl Default for Faults {
    fn default() -> Self {
        Self::seeded(0)
    }
}

impl Faults {
    /// Nothing yet; what is added draws from this seed.
    pub fn seeded(seed: u64) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self {
            only: None,
            random,
            calls: Vec::new(),
            records: Vec::new(),
            poison: None,
            expired_key: None,
            clock: None,
        }
    }

    /// Limits these faults to one operation; without it they meet every operation.
    #[must_use]
    pub fn only(mut self, operation: Operation) -> Self {
        self.only = Some(operation);
        self
    }

    /// This fault for the next `calls` calls that come to it: a call that an earlier fault leaves not carried out does not.
    #[must_use]
    pub fn next(mut self, calls: u32, fault: CallFault) -> Self {
        self.calls.push((When::Next(calls), fault));
        self
    }

    /// This fault for a share (0.0 to 1.0) of the calls that come to it.
    #[must_use]
    pub fn share(mut self, share: f64, fault: CallFault) -> Self {
        self.calls.push((When::Share(share), fault));
        self
    }

    /// Refuses the next `calls` calls with an HTTP status and a `__type`; nothing of them is carried out.
    #[must_use]
    pub fn refuse_next(self, calls: u32, status: u16, name: &str) -> Self {
        self.next(calls, CallFault::refuse(status, name))
    }

    /// Carries the next `calls` calls out, but answers them this many milliseconds late.
    #[must_use]
    pub fn hang_next(self, calls: u32, ms: u64) -> Self {
        self.next(calls, CallFault::Late { ms })
    }

    /// Carries the next `calls` calls out and closes the connection instead of answering.
    #[must_use]
    pub fn drop_next(self, calls: u32) -> Self {
        self.next(calls, CallFault::CloseAfter)
    }

    /// Fails this share (0.0 to 1.0) of the records in every `PutRecords` call; failed ones are not stored.
    #[must_use]
    pub fn fail_records(mut self, share: f64, kind: RecordFault) -> Self {
        self.records.push(RecordRule { share, kind, shard: None });
        self
    }

    /// The same for the records of one shard alone.
    #[must_use]
    pub fn fail_records_of_shard(mut self, shard_id: &str, share: f64, kind: RecordFault) -> Self {
        self.records.push(RecordRule::of_shard(shard_id, share, kind));
        self
    }

    /// Refuses every `PutRecords` call with a record that has these bytes in its data, as one that breaks a constraint. At least 1 byte.
    #[must_use]
    pub fn poison(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.poison = Some(bytes.into()).filter(|bytes| !bytes.is_empty());
        self
    }

    /// Refuses every call that is signed with this access key: its session has expired.
    #[must_use]
    pub fn expired_key(mut self, access_key_id: &str) -> Self {
        self.expired_key = Some(access_key_id.to_owned());
        self
    }

    /// Sets the server's clock so far from the machine's. A call whose signature is more than five minutes from it is refused with this
    /// `__type`: `InvalidSignatureException` or `RequestTimeTooSkewed`. Answers carry the server's `Date`.
    #[must_use]
    pub fn clock_offset(mut self, offset_ms: i64, refusal: &str) -> Self {
        self.clock = Some(Clock { offset_ms, refusal: refusal.to_owned() });
        self
    }

    /// What the server takes the time for, when the machine says `now_ms`; nothing when both agree.
    pub(crate) fn own_time(&self, now_ms: u64) -> Option<u64> {
        self.clock.as_ref().map(|clock| now_ms.saturating_add_signed(clock.offset_ms))
    }

    /// What happens to this call; uses up what it takes. A call that is not carried out uses up nothing else.
    pub(crate) fn decide(&mut self, operation: Operation, caller: Caller<'_>, now_ms: u64) -> Verdict {
        let mut verdict = Verdict::default();
        if self.only.is_some_and(|only| only != operation) {
            return verdict;
        }
        verdict.refuse = self.unwelcome(caller, now_ms);
        for (when, fault) in &mut self.calls {
            if !verdict.is_carried_out() {
                break;
            }
            if when.strikes(&mut self.random) {
                verdict.add(fault);
            }
        }
        verdict
    }

    /// Why the service does not believe the caller.
    fn unwelcome(&self, caller: Caller<'_>, now_ms: u64) -> Option<ErrorType> {
        let injected = |status, name: &str| ErrorType::Injected { status, name: name.to_owned() };
        if self.expired_key.is_some() && caller.access_key_id() == self.expired_key.as_deref() {
            return Some(injected(400, "ExpiredTokenException"));
        }
        let clock = self.clock.as_ref()?;
        let own_ms = now_ms.saturating_add_signed(clock.offset_ms);
        let apart_ms = caller.signed_at_ms().map(|signed_ms| signed_ms.abs_diff(own_ms));
        (apart_ms? > SKEW_MS_MAX).then(|| injected(400, &clock.refusal))
    }

    /// The bytes that no record may have.
    pub(crate) fn poisonous(&self) -> Option<&[u8]> {
        self.poison.as_deref()
    }

    /// Whether the next record of a `PutRecords` call fails, which belongs to this shard, and why.
    pub(crate) fn next_record(&mut self, shard: u32) -> Option<Failure> {
        self.records.iter().find_map(|rule| rule.strikes(shard, &mut self.random))
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;

    use super::*;

    fn decide(faults: &mut Faults, operation: Operation) -> Verdict {
        faults.decide(operation, Caller::of(&HeaderMap::new()), 0)
    }

    #[test]
    fn without_faults_nothing_happens() {
        let mut faults = Faults::default();
        assert_eq!(decide(&mut faults, Operation::PutRecords), Verdict::default());
        assert_eq!(faults.next_record(0), None);
    }

    #[test]
    fn a_fault_for_one_operation_leaves_the_others_alone() {
        let mut faults = Faults::default().refuse_next(1, 500, "InternalFailure").only(Operation::PutRecords);
        assert_eq!(decide(&mut faults, Operation::GetRecords), Verdict::default());
        assert!(decide(&mut faults, Operation::PutRecords).refuse.is_some());
    }

    #[test]
    fn a_refused_call_uses_up_neither_a_hang_nor_a_drop() {
        let mut faults = Faults::default().refuse_next(1, 503, "ServiceUnavailable").hang_next(1, 70).drop_next(1);
        let first = decide(&mut faults, Operation::PutRecords);
        assert_eq!((first.late_ms, first.close_after), (0, false));
        let second = decide(&mut faults, Operation::PutRecords);
        assert_eq!((second.late_ms, second.close_after), (70, true));
    }

    #[test]
    fn the_same_seed_strikes_the_same_calls_and_records() {
        let draw = |seed| {
            let faults = Faults::seeded(seed).share(0.3, CallFault::CloseAfter).share(0.3, CallFault::failed());
            let mut faults = faults.fail_records(0.3, RecordFault::Either);
            let one = |_| (decide(&mut faults, Operation::PutRecords), faults.next_record(0));
            (0..1_000).map(one).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        let failed = draw(7).iter().filter(|drawn| drawn.1.is_some()).count();
        assert!((200..400).contains(&failed), "{failed} of 1000 for a share of 0.3");
    }

    #[test]
    fn a_share_of_one_fails_every_record_and_a_share_of_zero_none() {
        let mut all = Faults::default().fail_records(1.0, RecordFault::Throughput);
        let mut none = Faults::default().fail_records(0.0, RecordFault::Internal);
        assert!((0..100).all(|_| all.next_record(0).is_some()));
        assert!((0..100).all(|_| none.next_record(0).is_none()));
    }

    #[test]
    fn a_fault_of_one_shard_leaves_the_others_alone() {
        let mut faults = Faults::default().fail_records_of_shard("shardId-000000000001", 1.0, RecordFault::Throughput);
        assert_eq!([0, 1, 2].map(|shard| faults.next_record(shard).is_some()), [false, true, false]);
    }

    #[test]
    fn an_expired_key_is_refused_until_another_signs() {
        let mut faults = Faults::default().expired_key("OLD");
        let mut refused = |key: &str| {
            let authorization = format!("AWS4-HMAC-SHA256 Credential={key}/20301231/eu-west-1/kinesis/aws4_request");
            let headers = [("authorization", authorization)].map(|(name, value)| {
                (http::HeaderName::from_static(name), value.parse().unwrap_or(http::HeaderValue::from_static("")))
            });
            faults.decide(Operation::PutRecords, Caller::of(&HeaderMap::from_iter(headers)), 0).refuse
        };
        assert_eq!(refused("OLD").map(|kind| kind.name().to_owned()), Some("ExpiredTokenException".to_owned()));
        assert_eq!(refused("NEW"), None);
    }

    #[test]
    fn a_signature_from_more_than_five_minutes_away_is_refused() {
        let headers = HeaderMap::from_iter([(
            http::HeaderName::from_static("x-amz-date"),
            http::HeaderValue::from_static("20300101T000000Z"),
        )]);
        let signed_ms = 1_893_456_000_000;
        let refused = |offset_ms| {
            let mut faults = Faults::default().clock_offset(offset_ms, "RequestTimeTooSkewed");
            faults.decide(Operation::PutRecords, Caller::of(&headers), signed_ms).refuse.is_some()
        };
        assert_eq!([0, 300_000, -300_000, 300_001, -300_001].map(refused), [false, false, false, true, true]);
    }
}
