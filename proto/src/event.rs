//! What happened: an event, and the answer its caller reads.

use std::sync::Arc;

use smol_str::SmolStr;

use crate::json::{push_number, push_string};
use crate::varint::LENGTH_DELIMITED;
use crate::{Program, varint};

/// One click, impression or transaction, as it is streamed.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The program as it was known when the event was accepted.
    pub program: Arc<Program>,
    /// The id given to this event: a UUID, in its usual text form.
    pub message_id: SmolStr,
    /// The caller's `User-Agent`, empty when there was none.
    pub user_agent: String,
    /// When the event was accepted, milliseconds since the Unix epoch.
    pub event_time_ms: i64,
    /// What kind of event the caller says it is (`click`, `impression`, `transaction`, ...), empty when it does not say.
    pub event_type: SmolStr,
    /// The caller's `Referer`, empty when there was none.
    pub referer: String,
    /// The caller's address, as far as the policy lets it be kept; empty when it does not.
    pub client_ip: String,
    /// The trace id of the caller's `traceparent`, empty when there was none.
    pub trace_id: String,
    /// The query parameters, decoded, in order, repeated names kept.
    pub query: Vec<(String, String)>,
    /// The value of the cookie that the settings name, empty when there was none.
    pub cookie_id: String,
}

impl Event {
    /// Appends the event as it is streamed: the protobuf message
    /// [`TrackingEvent`](crate::wire::TrackingEvent), without a length before it.
    ///
    /// The same bytes as those of the generated encoder, written without the owned strings that one needs.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let program = &*self.program;
        put_text(out, 1, program.program_id.as_str());
        put_text(out, 2, &program.checksum);
        // A negative int32 is sign-extended to ten bytes: that is how protobuf has it.
        put_number(out, 3, i64::from(program.customer_id));
        put_text(out, 4, &self.user_agent);
        put_text(out, 5, &program.program_name);
        put_text(out, 6, &program.customer_name);
        put_number(out, 7, i64::from(program.valid));
        put_text(out, 8, &self.message_id);
        put_number(out, 9, self.event_time_ms);
        put_text(out, 10, &self.event_type);
        put_text(out, 11, &self.referer);
        put_text(out, 12, &self.client_ip);
        put_text(out, 13, &self.trace_id);
        for (name, value) in &self.query {
            varint::put(out, 14 << 3 | LENGTH_DELIMITED);
            varint::put(out, (text_len(name) + text_len(value)) as u64);
            put_text(out, 1, name);
            put_text(out, 2, value);
        }
        put_text(out, 15, &self.cookie_id);
    }
}

/// The body a tracking URL answers with: the contract's JSON, its fields in the contract's order.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// The program asked for.
    pub program: &'a Program,
    /// The caller's `User-Agent`, empty when there was none.
    pub user_agent: &'a str,
    /// The id given to this event.
    pub message_id: &'a str,
}

impl Answer<'_> {
    /// Appends the body to `out`.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let program = self.program;
        out.extend_from_slice(b"{\"userAgent\":");
        push_string(out, self.user_agent);
        out.extend_from_slice(b",\"programId\":");
        push_string(out, program.program_id.as_str());
        out.extend_from_slice(b",\"programName\":");
        push_string(out, &program.program_name);
        out.extend_from_slice(b",\"checksum\":");
        push_string(out, &program.checksum);
        out.extend_from_slice(b",\"customerId\":");
        push_number(out, i64::from(program.customer_id));
        out.extend_from_slice(b",\"customerName\":");
        push_string(out, &program.customer_name);
        out.extend_from_slice(b",\"messageId\":");
        push_string(out, self.message_id);
        out.extend_from_slice(if program.valid { b",\"valid\":true}" } else { b",\"valid\":false}" });
    }
}

/// Text under a field number below 16, nothing when it is empty: proto3 does not write defaults.
fn put_text(out: &mut Vec<u8>, field: u64, text: &str) {
    if !text.is_empty() {
        varint::put(out, field << 3 | LENGTH_DELIMITED);
        varint::put(out, text.len() as u64);
        out.extend_from_slice(text.as_bytes());
    }
}

/// How many bytes [`put_text`] writes.
fn text_len(text: &str) -> usize {
    if text.is_empty() { 0 } else { 1 + varint::len(text.len() as u64) + text.len() }
}

