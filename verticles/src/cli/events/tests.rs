//! The commands that read the whole log, on files as the service leaves them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::{Path, PathBuf};

use adtrack_proto::wire::TrackingEvent;
use prost::Message;

use super::export::{Exported, Format, export};
use super::stats::{PartStats, stats};
use super::verify::{Verified, verify};
use super::{LogError, Part};
use crate::kinesis::spool::directory::events_dir;
use crate::kinesis::spool::name::Kind;
use crate::kinesis::spool::segment::{HEADER_LEN, push_frame};
use crate::kinesis::spool::writer::Writer;

fn write_as(kind: Kind, data_dir: &Path, ids: &[&str], now_ms: u64) -> PathBuf {
    let mut frames = Vec::new();
    for id in ids {
        let event_time_ms = i64::try_from(now_ms).unwrap();
        let event = TrackingEvent { message_id: (*id).to_owned(), event_time_ms, ..TrackingEvent::default() };
        push_frame(&mut frames, |out| out.extend(event.encode_to_vec())).unwrap();
    }
    let folder = events_dir(data_dir);
    fs::create_dir_all(&folder).unwrap();
    let appended = Writer::new(&folder, 0, kind, 1_000_000).append(&frames, now_ms).unwrap();
    folder.join(appended.segment.file_name(kind))
}

/// A segment with these events.
pub(super) fn write(data_dir: &Path, ids: &[&str], now_ms: u64) -> PathBuf {
    write_as(Kind::Log, data_dir, ids, now_ms)
}

/// A cursor that says that these bytes of a segment are in the stream.
fn write_cursor(data_dir: &Path, places: &[u8]) -> PathBuf {
    let mut frames = Vec::new();
    push_frame(&mut frames, |out| out.extend([&[7; 16], places].concat())).unwrap();
    let folder = events_dir(data_dir);
    let appended = Writer::new(&folder, 0, Kind::Cursor, 1_000_000).append(&frames, 1).unwrap();
    folder.join(appended.segment.file_name(Kind::Cursor))
}

/// Flips a bit in the first record.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[HEADER_LEN + 10] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn verified(data_dir: &Path) -> (Verified, String) {
    let mut out = Vec::new();
    let verified = verify(data_dir, &mut out).unwrap();
    (verified, String::from_utf8(out).unwrap())
}

#[test]
fn an_intact_log_has_no_faults_and_every_event_is_counted() {
    let data = tempfile::tempdir().unwrap();
    write(data.path(), &["a", "b"], 1);
    write(data.path(), &["c"], 2);
    write_as(Kind::DeadLetter, data.path(), &["d"], 3);
    let (found, told) = verified(data.path());
    assert_eq!((found, &*told), (Verified { files: 3, events: 4, faults: 0 }, ""));
}

#[test]
fn every_fault_is_named_with_its_file_and_an_unfinished_record_is_none() {
    let data = tempfile::tempdir().unwrap();
    let damaged = write(data.path(), &["a", "b"], 1);
    damage(&damaged);
    let torn = write(data.path(), &["c", "d"], 2);
    let bytes = fs::read(&torn).unwrap();
    fs::write(&torn, &bytes[..bytes.len() - 1]).unwrap();
    let mut frames = Vec::new();
    push_frame(&mut frames, |out| out.extend_from_slice(b"\xff\xff")).unwrap();
    Writer::new(events_dir(data.path()), 0, Kind::Log, 1_000_000).append(&frames, 3).unwrap();

    let (found, told) = verified(data.path());
    assert_eq!(found, Verified { files: 3, events: 2, faults: 2 });
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines.len(), 3, "{told}");
    assert!(lines[0].starts_with("0000000000001-000-000001.log: a checksum that does not fit at byte 16"), "{told}");
    assert!(lines[1].starts_with("0000000000002-000-000001.log: ends with a record"), "{told}");
    assert!(lines[2].starts_with("0000000000003-000-000001.log: record 1 is no event"), "{told}");
}

#[test]
fn a_cursor_is_verified_and_counted_and_holds_no_events() {
    let data = tempfile::tempdir().unwrap();
    write(data.path(), &["a"], 1);
    let cursor = write_cursor(data.path(), &[1; 32]);
    assert_eq!(verified(data.path()), (Verified { files: 2, events: 1, faults: 0 }, String::new()));
    let found = stats(data.path()).unwrap();
    let bytes = fs::metadata(&cursor).unwrap().len();
    assert_eq!((found.log.events, found.cursor.files, found.cursor.bytes), (1, 1, bytes));

    write_cursor(data.path(), &[1; 31]);
    damage(&cursor);
    let (found, told) = verified(data.path());
    assert_eq!(found, Verified { files: 3, events: 1, faults: 2 });
    assert!(told.contains(".cursor: a checksum") && told.contains(".cursor: a record that says nothing"), "{told}");
}

