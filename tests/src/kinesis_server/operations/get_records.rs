//! `GetRecords`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::super::account::Account;
use super::super::error::{ErrorType, ServiceError};
use super::super::iterator::ShardIterator;
use super::super::shard::{Record, Shard, shard_id};
use super::super::stream::Stream;
use super::shard_view::ChildShardView;
use super::{bounded, read, timestamp, write};

const LIMIT_MAX: usize = 10_000;
/// Data of one answer; the first record always goes.
const ANSWER_BYTES_MAX: usize = 10 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Get {
    shard_iterator: String,
    limit: Option<u32>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetAnswer<'a> {
    records: Vec<RecordView<'a>>,
    /// Absent at the end of a closed shard.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_shard_iterator: Option<String>,
    millis_behind_latest: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    child_shards: Vec<ChildShardView<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RecordView<'a> {
    sequence_number: String,
    approximate_arrival_timestamp: f64,
    data: String,
    partition_key: &'a str,
}

impl<'a> From<&'a Record> for RecordView<'a> {
    fn from(record: &'a Record) -> Self {
        Self {
            sequence_number: record.sequence_number.to_string(),
            approximate_arrival_timestamp: timestamp(record.arrived_ms),
            data: STANDARD.encode(&record.data),
            partition_key: &record.partition_key,
        }
    }
}

pub(crate) fn get(body: &[u8], account: &Account, now_ms: u64) -> Result<Vec<u8>, ServiceError> {
    let request: Get = read(body)?;
    let limit = bounded(request.limit, LIMIT_MAX, LIMIT_MAX, "limit")?;
    let iterator = ShardIterator::decode(&request.shard_iterator, now_ms)?;
    let stream = account.stream_named(&iterator.stream)?;
    // A stream that was deleted and made again may have fewer shards and records than the iterator remembers.
    let shard = stream.shard(&shard_id(iterator.shard_index))?;
    let rest = shard.records.get(iterator.position..).ok_or_else(|| {
        ServiceError::new(ErrorType::InvalidArgument, "Invalid ShardIterator: it is not from this stream.")
    })?;
    let page = &rest[..page_length(rest, limit)];
    let unread = rest.get(page.len());
    let at_end = unread.is_none() && shard.closed.is_some();
    let next = ShardIterator { position: iterator.position + page.len(), issued_ms: now_ms, ..iterator };
    write(&GetAnswer {
        records: page.iter().map(RecordView::from).collect(),
        next_shard_iterator: (!at_end).then(|| next.encode()),
        millis_behind_latest: unread.map_or(0, |record| now_ms.saturating_sub(record.arrived_ms)),
        child_shards: if at_end { children(stream, shard) } else { Vec::new() },
    })
}

/// How many records one answer takes: by count, and by bytes.
fn page_length(records: &[Record], limit: usize) -> usize {
    let mut bytes = 0;
    let fits = |record: &&Record| {
        bytes += record.data.len();
        bytes <= ANSWER_BYTES_MAX
    };
    let count = records.iter().take(limit).take_while(fits).count();
    count.max(1).min(records.len())
}

fn children<'a>(stream: &'a Stream, shard: &Shard) -> Vec<ChildShardView<'a>> {
    let children = shard.children.iter().filter_map(|index| stream.shards.get(*index as usize));
    children.map(ChildShardView::from).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::super::super::account::StreamRef;
    use super::super::super::hash_key::HashKey;
    use super::*;

    const NOW_MS: u64 = 1_900_000_009_000;

    fn stream(account: &mut Account) -> &mut Stream {
        account.stream_mut(&StreamRef { stream_name: Some("s".to_owned()), stream_arn: None }).unwrap()
    }

    fn account(data: &[&'static [u8]]) -> Account {
        let mut account = Account::default();
        account.create("s", 1, NOW_MS - 60_000).unwrap();
        for bytes in data {
            stream(&mut account).route(HashKey(0)).unwrap().append("k", Bytes::from_static(bytes), NOW_MS - 5_000);
        }
        account
    }

    fn at(position: usize) -> String {
        ShardIterator { stream: "s".to_owned(), shard_index: 0, position, issued_ms: NOW_MS }.encode()
    }

    fn answer(account: &Account, iterator: &str, limit: u32) -> Value {
        let body = json!({"ShardIterator": iterator, "Limit": limit}).to_string();
        serde_json::from_slice(&get(body.as_bytes(), account, NOW_MS).unwrap()).unwrap()
    }

    fn data(answer: &Value) -> Vec<&str> {
        answer["Records"].as_array().unwrap().iter().map(|record| record["Data"].as_str().unwrap()).collect()
    }

    #[test]
    fn pages_follow_one_another_and_tell_how_far_behind_they_are() {
        let account = account(&[b"one", b"two", b"six"]);
        let first = answer(&account, &at(0), 2);
        assert_eq!(data(&first), ["b25l", "dHdv"]);
        assert_eq!(first["MillisBehindLatest"], 5_000);
        let second = answer(&account, first["NextShardIterator"].as_str().unwrap(), 2);
        assert_eq!(data(&second), ["c2l4"]);
        assert_eq!(second["MillisBehindLatest"], 0);
    }

    #[test]
    fn an_open_shard_has_a_next_page_even_when_nothing_is_there() {
        let account = account(&[]);
        let page = answer(&account, &at(0), 10);
        assert!(data(&page).is_empty());
        assert!(page["NextShardIterator"].is_string());
    }

    #[test]
    fn a_closed_shard_ends_and_names_its_children() {
        let mut account = account(&[b"one", b"two"]);
        stream(&mut account).split("0", HashKey(1 << 127), NOW_MS).unwrap();
        let middle = answer(&account, &at(0), 1);
        assert!(middle["NextShardIterator"].is_string() && middle.get("ChildShards").is_none());
        let end = answer(&account, &at(1), 10);
        assert_eq!(data(&end), ["dHdv"]);
        assert!(end.get("NextShardIterator").is_none());
        assert_eq!(end["ChildShards"][1]["ShardId"], "shardId-000000000002");
        assert_eq!(end["ChildShards"][1]["ParentShards"], json!(["shardId-000000000000"]));
    }

    #[test]
    fn an_answer_is_bounded_in_bytes_but_never_empty_for_it() {
        static MEBIBYTE: [u8; 1 << 20] = [0; 1 << 20];
        let records: Vec<&'static [u8]> = vec![&MEBIBYTE; 12];
        let account = account(&records);
        assert_eq!(data(&answer(&account, &at(0), 10_000)).len(), 10);
        assert_eq!(page_length(&account.stream_named("s").unwrap().shards[0].records, 1), 1);
    }

    #[test]
    fn an_iterator_of_a_stream_made_anew_is_refused() {
        let account = account(&[]);
        let body = json!({"ShardIterator": at(7)}).to_string();
        assert_eq!(get(body.as_bytes(), &account, NOW_MS).unwrap_err().kind, ErrorType::InvalidArgument);
    }
}
