//! What our server does wrong on demand, as the real client sees it.

use std::time::{Duration, Instant};

use adtrack_tests::kinesis_client;
use adtrack_tests::kinesis_server::{CallFault, Faults, KinesisServer, Operation, RecordFault, ShardLimits};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::SdkError;
use aws_sdk_kinesis::operation::put_records::{PutRecordsError, PutRecordsOutput};
use aws_sdk_kinesis::primitives::Blob;
use aws_sdk_kinesis::types::PutRecordsRequestEntry;

use super::{ours, refusal};

async fn put(client: &Client, count: usize) -> Result<PutRecordsOutput, SdkError<PutRecordsError>> {
    let entry = |number: usize| {
        let key = number.to_string();
        PutRecordsRequestEntry::builder().partition_key(key).data(Blob::new("x")).build().unwrap()
    };
    client.put_records().stream_name("s").set_records(Some((0..count).map(entry).collect())).send().await
}

fn with_stream() -> (KinesisServer, Client) {
    let (server, client) = ours();
    server.create_stream("s", 2).unwrap();
    (server, client)
}

fn stored(server: &KinesisServer) -> usize {
    server.records("s").unwrap().len()
}

#[tokio::test]
async fn as_many_calls_fail_as_were_asked_for_and_store_nothing() {
    let (server, client) = with_stream();
    server.set_faults(Faults::default().refuse_next(2, 400, "ProvisionedThroughputExceededException"));
    for _ in 0..2 {
        assert_eq!(refusal(put(&client, 5).await), "ProvisionedThroughputExceededException");
    }
    assert_eq!(stored(&server), 0);
    put(&client, 5).await.unwrap();
    assert_eq!((stored(&server), server.calls(Operation::PutRecords)), (5, 3));
}

#[tokio::test]
async fn a_server_error_has_the_status_that_was_asked_for() {
    let (server, client) = with_stream();
    server.set_faults(Faults::default().refuse_next(1, 503, "ServiceUnavailable"));
    let error = put(&client, 1).await.unwrap_err();
    assert_eq!(error.raw_response().map(|response| response.status().as_u16()), Some(503));
}

#[tokio::test]
async fn a_share_of_the_records_fails_and_the_rest_is_stored() {
    let (server, client) = with_stream();
    server.set_faults(Faults::seeded(42).fail_records(0.2, RecordFault::Either));
    let answer = put(&client, 500).await.unwrap();
    let failed: Vec<_> = answer.records.iter().filter_map(|record| record.error_code.as_deref()).collect();
    assert_eq!(usize::try_from(answer.failed_record_count.unwrap()), Ok(failed.len()));
    assert_eq!(stored(&server), 500 - failed.len());
    assert!((50..150).contains(&failed.len()), "{} of 500 for a share of 0.2", failed.len());
    assert!(failed.contains(&"ProvisionedThroughputExceededException") && failed.contains(&"InternalFailure"));
}

#[tokio::test]
async fn a_hanging_answer_comes_late_and_its_records_are_stored_before() {
    const HANG_MS: u64 = 200;
    let (server, client) = with_stream();
    server.set_faults(Faults::default().hang_next(1, HANG_MS));
    let begun = Instant::now();
    put(&client, 5).await.unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(HANG_MS));
    assert_eq!(stored(&server), 5);
}

#[tokio::test]
async fn a_dropped_answer_leaves_the_records_stored() {
    let (server, client) = with_stream();
    server.set_faults(Faults::default().drop_next(1));
    let error = put(&client, 5).await.unwrap_err();
    assert!(error.as_service_error().is_none(), "{error:?}");
    assert_eq!(stored(&server), 5);
    put(&client, 5).await.unwrap();
    assert_eq!(stored(&server), 10);
}

#[tokio::test]
async fn faults_of_one_operation_leave_the_others_alone() {
    let (server, client) = with_stream();
    server.set_faults(Faults::default().refuse_next(1, 500, "InternalFailure").only(Operation::PutRecords));
    client.describe_stream_summary().stream_name("s").send().await.unwrap();
    assert_eq!(refusal(put(&client, 1).await), "InternalFailure");
}

#[tokio::test]
async fn a_restarted_server_goes_on_with_its_data_under_the_same_endpoint() {
    let (mut server, client) = with_stream();
    put(&client, 5).await.unwrap();
    server.stop();
    assert!(put(&client, 5).await.is_err());
    server.restart().unwrap();
    put(&client, 5).await.unwrap();
    assert_eq!(stored(&server), 10);
    assert_eq!(kinesis_client::read_all(&client, "s").await.unwrap().len(), 10);
}

