//! `adtrack events stats`: how much the event log holds, and from when.

use std::fmt;
use std::path::Path;

use adtrack_proto::wire::TrackingEvent;
use serde::Serialize;

use super::files::{LogError, Part, cursors, files};
use crate::kinesis::spool::scan::Found;

/// What the log's folder holds.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    /// The segments.
    pub log: PartStats,
    /// Events that the stream refuses for good.
    pub dead: PartStats,
    /// Segments that were found damaged.
    pub damaged: PartStats,
    /// What the stream has of the segments; their events are counted all the same.
    pub cursor: CursorStats,
}

/// The files that say what the stream has.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CursorStats {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What one part of it holds.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PartStats {
    /// Files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Events that can be read.
    pub events: u64,
    /// Bytes in whose place events were expected, and none can be read.
    pub damaged_bytes: u64,
    /// The time of the oldest event, milliseconds since the Unix epoch.
    pub oldest_event_ms: Option<i64>,
    /// That of the newest.
    pub newest_event_ms: Option<i64>,
}

impl fmt::Display for Stats {
    /// One JSON object.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Reads all of the log below `data_dir`. Blocking: for a program of its own.
///
/// # Errors
/// As [`LogError`] says.
pub fn stats(data_dir: &Path) -> Result<Stats, LogError> {
    Ok(Stats {
        log: of_part(data_dir, Part::Log)?,
        dead: of_part(data_dir, Part::Dead)?,
        damaged: of_part(data_dir, Part::Damaged)?,
        cursor: of_cursors(data_dir)?,
    })
}

fn of_cursors(data_dir: &Path) -> Result<CursorStats, LogError> {
    let files = cursors(data_dir)?;
    Ok(CursorStats { files: files.len() as u64, bytes: files.iter().map(|file| file.bytes).sum() })
}

fn of_part(data_dir: &Path, part: Part) -> Result<PartStats, LogError> {
    let mut stats = PartStats::default();
    for file in files(data_dir, part)? {
        let read = file.scan(|found| {
            stats.add(&found);
            Ok(())
        })?;
        if read.is_some() {
            stats.files += 1;
            stats.bytes += file.bytes;
        }
    }
    Ok(stats)
}

impl PartStats {
    fn add(&mut self, found: &Found) {
        match found {
            Found::Damaged(damaged) => self.damaged_bytes += damaged.bytes,
            Found::Record(payload) => {
                self.events += 1;
                let Ok(event) = TrackingEvent::from_payload(payload) else { return };
                let time = event.event_time_ms;
                self.oldest_event_ms = Some(self.oldest_event_ms.map_or(time, |oldest| oldest.min(time)));
                self.newest_event_ms = Some(self.newest_event_ms.map_or(time, |newest| newest.max(time)));
            }
        }
    }
}
