//! `PutRecord` and `PutRecords`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::account::{Account, Destination, StreamRef};
use super::super::error::{ErrorType, ServiceError};
use super::super::faults::Faults;
use super::super::hash_key::{HashKey, HashKeyError};
use super::super::record_fault::{Failure, THROUGHPUT};
use super::super::sequence_number::SequenceNumber;
use super::super::shard::Shard;
use super::put_answer::PutAnswer;
use super::write;

const RECORDS_MAX: usize = 500;
/// Data and partition key of one record.
const RECORD_BYTES_MAX: usize = 1 << 20;
/// Data and partition keys of one call.
const REQUEST_BYTES_MAX: usize = 5 << 20;
const PARTITION_KEY_CHARS_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecord<'a> {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(borrow)]
    partition_key: Cow<'a, str>,
    #[serde(borrow)]
    explicit_hash_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Cow<'a, str>,
}

// The stream is spelled out in both requests and not flattened in: flattening would copy every record once more.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecords<'a> {
    stream_name: Option<String>,
    #[serde(rename = "StreamARN")]
    stream_arn: Option<String>,
    #[serde(borrow)]
    records: Vec<Entry<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    #[serde(borrow)]
    partition_key: Cow<'a, str>,
    #[serde(borrow)]
    explicit_hash_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Cow<'a, str>,
}

/// A record that has passed every check.
struct Checked<'a> {
    partition_key: Cow<'a, str>,
    hash_key: HashKey,
    data: Data,
}

/// What a record carries.
enum Data {
    Whole(Bytes),
    /// So many bytes that nobody is going to look at.
    Length(usize),
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordAnswer {
    shard_id: String,
    sequence_number: String,
}

pub(crate) fn one(body: &[u8], account: &mut Account, now_ms: u64) -> Result<Vec<u8>, ServiceError> {
    let request: PutRecord<'_> = serde_json::from_slice(body).map_err(|error| ServiceError::unreadable(&error))?;
    let stream = StreamRef { stream_name: request.stream_name, stream_arn: request.stream_arn };
    let entry = Entry {
        partition_key: request.partition_key,
        explicit_hash_key: request.explicit_hash_key,
        data: request.data,
    };
    let record = check(entry, true)?;
    let mut destination = account.destination(&stream, record.bytes())?;
    match store(&mut destination, record, None, now_ms)? {
        Stored::In(shard, number) => {
            write(&PutRecordAnswer { shard_id: shard.id.clone(), sequence_number: number.to_string() })
        }
        Stored::Not((_code, message)) => Err(ServiceError::new(ErrorType::Throughput, message)),
    }
}

pub(crate) fn many(
    body: &[u8],
    account: &mut Account,
    faults: &mut Faults,
    more_results: isize,
    now_ms: u64,
) -> Result<Vec<u8>, ServiceError> {
    let request: PutRecords<'_> = serde_json::from_slice(body).map_err(|error| ServiceError::unreadable(&error))?;
    let stream = StreamRef { stream_name: request.stream_name, stream_arn: request.stream_arn };
    if request.records.is_empty() || request.records.len() > RECORDS_MAX {
        let count = request.records.len();
        let constraint = format!("Member must have length between 1 and {RECORDS_MAX}");
        return Err(ServiceError::invalid(&format!("[{count} entries]"), "records", &constraint));
    }
    // Decoding base64 is dear; only who keeps the records, or looks into them, needs it.
    let whole = account.keys.is_none() || faults.poisonous().is_some();
    let entries = request.records.into_iter();
    let records: Vec<Checked<'_>> = entries.map(|entry| check(entry, whole)).collect::<Result<_, _>>()?;
    let bytes: usize = records.iter().map(Checked::bytes).sum();
    if bytes > REQUEST_BYTES_MAX {
        return Err(ServiceError::new(ErrorType::InvalidArgument, "Records size exceeds 5 MB limit"));
    }
    refuse_poison(&records, faults)?;
    let mut destination = account.destination(&stream, bytes)?;
    let mut answer = PutAnswer::for_records(records.len());
    for record in records {
        match store(&mut destination, record, Some(&mut *faults), now_ms)? {
            Stored::In(shard, number) => answer.stored(&shard.id, number),
            Stored::Not((code, message)) => answer.failed(code, message),
        }
    }
    Ok(answer.finish(more_results))
}

impl Checked<'_> {
    fn bytes(&self) -> usize {
        self.partition_key.len()
            + match &self.data {
                Data::Whole(data) => data.len(),
                Data::Length(length) => *length,
            }
    }
}

