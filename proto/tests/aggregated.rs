//! Aggregates: to the byte what the Kinesis Producer Library's readers expect, and nothing that is read can do harm.
#![allow(clippy::unwrap_used, reason = "tests")]

use adtrack_proto::aggregated::{
    Aggregate, AggregatedRecord, Corrupt, Deaggregated, MAGIC, OVERHEAD_BYTES, Record, UserRecord, deaggregate, hash_of,
};
use md5::{Digest, Md5};
use proptest::prelude::*;
use prost::Message;

/// Four records with the keys pk-0 and pk-1, the last with the explicit hash key 3, as aws-kinesis-agg 1.2.3 writes them.
const FOREIGN: &str = "f3899ac2 0a04706b2d30 0a04706b2d31 120133 \
                       1a0a08001a06646174612d30 1a0a08011a06646174612d31 \
                       1a0a08001a06646174612d32 1a0c080110001a06646174612d33 \
                       7ee6e374a8749c312b5b2a634d49d8a7";

/// A record that owns what it holds.
type Owned = (String, Option<u128>, Vec<u8>);

fn borrowed((partition_key, hash_key, data): &Owned) -> UserRecord<'_> {
    UserRecord { partition_key, hash_key: *hash_key, data }
}

fn blob(records: &[Owned]) -> Vec<u8> {
    let mut aggregate = Aggregate::default();
    records.iter().for_each(|record| aggregate.push(borrowed(record)));
    aggregate.finish()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u32> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits.chunks(2).map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap()).collect()
}

/// Magic and digest around a message.
fn sealed(message: &[u8]) -> Vec<u8> {
    [&MAGIC[..], message, &Md5::digest(message)[..]].concat()
}

fn records(bytes: &[u8]) -> Vec<Owned> {
    match deaggregate(bytes) {
        Deaggregated::Aggregate(records) => {
            let told = records.len();
            let records: Vec<Owned> =
                records.map(|record| (record.partition_key.into(), record.hash_key, record.data.into())).collect();
            assert_eq!(records.len(), told);
            records
        }
        other => panic!("no aggregate but {other:?}"),
    }
}

fn corrupt(message: &[u8]) -> Corrupt {
    match deaggregate(&sealed(message)) {
        Deaggregated::Corrupt(_, corrupt) => corrupt,
        other => panic!("not corrupt but {other:?}"),
    }
}

#[test]
fn the_foreign_example_is_written_to_the_byte_and_read_back() {
    let owned = |index: usize, hash_key| (format!("pk-{}", index % 2), hash_key, format!("data-{index}").into_bytes());
    let written = [owned(0, None), owned(1, None), owned(2, None), owned(3, Some(3))];
    assert_eq!(blob(&written), bytes(FOREIGN));
    assert_eq!(bytes(FOREIGN).len(), 85);
    assert_eq!(records(&bytes(FOREIGN)), written);
}

#[test]
fn an_aggregate_within_a_bound_refuses_what_does_not_fit_and_goes_on_with_what_does() {
    let mut aggregate = Aggregate::default();
    let record = |data| UserRecord { partition_key: "k", hash_key: Some(u128::MAX), data };
    let first = OVERHEAD_BYTES + 3 + 41 + 9;
    assert!(!aggregate.push_within(record(b"a"), first - 1) && aggregate.is_empty());
    assert!(aggregate.push_within(record(b"a"), first));
    assert_eq!((aggregate.len(), aggregate.records()), (first, 1));
    assert!(!aggregate.push_within(record(b"bb"), first + 9));
    assert!(aggregate.push_within(record(b"b"), first + 9), "its keys stand in the tables already");
    assert_eq!(records(&aggregate.finish()).len(), 2);
    assert_eq!((aggregate.len(), aggregate.records()), (OVERHEAD_BYTES, 0));
}

#[test]
fn a_record_belongs_where_its_hash_key_says_and_without_one_where_its_partition_key_does() {
    let record = UserRecord { partition_key: "a", hash_key: Some(7), data: b"" };
    assert_eq!((record.hash(), UserRecord { hash_key: None, ..record }.hash()), (7, hash_of("a")));
}

