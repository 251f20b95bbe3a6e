//! Amazon's own module for taking aggregates apart, in Python: nothing of ours is in it.

use std::fs::File;
use std::process::Command;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value;

use crate::services::{ServiceError, protobuf_python};

/// One record as it came out of a record of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ForeignRecord {
    /// Its partition key.
    pub partition_key: String,
    /// Its explicit hash key. A record that has none shows the first of its aggregate, if there is any: the module takes the
    /// index that is absent for 0.
    pub hash_key: Option<String>,
    /// What it holds.
    pub data: Vec<u8>,
}

/// For each record of the stream, the records in it; one that is no aggregate is one record, of the partition key "outer".
///
/// # Errors
/// [`ServiceError::NotInstalled`] names `tests/services/install`; or the module failed.
pub fn deaggregate(blobs: &[Vec<u8>]) -> Result<Vec<Vec<ForeignRecord>>, ServiceError> {
    let encoded: Vec<String> = blobs.iter().map(|blob| STANDARD.encode(blob)).collect();
    let dir = tempfile::tempdir()?;
    let input = dir.path().join("blobs.json");
    std::fs::write(&input, Value::from(encoded).to_string())?;
    let python = protobuf_python()?;
    let output = Command::new(&python).args(["-c", PROGRAM]).stdin(File::open(&input)?).output()?;
    let failed = |message: String| ServiceError::Failed { program: python.display().to_string(), message };
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let told: Vec<Vec<Told>> = serde_json::from_slice(&output.stdout).map_err(|error| failed(error.to_string()))?;
    told.into_iter().map(|records| records.into_iter().map(|record| record.decoded(failed)).collect()).collect()
}

/// Asks for each blob by itself, in the shape in which Lambda gets records, which the module takes by default.
const PROGRAM: &str = "
import json, sys
from aws_kinesis_agg.deaggregator import iter_deaggregate_records
def event(data):
    kinesis = {'data': data, 'partitionKey': 'outer', 'sequenceNumber': '1', 'kinesisSchemaVersion': '1.0',
               'approximateArrivalTimestamp': 1.0}
    return {'kinesis': kinesis, 'eventID': 's:1', 'eventSource': 'aws:kinesis', 'eventVersion': '1',
            'eventName': 'n', 'invokeIdentityArn': 'i', 'awsRegion': 'r', 'eventSourceARN': 'a'}
def text(data):
    return data.decode() if isinstance(data, bytes) else data
json.dump([[{'key': out['kinesis']['partitionKey'], 'hash': out['kinesis'].get('explicitHashKey'),
             'data': text(out['kinesis']['data'])}
            for out in iter_deaggregate_records([event(data)])] for data in json.load(sys.stdin)], sys.stdout)
";

#[derive(Deserialize)]
struct Told {
    key: String,
    hash: Option<String>,
    data: String,
}

impl Told {
    fn decoded(self, failed: impl FnOnce(String) -> ServiceError) -> Result<ForeignRecord, ServiceError> {
        let data = STANDARD.decode(&self.data).map_err(|error| failed(error.to_string()))?;
        Ok(ForeignRecord { partition_key: self.key, hash_key: self.hash, data })
    }
}
