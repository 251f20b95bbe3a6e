//! Shards that take only so much, and that become others.

use std::time::{Duration, Instant};

use adtrack_tests::adtrack::{Adtrack, Builder};
use adtrack_tests::kinesis_server::ShardLimits;
use adtrack_tests::load::{self, Until};

use crate::support::{
    DEADLINE, KNOWN_PATH, Load, RECOVERY, STREAM, accepted, alone, kinesis, metric, until, until_accepted,
    until_delivered, with_stream,
};

/// What one shard takes, told to the service as well.
fn paced(service: Builder) -> Builder {
    service.env("ADTRACK_KINESIS_SHARD_RECORDS_PER_S", "1000").env("ADTRACK_KINESIS_SHARD_BYTES_PER_S", "1048576")
}

#[tokio::test]
async fn a_backlog_goes_at_the_pace_of_the_shards_with_hardly_a_record_turned_away() {
    let _turn = alone().await;
    let mut kinesis = kinesis();
    kinesis.set_limits(Some(ShardLimits::SERVICE));
    let service = paced(with_stream(Adtrack::builder(), &kinesis.endpoint())).start().unwrap();
    until("the shards to be known", DEADLINE, async || {
        (metric(&service, "adtrack_kinesis_shards").await == 2.0).then_some(())
    })
    .await;
    kinesis.stop();
    let answered = load::run(service.public(), KNOWN_PATH, 16, Until::Requests(10_000)).await;
    let accepted = accepted(&answered);
    kinesis.restart().unwrap();
    let back = Instant::now();
    until_delivered(&kinesis, &accepted, DEADLINE).await;
    let took = back.elapsed();
    let throttled = metric(&service, "adtrack_kinesis_events_throttled_total").await;
    println!("backlog of 10000 into two shards: {took:.1?}, {throttled} turned away");
    // Four fifths of two shards' limit, after the longest pause of an outage.
    assert!(took < RECOVERY + Duration::from_millis(10_000 * 1_000 / 2_000 * 5 / 4), "{took:?}");
    assert!(throttled <= 500.0, "{throttled}");
}

#[tokio::test]
async fn shards_that_are_split_and_merged_under_load_cost_no_event_and_are_known_anew() {
    let _turn = alone().await;
    let kinesis = kinesis();
    let service = with_stream(Adtrack::builder(), &kinesis.endpoint()).start().unwrap();
    let load = Load::start(service.public(), 8);
    let mut enough = 0.0;
    for shards in [2_u32, 5, 1, 3] {
        kinesis.reshard(STREAM, shards).unwrap();
        enough += 2_000.0;
        until_accepted(&service, enough).await;
        until("the new shards to be known", DEADLINE, async || {
            (metric(&service, "adtrack_kinesis_shards").await == f64::from(shards)).then_some(())
        })
        .await;
    }
    let accepted = accepted(&load.finish());
    let delivered = until_delivered(&kinesis, &accepted, DEADLINE).await;
    println!("2, 5, 1 and 3 shards: {} answered, none missing, {} twice", accepted.len(), delivered.duplicates);
    assert_eq!(delivered.duplicates, 0);
}