#[tokio::test]
async fn a_call_that_fails_before_it_is_carried_out_stores_nothing() {
    let refused =
        ["ProvisionedThroughputExceededException", "ValidationException", "InternalFailure", "ServiceUnavailable"];
    let faults = [CallFault::throttled(), CallFault::invalid(), CallFault::failed(), CallFault::unavailable()];
    let (server, client) = with_stream();
    for (fault, name) in faults.into_iter().zip(refused) {
        server.set_faults(Faults::default().next(1, fault));
        assert_eq!(refusal(put(&client, 5).await), name);
    }
    for fault in [CallFault::CloseBefore, CallFault::Stall { ms: 50 }] {
        server.set_faults(Faults::default().next(1, fault.clone()));
        assert!(put(&client, 5).await.unwrap_err().as_service_error().is_none(), "{fault:?}");
    }
    assert_eq!((stored(&server), server.calls(Operation::PutRecords)), (0, 6));
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_is_of_a_call_that_was_carried_out() {
    let (server, client) = with_stream();
    server.set_faults(Faults::default().next(1, CallFault::CutShort));
    let error = put(&client, 5).await.unwrap_err();
    assert!(matches!(error, SdkError::ResponseError(_)), "{error:?}");
    assert_eq!(stored(&server), 5);
}

#[tokio::test]
async fn an_answer_has_fewer_or_more_results_than_records() {
    let (server, client) = with_stream();
    for (fault, results) in [(CallFault::Fewer(2), 3), (CallFault::More(2), 7)] {
        server.set_faults(Faults::default().next(1, fault));
        assert_eq!(put(&client, 5).await.unwrap().records.len(), results);
    }
    assert_eq!(stored(&server), 10);
}

#[tokio::test]
async fn a_slow_body_takes_its_time_byte_by_byte() {
    let (server, client) = with_stream();
    server.set_faults(Faults::default().next(1, CallFault::SlowBody { byte_ms: 1 }));
    let begun = Instant::now();
    assert_eq!(put(&client, 1).await.unwrap().records.len(), 1);
    assert!(begun.elapsed() >= Duration::from_millis(100), "more than a hundred bytes in {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_record_that_is_poison_refuses_every_call_it_is_in() {
    let (server, client) = with_stream();
    server.set_faults(Faults::default().poison("x"));
    for count in [1, 3] {
        assert_eq!(refusal(put(&client, count).await), "ValidationException");
    }
    server.set_faults(Faults::default().poison("y"));
    put(&client, 3).await.unwrap();
    assert_eq!(stored(&server), 3);
}

#[tokio::test]
async fn an_access_key_has_expired_until_another_one_signs() {
    let (server, client) = with_stream();
    server.set_faults(Faults::default().expired_key("dummy"));
    assert_eq!(refusal(put(&client, 1).await), "ExpiredTokenException");
    server.set_faults(Faults::default().expired_key("an older one"));
    put(&client, 1).await.unwrap();
}

#[tokio::test]
async fn a_clock_that_is_off_by_more_than_five_minutes_refuses_signatures_and_tells_its_time() {
    let (server, client) = with_stream();
    server.set_faults(Faults::default().clock_offset(240_000, "RequestTimeTooSkewed"));
    put(&client, 1).await.unwrap();
    for (offset_ms, name) in [(600_000, "RequestTimeTooSkewed"), (-600_000, "InvalidSignatureException")] {
        server.set_faults(Faults::default().clock_offset(offset_ms, name));
        let error = put(&client, 1).await.unwrap_err();
        let date = error.raw_response().and_then(|response| response.headers().get("date")).unwrap_or_default();
        let now = aws_sdk_kinesis::primitives::DateTime::from(std::time::SystemTime::now());
        let format = aws_sdk_kinesis::primitives::DateTimeFormat::HttpDate;
        let told = aws_sdk_kinesis::primitives::DateTime::from_str(date, format).unwrap();
        assert!((told.secs() - now.secs() - offset_ms / 1_000).abs() <= 2, "{date}");
        assert_eq!(refusal::<(), _>(Err(error)), name);
    }
}

#[tokio::test]
async fn a_shard_takes_no_more_than_its_limit_and_only_that_one_is_throttled() {
    let (server, client) = with_stream();
    server.set_limits(Some(ShardLimits { records_per_s: 10.0, bytes_per_s: 1e9 }));
    let answer = put(&client, 500).await.unwrap();
    let totals = server.totals("s").unwrap();
    let throttled: u64 = totals.shards.iter().map(|shard| shard.throttled).sum();
    assert_eq!((totals.records, throttled), (20, 480));
    assert_eq!(answer.failed_record_count, Some(480));
    server.set_limits(None);
    let fault = Faults::default().fail_records_of_shard("shardId-000000000001", 1.0, RecordFault::Throughput);
    server.set_faults(fault);
    put(&client, 500).await.unwrap();
    let after = server.totals("s").unwrap();
    assert!(after.shards[0].records > totals.shards[0].records);
    assert_eq!(after.shards[1].records, totals.shards[1].records);
}

#[tokio::test]
async fn records_that_are_counted_are_found_in_the_totals_alone() {
    let (server, client) = with_stream();
    server.count_records();
    for _ in 0..2 {
        put(&client, 10).await.unwrap();
    }
    let totals = server.totals("s").unwrap();
    assert_eq!((totals.calls, totals.records, totals.bytes), (2, 20, 40));
    assert_eq!((totals.distinct_keys, totals.repeated_keys), (10, 10));
    assert_eq!(stored(&server), 0);
}
