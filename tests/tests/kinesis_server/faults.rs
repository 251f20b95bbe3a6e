//! What our server does wrong on demand, as the real client sees it.

use std::time::{Duration, Instant};

use adtrack_tests::kinesis_client;
use adtrack_tests::kinesis_server::{Faults, KinesisServer, Operation, RecordFault};
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
    server.set_faults(Faults::default().fail_records(0.2, RecordFault::Either, 42));
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
