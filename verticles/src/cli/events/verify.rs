//! `adtrack events verify`: whether everything in the event log can be read.

use std::io::Write;
use std::path::Path;

use adtrack_proto::wire::TrackingEvent;

use super::files::{LogError, LogFile, Part, cursors, files};
use crate::kinesis::progress::Progress;
use crate::kinesis::spool::reader::End;
use crate::kinesis::spool::scan::Found;

/// What was found.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Files read.
    pub files: u64,
    /// Events in them.
    pub events: u64,
    /// Parts that cannot be read, records that are no events among them.
    pub faults: u64,
}

/// Reads every file of the log below `data_dir` and checks every record; prints a line for each fault.
///
/// A record that was not completed at the end of a segment is none: a process was killed while it wrote, before it answered,
/// or is writing. Files that were set aside as damaged are known to be, and are not looked at. Blocking.
///
/// # Errors
/// As [`LogError`] says.
pub fn verify(data_dir: &Path, out: &mut impl Write) -> Result<Verified, LogError> {
    let mut verified = Verified::default();
    for part in [Part::Log, Part::Dead] {
        for file in files(data_dir, part)? {
            let done = verify_file(&file, &mut verified, out);
            note_unreadable(done, &mut verified, out)?;
        }
    }
    for file in cursors(data_dir)? {
        let done = verify_cursor(&file, &mut verified, out);
        note_unreadable(done, &mut verified, out)?;
    }
    Ok(verified)
}

/// A file that cannot be read is a fault, and the others are read all the same.
fn note_unreadable(done: Result<(), LogError>, verified: &mut Verified, out: &mut impl Write) -> Result<(), LogError> {
    match done {
        Err(error @ LogError::File { .. }) => {
            verified.faults += 1;
            writeln!(out, "{error}").map_err(LogError::Write)
        }
        other => other,
    }
}

fn verify_cursor(file: &LogFile, verified: &mut Verified, out: &mut impl Write) -> Result<(), LogError> {
    let name = file.file_name();
    let mut progress = Progress::default();
    let end = file.scan(|found| {
        let fault = match found {
            Found::Record(payload) if progress.apply(&payload) => return Ok(()),
            Found::Record(_) => "a record that says nothing about a segment".to_owned(),
            Found::Damaged(damaged) => damaged.to_string(),
        };
        verified.faults += 1;
        writeln!(out, "{name}: {fault}; events may come twice").map_err(LogError::Write)
    })?;
    verified.files += u64::from(end.is_some());
    Ok(())
}

fn verify_file(file: &LogFile, verified: &mut Verified, out: &mut impl Write) -> Result<(), LogError> {
    let name = file.file_name();
    let mut number = 0_u64;
    let end = file.scan(|found| {
        number += 1;
        let fault = match found {
            Found::Damaged(damaged) => damaged.to_string(),
            Found::Record(payload) => match TrackingEvent::from_payload(&payload) {
                Ok(_) => {
                    verified.events += 1;
                    return Ok(());
                }
                Err(error) => format!("record {number} is no event: {error}"),
            },
        };
        verified.faults += 1;
        writeln!(out, "{name}: {fault}").map_err(LogError::Write)
    })?;
    verified.files += u64::from(end.is_some());
    if end == Some(End::Torn) {
        writeln!(out, "{name}: ends with a record that was not completed; it was never answered")
            .map_err(LogError::Write)?;
    }
    Ok(())
}
