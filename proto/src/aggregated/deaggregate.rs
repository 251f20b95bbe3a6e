//! Taking an aggregate apart.

use super::{DIGEST_BYTES, MAGIC, UserRecord, digest};
use crate::varint::{self, Field};

/// What a record of the stream holds.
#[derive(Debug, Clone)]
pub enum Deaggregated<'a> {
    /// No aggregate: one record, as it is.
    Single(&'a [u8]),
    /// An aggregate, all of it well formed.
    Aggregate(UserRecords<'a>),
    /// It begins as an aggregate, and its digest is not that of its content: the bytes as they are.
    WrongDigest(&'a [u8]),
    /// An aggregate of the right digest that is not well formed: the bytes as they are, and what is wrong.
    Corrupt(&'a [u8], Corrupt),
}

/// What is wrong with an aggregate that somebody gave the right digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// It is not protobuf, or a known field has another type.
    #[error("not an AggregatedRecord")]
    NotAMessage,
    /// A partition key is not text.
    #[error("a partition key is not UTF-8")]
    PartitionKey,
    /// An explicit hash key is not a decimal number below 2^128.
    #[error("an explicit hash key is not a decimal number below 2^128")]
    HashKey,
    /// A record lacks its partition key's index or its data.
    #[error("a record lacks a required field")]
    MissingField,
    /// A record names a key that is not in the table.
    #[error("a record names a key that is not in its table")]
    NoSuchKey,
}

/// Takes the bytes of one record of the stream apart.
///
/// Nothing is given before everything is checked: an aggregate is good as a whole, or left as it is. Never a panic, whatever
/// the bytes are. Nothing of them is copied; beside them it needs at most eight times their length, for the tables of keys.
pub fn deaggregate(bytes: &[u8]) -> Deaggregated<'_> {
    // As the Kinesis Client Library has it, an aggregate without a message is none.
    let Some(sealed) = bytes.strip_prefix(&MAGIC).filter(|sealed| sealed.len() > DIGEST_BYTES) else {
        return Deaggregated::Single(bytes);
    };
    let (message, expected) = sealed.split_at(sealed.len() - DIGEST_BYTES);
    if digest(message) != expected {
        return Deaggregated::WrongDigest(bytes);
    }
    match UserRecords::new(message) {
        Ok(records) => Deaggregated::Aggregate(records),
        Err(corrupt) => Deaggregated::Corrupt(bytes, corrupt),
    }
}

/// The records of one aggregate, in their order.
#[derive(Debug, Clone)]
pub struct UserRecords<'a> {
    partition_keys: Vec<&'a str>,
    hash_keys: Vec<u128>,
    rest: &'a [u8],
    left: usize,
}

impl<'a> UserRecords<'a> {
    fn new(message: &'a [u8]) -> Result<Self, Corrupt> {
        let mut records = Self { partition_keys: Vec::new(), hash_keys: Vec::new(), rest: message, left: 0 };
        records.read_tables()?;
        // The tables may stand behind the records that name them.
        let mut rest = message;
        while let Some(body) = next_record(&mut rest) {
            records.read_record(body)?;
            records.left += 1;
        }
        Ok(records)
    }

    fn read_tables(&mut self) -> Result<(), Corrupt> {
        let mut rest = self.rest;
        while !rest.is_empty() {
            match varint::take_field(&mut rest).ok_or(Corrupt::NotAMessage)? {
                Field::Bytes(1, key) => {
                    self.partition_keys.push(str::from_utf8(key).map_err(|_| Corrupt::PartitionKey)?);
                }
                Field::Bytes(2, key) => self.hash_keys.push(hash_key(key).ok_or(Corrupt::HashKey)?),
                Field::Number(1..=3, _) | Field::Fixed(1..=3) => return Err(Corrupt::NotAMessage),
                _ => {}
            }
        }
        Ok(())
    }

    fn read_record(&self, body: &'a [u8]) -> Result<UserRecord<'a>, Corrupt> {
        let (mut key, mut hash_key, mut data) = (None, None, None);
        let mut rest = body;
        while !rest.is_empty() {
            match varint::take_field(&mut rest).ok_or(Corrupt::NotAMessage)? {
                Field::Number(1, index) => key = Some(index),
                Field::Number(2, index) => hash_key = Some(index),
                Field::Bytes(3, bytes) => data = Some(bytes),
                Field::Number(3..=4, _) | Field::Bytes(1..=2, _) | Field::Fixed(1..=4) => {
                    return Err(Corrupt::NotAMessage);
                }
                _ => {}
            }
        }
        let (Some(key), Some(data)) = (key, data) else { return Err(Corrupt::MissingField) };
        Ok(UserRecord {
            partition_key: at(&self.partition_keys, key)?,
            hash_key: hash_key.map(|index| at(&self.hash_keys, index)).transpose()?,
            data,
        })
    }
}

impl<'a> Iterator for UserRecords<'a> {
    type Item = UserRecord<'a>;

    fn next(&mut self) -> Option<UserRecord<'a>> {
        let body = next_record(&mut self.rest)?;
        self.left = self.left.saturating_sub(1);
        // It has been read once, so it can be read again.
        self.read_record(body).ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for UserRecords<'_> {}

fn next_record<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    loop {
        if let Field::Bytes(3, body) = varint::take_field(rest)? {
            return Some(body);
        }
    }
}

fn at<T: Copy>(table: &[T], index: u64) -> Result<T, Corrupt> {
    usize::try_from(index).ok().and_then(|index| table.get(index)).copied().ok_or(Corrupt::NoSuchKey)
}

fn hash_key(text: &[u8]) -> Option<u128> {
    // `parse` takes a sign; the service does not.
    let digits = text.iter().all(u8::is_ascii_digit);
    str::from_utf8(text).ok().filter(|_| digits)?.parse().ok()
}
