//! One event on its way to the stream.

use adtrack_proto::wire;
use bytes::Bytes;

use super::spool::name::SegmentName;

/// A record: what is sent, under which key, and where in the log it waits to be settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    payload: Bytes,
    // A slice of the payload, as a rule: a UUID is too long to be kept inline.
    key: Bytes,
    segment: SegmentName,
    end: u64,
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
        Self { payload, key, segment, end }
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

    /// Where its frame ends in its segment, in bytes.
    pub fn end(&self) -> u64 {
        self.end
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
    use adtrack_proto::wire::TrackingEvent;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

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

    proptest! {
        #[test]
        fn any_payload_has_a_key_the_service_takes(bytes in proptest::collection::vec(any::<u8>(), 1..600)) {
            let record = Record::new(Bytes::from(bytes), SEGMENT, 0);
            prop_assert!((1..=256).contains(&record.key().chars().count()));
            prop_assert_eq!(record.bytes(), record.payload().len() + record.key().len());
        }
    }
}
