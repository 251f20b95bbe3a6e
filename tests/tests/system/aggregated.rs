//! Events in aggregates: each once, readable by Amazon's own module, and each in the shard where it belongs.

use std::collections::{BTreeSet, HashMap};
use std::ops::RangeInclusive;

use adtrack_proto::aggregated::{Deaggregated, UserRecord, deaggregate, hash_of};
use adtrack_proto::wire::TrackingEvent;
use adtrack_tests::adtrack::{Adtrack, Builder};
use adtrack_tests::foreign_deaggregator;
use adtrack_tests::kinesis_client;
use adtrack_tests::kinesis_server::{KinesisServer, Operation};
use adtrack_tests::load::{self, Until};
use adtrack_tests::services::foreign_judge_is_skipped;

use crate::support::{
    DEADLINE, KNOWN_PATH, STREAM, accepted, alone, beside_others, kinesalite, metric, until, until_accepted,
    with_stream,
};

const REQUESTS: u64 = 20_000;
const CONNECTIONS: usize = 32;
const SHARDS: u32 = 4;

/// One record of the stream: the shard it was read from, its key, its data.
struct Stored {
    shard: String,
    partition_key: String,
    data: Vec<u8>,
}

fn aggregating(endpoint: &str) -> Builder {
    with_stream(Adtrack::builder(), endpoint).env("ADTRACK_KINESIS_FORMAT", "aggregated")
}

/// Which hash keys each shard has, closed ones too.
async fn shards(endpoint: &str) -> HashMap<String, RangeInclusive<u128>> {
    let listed = kinesis_client::connect(endpoint).list_shards().stream_name(STREAM).send().await.unwrap();
    let range = |shard: &aws_sdk_kinesis::types::Shard| {
        let range = shard.hash_key_range().unwrap();
        range.starting_hash_key().parse().unwrap()..=range.ending_hash_key().parse().unwrap()
    };
    listed.shards().iter().map(|shard| (shard.shard_id().to_owned(), range(shard))).collect()
}

/// The records in one record of the stream.
fn user_records(stored: &Stored) -> Vec<UserRecord<'_>> {
    match deaggregate(&stored.data) {
        Deaggregated::Aggregate(records) => records.collect(),
        Deaggregated::Single(data) => vec![UserRecord { partition_key: &stored.partition_key, hash_key: None, data }],
        other => panic!("neither an event nor an aggregate: {other:?}"),
    }
}

/// Judges what the stream holds and gives the message ids in it, in the order of the stream; `belongs` says whether a hash key is in
/// a shard.
fn judge(stored: &[Stored], belongs: impl Fn(&str, u128) -> bool) -> Vec<String> {
    let blobs: Vec<Vec<u8>> = stored.iter().map(|stored| stored.data.clone()).collect();
    let foreign = foreign_deaggregator::deaggregate(&blobs).unwrap_or_else(|error| panic!("{error}"));
    let mut ids = Vec::new();
    for (stored, foreign) in stored.iter().zip(foreign) {
        let ours = user_records(stored);
        assert_eq!(ours.len(), foreign.len());
        for (record, foreign) in ours.iter().zip(foreign) {
            let event = TrackingEvent::from_payload(record.data).unwrap();
            assert_eq!(record.partition_key, event.message_id);
            assert_eq!(foreign.data, record.data);
            // What the consumer's library asks before it throws an aggregate away; a record that is none it does not ask.
            if ours.len() > 1 {
                assert_eq!(foreign.partition_key, event.message_id);
                assert_eq!(foreign.hash_key, record.hash_key.map(|number| number.to_string()));
                assert!(belongs(&stored.shard, record.hash()), "{} is not of {}", record.hash(), stored.shard);
            }
            ids.push(event.message_id);
        }
    }
    ids
}

fn stored(kinesis: &KinesisServer) -> Vec<Stored> {
    let records = kinesis.records(STREAM).unwrap().into_iter();
    records
        .map(|record| Stored {
            shard: record.shard_id,
            partition_key: record.partition_key,
            data: record.data.to_vec(),
        })
        .collect()
}

