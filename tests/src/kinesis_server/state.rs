//! What the serving thread and the test share.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::account::Account;
use super::error::{ErrorType, ServiceError};
use super::faults::Faults;
use super::operation::Operation;

/// The data, the faults and the counts, behind one lock that is never held across an await.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
}

/// See [`Shared`].
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) account: Account,
    pub(crate) faults: Faults,
    /// Calls that arrived, refused ones included.
    pub(crate) calls: BTreeMap<Operation, u64>,
}

/// What became of one call.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) answer: Result<Vec<u8>, ServiceError>,
    pub(crate) hang_ms: u64,
    pub(crate) drop_answer: bool,
}

/// One record as it was stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// The shard it went to.
    pub shard_id: String,
    /// Its place there: 56 digits, strictly increasing within the shard.
    pub sequence_number: String,
    /// The key it was put with.
    pub partition_key: String,
    /// What it carries, decoded from base64.
    pub data: Bytes,
}

impl Shared {
    /// A panic in one call (a failed assertion of a test) leaves the data usable for the next.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the call, meets the faults and carries it out.
    pub(crate) fn call(&self, operation: Operation, body: &[u8], now_ms: u64) -> Done {
        let mut state = self.lock();
        let State { account, faults, calls } = &mut *state;
        *calls.entry(operation).or_default() += 1;
        let verdict = faults.decide(operation);
        let answer = match verdict.refuse {
            Some(kind) => Err(ServiceError::new(kind, "This fault was asked for.")),
            None => operation.carry_out(body, account, faults, now_ms),
        };
        Done { answer, hang_ms: verdict.hang_ms, drop_answer: verdict.drop_answer }
    }

    /// Everything a stream holds, shard after shard, in the order it was stored there.
    pub(crate) fn records(&self, stream: &str) -> Result<Vec<StoredRecord>, ErrorType> {
        let state = self.lock();
        let stream = state.account.stream_named(stream).map_err(|error| error.kind)?;
        let records = stream.shards.iter().flat_map(|shard| shard.records.iter().map(move |record| (shard, record)));
        Ok(records
            .map(|(shard, record)| StoredRecord {
                shard_id: shard.id.clone(),
                sequence_number: record.sequence_number.to_string(),
                partition_key: record.partition_key.to_string(),
                data: record.data.clone(),
            })
            .collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    const PUT: &[u8] = br#"{"StreamName":"s","Records":[{"PartitionKey":"k","Data":"b25l"}]}"#;

    fn shared(faults: Faults) -> Shared {
        let shared = Shared::default();
        shared.lock().account.create("s", 1, 1_000).unwrap();
        shared.lock().faults = faults;
        shared
    }

    #[test]
    fn what_was_put_is_there() {
        let shared = shared(Faults::default());
        shared.call(Operation::PutRecords, PUT, 2_000).answer.unwrap();
        let records = shared.records("s").unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!((&*records[0].partition_key, &records[0].data[..]), ("k", &b"one"[..]));
        assert_eq!(shared.records("other"), Err(ErrorType::ResourceNotFound));
    }

    #[test]
    fn a_refused_call_is_counted_and_stores_nothing() {
        let shared = shared(Faults::default().refuse_next(1, 500, "InternalFailure"));
        let done = shared.call(Operation::PutRecords, PUT, 2_000);
        assert_eq!(done.answer.unwrap_err().kind.status(), 500);
        assert_eq!(shared.lock().calls[&Operation::PutRecords], 1);
        assert!(shared.records("s").unwrap().is_empty());
    }

    #[test]
    fn a_dropped_answer_is_of_a_call_that_was_carried_out() {
        let shared = shared(Faults::default().drop_next(1));
        assert!(shared.call(Operation::PutRecords, PUT, 2_000).drop_answer);
        assert_eq!(shared.records("s").unwrap().len(), 1);
    }
}
