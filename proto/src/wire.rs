//! The stream format: what one record holds, and its JSON form for people.

use prost::Message;

use crate::json::{push_number, push_string};
use crate::varint::{self, Field};

#[rustfmt::skip]
mod generated;

pub use generated::{QueryParameter, TrackingEvent};

/// Why bytes are not a [`TrackingEvent`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a tracking event: {reason}")]
pub struct NotAnEvent {
    /// What the decoder says, in words.
    pub reason: String,
}

impl TrackingEvent {
    /// Reads the payload of one record.
    ///
    /// Fields that are not known are skipped, fields that are absent have their defaults.
    ///
    /// # Errors
    /// The bytes are not protobuf, or a known field has another type. Never a panic, whatever they are.
    pub fn from_payload(payload: &[u8]) -> Result<Self, NotAnEvent> {
        Self::decode(payload).map_err(|error| NotAnEvent { reason: error.to_string() })
    }

    /// Appends the event as one JSON object without a line break: the answer's fields under the answer's names and in
    /// its order, then the additive ones.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        text(out, b"{\"userAgent\":", &self.user_agent);
        text(out, b",\"programId\":", &self.programid);
        text(out, b",\"programName\":", &self.program_name);
        text(out, b",\"checksum\":", &self.checksum);
        out.extend_from_slice(b",\"customerId\":");
        push_number(out, self.customer_id.into());
        text(out, b",\"customerName\":", &self.customer_name);
        text(out, b",\"messageId\":", &self.message_id);
        out.extend_from_slice(if self.is_valid { b",\"valid\":true" } else { b",\"valid\":false" });
        out.extend_from_slice(b",\"eventTimeMs\":");
        push_number(out, self.event_time_ms);
        text(out, b",\"eventType\":", &self.event_type);
        text(out, b",\"referer\":", &self.referer);
        text(out, b",\"clientIp\":", &self.client_ip);
        text(out, b",\"traceId\":", &self.trace_id);
        out.extend_from_slice(b",\"query\":[");
        for (index, parameter) in self.query.iter().enumerate() {
            text(out, if index == 0 { b"{\"name\":" } else { b",{\"name\":" }, &parameter.name);
            text(out, b",\"value\":", &parameter.value);
            out.push(b'}');
        }
        text(out, b"],\"cookieId\":", &self.cookie_id);
        out.push(b'}');
    }
}

/// What tells events apart and together in a record's payload, without decoding or copying the rest.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Identity<'a> {
    /// Its `message_id`, if there is one that is text.
    pub message_id: Option<&'a str>,
    /// Its `programid`, if there is one that is text.
    pub program_id: Option<&'a str>,
    /// Its `customer_id`, 0 when it is not written.
    pub customer_id: i32,
    /// Its `cookie_id`, if there is one that is text.
    pub cookie_id: Option<&'a str>,
}

impl<'a> Identity<'a> {
    /// Reads a payload; `None` when it is not protobuf. Cheap enough to be asked for every record.
    ///
    /// Of a repeated field the last one counts, as protobuf has it.
    ///
    /// ```
    /// use adtrack_proto::wire::{Identity, TrackingEvent};
    /// use prost::Message;
    ///
    /// let event = TrackingEvent { message_id: "m-1".into(), customer_id: 7, ..TrackingEvent::default() };
    /// let payload = event.encode_to_vec();
    /// let identity = Identity::of(&payload).unwrap_or_default();
    /// assert_eq!((identity.message_id, identity.customer_id, identity.cookie_id), (Some("m-1"), 7, None));
    /// assert_eq!(Identity::of(b"\xff\xff"), None);
    /// ```
    pub fn of(payload: &'a [u8]) -> Option<Self> {
        let mut rest = payload;
        let mut found = Self::default();
        while !rest.is_empty() {
            match varint::take_field(&mut rest)? {
                Field::Bytes(1, text) => found.program_id = readable(text),
                // Written as the 64 bits of a number that has 32.
                Field::Number(3, number) => found.customer_id = number as i32,
                Field::Bytes(8, text) => found.message_id = readable(text),
                Field::Bytes(15, text) => found.cookie_id = readable(text),
                _ => {}
            }
        }
        Some(found)
    }
}

fn readable(text: &[u8]) -> Option<&str> {
    str::from_utf8(text).ok().filter(|text| !text.is_empty())
}

/// The `message_id` of a record's payload, as [`Identity`] has it.
///
/// ```
/// use adtrack_proto::wire::{TrackingEvent, message_id};
/// use prost::Message;
///
/// let event = TrackingEvent { message_id: "m-1".into(), ..TrackingEvent::default() };
/// assert_eq!(message_id(&event.encode_to_vec()), Some("m-1"));
/// assert_eq!(message_id(b"\xff\xff"), None);
/// ```
pub fn message_id(payload: &[u8]) -> Option<&str> {
    Identity::of(payload)?.message_id
}

