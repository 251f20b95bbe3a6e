//! Promises that both servers keep.

use std::collections::BTreeMap;
use std::time::Duration;

use adtrack_tests::{kinesis_client, wait};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::primitives::{Blob, DateTime};
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, Shard, ShardIteratorType, StreamStatus};

use super::refusal;

const DEADLINE: Duration = Duration::from_secs(10);

fn entry(key: &str, data: impl Into<Vec<u8>>) -> PutRecordsRequestEntry {
    PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new(data)).build().unwrap()
}

/// Makes the stream "s" and waits until it is active.
async fn create(client: &Client, shards: i32) {
    client.create_stream().stream_name("s").shard_count(shards).send().await.unwrap();
    active(client).await;
}

async fn active(client: &Client) {
    let status = async || {
        let answer = client.describe_stream_summary().stream_name("s").send().await.ok()?;
        (answer.stream_description_summary?.stream_status == StreamStatus::Active).then_some(())
    };
    wait::until_async("the stream to be active", DEADLINE, status).await.unwrap();
}

async fn put(client: &Client, key: &str, data: &str) -> String {
    let call = client.put_record().stream_name("s").partition_key(key).data(Blob::new(data));
    call.send().await.unwrap().sequence_number
}

async fn shards(client: &Client) -> Vec<Shard> {
    client.list_shards().stream_name("s").send().await.unwrap().shards.unwrap()
}

fn is_closed(shard: &Shard) -> bool {
    shard.sequence_number_range().is_some_and(|range| range.ending_sequence_number().is_some())
}

pub(crate) async fn a_stream_is_made_described_listed_and_deleted(client: Client) {
    create(&client, 3).await;
    let description = client.describe_stream().stream_name("s").send().await.unwrap().stream_description.unwrap();
    assert_eq!(description.stream_name, "s");
    assert!(description.stream_arn.ends_with(":stream/s"));
    assert_eq!(description.shards.len(), 3);
    assert!(!description.has_more_shards);
    assert_eq!(description.shards[2].hash_key_range().unwrap().ending_hash_key, u128::MAX.to_string());
    assert_eq!(shards(&client).await.len(), 3);
    let summary = client.describe_stream_summary().stream_name("s").send().await.unwrap();
    assert_eq!(summary.stream_description_summary.unwrap().open_shard_count, 3);
    assert_eq!(client.list_streams().send().await.unwrap().stream_names, ["s"]);

    client.delete_stream().stream_name("s").send().await.unwrap();
    let gone = async || client.list_streams().send().await.unwrap().stream_names.is_empty().then_some(());
    wait::until_async("the stream to be gone", DEADLINE, gone).await.unwrap();
}

pub(crate) async fn a_stream_that_does_not_exist_is_not_found(client: Client) {
    let not_found = "ResourceNotFoundException";
    assert_eq!(refusal(client.describe_stream_summary().stream_name("no").send().await), not_found);
    assert_eq!(refusal(client.put_records().stream_name("no").records(entry("k", "x")).send().await), not_found);
    let iterator = client.get_shard_iterator().stream_name("no").shard_id("shardId-000000000000");
    assert_eq!(refusal(iterator.shard_iterator_type(ShardIteratorType::Latest).send().await), not_found);
    assert_eq!(refusal(client.delete_stream().stream_name("no").send().await), not_found);
}

pub(crate) async fn a_name_is_used_once(client: Client) {
    create(&client, 1).await;
    let again = client.create_stream().stream_name("s").shard_count(1).send().await;
    assert_eq!(refusal(again), "ResourceInUseException");
}

