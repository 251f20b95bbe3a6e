//! `PutRecord` and `PutRecords`.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::super::account::{Account, StreamRef};
use super::super::error::{ErrorType, ServiceError};
use super::super::faults::Faults;
use super::super::hash_key::{HashKey, HashKeyError};
use super::super::stream::Stream;
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
    data: Bytes,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordAnswer {
    shard_id: String,
    sequence_number: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PutRecordsAnswer {
    failed_record_count: usize,
    records: Vec<EntryAnswer>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum EntryAnswer {
    Stored(PutRecordAnswer),
    #[serde(rename_all = "PascalCase")]
    Failed {
        error_code: &'static str,
        error_message: &'static str,
    },
}

pub(crate) fn one(body: &[u8], account: &mut Account, now_ms: u64) -> Result<Vec<u8>, ServiceError> {
    let request: PutRecord<'_> = serde_json::from_slice(body).map_err(|error| ServiceError::unreadable(&error))?;
    let stream = StreamRef { stream_name: request.stream_name, stream_arn: request.stream_arn };
    let entry = Entry {
        partition_key: request.partition_key,
        explicit_hash_key: request.explicit_hash_key,
        data: request.data,
    };
    let record = check(entry)?;
    account.stream(&stream)?;
    account.reserve(record.bytes())?;
    write(&store(account.stream_mut(&stream)?, record, now_ms)?)
}

pub(crate) fn many(
    body: &[u8],
    account: &mut Account,
    faults: &mut Faults,
    now_ms: u64,
) -> Result<Vec<u8>, ServiceError> {
    let request: PutRecords<'_> = serde_json::from_slice(body).map_err(|error| ServiceError::unreadable(&error))?;
    let stream = StreamRef { stream_name: request.stream_name, stream_arn: request.stream_arn };
    if request.records.is_empty() || request.records.len() > RECORDS_MAX {
        let count = request.records.len();
        let constraint = format!("Member must have length between 1 and {RECORDS_MAX}");
        return Err(ServiceError::invalid(&format!("[{count} entries]"), "records", &constraint));
    }
    let records: Vec<Checked<'_>> = request.records.into_iter().map(check).collect::<Result<_, _>>()?;
    let bytes: usize = records.iter().map(Checked::bytes).sum();
    if bytes > REQUEST_BYTES_MAX {
        return Err(ServiceError::new(ErrorType::InvalidArgument, "Records size exceeds 5 MB limit"));
    }
    account.stream(&stream)?;
    account.reserve(bytes)?;
    let stream = account.stream_mut(&stream)?;
    let mut answers = Vec::with_capacity(records.len());
    let mut failed_record_count = 0;
    for record in records {
        answers.push(match faults.next_record() {
            Some((error_code, error_message)) => {
                failed_record_count += 1;
                EntryAnswer::Failed { error_code, error_message }
            }
            None => EntryAnswer::Stored(store(stream, record, now_ms)?),
        });
    }
    write(&PutRecordsAnswer { failed_record_count, records: answers })
}

impl Checked<'_> {
    fn bytes(&self) -> usize {
        self.data.len() + self.partition_key.len()
    }
}

fn store(stream: &mut Stream, record: Checked<'_>, now_ms: u64) -> Result<PutRecordAnswer, ServiceError> {
    // The open shards hold every hash key; see the stream's own tests.
    let no_shard = || ServiceError::new(ErrorType::InternalFailure, "no open shard holds this hash key");
    let shard = stream.route(record.hash_key).ok_or_else(no_shard)?;
    let number = shard.append(&record.partition_key, record.data, now_ms);
    Ok(PutRecordAnswer { shard_id: shard.id.clone(), sequence_number: number.to_string() })
}

fn check(entry: Entry<'_>) -> Result<Checked<'_>, ServiceError> {
    let key_chars = entry.partition_key.chars().count();
    if key_chars == 0 || key_chars > PARTITION_KEY_CHARS_MAX {
        let constraint = format!("Member must have length between 1 and {PARTITION_KEY_CHARS_MAX}");
        return Err(ServiceError::invalid(&entry.partition_key, "partitionKey", &constraint));
    }
    let hash_key = match &entry.explicit_hash_key {
        None => HashKey::of_partition_key(&entry.partition_key),
        Some(text) => HashKey::parse(text).map_err(|error| refuse_hash_key(text, error))?,
    };
    let data = STANDARD.decode(entry.data.as_bytes()).map_err(|error| {
        ServiceError::new(ErrorType::Serialization, format!("data can not be converted to a Blob: {error}"))
    })?;
    let checked = Checked { partition_key: entry.partition_key, hash_key, data: data.into() };
    if checked.bytes() > RECORD_BYTES_MAX {
        let constraint = format!("Member must have length less than or equal to {RECORD_BYTES_MAX}");
        return Err(ServiceError::invalid(&format!("[{} bytes]", checked.bytes()), "data", &constraint));
    }
    Ok(checked)
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

    use super::super::super::faults::RecordFault;
    use super::*;

    const NOW_MS: u64 = 1_900_000_000_000;

    fn account() -> Account {
        let mut account = Account::default();
        account.create("s", 2, NOW_MS).unwrap();
        account
    }

    fn put(account: &mut Account, faults: &mut Faults, records: &Value) -> Result<Value, ErrorType> {
        let body = json!({"StreamName": "s", "Records": records}).to_string();
        many(body.as_bytes(), account, faults, NOW_MS)
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
        let mut faults = Faults::default().fail_records(0.5, RecordFault::Throughput, 3);
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
}
