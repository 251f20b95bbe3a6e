//! The real AWS client, for a test's own eyes: nothing of the service under test is in it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use aws_sdk_kinesis::Client;
use aws_sdk_kinesis::config::retry::RetryConfig;
use aws_sdk_kinesis::config::timeout::TimeoutConfig;
use aws_sdk_kinesis::config::{BehaviorVersion, Config, Credentials, Region};
use aws_sdk_kinesis::error::DisplayErrorContext;
use aws_sdk_kinesis::types::{Record, ShardIteratorType};
use aws_smithy_http_client::tls::Provider;
use aws_smithy_http_client::tls::rustls_provider::CryptoMode;

const CALL_TIMEOUT_MS: u64 = 30_000;
/// Empty pages of one closed shard before its end; a server that never says where a shard ends would keep a reader for ever.
const EMPTY_PAGES_MAX: usize = 10;

/// Why a stream could not be read to its end.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// A call failed.
    #[error("{operation}: {message}")]
    Call {
        /// The operation.
        operation: &'static str,
        /// The whole chain of causes.
        message: String,
    },
    /// A closed shard never ended.
    #[error("shard {shard} is closed, but has no end after {EMPTY_PAGES_MAX} empty pages")]
    NoEnd {
        /// Its id.
        shard: String,
    },
}

/// A client of the server at `endpoint`, with dummy credentials and no retries of its own: every failure is seen.
pub fn connect(endpoint: &str) -> Client {
    let http = aws_smithy_http_client::Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let timeouts = TimeoutConfig::builder().operation_timeout(Duration::from_millis(CALL_TIMEOUT_MS)).build();
    let config = Config::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(Credentials::new("dummy", "dummy", None, None, "tests"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .endpoint_url(endpoint)
        .http_client(http)
        .build();
    Client::from_conf(config)
}

/// Reads every record of a stream as it is now, shard after shard, closed ones too.
///
/// # Errors
/// [`ReadError`], when a call fails or a closed shard has no end.
pub async fn read_all(client: &Client, stream: &str) -> Result<Vec<Record>, ReadError> {
    let listed = client.list_shards().stream_name(stream).send().await.map_err(failed("ListShards"))?;
    let mut shards: VecDeque<(String, bool)> = listed
        .shards()
        .iter()
        .map(|shard| {
            let closed = shard.sequence_number_range().and_then(|range| range.ending_sequence_number());
            (shard.shard_id().to_owned(), closed.is_some())
        })
        .collect();
    let mut seen = BTreeSet::new();
    let mut records = Vec::new();
    while let Some((shard, closed)) = shards.pop_front() {
        if seen.insert(shard.clone()) {
            records.extend(read_shard(client, stream, &shard, closed).await?);
        }
    }
    Ok(records)
}

/// Reads a shard from its beginning: an open one until a page is empty, a closed one until it ends.
///
/// # Errors
/// [`ReadError`], when a call fails or a closed shard has no end.
pub async fn read_shard(client: &Client, stream: &str, shard: &str, closed: bool) -> Result<Vec<Record>, ReadError> {
    let request = client.get_shard_iterator().stream_name(stream).shard_id(shard);
    let request = request.shard_iterator_type(ShardIteratorType::TrimHorizon);
    let mut iterator = request.send().await.map_err(failed("GetShardIterator"))?.shard_iterator;
    let mut records = Vec::new();
    let mut empty_pages = 0;
    while let Some(current) = iterator {
        let page = client.get_records().shard_iterator(current).send().await.map_err(failed("GetRecords"))?;
        iterator = page.next_shard_iterator;
        if page.records.is_empty() {
            empty_pages += 1;
            if !closed {
                break;
            }
            if empty_pages > EMPTY_PAGES_MAX {
                return Err(ReadError::NoEnd { shard: shard.to_owned() });
            }
        }
        records.extend(page.records);
    }
    Ok(records)
}

fn failed<E: std::error::Error>(operation: &'static str) -> impl Fn(E) -> ReadError {
    move |error| ReadError::Call { operation, message: DisplayErrorContext(&error).to_string() }
}
