//! Our Kinesis server, checked with the real AWS client - and the same checks against kinesalite, which shares no code with it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "tests have a time of their own")]

#[path = "kinesis_server/shared.rs"]
mod shared;

#[path = "kinesis_server/faults.rs"]
mod faults;

#[path = "kinesis_server/ours_alone.rs"]
mod ours_alone;

use adtrack_tests::kinesis_client;
use adtrack_tests::kinesis_server::KinesisServer;
use adtrack_tests::services::{Kinesalite, foreign_judge_is_skipped};
use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::error::{ProvideErrorMetadata, SdkError};

/// Our server, and a client of it.
fn ours() -> (KinesisServer, Client) {
    let server = KinesisServer::start().unwrap();
    let client = kinesis_client::connect(&server.endpoint());
    (server, client)
}

/// Kinesalite, and a client of it; nothing when the person who runs the tests does not want it.
#[expect(clippy::print_stderr, reason = "a test that was told to skip says so")]
fn foreign() -> Option<(Kinesalite, Client)> {
    if foreign_judge_is_skipped() {
        eprintln!("skipped: TEST_SKIP_FOREIGN=1");
        return None;
    }
    let server = Kinesalite::start().unwrap_or_else(|error| panic!("{error}"));
    let client = kinesis_client::connect(&server.endpoint());
    Some((server, client))
}

/// The `__type` that a call was refused with.
fn refusal<T, E>(result: Result<T, SdkError<E>>) -> String
where
    SdkError<E>: ProvideErrorMetadata,
{
    let error = result.err().expect("the call is refused");
    error.code().unwrap_or("no code").to_owned()
}

/// Runs each promise of `shared` against both servers.
macro_rules! on_both_servers {
    ($($promise:ident)*) => {
        mod on_ours {
            $(#[tokio::test]
            async fn $promise() {
                let (_server, client) = super::ours();
                super::shared::$promise(client).await;
            })*
        }

        mod on_kinesalite {
            $(#[tokio::test]
            async fn $promise() {
                if let Some((_server, client)) = super::foreign() {
                    super::shared::$promise(client).await;
                }
            })*
        }
    };
}

on_both_servers! {
    a_stream_is_made_described_listed_and_deleted
    a_stream_that_does_not_exist_is_not_found
    a_name_is_used_once
    records_come_back_as_they_were_put
    five_hundred_records_are_one_call_and_501_are_refused
    a_record_over_one_mebibyte_is_refused
    a_partition_key_over_256_characters_is_refused
    an_explicit_hash_key_chooses_the_shard
    sequence_numbers_have_56_digits_and_grow_within_a_shard
    an_iterator_starts_where_its_type_says
    a_bad_iterator_is_refused
    a_split_shard_ends_and_its_children_take_over
    two_merged_shards_end_and_their_child_takes_over
    shards_that_do_not_touch_are_not_merged
}

#[tokio::test]
async fn both_servers_put_the_same_keys_into_the_same_shards() {
    let (_server, client) = ours();
    let ours = shared::shards_of_keys(&client).await;
    if let Some((_server, client)) = foreign() {
        assert_eq!(ours, shared::shards_of_keys(&client).await);
    }
}