#[test]
fn what_is_no_aggregate_is_one_record_as_it_is() {
    let empty = sealed(b"");
    for bytes in [&b""[..], b"a", &MAGIC, &MAGIC[..3], &empty, &empty[..19], &[0; 100]] {
        assert!(matches!(deaggregate(bytes), Deaggregated::Single(same) if same == bytes), "{bytes:?}");
    }
}

#[test]
fn an_aggregate_of_the_wrong_digest_stays_as_it_is() {
    let whole = bytes(FOREIGN);
    for cut in MAGIC.len() + 17..whole.len() {
        let cut = &whole[..cut];
        assert!(matches!(deaggregate(cut), Deaggregated::WrongDigest(same) if same == cut), "{}", cut.len());
    }
    for bit in MAGIC.len() * 8..whole.len() * 8 {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(deaggregate(&flipped), Deaggregated::WrongDigest(_)), "bit {bit}");
    }
}

#[test]
fn an_aggregate_of_the_right_digest_that_is_wrong_inside_says_what_is() {
    let key = [0x0a, 1, b'k'];
    let with = |rest: &[u8]| [&key[..], rest].concat();
    assert_eq!(corrupt(&[0xff]), Corrupt::NotAMessage);
    assert_eq!(corrupt(&[0x08, 1]), Corrupt::NotAMessage, "a number for a table");
    assert_eq!(corrupt(&with(&[0x1a, 4, 0x08, 0, 0x18, 0])), Corrupt::NotAMessage, "a number for data");
    assert_eq!(corrupt(&[0x0a, 1, 0xff]), Corrupt::PartitionKey);
    for number in ["", "+1", "-1", "x", "340282366920938463463374607431768211456"] {
        let entry = [&[0x12, u8::try_from(number.len()).unwrap()], number.as_bytes()].concat();
        assert_eq!(corrupt(&entry), Corrupt::HashKey, "{number:?}");
    }
    assert_eq!(corrupt(&with(&[0x1a, 2, 0x1a, 0])), Corrupt::MissingField, "no index, as proto3 would write index 0");
    assert_eq!(corrupt(&with(&[0x1a, 2, 0x08, 0])), Corrupt::MissingField, "no data");
    assert_eq!(corrupt(&with(&[0x1a, 4, 0x08, 1, 0x1a, 0])), Corrupt::NoSuchKey);
    assert_eq!(corrupt(&with(&[0x1a, 6, 0x08, 0, 0x10, 0, 0x1a, 0])), Corrupt::NoSuchKey);
}

#[test]
fn tables_behind_the_records_tags_and_fields_nobody_knows_are_no_harm() {
    // An unknown field, a record with an empty tag and an unknown field, and only then the table.
    let message = bytes("220109 1a09 0800 1a0164 2200 2800 0a016b");
    assert_eq!(records(&sealed(&message)), [("k".to_owned(), None, b"d".to_vec())]);
}

fn any_records() -> impl Strategy<Value = Vec<Owned>> {
    // Few different keys, so that tables are shared, and some long ones.
    let key = prop_oneof!["[a-d]", ".{0,300}"];
    let hash_key = prop::option::of(prop_oneof![0..3_u128, any::<u128>()]);
    prop::collection::vec((key, hash_key, prop::collection::vec(any::<u8>(), 0..300)), 0..300)
}

/// The message by the generated code, keys in the tables in the order in which they are named first.
fn by_generated_code(records: &[Owned]) -> AggregatedRecord {
    let mut message = AggregatedRecord::default();
    let index = |table: &mut Vec<String>, key: &str| {
        let known = table.iter().position(|known| known == key);
        known.unwrap_or_else(|| {
            table.push(key.to_owned());
            table.len() - 1
        }) as u64
    };
    for (key, hash_key, data) in records {
        let record = Record {
            partition_key_index: index(&mut message.partition_key_table, key),
            explicit_hash_key_index: hash_key
                .map(|number| index(&mut message.explicit_hash_key_table, &number.to_string())),
            data: data.clone(),
            tags: Vec::new(),
        };
        message.records.push(record);
    }
    message
}

