//! `GetShardIterator`.

use serde::{Deserialize, Serialize};

use super::super::account::{Account, StreamRef};
use super::super::error::{ErrorType, ServiceError};
use super::super::iterator::ShardIterator;
use super::super::sequence_number::SequenceNumber;
use super::super::shard::Shard;
use super::{milliseconds, read, write};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Get {
    #[serde(flatten)]
    stream: StreamRef,
    shard_id: String,
    shard_iterator_type: IteratorType,
    starting_sequence_number: Option<String>,
    timestamp: Option<f64>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum IteratorType {
    TrimHorizon,
    Latest,
    AtSequenceNumber,
    AfterSequenceNumber,
    AtTimestamp,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct GetAnswer {
    shard_iterator: String,
}

pub(crate) fn get(body: &[u8], account: &Account, now_ms: u64) -> Result<Vec<u8>, ServiceError> {
    let request: Get = read(body)?;
    let stream = account.stream(&request.stream)?;
    let shard = stream.shard(&request.shard_id)?;
    let iterator = ShardIterator {
        stream: stream.name.clone(),
        shard_index: shard.index,
        position: request.position(shard, now_ms)?,
        issued_ms: now_ms,
    };
    write(&GetAnswer { shard_iterator: iterator.encode() })
}

impl Get {
    fn position(&self, shard: &Shard, now_ms: u64) -> Result<usize, ServiceError> {
        let by_number =
            matches!(self.shard_iterator_type, IteratorType::AtSequenceNumber | IteratorType::AfterSequenceNumber);
        if by_number != self.starting_sequence_number.is_some() {
            return Err(invalid(
                "Must either specify (1) AT_SEQUENCE_NUMBER or AFTER_SEQUENCE_NUMBER and StartingSequenceNumber or \
                 (2) TRIM_HORIZON or LATEST and no StartingSequenceNumber.",
            ));
        }
        Ok(match self.shard_iterator_type {
            IteratorType::TrimHorizon => 0,
            IteratorType::Latest => shard.records.len(),
            IteratorType::AtSequenceNumber => shard.position_of(self.number(shard)?),
            IteratorType::AfterSequenceNumber => shard.position_after(self.number(shard)?),
            IteratorType::AtTimestamp => shard.position_at(self.at_ms(now_ms)?),
        })
    }

    fn number(&self, shard: &Shard) -> Result<SequenceNumber, ServiceError> {
        let text = self.starting_sequence_number.as_deref().unwrap_or_default();
        let number = SequenceNumber::parse(text)
            .map_err(|error| invalid(&format!("StartingSequenceNumber {text} is invalid: {error}.")))?;
        if !shard.gave_out(number) {
            return Err(invalid(&format!("StartingSequenceNumber {text} did not come from {}.", shard.id)));
        }
        Ok(number)
    }

    fn at_ms(&self, now_ms: u64) -> Result<u64, ServiceError> {
        let timestamp = self.timestamp.ok_or_else(|| invalid("An iterator of type AT_TIMESTAMP needs a Timestamp."))?;
        let at_ms = milliseconds(timestamp);
        if at_ms > now_ms {
            return Err(invalid(&format!("Timestamp {at_ms} ms is later than now, {now_ms} ms.")));
        }
        Ok(at_ms)
    }
}

fn invalid(message: &str) -> ServiceError {
    ServiceError::new(ErrorType::InvalidArgument, message)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use bytes::Bytes;
    use serde_json::{Value, json};

    use super::super::super::hash_key::HashKey;
    use super::*;

    const NOW_MS: u64 = 1_900_000_009_000;

    /// Three records in one shard, one second apart, and their numbers.
    fn account() -> (Account, Vec<String>) {
        let mut account = Account::default();
        account.create("s", 1, NOW_MS - 9_000).unwrap();
        let stream = StreamRef { stream_name: Some("s".to_owned()), stream_arn: None };
        let shard = account.stream_mut(&stream).unwrap().route(HashKey(0)).unwrap();
        let numbers = [3_000, 2_000, 1_000].map(|ago| shard.append("k", Bytes::new(), NOW_MS - ago).to_string());
        (account, numbers.to_vec())
    }

    fn position(request: Value) -> Result<usize, ErrorType> {
        let mut request = request;
        request["StreamName"] = json!("s");
        request["ShardId"] = json!("shardId-000000000000");
        let answer = get(request.to_string().as_bytes(), &account().0, NOW_MS).map_err(|error| error.kind)?;
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        Ok(ShardIterator::decode(answer["ShardIterator"].as_str().unwrap(), NOW_MS).unwrap().position)
    }

    #[test]
    fn each_type_points_where_it_says() {
        let numbers = account().1;
        assert_eq!(position(json!({"ShardIteratorType": "TRIM_HORIZON"})), Ok(0));
        assert_eq!(position(json!({"ShardIteratorType": "LATEST"})), Ok(3));
        let by = |kind: &str| json!({"ShardIteratorType": kind, "StartingSequenceNumber": numbers[1]});
        assert_eq!(position(by("AT_SEQUENCE_NUMBER")), Ok(1));
        assert_eq!(position(by("AFTER_SEQUENCE_NUMBER")), Ok(2));
        let at_ms = (NOW_MS - 2_500) as f64 / 1_000.0;
        assert_eq!(position(json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": at_ms})), Ok(1));
    }

    #[test]
    fn a_type_and_its_argument_must_fit() {
        let number = account().1[0].clone();
        for request in [
            json!({"ShardIteratorType": "AT_SEQUENCE_NUMBER"}),
            json!({"ShardIteratorType": "LATEST", "StartingSequenceNumber": number}),
            json!({"ShardIteratorType": "AT_TIMESTAMP"}),
            json!({"ShardIteratorType": "AT_TIMESTAMP", "Timestamp": 1_900_000_010.0}),
            json!({"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": "1"}),
        ] {
            assert_eq!(position(request.clone()), Err(ErrorType::InvalidArgument), "{request}");
        }
    }

    #[test]
    fn a_number_of_another_shard_is_refused() {
        let foreign = SequenceNumber::new(NOW_MS / 1_000, 5, 1, NOW_MS / 1_000).to_string();
        let request = json!({"ShardIteratorType": "AT_SEQUENCE_NUMBER", "StartingSequenceNumber": foreign});
        assert_eq!(position(request), Err(ErrorType::InvalidArgument));
    }

    #[test]
    fn a_type_that_does_not_exist_breaks_a_constraint() {
        assert_eq!(position(json!({"ShardIteratorType": "OLDEST"})), Err(ErrorType::Validation));
    }
}