#[test]
fn a_segment_of_a_newer_program_is_a_fault_and_the_others_are_verified() {
    let data = tempfile::tempdir().unwrap();
    let newer = write(data.path(), &["a"], 1);
    let mut bytes = fs::read(&newer).unwrap();
    bytes[8] = 2;
    let crc = crc32c::crc32c(&bytes[..12]).to_le_bytes();
    bytes[12..16].copy_from_slice(&crc);
    fs::write(&newer, bytes).unwrap();
    write(data.path(), &["b"], 2);
    let (found, told) = verified(data.path());
    assert_eq!(found, Verified { files: 1, events: 1, faults: 1 });
    assert!(told.contains("0000000000001-000-000001.log") && told.contains("version 2"), "{told}");
}

#[test]
fn the_parts_of_the_log_are_counted_apart() {
    let data = tempfile::tempdir().unwrap();
    let log = write(data.path(), &["a", "b"], 7);
    write(data.path(), &["c"], 9);
    damage(&write_as(Kind::Damaged, data.path(), &["d", "e"], 5));
    let found = stats(data.path()).unwrap();
    assert_eq!((found.log.files, found.log.events, found.log.damaged_bytes), (2, 3, 0));
    assert!(found.log.bytes > fs::metadata(log).unwrap().len());
    assert_eq!((found.log.oldest_event_ms, found.log.newest_event_ms), (Some(7), Some(9)));
    assert_eq!((found.damaged.files, found.damaged.events, found.damaged.newest_event_ms), (1, 1, Some(5)));
    assert!(found.damaged.damaged_bytes > 8);
    assert_eq!(found.dead, PartStats::default());
    let json: serde_json::Value = serde_json::from_str(&found.to_string()).unwrap();
    assert_eq!((&json["log"]["events"], &json["dead"]["oldestEventMs"]), (&3.into(), &serde_json::Value::Null));
}

#[test]
fn a_part_is_exported_as_lines_of_json_or_as_messages_with_their_lengths() {
    let data = tempfile::tempdir().unwrap();
    write(data.path(), &["c"], 2);
    write(data.path(), &["a", "b"], 1);
    write_as(Kind::DeadLetter, data.path(), &["x"], 1);
    let exported = |part, format| {
        let mut out = Vec::new();
        (export(data.path(), part, format, &mut out).unwrap(), out)
    };
    let (done, json) = exported(Part::Log, Format::Json);
    assert_eq!(done, Exported { events: 3, ..Exported::default() });
    let lines = serde_json::Deserializer::from_slice(&json).into_iter::<serde_json::Value>();
    let ids: Vec<String> = lines.map(|line| line.unwrap()["messageId"].as_str().unwrap().to_owned()).collect();
    assert_eq!(ids, ["a", "b", "c"]);

    let (done, protobuf) = exported(Part::Dead, Format::Protobuf);
    assert_eq!(done.events, 1);
    assert_eq!(TrackingEvent::decode_length_delimited(&*protobuf).unwrap().message_id, "x");
}

#[test]
fn what_can_be_read_of_a_damaged_file_is_exported_and_the_rest_is_counted() {
    let data = tempfile::tempdir().unwrap();
    damage(&write_as(Kind::Damaged, data.path(), &["a", "b"], 1));
    let mut out = Vec::new();
    let done = export(data.path(), Part::Damaged, Format::Json, &mut out).unwrap();
    assert_eq!(done, Exported { events: 1, undecodable: 0, damaged: 1 });
    assert!(String::from_utf8(out).unwrap().contains("\"messageId\":\"b\""));
}

#[test]
fn a_directory_without_a_log_is_named_by_each_command() {
    let data = tempfile::tempdir().unwrap();
    let errors = [
        stats(data.path()).unwrap_err(),
        verify(data.path(), &mut Vec::new()).unwrap_err(),
        export(data.path(), Part::Log, Format::Json, &mut Vec::new()).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(&error, LogError::NoLog { folder } if *folder == events_dir(data.path())), "{error}");
    }
}
