//! One event on its way to the stream.

use std::ops::Range;

use adtrack_config::PartitionKey;
use adtrack_proto::wire::Identity;
use bytes::Bytes;

use super::partition_key;
use super::spool::name::SegmentName;
use super::spool::segment::{FRAME_OVERHEAD, Payloads};

/// A record: what is sent, under which key, whose event it is, and where in the log it waits to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    payload: Bytes,
    // Slices of the payload, as a rule: a UUID is too long to be kept inline.
    id: Bytes,
    key: Bytes,
    segment: SegmentName,
    end: u64,
    backlog: bool,
    customer_id: i32,
}

impl Record {
    /// The record of a payload out of a segment, in which its frame ends at `end`, in bytes.
    ///
    /// Its partition key is what `by` says. Without a usable one it is the event's message id, and a payload without that
    /// - none that this service writes - gets one made from its checksum, so that it is delivered all the same.
    pub fn new(payload: Bytes, segment: SegmentName, end: u64, by: PartitionKey) -> Self {
        let identity = Identity::of(&payload).unwrap_or_default();
        let id = match identity.message_id.filter(|id| partition_key::is_usable(id)) {
            Some(id) => payload.slice_ref(id.as_bytes()),
            None => Bytes::from(format!("{:08x}", crc32c::crc32c(&payload))),
        };
        let key = partition_key::of(&payload, &identity, by).unwrap_or_else(|| id.clone());
        let customer_id = identity.customer_id;
        Self { payload, id, key, segment, end, backlog: false, customer_id }
    }

    /// The records of whole frames, which begin in their segment at `offset`, in bytes.
    pub fn all_in(frames: Bytes, segment: SegmentName, offset: u64, by: PartitionKey) -> impl Iterator<Item = Self> {
        let mut end = offset;
        Payloads::new(frames).map(move |payload| {
            end += (FRAME_OVERHEAD + payload.len()) as u64;
            Self::new(payload, segment, end, by)
        })
    }

    /// The same, each with a payload of its own.
    pub fn copied_from(
        frames: Bytes,
        segment: SegmentName,
        offset: u64,
        by: PartitionKey,
    ) -> impl Iterator<Item = Self> {
        let mut end = offset;
        Payloads::new(frames).map(move |payload| {
            end += (FRAME_OVERHEAD + payload.len()) as u64;
            Self::new(Bytes::copy_from_slice(&payload), segment, end, by)
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

    /// The event's message id.
    pub fn id(&self) -> &str {
        std::str::from_utf8(&self.id).unwrap_or("-")
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

    /// Whose event it is.
    pub fn customer_id(&self) -> i32 {
        self.customer_id
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
        Record::new(Bytes::from(payload(message_id)), SEGMENT, 0, PartitionKey::MessageId)
    }

    #[test]
    fn the_partition_key_is_the_message_id() {
        let record = record("06bc2944-886c-4e56-907c-fa248c8af023");
        assert_eq!((record.key(), record.id()), (record.id(), "06bc2944-886c-4e56-907c-fa248c8af023"));
    }

    fn by(by: PartitionKey, event: &TrackingEvent) -> Record {
        Record::new(Bytes::from(event.encode_to_vec()), SEGMENT, 0, by)
    }

    #[test]
    fn the_partition_key_is_what_the_settings_say_and_the_message_id_stays_what_it_is() {
        let event = TrackingEvent {
            programid: "212313".into(),
            customer_id: -9124,
            message_id: "m".into(),
            cookie_id: "7f3a".into(),
            ..TrackingEvent::default()
        };
        let keys = [
            (PartitionKey::MessageId, "m"),
            (PartitionKey::Program, "212313"),
            (PartitionKey::Customer, "-9124"),
            (PartitionKey::Cookie, "7f3a"),
        ];
        for (what, key) in keys {
            let record = by(what, &event);
            assert_eq!((record.key(), record.id()), (key, "m"), "{what:?}");
        }
    }

    #[test]
    fn an_event_without_the_value_goes_by_its_message_id() {
        let event = TrackingEvent { message_id: "m".into(), cookie_id: "x".repeat(257), ..TrackingEvent::default() };
        assert_eq!(
            by(PartitionKey::Cookie, &TrackingEvent { message_id: "m".into(), ..TrackingEvent::default() }).key(),
            "m"
        );
        assert_eq!(by(PartitionKey::Cookie, &event).key(), "m", "one the service would refuse is none");
        assert_eq!(by(PartitionKey::Program, &event).key(), "m");
        assert_eq!(by(PartitionKey::Customer, &event).key(), "0", "0 is a customer's id, too");
        assert_eq!(by(PartitionKey::Cookie, &TrackingEvent::default()).key().len(), 8);
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
        let records: Vec<Record> = Record::all_in(Bytes::from(frames), SEGMENT, 100, PartitionKey::MessageId).collect();
        let places: Vec<_> = records.iter().map(Record::place).collect();
        assert_eq!(places, [100..100 + first, 100 + first..100 + length]);
        assert_eq!(records.iter().map(Record::key).collect::<Vec<_>>(), ["a", "bcd"]);
    }

    proptest! {
        #[test]
        fn any_payload_has_a_key_the_service_takes(bytes in proptest::collection::vec(any::<u8>(), 1..600), by in 0..4_usize) {
            let by = [PartitionKey::MessageId, PartitionKey::Program, PartitionKey::Customer, PartitionKey::Cookie][by];
            let record = Record::new(Bytes::from(bytes), SEGMENT, 0, by);
            prop_assert!((1..=256).contains(&record.key().chars().count()));
            prop_assert_eq!(record.bytes(), record.payload().len() + record.key().len());
        }
    }
}