async fn until_shipped(service: &Adtrack, events: usize) {
    until("every event to be shipped", DEADLINE, async || {
        (metric(service, "adtrack_kinesis_events_shipped_total").await >= events as f64).then_some(())
    })
    .await;
}

#[tokio::test]
async fn of_20_000_events_in_aggregates_each_is_in_its_shard_once_also_across_a_split() {
    let _turn = alone().await;
    let kinesis = KinesisServer::start().unwrap();
    kinesis.create_stream(STREAM, SHARDS).unwrap();
    let mut service = aggregating(&kinesis.endpoint()).start().unwrap();
    let load = tokio::spawn(load::run(service.public(), KNOWN_PATH, CONNECTIONS, Until::Requests(REQUESTS)));
    until_accepted(&service, REQUESTS as f64 / 4.0).await;
    kinesis.reshard(STREAM, 2 * SHARDS).unwrap();
    let accepted = accepted(&load.await.unwrap());
    assert_eq!(accepted.len() as u64, REQUESTS, "every one was answered with 200");
    until_shipped(&service, accepted.len()).await;
    let entries = metric(&service, "adtrack_kinesis_entries_stored_total").await;
    let units = metric(&service, "adtrack_kinesis_payload_units_total").await;
    // What is sent twice would be sent until the end of the process.
    service.sigterm().unwrap();
    assert_eq!(service.wait_exit(DEADLINE).unwrap(), Some(0));

    let (stored, shards) = (stored(&kinesis), shards(&kinesis.endpoint()).await);
    let ids = judge(&stored, |shard, hash_key| shards[shard].contains(&hash_key));
    assert_eq!((ids.len() as u64, ids.into_iter().collect::<BTreeSet<_>>() == accepted), (REQUESTS, true));
    assert_eq!((stored.len() as f64, units >= entries), (entries, true));
    // Sent with an explicit hash key, each event is all the same in the shard of its partition key.
    let at_home = |stored: &&Stored| {
        user_records(stored).iter().all(|record| shards[&stored.shard].contains(&hash_of(record.partition_key)))
    };
    let before: Vec<&Stored> = stored.iter().filter(|stored| is_parent(&stored.shard)).collect();
    assert!(!before.is_empty() && before.len() < stored.len(), "the split was meanwhile");
    assert_eq!(before.iter().filter(|stored| at_home(stored)).count(), before.len());
    println!(
        "{REQUESTS} events in {} records and {units} payload units, {} PutRecords calls, {} records before the split",
        stored.len(),
        kinesis.calls(Operation::PutRecords),
        before.len(),
    );
}

/// Whether the shard is one of those the stream began with.
fn is_parent(shard: &str) -> bool {
    shard.strip_prefix("shardId-").and_then(|number| number.parse::<u32>().ok()).is_some_and(|number| number < SHARDS)
}

#[tokio::test]
async fn a_foreign_kinesis_server_gets_each_event_of_an_aggregate_once() {
    if foreign_judge_is_skipped() {
        println!("skipped: TEST_SKIP_FOREIGN=1");
        return;
    }
    let _turn = beside_others().await;
    let kinesalite = kinesalite().await;
    let client = kinesis_client::connect(&kinesalite.endpoint());
    let service = aggregating(&kinesalite.endpoint()).start().unwrap();
    let accepted = accepted(&load::run(service.public(), KNOWN_PATH, 8, Until::Requests(2_000)).await);
    until_shipped(&service, accepted.len()).await;
    let shards = shards(&kinesalite.endpoint()).await;
    let mut ids = Vec::new();
    for (shard, range) in &shards {
        let records = kinesis_client::read_shard(&client, STREAM, shard, false).await.unwrap();
        let stored: Vec<Stored> = records
            .into_iter()
            .map(|record| Stored {
                shard: shard.clone(),
                partition_key: record.partition_key.unwrap_or_default(),
                data: record.data.into_inner(),
            })
            .collect();
        assert!(!stored.is_empty());
        ids.extend(judge(&stored, |_, hash_key| range.contains(&hash_key)));
    }
    assert_eq!((ids.len(), ids.into_iter().collect::<BTreeSet<_>>() == accepted), (2_000, true));
}
