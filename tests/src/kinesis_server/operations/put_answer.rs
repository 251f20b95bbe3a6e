//! The answer to `PutRecords`, written as its records are stored.

use std::io::Write;

use super::super::sequence_number::SequenceNumber;

/// About what one result takes.
const RESULT_BYTES: usize = 128;
const BEGIN: &[u8] = br#"{"Records":["#;

/// Results in the order of the records. They hold nothing that JSON would have to escape: ids, digits and our own words.
#[derive(Debug)]
pub(crate) struct PutAnswer {
    json: Vec<u8>,
    /// Where each result ends.
    ends: Vec<usize>,
    failed: usize,
}

impl PutAnswer {
    /// An answer with room for so many results.
    pub(crate) fn for_records(records: usize) -> Self {
        let mut json = Vec::with_capacity(64 + records * RESULT_BYTES);
        json.extend_from_slice(BEGIN);
        Self { json, ends: Vec::with_capacity(records), failed: 0 }
    }

    /// The next record is stored.
    pub(crate) fn stored(&mut self, shard_id: &str, number: SequenceNumber) {
        self.comma();
        // Writing to memory does not fail.
        let _written = write!(self.json, r#"{{"SequenceNumber":"{number}","ShardId":"{shard_id}"}}"#);
        self.ends.push(self.json.len());
    }

    /// The next record is not.
    pub(crate) fn failed(&mut self, code: &str, message: &str) {
        self.comma();
        let _written = write!(self.json, r#"{{"ErrorCode":"{code}","ErrorMessage":"{message}"}}"#);
        self.ends.push(self.json.len());
        self.failed += 1;
    }

    /// The body, with so many results more than there are: the last one again; below zero: without so many of the last.
    pub(crate) fn finish(mut self, more_results: isize) -> Vec<u8> {
        if more_results < 0 {
            let kept = self.ends.len().saturating_sub(more_results.unsigned_abs());
            self.json.truncate(self.end_of(kept));
        } else if let Some(before_last) = self.ends.len().checked_sub(1) {
            let last = &self.json[self.end_of(before_last)..];
            let again = last.strip_prefix(b",").unwrap_or(last).to_vec();
            for _ in 0..more_results {
                self.json.push(b',');
                self.json.extend_from_slice(&again);
            }
        }
        let _written = write!(self.json, r#"],"FailedRecordCount":{}}}"#, self.failed);
        self.json
    }

    /// Where the first `results` results end.
    fn end_of(&self, results: usize) -> usize {
        results.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(BEGIN.len())
    }

    fn comma(&mut self) {
        if !self.ends.is_empty() {
            self.json.push(b',');
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use serde_json::Value;

    use super::*;

    fn answer(results: usize, more: isize) -> Value {
        let mut answer = PutAnswer::for_records(results);
        for counter in 0..results {
            if counter == 1 {
                answer.failed("InternalFailure", "no");
            } else {
                answer.stored("shardId-000000000000", SequenceNumber::new(1, 0, counter as u64, 2));
            }
        }
        serde_json::from_slice(&answer.finish(more)).unwrap()
    }

    #[test]
    fn each_record_has_its_result_and_failures_are_counted() {
        let answer = answer(3, 0);
        assert_eq!(answer["FailedRecordCount"], 1);
        assert_eq!(answer["Records"][0]["ShardId"], "shardId-000000000000");
        assert_eq!(answer["Records"][1]["ErrorCode"], "InternalFailure");
        assert_eq!(answer["Records"][2]["SequenceNumber"].as_str().unwrap().len(), 56);
    }

    #[test]
    fn results_are_left_out_or_added_at_the_end() {
        for (results, more, expected) in [(3, -1, 2), (3, -9, 0), (3, 2, 5), (1, 1, 2), (1, -1, 0)] {
            let length = answer(results, more)["Records"].as_array().unwrap().len();
            assert_eq!(length, expected, "{results} {more}");
        }
    }
}