pub(crate) async fn records_come_back_as_they_were_put(client: Client) {
    create(&client, 3).await;
    let all_bytes: Vec<u8> = (0..=u8::MAX).collect();
    let mut expected = BTreeMap::from([("alone".to_owned(), b"one".to_vec()), ("schlüssel".to_owned(), all_bytes)]);
    put(&client, "alone", "one").await;
    let mut entries = vec![entry("schlüssel", expected["schlüssel"].clone())];
    for number in 0..100 {
        let (key, data) = (format!("key-{number}"), format!("data-{number}"));
        entries.push(entry(&key, data.clone()));
        expected.insert(key, data.into_bytes());
    }
    let answer = client.put_records().stream_name("s").set_records(Some(entries)).send().await.unwrap();
    assert_eq!(answer.failed_record_count, Some(0));
    assert!(answer.records.iter().all(|record| record.error_code.is_none()));

    let read = kinesis_client::read_all(&client, "s").await.unwrap();
    let read: BTreeMap<_, _> =
        read.into_iter().map(|record| (record.partition_key.unwrap_or_default(), record.data.into_inner())).collect();
    assert_eq!(read, expected);
}

pub(crate) async fn five_hundred_records_are_one_call_and_501_are_refused(client: Client) {
    create(&client, 2).await;
    let call = |count: usize| {
        let entries = (0..count).map(|number| entry(&format!("k{number}"), vec![7; 150])).collect();
        client.put_records().stream_name("s").set_records(Some(entries)).send()
    };
    assert_eq!(call(500).await.unwrap().records.len(), 500);
    assert_eq!(refusal(call(501).await), "ValidationException");
    assert_eq!(kinesis_client::read_all(&client, "s").await.unwrap().len(), 500);
}

pub(crate) async fn a_record_over_one_mebibyte_is_refused(client: Client) {
    create(&client, 1).await;
    let call = |bytes: usize| client.put_records().stream_name("s").records(entry("k", vec![7; bytes])).send();
    assert!(call((1 << 20) - 1).await.is_ok());
    assert_eq!(refusal(call((1 << 20) + 1).await), "ValidationException");
}

pub(crate) async fn a_partition_key_over_256_characters_is_refused(client: Client) {
    create(&client, 1).await;
    let call = |chars: usize| client.put_records().stream_name("s").records(entry(&"k".repeat(chars), "x")).send();
    assert!(call(256).await.is_ok());
    assert_eq!(refusal(call(257).await), "ValidationException");
}

pub(crate) async fn an_explicit_hash_key_chooses_the_shard(client: Client) {
    create(&client, 2).await;
    let call = |key: &str| {
        let call = client.put_record().stream_name("s").partition_key("same").data(Blob::new("x"));
        call.explicit_hash_key(key).send()
    };
    assert_eq!(call("0").await.unwrap().shard_id, "shardId-000000000000");
    assert_eq!(call(&u128::MAX.to_string()).await.unwrap().shard_id, "shardId-000000000001");
    assert_eq!(refusal(call("340282366920938463463374607431768211456").await), "InvalidArgumentException");
    assert_eq!(refusal(call("x").await), "ValidationException");
}

