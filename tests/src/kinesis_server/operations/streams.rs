//! `CreateStream`, `DeleteStream`, `DescribeStream`, `DescribeStreamSummary`, `ListStreams`.

use serde::{Deserialize, Serialize};

use super::super::account::{Account, StreamRef};
use super::super::error::ServiceError;
use super::super::shard::shard_index;
use super::super::stream::Stream;
use super::shard_view::ShardView;
use super::{bounded, read, timestamp, write};

const LIST_DEFAULT: usize = 100;
const LIST_MAX: usize = 10_000;
const RETENTION_HOURS: u32 = 24;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Create {
    stream_name: String,
    shard_count: Option<u32>,
}

/// A new stream is `ACTIVE` at once.
pub(crate) fn create(body: &[u8], account: &mut Account, now_ms: u64) -> Result<Vec<u8>, ServiceError> {
    let request: Create = read(body)?;
    // Without a count the service makes an on-demand stream, which begins with four shards.
    account.create(&request.stream_name, request.shard_count.unwrap_or(4), now_ms)?;
    Ok(Vec::new())
}

/// A deleted stream is gone at once.
pub(crate) fn delete(body: &[u8], account: &mut Account) -> Result<Vec<u8>, ServiceError> {
    account.delete(&read::<StreamRef>(body)?)?;
    Ok(Vec::new())
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Describe {
    #[serde(flatten)]
    stream: StreamRef,
    limit: Option<u32>,
    exclusive_start_shard_id: Option<String>,
}

/// What both descriptions tell.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Common<'a> {
    stream_name: &'a str,
    #[serde(rename = "StreamARN")]
    stream_arn: &'a str,
    stream_status: &'static str,
    stream_mode_details: ModeDetails,
    retention_period_hours: u32,
    stream_creation_timestamp: f64,
    enhanced_monitoring: [Monitoring; 1],
    encryption_type: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ModeDetails {
    stream_mode: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Monitoring {
    shard_level_metrics: [&'static str; 0],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Description<'a> {
    #[serde(flatten)]
    common: Common<'a>,
    shards: Vec<ShardView<'a>>,
    has_more_shards: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Summary<'a> {
    #[serde(flatten)]
    common: Common<'a>,
    open_shard_count: u32,
    consumer_count: u32,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct DescribeAnswer<'a> {
    stream_description: Description<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct SummaryAnswer<'a> {
    stream_description_summary: Summary<'a>,
}

impl<'a> From<&'a Stream> for Common<'a> {
    fn from(stream: &'a Stream) -> Self {
        Self {
            stream_name: &stream.name,
            stream_arn: &stream.arn,
            stream_status: "ACTIVE",
            stream_mode_details: ModeDetails { stream_mode: "PROVISIONED" },
            retention_period_hours: RETENTION_HOURS,
            stream_creation_timestamp: timestamp(stream.created_ms),
            enhanced_monitoring: [Monitoring { shard_level_metrics: [] }],
            encryption_type: "NONE",
        }
    }
}

pub(crate) fn describe(body: &[u8], account: &Account) -> Result<Vec<u8>, ServiceError> {
    let request: Describe = read(body)?;
    let stream = account.stream(&request.stream)?;
    let limit = bounded(request.limit, LIST_DEFAULT, LIST_MAX, "limit")?;
    let after = request.exclusive_start_shard_id.as_deref().and_then(shard_index);
    let from = after.map_or(0, |index| index as usize + 1).min(stream.shards.len());
    let rest = &stream.shards[from..];
    let description = Description {
        common: stream.into(),
        shards: rest.iter().take(limit).map(ShardView::from).collect(),
        has_more_shards: rest.len() > limit,
    };
    write(&DescribeAnswer { stream_description: description })
}

pub(crate) fn summary(body: &[u8], account: &Account) -> Result<Vec<u8>, ServiceError> {
    let stream = account.stream(&read::<StreamRef>(body)?)?;
    let summary = Summary { common: stream.into(), open_shard_count: stream.open_count(), consumer_count: 0 };
    write(&SummaryAnswer { stream_description_summary: summary })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct List {
    limit: Option<u32>,
    exclusive_start_stream_name: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct ListAnswer<'a> {
    stream_names: Vec<&'a str>,
    has_more_streams: bool,
}

pub(crate) fn list(body: &[u8], account: &Account) -> Result<Vec<u8>, ServiceError> {
    let request: List = read(body)?;
    let limit = bounded(request.limit, LIST_DEFAULT, LIST_MAX, "limit")?;
    let mut names: Vec<_> =
        account.names_after(request.exclusive_start_stream_name.as_deref()).take(limit + 1).collect();
    let has_more_streams = names.len() > limit;
    names.truncate(limit);
    write(&ListAnswer { stream_names: names, has_more_streams })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::{Value, json};

    use super::*;

    fn account() -> Account {
        let mut account = Account::default();
        for name in ["a", "b", "c"] {
            create(
                json!({"StreamName": name, "ShardCount": 3}).to_string().as_bytes(),
                &mut account,
                1_900_000_000_500,
            )
            .unwrap();
        }
        account
    }

    fn parsed(answer: Result<Vec<u8>, ServiceError>) -> Value {
        serde_json::from_slice(&answer.unwrap()).unwrap()
    }

    #[test]
    fn a_created_stream_is_active_and_describes_its_shards_page_by_page() {
        let account = account();
        let first = parsed(describe(br#"{"StreamName":"a","Limit":2}"#, &account));
        let description = &first["StreamDescription"];
        assert_eq!(description["StreamStatus"], "ACTIVE");
        assert_eq!(description["StreamCreationTimestamp"], 1_900_000_000.5);
        assert_eq!((description["Shards"].as_array().unwrap().len(), &description["HasMoreShards"]), (2, &json!(true)));
        let body = br#"{"StreamName":"a","Limit":2,"ExclusiveStartShardId":"shardId-000000000001"}"#;
        let second = parsed(describe(body, &account));
        assert_eq!(second["StreamDescription"]["Shards"][0]["ShardId"], "shardId-000000000002");
        assert_eq!(second["StreamDescription"]["HasMoreShards"], false);
    }

    #[test]
    fn a_summary_counts_open_shards() {
        let summary = parsed(summary(br#"{"StreamName":"b"}"#, &account()));
        assert_eq!(summary["StreamDescriptionSummary"]["OpenShardCount"], 3);
    }

    #[test]
    fn names_are_listed_page_by_page() {
        let account = account();
        assert_eq!(
            parsed(list(br#"{"Limit":2}"#, &account)),
            json!({"StreamNames": ["a", "b"], "HasMoreStreams": true})
        );
        let rest = parsed(list(br#"{"Limit":2,"ExclusiveStartStreamName":"b"}"#, &account));
        assert_eq!(rest, json!({"StreamNames": ["c"], "HasMoreStreams": false}));
    }

    #[test]
    fn a_deleted_stream_is_gone() {
        let mut account = account();
        delete(br#"{"StreamName":"a"}"#, &mut account).unwrap();
        assert_eq!(parsed(list(b"{}", &account))["StreamNames"], json!(["b", "c"]));
    }
}
