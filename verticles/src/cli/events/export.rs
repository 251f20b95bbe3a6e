//! `adtrack events export`: events as files other programs read.

use std::io::{BufWriter, Write};
use std::path::Path;

use adtrack_proto::wire::{self, TrackingEvent};

use super::files::{LogError, Part, files};
use crate::kinesis::spool::scan::Found;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Json,
    /// `TrackingEvent` of tracking.proto, each behind its length as a varint: what `parseDelimitedFrom` reads
    Protobuf,
}

/// What was exported, and what could not be.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Events written.
    pub events: u64,
    /// Records that are no events; only [`Format::Json`] looks into them.
    pub undecodable: u64,
    /// Parts of files in whose place events were expected.
    pub damaged: u64,
}

/// Writes every event of a part of the log below `data_dir` to `out`, file by file, the oldest first.
///
/// An output that is closed - `| head` - is no error. Blocking: for a program of its own.
///
/// # Errors
/// As [`LogError`] says.
pub fn export(data_dir: &Path, part: Part, format: Format, out: &mut impl Write) -> Result<Exported, LogError> {
    let mut exported = Exported::default();
    let mut out = BufWriter::new(out);
    match write_all(data_dir, part, format, &mut out, &mut exported) {
        Ok(()) => {}
        Err(error) => error.unless_closed()?,
    }
    Ok(exported)
}

fn write_all(
    data_dir: &Path,
    part: Part,
    format: Format,
    out: &mut impl Write,
    exported: &mut Exported,
) -> Result<(), LogError> {
    let mut bytes = Vec::new();
    for file in files(data_dir, part)? {
        file.scan(|found| {
            bytes.clear();
            match found {
                Found::Damaged(_) => exported.damaged += 1,
                Found::Record(payload) if encode(&payload, format, &mut bytes) => exported.events += 1,
                Found::Record(_) => exported.undecodable += 1,
            }
            out.write_all(&bytes).map_err(LogError::Write)
        })?;
    }
    out.flush().map_err(LogError::Write)
}

/// Whether it is an event.
fn encode(payload: &[u8], format: Format, out: &mut Vec<u8>) -> bool {
    match format {
        Format::Json => {
            let Ok(event) = TrackingEvent::from_payload(payload) else { return false };
            event.write_json(out);
            out.push(b'\n');
        }
        Format::Protobuf => wire::write_delimited(payload, out),
    }
    true
}
