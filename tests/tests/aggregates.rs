//! Our aggregates by the judgement of Amazon's own module.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use adtrack_proto::aggregated::{Aggregate, Deaggregated, UserRecord, deaggregate};
use adtrack_tests::foreign_deaggregator::{self, ForeignRecord};

const RECORDS: usize = 300;
const KEYS: usize = 40;

/// As many records under so few keys that each is named more than once, some of them not ASCII; none is empty.
fn records(hash_key: impl Fn(usize) -> Option<u128>) -> Vec<(String, Option<u128>, Vec<u8>)> {
    let key = |index: usize| format!("key \u{e4}-{}", index % KEYS);
    let data = |index: usize| (0..=index).map(|at| (at * 7 + index) as u8).collect();
    (0..RECORDS).map(|index| (key(index), hash_key(index), data(index))).collect()
}

fn judge(written: &[(String, Option<u128>, Vec<u8>)]) {
    let mut aggregate = Aggregate::default();
    for (partition_key, hash_key, data) in written {
        aggregate.push(UserRecord { partition_key, hash_key: *hash_key, data });
    }
    let blob = aggregate.finish();
    let foreign = foreign_deaggregator::deaggregate(&[blob]).unwrap_or_else(|error| panic!("{error}"));
    let expected: Vec<ForeignRecord> = written
        .iter()
        .map(|(partition_key, hash_key, data)| ForeignRecord {
            partition_key: partition_key.clone(),
            hash_key: hash_key.map(|number| number.to_string()),
            data: data.clone(),
        })
        .collect();
    assert_eq!(foreign, [expected]);
}

#[test]
fn records_without_hash_keys_come_out_as_they_went_in() {
    judge(&records(|_| None));
}

#[test]
fn records_that_share_a_hash_key_come_out_with_it() {
    judge(&records(|_| Some(u128::MAX)));
}

#[test]
fn records_with_hash_keys_of_their_own_come_out_with_them() {
    judge(&records(|index| Some(index as u128 * (u128::MAX / 300))));
}

#[test]
fn what_is_no_aggregate_is_one_record_for_both() {
    let mut wrong = [0xf3, 0x89, 0x9a, 0xc2].to_vec();
    wrong.extend([7; 40]);
    let blobs = [b"an event as it is".to_vec(), wrong, b"\xf3\x89\x9a\xc2".to_vec()];
    let foreign = foreign_deaggregator::deaggregate(&blobs).unwrap_or_else(|error| panic!("{error}"));
    for (blob, records) in blobs.iter().zip(foreign) {
        assert!(!matches!(deaggregate(blob), Deaggregated::Aggregate(_)));
        assert_eq!(records.iter().map(|record| &record.data).collect::<Vec<_>>(), [blob]);
    }
}
