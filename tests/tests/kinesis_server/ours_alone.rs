//! What our server knows and kinesalite does not.

use adtrack_tests::kinesis_client;
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::{PutRecordsRequestEntry, ScalingType, ShardFilter, ShardFilterType, ShardIteratorType};

use super::{ours, refusal};

#[tokio::test]
async fn the_end_of_a_closed_shard_names_its_children() {
    let (server, client) = ours();
    server.create_stream("s", 1).unwrap();
    let split = client.split_shard().stream_name("s").shard_to_split("shardId-000000000000");
    split.new_starting_hash_key((1_u128 << 127).to_string()).send().await.unwrap();
    let request = client.get_shard_iterator().stream_name("s").shard_id("shardId-000000000000");
    let iterator = request.shard_iterator_type(ShardIteratorType::TrimHorizon).send().await.unwrap().shard_iterator;
    let page = client.get_records().set_shard_iterator(iterator).send().await.unwrap();
    assert!(page.next_shard_iterator.is_none());
    let children: Vec<_> = page.child_shards().iter().map(|child| (child.shard_id(), child.parent_shards())).collect();
    let parents = ["shardId-000000000000".to_owned()];
    assert_eq!(children, [("shardId-000000000001", &parents[..]), ("shardId-000000000002", &parents[..])]);
}

#[tokio::test]
async fn a_stream_is_scaled_and_keeps_what_it_held() {
    let (server, client) = ours();
    server.create_stream("s", 2).unwrap();
    let call = client.put_record().stream_name("s").partition_key("k").data(Blob::new("x"));
    call.clone().send().await.unwrap();
    for (target, current) in [(4, 2), (3, 4), (6, 3)] {
        let scale = client.update_shard_count().stream_name("s").target_shard_count(target);
        let answer = scale.scaling_type(ScalingType::UniformScaling).send().await.unwrap();
        assert_eq!((answer.current_shard_count, answer.target_shard_count), (Some(current), Some(target)));
        call.clone().send().await.unwrap();
    }
    let open = ShardFilter::builder().r#type(ShardFilterType::AtLatest).build().unwrap();
    let open = client.list_shards().stream_name("s").shard_filter(open).send().await.unwrap();
    assert_eq!(open.shards().len(), 6);
    assert_eq!(kinesis_client::read_all(&client, "s").await.unwrap().len(), 4);
}

#[tokio::test]
async fn a_call_over_five_mebibytes_is_refused() {
    let (server, client) = ours();
    server.create_stream("s", 1).unwrap();
    let entry = PutRecordsRequestEntry::builder().partition_key("k").data(Blob::new(vec![7; 1_000_000]));
    let entries = vec![entry.build().unwrap(); 6];
    let refused = client.put_records().stream_name("s").set_records(Some(entries)).send().await;
    assert_eq!(refusal(refused), "InvalidArgumentException");
}

#[tokio::test]
async fn a_stream_is_also_named_by_its_arn() {
    let (server, client) = ours();
    server.create_stream("s", 1).unwrap();
    let summary = client.describe_stream_summary().stream_name("s").send().await.unwrap();
    let arn = summary.stream_description_summary.unwrap().stream_arn;
    client.put_record().stream_arn(arn).partition_key("k").data(Blob::new("x")).send().await.unwrap();
    assert_eq!(server.records("s").unwrap().len(), 1);
}