fn put_number(out: &mut Vec<u8>, field: u64, number: i64) {
    if number != 0 {
        varint::put(out, field << 3);
        varint::put(out, number.cast_unsigned());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::ProgramId;
    use crate::wire::{QueryParameter, TrackingEvent};

    fn program(id: &str) -> Program {
        Program {
            program_id: ProgramId::new(id).unwrap(),
            program_name: "program2".into(),
            checksum: "124".into(),
            customer_id: 9124,
            customer_name: "Customer2".into(),
            valid: true,
            version: None,
        }
    }

    fn any_program() -> impl Strategy<Value = Program> {
        ("[!-~]{1,128}", any::<(String, String, i32, String, bool)>()).prop_map(|(id, rest)| Program {
            program_id: ProgramId::new(&id).unwrap(),
            program_name: rest.0,
            checksum: rest.1,
            customer_id: rest.2,
            customer_name: rest.3,
            valid: rest.4,
            version: None,
        })
    }

    fn any_event() -> impl Strategy<Value = Event> {
        let texts = any::<(String, String, String, String, String, String, String)>();
        let query = proptest::collection::vec(any::<(String, String)>(), 0..5);
        (any_program(), texts, any::<i64>(), query).prop_map(|(program, texts, event_time_ms, query)| Event {
            program: Arc::new(program),
            message_id: texts.0.into(),
            user_agent: texts.1,
            event_time_ms,
            event_type: texts.2.into(),
            referer: texts.3,
            client_ip: texts.4,
            trace_id: texts.5,
            query,
            cookie_id: texts.6,
        })
    }

    /// The way round by the generated code, against which ours is judged.
    fn by_generated_code(event: &Event) -> TrackingEvent {
        TrackingEvent {
            programid: event.program.program_id.as_str().to_owned(),
            checksum: event.program.checksum.clone(),
            customer_id: event.program.customer_id,
            user_agent: event.user_agent.clone(),
            program_name: event.program.program_name.clone(),
            customer_name: event.program.customer_name.clone(),
            is_valid: event.program.valid,
            message_id: event.message_id.to_string(),
            event_time_ms: event.event_time_ms,
            event_type: event.event_type.to_string(),
            referer: event.referer.clone(),
            client_ip: event.client_ip.clone(),
            trace_id: event.trace_id.clone(),
            query: event.query.iter().cloned().map(|(name, value)| QueryParameter { name, value }).collect(),
            cookie_id: event.cookie_id.clone(),
        }
    }

    #[test]
    fn the_answer_is_the_contract_to_the_byte() {
        let program = program("212313");
        let mut body = Vec::new();
        Answer { program: &program, user_agent: "curl/7.54.0", message_id: "06bc2944-886c-4e56-907c-fa248c8af023" }
            .write_json(&mut body);
        assert_eq!(
            String::from_utf8(body).unwrap(),
            r#"{"userAgent":"curl/7.54.0","programId":"212313","programName":"program2","checksum":"124","customerId":9124,"customerName":"Customer2","messageId":"06bc2944-886c-4e56-907c-fa248c8af023","valid":true}"#
        );
    }

    proptest! {
        #[test]
        fn any_event_is_encoded_as_the_generated_code_encodes_it(event in any_event()) {
            let mut ours = Vec::new();
            event.encode(&mut ours);
            prop_assert_eq!(ours, by_generated_code(&event).encode_to_vec());
        }

        #[test]
        fn long_query_parameters_keep_their_nested_length(lengths in proptest::collection::vec(0..20_000_usize, 1..4)) {
            let query = lengths.iter().map(|length| ("n".repeat(length / 3), "v".repeat(*length))).collect();
            let event = Event {
                program: Arc::new(program("1")),
                message_id: "m".into(),
                user_agent: String::new(),
                event_time_ms: 0,
                event_type: SmolStr::default(),
                referer: String::new(),
                client_ip: String::new(),
                trace_id: String::new(),
                query,
                cookie_id: String::new(),
            };
            let mut ours = Vec::new();
            event.encode(&mut ours);
            prop_assert_eq!(ours, by_generated_code(&event).encode_to_vec());
        }

        #[test]
        fn any_answer_is_valid_json_with_every_field_as_it_was(program in any_program(), user_agent: String, message_id: String) {
            let mut body = Vec::new();
            Answer { program: &program, user_agent: &user_agent, message_id: &message_id }.write_json(&mut body);
            let json: serde_json::Value = serde_json::from_slice(&body).unwrap();
            prop_assert_eq!(json, serde_json::json!({
                "userAgent": user_agent,
                "programId": program.program_id.as_str(),
                "programName": program.program_name,
                "checksum": program.checksum,
                "customerId": program.customer_id,
                "customerName": program.customer_name,
                "messageId": message_id,
                "valid": program.valid,
            }));
        }
    }
}