/// Appends a payload behind its length as a varint, the way protobuf libraries write and read many messages in one file.
///
/// ```
/// use adtrack_proto::wire::{TrackingEvent, write_delimited};
/// use prost::Message;
///
/// let event = TrackingEvent { message_id: "m-1".into(), ..TrackingEvent::default() };
/// let mut file = Vec::new();
/// write_delimited(&event.encode_to_vec(), &mut file);
/// assert_eq!(TrackingEvent::decode_length_delimited(&*file), Ok(event));
/// ```
pub fn write_delimited(payload: &[u8], out: &mut Vec<u8>) {
    prost::encoding::encode_varint(payload.len() as u64, out);
    out.extend_from_slice(payload);
}

fn text(out: &mut Vec<u8>, before: &[u8], value: &str) {
    out.extend_from_slice(before);
    push_string(out, value);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;

    use super::*;

    fn any_wire_event() -> impl Strategy<Value = TrackingEvent> {
        let texts = proptest::collection::vec(any::<String>(), 11);
        let query = proptest::collection::vec(any::<(String, String)>(), 0..4);
        (texts, any::<i32>(), any::<bool>(), any::<i64>(), query).prop_map(|(texts, id, valid, time, query)| {
            let mut texts = texts.into_iter();
            let mut next = || texts.next().unwrap();
            TrackingEvent {
                programid: next(),
                checksum: next(),
                customer_id: id,
                user_agent: next(),
                program_name: next(),
                customer_name: next(),
                is_valid: valid,
                message_id: next(),
                event_time_ms: time,
                event_type: next(),
                referer: next(),
                client_ip: next(),
                trace_id: next(),
                query: query.into_iter().map(|(name, value)| QueryParameter { name, value }).collect(),
                cookie_id: next(),
            }
        })
    }

    proptest! {
        #[test]
        fn an_event_is_read_back_as_it_was_written(event in any_wire_event()) {
            prop_assert_eq!(TrackingEvent::from_payload(&event.encode_to_vec()), Ok(event));
        }

        #[test]
        fn any_event_is_one_line_of_valid_json_in_the_order_of_the_answer(event in any_wire_event()) {
            let mut line = Vec::new();
            event.write_json(&mut line);
            prop_assert!(!line.contains(&b'\n'));
            let json: serde_json::Value = serde_json::from_slice(&line).unwrap();
            prop_assert_eq!(&json["userAgent"], &event.user_agent);
            prop_assert_eq!(&json["programId"], &event.programid);
            prop_assert_eq!(&json["programName"], &event.program_name);
            prop_assert_eq!(&json["checksum"], &event.checksum);
            prop_assert_eq!(&json["customerId"], event.customer_id);
            prop_assert_eq!(&json["customerName"], &event.customer_name);
            prop_assert_eq!(&json["messageId"], &event.message_id);
            prop_assert_eq!(&json["valid"], event.is_valid);
            prop_assert_eq!(&json["eventTimeMs"], event.event_time_ms);
            prop_assert_eq!(&json["eventType"], &event.event_type);
            prop_assert_eq!(&json["referer"], &event.referer);
            prop_assert_eq!(&json["clientIp"], &event.client_ip);
            prop_assert_eq!(&json["traceId"], &event.trace_id);
            prop_assert_eq!(&json["cookieId"], &event.cookie_id);
            prop_assert_eq!(json["query"].as_array().unwrap().len(), event.query.len());
        }

        #[test]
        fn what_identifies_an_event_is_found_without_decoding_the_rest(event in any_wire_event()) {
            fn some(text: &str) -> Option<&str> {
                Some(text).filter(|text| !text.is_empty())
            }
            let payload = event.encode_to_vec();
            let expected = Identity {
                message_id: some(&event.message_id),
                program_id: some(&event.programid),
                customer_id: event.customer_id,
                cookie_id: some(&event.cookie_id),
            };
            prop_assert_eq!(Identity::of(&payload), Some(expected));
            prop_assert_eq!(message_id(&payload), expected.message_id);
        }

        #[test]
        fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let decoded = TrackingEvent::from_payload(&bytes);
            let id = message_id(&bytes);
            if let (Ok(event), Some(id)) = (decoded, id) {
                prop_assert_eq!(event.message_id, id);
            }
        }

        #[test]
        fn a_cut_event_is_refused_or_read_never_a_panic(event in any_wire_event(), cut in any::<prop::sample::Index>()) {
            let payload = event.encode_to_vec();
            let cut = cut.index(payload.len() + 1);
            let _decoded = TrackingEvent::from_payload(&payload[..cut]);
            let _id = message_id(&payload[..cut]);
        }
    }
}