/// The target: bytes as a stream may hold them. What comes out of them can be written and read again, and the generated
/// code agrees.
fn fuzz(bytes: &[u8]) {
    for bytes in [bytes.to_vec(), sealed(bytes)] {
        match deaggregate(&bytes) {
            Deaggregated::Single(same) | Deaggregated::WrongDigest(same) | Deaggregated::Corrupt(same, _) => {
                assert_eq!(same, bytes);
            }
            Deaggregated::Aggregate(_) => {
                let read = records(&bytes);
                if !read.is_empty() {
                    assert_eq!(records(&blob(&read)), read);
                }
                // Ours does not look into tags; whatever else it takes, the generated code takes too.
                if let Ok(message) = AggregatedRecord::decode(&bytes[MAGIC.len()..bytes.len() - 16]) {
                    let data: Vec<_> = message.records.into_iter().map(|record| record.data).collect();
                    assert_eq!(read.into_iter().map(|(_, _, data)| data).collect::<Vec<_>>(), data);
                }
            }
        }
    }
}

/// What the target begins with: messages - sealed by the target - that are right, nearly right, and wrong in each way.
fn corpus() -> Vec<Vec<u8>> {
    let foreign = bytes(FOREIGN);
    let message = foreign[MAGIC.len()..foreign.len() - 16].to_vec();
    let hex = [
        "",
        "ff",
        "0801",
        "0a01ff",
        "12022b31",
        "0a016b1a021a00",
        "0a016b1a020800",
        "0a016b1a0408011a00",
        "0a016b1a06080010001a00",
        "1a0408001a000a016b",
        "0a016b1a0908001a006a0412001800",
        "1affffffff0f",
        "0bff0c",
        "0a016b1a0a08ffffffffffffffff7f1a00",
        "0a016b1a0408001a001a0408001a00",
        "0d00000000",
        "0900000000000000001a00",
    ];
    hex.iter().map(|hex| bytes(hex)).chain([foreign, message]).collect()
}

#[test]
fn the_corpus_does_no_harm() {
    for seed in corpus() {
        fuzz(&seed);
        for cut in 0..seed.len() {
            fuzz(&seed[..cut]);
        }
        for bit in 0..seed.len() * 8 {
            let mut flipped = seed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fuzz(&flipped);
        }
    }
}

proptest! {
    #[test]
    fn records_are_read_back_as_they_were_written(written in any_records()) {
        let blob = blob(&written);
        if written.is_empty() {
            prop_assert!(matches!(deaggregate(&blob), Deaggregated::Single(_)));
        } else {
            prop_assert_eq!(records(&blob), written);
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_generated_encoder_and_the_length_is_known_at_each_moment(written in any_records()) {
        let mut aggregate = Aggregate::default();
        for (index, record) in written.iter().enumerate() {
            aggregate.push(borrowed(record));
            let message = by_generated_code(&written[..=index]);
            prop_assert_eq!(aggregate.len(), OVERHEAD_BYTES + message.encoded_len());
        }
        prop_assert_eq!(aggregate.finish(), sealed(&by_generated_code(&written).encode_to_vec()));
    }

    #[test]
    fn a_bound_is_never_exceeded_and_what_is_refused_changes_nothing(written in any_records(), len_max in 20..4_000_usize) {
        let mut aggregate = Aggregate::default();
        let taken: Vec<Owned> =
            written.into_iter().filter(|record| aggregate.push_within(borrowed(record), len_max)).collect();
        let bytes = aggregate.finish();
        prop_assert!(bytes.len() <= len_max);
        prop_assert_eq!(bytes, blob(&taken));
    }

    #[test]
    fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        fuzz(&bytes);
    }

    #[test]
    fn damage_to_a_seed_does_no_harm(
        seed in prop::sample::select(corpus()), damage in prop::collection::vec(any::<(prop::sample::Index, u8)>(), 1..8), tail: Vec<u8>,
    ) {
        let mut bytes = [seed, tail].concat();
        for (at, byte) in damage {
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
        }
        fuzz(&bytes);
    }
}
