//! What it costs to write an event and an answer. An operation is one of them, into a buffer that is used again.

use std::sync::Arc;

use adtrack_proto::wire::{QueryParameter, TrackingEvent};
use adtrack_proto::{Answer, Event, Program};
use prost::Message;
use serde::Serialize;
use vertebra::BoxError;

use crate::program::program;
use crate::question::{Case, Question};
use crate::stopwatch::Stopwatch;

/// Room for any event here; nothing grows while it is measured.
const BUFFER_BYTES: usize = 1_024;

/// Every question about encoding.
///
/// # Errors
/// When the sample program cannot be read.
pub fn questions() -> Result<Vec<Question>, BoxError> {
    Ok(vec![event()?, answer()?])
}

fn event() -> Result<Question, BoxError> {
    let event = sample()?;
    let (plain, made, own) = (event.clone(), generated(&event), event);
    let cases = vec![
        written("prost, message built of owned strings", move |out| Ok(generated(&plain).encode(out)?)),
        written("prost, message built before", move |out| Ok(made.encode(out)?)),
        written("ours", move |out| {
            own.encode(out);
            Ok(())
        })
        .ours(),
    ];
    Ok(Question::new("encode an event", cases))
}

fn answer() -> Result<Question, BoxError> {
    let event = sample()?;
    let own = event.clone();
    let cases = vec![
        written("serde_json", move |out| Ok(serde_json::to_writer(out, &Body::of(&event))?)),
        written("ours", move |out| {
            let Event { program, user_agent, message_id, .. } = &own;
            Answer { program, user_agent, message_id }.write_json(out);
            Ok(())
        })
        .ours(),
    ];
    Ok(Question::new("write an answer", cases))
}

fn written(name: &str, write: impl Fn(&mut Vec<u8>) -> Result<(), BoxError> + 'static) -> Case {
    Case::new(name, move |operations| {
        let mut out = Vec::with_capacity(BUFFER_BYTES);
        let stopwatch = Stopwatch::start();
        for _ in 0..operations {
            out.clear();
            write(&mut out)?;
            std::hint::black_box(&out);
        }
        Ok(stopwatch.stop())
    })
}

/// A click of a browser, two query parameters with it.
pub(crate) fn sample() -> Result<Event, BoxError> {
    Ok(Event {
        program: Arc::new(program("212313")?),
        message_id: "0193a5c1-8c9e-7d52-a1f0-3f1f6f1b2c3d".into(),
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0".into(),
        event_time_ms: 1_731_930_000_000,
        event_type: "click".into(),
        referer: "https://shop.example/products/17".into(),
        client_ip: "192.0.2.0".into(),
        trace_id: "4bf92f3577b34da6a3ce929d0e0e4736".into(),
        cookie_id: String::new(),
        query: vec![("campaign".into(), "autumn".into()), ("position".into(), "3".into())],
    })
}

/// The message the generated code wants: every string owned.
fn generated(event: &Event) -> TrackingEvent {
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
        cookie_id: event.cookie_id.clone(),
        query: event.query.iter().cloned().map(|(name, value)| QueryParameter { name, value }).collect(),
    }
}

/// The answer as serde would have it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    user_agent: &'a str,
    program_id: &'a str,
    program_name: &'a str,
    checksum: &'a str,
    customer_id: i32,
    customer_name: &'a str,
    message_id: &'a str,
    valid: bool,
}

impl<'a> Body<'a> {
    fn of(event: &'a Event) -> Self {
        let program: &Program = &event.program;
        Self {
            user_agent: &event.user_agent,
            program_id: program.program_id.as_str(),
            program_name: &program.program_name,
            checksum: &program.checksum,
            customer_id: program.customer_id,
            customer_name: &program.customer_name,
            message_id: &event.message_id,
            valid: program.valid,
        }
    }
}