pub(crate) async fn sequence_numbers_have_56_digits_and_grow_within_a_shard(client: Client) {
    create(&client, 1).await;
    let mut numbers = Vec::new();
    for _ in 0..20 {
        numbers.push(put(&client, "k", "x").await);
    }
    assert!(numbers.iter().all(|number| number.len() == 56), "{numbers:?}");
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

pub(crate) async fn an_iterator_starts_where_its_type_says(client: Client) {
    create(&client, 1).await;
    // Whole milliseconds, as arrivals are kept: a part of one more would be later than a record of the same millisecond.
    let begun = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let begun = DateTime::from_millis(i64::try_from(begun).unwrap());
    put(&client, "k", "one").await;
    let second = put(&client, "k", "two").await;
    put(&client, "k", "three").await;
    let iterator = |kind: ShardIteratorType| {
        client.get_shard_iterator().stream_name("s").shard_id("shardId-000000000000").shard_iterator_type(kind)
    };
    let number = || second.clone();
    let cases = [
        (iterator(ShardIteratorType::TrimHorizon), &["one", "two", "three", "four"][..]),
        (iterator(ShardIteratorType::Latest), &["four"]),
        (iterator(ShardIteratorType::AtSequenceNumber).starting_sequence_number(number()), &["two", "three", "four"]),
        (iterator(ShardIteratorType::AfterSequenceNumber).starting_sequence_number(number()), &["three", "four"]),
        (iterator(ShardIteratorType::AtTimestamp).timestamp(begun), &["one", "two", "three", "four"]),
    ];
    let mut opened = Vec::new();
    for (request, expected) in cases {
        opened.push((request.send().await.unwrap().shard_iterator.unwrap(), expected));
    }
    put(&client, "k", "four").await;
    for (iterator, expected) in opened {
        let page = client.get_records().shard_iterator(iterator).send().await.unwrap();
        let data: Vec<_> = page.records.iter().map(|record| String::from_utf8_lossy(record.data.as_ref())).collect();
        assert_eq!(data, expected);
        assert!(page.next_shard_iterator.is_some());
    }
}

pub(crate) async fn a_bad_iterator_is_refused(client: Client) {
    create(&client, 1).await;
    let invalid = "InvalidArgumentException";
    assert_eq!(refusal(client.get_records().shard_iterator("bogus").send().await), invalid);
    let request = client.get_shard_iterator().stream_name("s").shard_id("shardId-000000000000");
    let without_number = request.clone().shard_iterator_type(ShardIteratorType::AtSequenceNumber);
    assert_eq!(refusal(without_number.send().await), invalid);
    let no_shard = client.get_shard_iterator().stream_name("s").shard_id("shardId-000000000009");
    let no_shard = no_shard.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await;
    assert_eq!(refusal(no_shard), "ResourceNotFoundException");
}

pub(crate) async fn a_split_shard_ends_and_its_children_take_over(client: Client) {
    create(&client, 1).await;
    put(&client, "k", "before").await;
    let split = client.split_shard().stream_name("s").shard_to_split("shardId-000000000000");
    split.new_starting_hash_key((1_u128 << 127).to_string()).send().await.unwrap();
    active(&client).await;
    for number in 0..20 {
        put(&client, &number.to_string(), "after").await;
    }
    let shards = shards(&client).await;
    assert_eq!(shards.iter().map(is_closed).collect::<Vec<_>>(), [true, false, false]);
    assert!(shards[1..].iter().all(|child| child.parent_shard_id() == Some("shardId-000000000000")));
    let parent = kinesis_client::read_shard(&client, "s", "shardId-000000000000", true).await.unwrap();
    assert_eq!(parent.len(), 1);
    for child in &shards[1..] {
        let records = kinesis_client::read_shard(&client, "s", child.shard_id(), false).await.unwrap();
        assert!(!records.is_empty(), "twenty keys reach both children");
    }
}

pub(crate) async fn two_merged_shards_end_and_their_child_takes_over(client: Client) {
    create(&client, 2).await;
    let merge = client.merge_shards().stream_name("s").shard_to_merge("shardId-000000000000");
    merge.adjacent_shard_to_merge("shardId-000000000001").send().await.unwrap();
    active(&client).await;
    put(&client, "k", "after").await;
    let shards = shards(&client).await;
    assert_eq!(shards.iter().map(is_closed).collect::<Vec<_>>(), [true, true, false]);
    assert_eq!(shards[2].parent_shard_id(), Some("shardId-000000000000"));
    assert_eq!(shards[2].adjacent_parent_shard_id(), Some("shardId-000000000001"));
    let child = kinesis_client::read_shard(&client, "s", shards[2].shard_id(), false).await.unwrap();
    assert_eq!(child.len(), 1);
}

pub(crate) async fn shards_that_do_not_touch_are_not_merged(client: Client) {
    create(&client, 3).await;
    let merge = client.merge_shards().stream_name("s").shard_to_merge("shardId-000000000000");
    let refused = merge.adjacent_shard_to_merge("shardId-000000000002").send().await;
    assert_eq!(refusal(refused), "InvalidArgumentException");
}

/// The shards that 300 keys go to, in the order of the keys.
pub(crate) async fn shards_of_keys(client: &Client) -> Vec<String> {
    create(client, 7).await;
    let entries = (0..300).map(|number| entry(&format!("schlüssel-{number}"), "x")).collect();
    let answer = client.put_records().stream_name("s").set_records(Some(entries)).send().await.unwrap();
    answer.records.into_iter().map(|record| record.shard_id.unwrap()).collect()
}