/// What became of one record.
enum Stored<'a> {
    In(&'a Shard, SequenceNumber),
    Not(Failure),
}

fn store<'a>(
    destination: &'a mut Destination<'_>,
    record: Checked<'_>,
    faults: Option<&mut Faults>,
    now_ms: u64,
) -> Result<Stored<'a>, ServiceError> {
    // The open shards hold every hash key; see the stream's own tests.
    let no_shard = || ServiceError::new(ErrorType::InternalFailure, "no open shard holds this hash key");
    let shard = destination.stream.route(record.hash_key).ok_or_else(no_shard)?;
    if let Some(failure) = faults.and_then(|faults| faults.next_record(shard.index)) {
        return Ok(Stored::Not(failure));
    }
    let bytes = record.bytes();
    if let Some(limits) = destination.limits
        && !shard.bucket.take(bytes, limits, now_ms)
    {
        shard.throttled += 1;
        return Ok(Stored::Not(THROUGHPUT));
    }
    let number = match (&mut destination.keys, record.data) {
        (None, Data::Whole(data)) => shard.append(&record.partition_key, data, now_ms),
        (keys, _) => {
            if let Some(keys) = keys {
                keys.add(record.hash_key.high());
            }
            shard.count(bytes, now_ms)
        }
    };
    Ok(Stored::In(shard, number))
}

/// Refuses the call when one of its records has the bytes that no record may have.
fn refuse_poison(records: &[Checked<'_>], faults: &Faults) -> Result<(), ServiceError> {
    let Some(poison) = faults.poisonous() else { return Ok(()) };
    let is_poison = |record: &Checked<'_>| match &record.data {
        Data::Whole(data) => data.windows(poison.len()).any(|window| window == poison),
        Data::Length(_) => false,
    };
    if records.iter().any(is_poison) {
        return Err(ServiceError::invalid("[poison]", "data", "This fault was asked for"));
    }
    Ok(())
}

