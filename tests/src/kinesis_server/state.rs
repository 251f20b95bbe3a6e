//! What the serving thread and the test share.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::account::Account;
use super::caller::Caller;
use super::error::{ErrorType, ServiceError};
use super::faults::Faults;
use super::key_counts::KeyCounts;
use super::operation::Operation;
use super::shard::{Record, Shard};
use super::totals::{ShardTotals, Totals};

/// What is read of each shard under one lock.
const PAGE_RECORDS: usize = 10_000;

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
    /// Records stored by calls that were not answered as they should be.
    pub(crate) doubtful: u64,
    /// Records of the largest call.
    pub(crate) largest_call: u64,
}

/// What became of one call.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) answer: Result<Vec<u8>, ServiceError>,
    /// The connection is closed instead of an answer.
    pub(crate) close: bool,
    /// Before the answer or the close.
    pub(crate) wait_ms: u64,
    /// Between two bytes of the answer's body.
    pub(crate) byte_ms: u64,
    /// What the server takes the time for, if it is wrong about it.
    pub(crate) own_time_ms: Option<u64>,
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
    /// When it arrived, milliseconds since 1970.
    pub arrived_ms: u64,
}

impl Shared {
    /// A panic in one call (a failed assertion of a test) leaves the data usable for the next.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts the call, meets the faults and carries it out.
    pub(crate) fn call(&self, operation: Operation, caller: Caller<'_>, body: &[u8], now_ms: u64) -> Done {
        let mut state = self.lock();
        let State { account, faults, calls, doubtful, largest_call } = &mut *state;
        *calls.entry(operation).or_default() += 1;
        let own_time_ms = faults.own_time(now_ms);
        let verdict = faults.decide(operation, caller, now_ms);
        if let Some(wait_ms) = verdict.stall_ms {
            return Done { answer: Ok(Vec::new()), close: true, wait_ms, byte_ms: 0, own_time_ms };
        }
        let before = account.stored();
        let mut answer = match &verdict.refuse {
            Some(kind) => Err(ServiceError::new(kind.clone(), "This fault was asked for.")),
            None => operation.carry_out(body, account, faults, &verdict, now_ms),
        };
        let stored = account.stored() - before;
        *largest_call = stored.max(*largest_call);
        *doubtful += if verdict.leaves_doubt() { stored } else { 0 };
        if verdict.cut_short
            && let Ok(body) = &mut answer
        {
            body.truncate(body.len() / 2);
        }
        let (close, wait_ms, byte_ms) = (verdict.close_after, verdict.late_ms, verdict.byte_ms);
        Done { answer, close, wait_ms, byte_ms, own_time_ms }
    }

    /// What a stream has taken, in numbers.
    pub(crate) fn totals(&self, stream: &str) -> Result<Totals, ErrorType> {
        let state = self.lock();
        let stream = state.account.stream_named(stream).map_err(|error| error.kind)?;
        let shards: Vec<ShardTotals> = stream.shards.iter().map(shard_totals).collect();
        let keys = state.account.keys.as_ref();
        Ok(Totals {
            doubtful: state.doubtful,
            largest_call: state.largest_call,
            calls: state.calls.get(&Operation::PutRecords).copied().unwrap_or_default(),
            records: shards.iter().map(|shard| shard.records).sum(),
            bytes: shards.iter().map(|shard| shard.bytes).sum(),
            distinct_keys: keys.map_or(0, KeyCounts::distinct),
            repeated_keys: keys.map_or(0, KeyCounts::repeated),
            uncounted_keys: keys.map_or(0, KeyCounts::beyond),
            shards,
        })
    }

    /// Everything a stream holds, shard after shard, in the order it was stored there.
    pub(crate) fn records(&self, stream: &str) -> Result<Vec<StoredRecord>, ErrorType> {
        let state = self.lock();
        let stream = state.account.stream_named(stream).map_err(|error| error.kind)?;
        Ok(stream.shards.iter().flat_map(|shard| shard.records.iter().map(|record| stored(shard, record))).collect())
    }

    /// What has come behind these positions, at most [`PAGE_RECORDS`] of each shard, and moves them on.
    pub(crate) fn records_after(
        &self,
        stream: &str,
        positions: &mut Vec<usize>,
    ) -> Result<Vec<StoredRecord>, ErrorType> {
        let state = self.lock();
        let stream = state.account.stream_named(stream).map_err(|error| error.kind)?;
        positions.resize(stream.shards.len(), 0);
        let mut records = Vec::new();
        for (shard, position) in stream.shards.iter().zip(positions) {
            let page = shard.records.iter().skip(*position).take(PAGE_RECORDS);
            let before = records.len();
            records.extend(page.map(|record| stored(shard, record)));
            *position += records.len() - before;
        }
        Ok(records)
    }
}

fn stored(shard: &Shard, record: &Record) -> StoredRecord {
    StoredRecord {
        shard_id: shard.id.clone(),
        sequence_number: record.sequence_number.to_string(),
        partition_key: record.partition_key.to_string(),
        data: record.data.clone(),
        arrived_ms: record.arrived_ms,
    }
}

fn shard_totals(shard: &Shard) -> ShardTotals {
    ShardTotals {
        shard_id: shard.id.clone(),
        records: shard.stored,
        bytes: shard.stored_bytes,
        throttled: shard.throttled,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use http::HeaderMap;

    use super::*;

    fn call(shared: &Shared) -> Done {
        shared.call(Operation::PutRecords, Caller::of(&HeaderMap::new()), PUT, 2_000)
    }

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
        call(&shared).answer.unwrap();
        let records = shared.records("s").unwrap();
        assert_eq!(records.len(), 1);
        assert_eq!((&*records[0].partition_key, &records[0].data[..]), ("k", &b"one"[..]));
        assert_eq!(shared.records("other"), Err(ErrorType::ResourceNotFound));
    }

    #[test]
    fn what_has_come_since_is_read_once() {
        let shared = shared(Faults::default());
        let mut positions = Vec::new();
        for _ in 0..2 {
            call(&shared).answer.unwrap();
            assert_eq!(shared.records_after("s", &mut positions).unwrap().len(), 1);
        }
        assert!(shared.records_after("s", &mut positions).unwrap().is_empty());
        assert_eq!(positions, [2]);
    }

    #[test]
    fn a_refused_call_is_counted_and_stores_nothing() {
        let shared = shared(Faults::default().refuse_next(1, 500, "InternalFailure"));
        let done = call(&shared);
        assert_eq!(done.answer.unwrap_err().kind.status(), 500);
        assert_eq!(shared.lock().calls[&Operation::PutRecords], 1);
        assert!(shared.records("s").unwrap().is_empty());
    }

    #[test]
    fn a_dropped_answer_is_of_a_call_that_was_carried_out() {
        let shared = shared(Faults::default().drop_next(1));
        assert!(call(&shared).close);
        assert_eq!(shared.records("s").unwrap().len(), 1);
    }
}
