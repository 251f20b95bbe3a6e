//! One event on its way to the stream.

use std::ops::Range;

use adtrack_proto::wire;
use bytes::Bytes;

use super::spool::name::SegmentName;
use super::spool::segment::{FRAME_OVERHEAD, Payloads};

/// A record: what is sent, under which key, and where in the log it waits to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    payload: Bytes,
    // A slice of the payload, as a rule: a UUID is too long to be kept inline.
    key: Bytes,
    segment: SegmentName,
    end: u64,
    backlog: bool,
}

/// The longest partition key the service takes, in characters.
const KEY_CHARS_MAX: usize = 256;

impl Record {
    /// The record of a payload out of a segment, in which its frame ends at `end`, in bytes.
    ///
    /// Its partition key is the event's message id. A payload without a usable one - none that this service writes -
    /// gets one made from its checksum, so that it is delivered all the same.
    pub fn new(payload: Bytes, segment: SegmentName, end: u64) -> Self {
        let key = match wire::message_id(&payload) {
            Some(id) if id.chars().count() <= KEY_CHARS_MAX => payload.slice_ref(id.as_bytes()),
            _ => Bytes::from(format!("{:08x}", crc32c::crc32c(&payload))),
        };
        Self { payload, key, segment, end, backlog: false }
    }

    /// The records of whole frames, which begin in their segment at `offset`, in bytes.
    pub fn all_in(frames: Bytes, segment: SegmentName, offset: u64) -> impl Iterator<Item = Self> {
        let mut end = offset;
        Payloads::new(frames).map(move |payload| {
            end += (FRAME_OVERHEAD + payload.len()) as u64;
            Self::new(payload, segment, end)
        })
    }

    /// The same, read back from the log.
    #[must_use]
    pub fn read_back(self) -> Self {
        Self { backlog: true, ..self }
    }

    /// Whether it was read back from the log.
    pub fn is_backlog(&self) -> bool {
        self.backlog
    }

    /// What is sent: a `TrackingEvent`.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The partition key.
    pub fn key(&self) -> &str {
        // It was text when it was cut out; this only asks again.
        std::str::from_utf8(&self.key).unwrap_or("-")
    }

    /// The same, as it is kept.
    pub fn key_bytes(&self) -> &Bytes {
        &self.key
    }

    /// Where its frame stands in its segment, in bytes.
    pub fn place(&self) -> Range<u64> {
        self.end.saturating_sub(self.frame_bytes() as u64)..self.end
    }

    /// The length of its frame, in bytes.
    pub fn frame_bytes(&self) -> usize {
        FRAME_OVERHEAD + self.payload.len()
    }

    /// The segment that holds it until it is settled.
    pub fn segment(&self) -> SegmentName {
        self.segment
    }

    /// What it counts against the limits of the service: payload and key, in bytes.
    pub fn bytes(&self) -> usize {
        self.payload.len() + self.key.len()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use adtrack_proto::wire::TrackingEvent;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::kinesis::spool::segment::push_frame;

    pub(crate) const SEGMENT: SegmentName = SegmentName { created_ms: 1, event_loop: 0, seq: 1 };

    pub(crate) fn payload(message_id: &str) -> Vec<u8> {
        TrackingEvent { message_id: message_id.into(), customer_id: 7, ..TrackingEvent::default() }.encode_to_vec()
    }

    pub(crate) fn record(message_id: &str) -> Record {
        Record::new(Bytes::from(payload(message_id)), SEGMENT, 0)
    }

    #[test]
    fn the_partition_key_is_the_message_id() {
        assert_eq!(record("06bc2944-886c-4e56-907c-fa248c8af023").key(), "06bc2944-886c-4e56-907c-fa248c8af023");
    }

    #[test]
    fn a_key_the_service_would_refuse_is_replaced() {
        assert_eq!(record(&"ä".repeat(256)).key().chars().count(), 256);
        assert_eq!(record(&"ä".repeat(257)).key().len(), 8);
    }

    #[test]
    fn records_know_where_they_stand_in_their_segment() {
        let mut frames = Vec::new();
        for id in ["a", "bcd"] {
            push_frame(&mut frames, |out| out.extend(payload(id))).unwrap();
        }
        let (first, length) = (8 + payload("a").len() as u64, frames.len() as u64);
        let records: Vec<Record> = Record::all_in(Bytes::from(frames), SEGMENT, 100).collect();
        let places: Vec<_> = records.iter().map(Record::place).collect();
        assert_eq!(places, [100..100 + first, 100 + first..100 + length]);
        assert_eq!(records.iter().map(Record::key).collect::<Vec<_>>(), ["a", "bcd"]);
    }

    proptest! {
        #[test]
        fn any_payload_has_a_key_the_service_takes(bytes in proptest::collection::vec(any::<u8>(), 1..600)) {
            let record = Record::new(Bytes::from(bytes), SEGMENT, 0);
            prop_assert!((1..=256).contains(&record.key().chars().count()));
            prop_assert_eq!(record.bytes(), record.payload().len() + record.key().len());
        }
    }
}