fn check(entry: Entry<'_>, whole: bool) -> Result<Checked<'_>, ServiceError> {
    let key = &entry.partition_key;
    // Fewer bytes than characters are impossible.
    let is_long = key.len() > PARTITION_KEY_CHARS_MAX && key.chars().count() > PARTITION_KEY_CHARS_MAX;
    if key.is_empty() || is_long {
        let constraint = format!("Member must have length between 1 and {PARTITION_KEY_CHARS_MAX}");
        return Err(ServiceError::invalid(&entry.partition_key, "partitionKey", &constraint));
    }
    let hash_key = match &entry.explicit_hash_key {
        None => HashKey::of_partition_key(&entry.partition_key),
        Some(text) => HashKey::parse(text).map_err(|error| refuse_hash_key(text, error))?,
    };
    let data = if whole { decode(&entry.data)? } else { Data::Length(decoded_length(&entry.data)?) };
    let checked = Checked { partition_key: entry.partition_key, hash_key, data };
    if checked.bytes() > RECORD_BYTES_MAX {
        let constraint = format!("Member must have length less than or equal to {RECORD_BYTES_MAX}");
        return Err(ServiceError::invalid(&format!("[{} bytes]", checked.bytes()), "data", &constraint));
    }
    Ok(checked)
}

fn decode(base64: &str) -> Result<Data, ServiceError> {
    let data = STANDARD.decode(base64.as_bytes()).map_err(|error| no_blob(&error.to_string()))?;
    Ok(Data::Whole(data.into()))
}

/// How many bytes this base64 stands for; its characters are not looked at.
fn decoded_length(base64: &str) -> Result<usize, ServiceError> {
    if !base64.len().is_multiple_of(4) {
        return Err(no_blob("its length is no multiple of 4"));
    }
    let padding = base64.bytes().rev().take(2).take_while(|byte| *byte == b'=').count();
    Ok(base64.len() / 4 * 3 - padding)
}

fn no_blob(why: &str) -> ServiceError {
    ServiceError::new(ErrorType::Serialization, format!("data can not be converted to a Blob: {why}"))
}

fn refuse_hash_key(text: &str, error: HashKeyError) -> ServiceError {
    match error {
        HashKeyError::Malformed => {
            let constraint = "Member must satisfy regular expression pattern: 0|([1-9]\\d{0,38})";
            ServiceError::invalid(text, "explicitHashKey", constraint)
        }
        HashKeyError::OutOfRange => {
            let message = format!("Invalid ExplicitHashKey: {text} is {error}.");
            ServiceError::new(ErrorType::InvalidArgument, message)
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::{Value, json};

    use super::super::super::key_counts::KeyCounts;
    use super::super::super::limits::ShardLimits;
    use super::super::super::record_fault::RecordFault;
    use super::*;

    const NOW_MS: u64 = 1_900_000_000_000;

    fn account() -> Account {
        let mut account = Account::default();
        account.create("s", 2, NOW_MS).unwrap();
        account
    }

    fn put(account: &mut Account, faults: &mut Faults, records: &Value) -> Result<Value, ErrorType> {
        let body = json!({"StreamName": "s", "Records": records}).to_string();
        many(body.as_bytes(), account, faults, 0, NOW_MS)
            .map(|answer| serde_json::from_slice(&answer).unwrap())
            .map_err(|error| error.kind)
    }

    fn refusal(records: &Value) -> ErrorType {
        put(&mut account(), &mut Faults::default(), records).unwrap_err()
    }

    fn entry(bytes: usize) -> Value {
        json!({"PartitionKey": "k", "Data": STANDARD.encode(vec![7; bytes])})
    }

    #[test]
    fn records_are_answered_in_their_order_and_stored_as_they_were() {
        let mut account = account();
        let records = json!([
            {"PartitionKey": "a", "Data": "b25l"},
            {"PartitionKey": "b", "Data": "dHdv", "ExplicitHashKey": "340282366920938463463374607431768211455"},
        ]);
        let answer = put(&mut account, &mut Faults::default(), &records).unwrap();
        assert_eq!(answer["FailedRecordCount"], 0);
        // md5("a") begins with 0c: the lower half of the hash keys.
        assert_eq!(answer["Records"][0]["ShardId"], "shardId-000000000000");
        assert_eq!(answer["Records"][1]["ShardId"], "shardId-000000000001");
        let stored = &account.stream_named("s").unwrap().shards[1].records[0];
        assert_eq!((&*stored.partition_key, &stored.data[..]), ("b", &b"two"[..]));
        assert_eq!(answer["Records"][1]["SequenceNumber"], stored.sequence_number.to_string());
    }

    #[test]
    fn one_record_is_put_alone() {
        let mut account = account();
        let body = br#"{"StreamName":"s","PartitionKey":"a","Data":"b25l"}"#;
        let answer: Value = serde_json::from_slice(&one(body, &mut account, NOW_MS).unwrap()).unwrap();
        assert_eq!(answer["ShardId"], "shardId-000000000000");
        assert_eq!(account.stream_named("s").unwrap().shards[0].records.len(), 1);
    }

    #[test]
    fn failed_records_are_counted_named_and_not_stored() {
        let mut account = account();
        let mut faults = Faults::default().fail_records(0.5, RecordFault::Throughput);
        let answer = put(&mut account, &mut faults, &Value::from(vec![entry(1); 100])).unwrap();
        let failed = answer["FailedRecordCount"].as_u64().unwrap();
        let named = answer["Records"].as_array().unwrap().iter().filter(|record| record.get("ErrorCode").is_some());
        assert!(failed > 0 && failed < 100);
        assert_eq!(named.count() as u64, failed);
        let stored: usize = account.stream_named("s").unwrap().shards.iter().map(|shard| shard.records.len()).sum();
        assert_eq!(stored as u64, 100 - failed);
    }

    #[test]
    fn a_call_takes_500_records_and_not_one_more() {
        let mut account = account();
        assert!(put(&mut account, &mut Faults::default(), &Value::from(vec![entry(1); 500])).is_ok());
        assert_eq!(refusal(&Value::from(vec![entry(1); 501])), ErrorType::Validation);
        assert_eq!(refusal(&json!([])), ErrorType::Validation);
    }

    #[test]
    fn a_record_takes_one_mebibyte_with_its_key_and_not_one_byte_more() {
        let mut account = account();
        assert!(put(&mut account, &mut Faults::default(), &json!([entry((1 << 20) - 1)])).is_ok());
        assert_eq!(refusal(&json!([entry(1 << 20)])), ErrorType::Validation);
    }

    #[test]
    fn a_call_takes_five_mebibytes_with_keys_and_not_one_byte_more() {
        let mut account = account();
        let full = entry((1 << 20) - 1);
        assert!(put(&mut account, &mut Faults::default(), &Value::from(vec![full.clone(); 5])).is_ok());
        let mut records = vec![full; 5];
        records.push(entry(0));
        assert_eq!(refusal(&Value::from(records)), ErrorType::InvalidArgument);
    }

    #[test]
    fn a_partition_key_has_1_to_256_characters() {
        let with_key = |key: String| json!([{"PartitionKey": key, "Data": ""}]);
        assert!(put(&mut account(), &mut Faults::default(), &with_key("ä".repeat(256))).is_ok());
        assert_eq!(refusal(&with_key("x".repeat(257))), ErrorType::Validation);
        assert_eq!(refusal(&with_key(String::new())), ErrorType::Validation);
    }

    #[test]
    fn data_that_is_not_base64_cannot_be_read() {
        assert_eq!(refusal(&json!([{"PartitionKey": "k", "Data": "?"}])), ErrorType::Serialization);
    }

    #[test]
    fn one_bad_record_refuses_the_whole_call_and_stores_nothing() {
        let mut account = account();
        let records = json!([entry(1), {"PartitionKey": "k", "Data": "AA==", "ExplicitHashKey": "x"}]);
        assert_eq!(put(&mut account, &mut Faults::default(), &records), Err(ErrorType::Validation));
        assert!(account.stream_named("s").unwrap().shards.iter().all(|shard| shard.records.is_empty()));
    }

    #[test]
    fn one_poison_record_refuses_the_whole_call() {
        let mut account = account();
        let mut faults = Faults::default().poison("bad");
        let poison = json!({"PartitionKey": "k", "Data": STANDARD.encode("a bad one")});
        assert_eq!(put(&mut account, &mut faults, &json!([entry(9), poison])), Err(ErrorType::Validation));
        assert!(put(&mut account, &mut faults, &json!([entry(9), entry(2)])).is_ok());
    }

    #[test]
    fn a_shard_at_its_limit_turns_records_away_one_by_one() {
        let mut account = account();
        account.limits = Some(ShardLimits { records_per_s: 2.0, bytes_per_s: 1e6 });
        // All of one key, so all of one shard.
        let answer = put(&mut account, &mut Faults::default(), &Value::from(vec![entry(1); 5])).unwrap();
        assert_eq!(answer["FailedRecordCount"], 3);
        assert_eq!(answer["Records"][2]["ErrorCode"], "ProvisionedThroughputExceededException");
        let shards = &account.stream_named("s").unwrap().shards;
        assert_eq!(shards.iter().map(|shard| (shard.stored, shard.throttled)).max(), Some((2, 3)));
    }

    #[test]
    fn records_that_are_counted_are_not_kept() {
        let mut account = account();
        account.keys = Some(KeyCounts::default());
        let records = json!([entry(1), entry(2), entry(3), {"PartitionKey": "other", "Data": "AAAA"}]);
        put(&mut account, &mut Faults::default(), &records).unwrap();
        let shards = &account.stream_named("s").unwrap().shards;
        assert!(shards.iter().all(|shard| shard.records.is_empty()));
        let bytes: u64 = shards.iter().map(|shard| shard.stored_bytes).sum();
        assert_eq!(bytes, 3 + 6 + "other".len() as u64 + 3);
        let keys = account.keys.unwrap();
        assert_eq!((keys.distinct(), keys.repeated()), (2, 2));
    }

    #[test]
    fn an_answer_may_have_too_many_results_and_too_few() {
        for (more, expected) in [(0, 3), (2, 5), (-1, 2), (-7, 0)] {
            let body = json!({"StreamName": "s", "Records": vec![entry(1); 3]}).to_string();
            let answer = many(body.as_bytes(), &mut account(), &mut Faults::default(), more, NOW_MS).unwrap();
            let answer: Value = serde_json::from_slice(&answer).unwrap();
            assert_eq!(answer["Records"].as_array().unwrap().len(), expected, "{more}");
        }
    }
}
