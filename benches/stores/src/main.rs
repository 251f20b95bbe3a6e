//! The event log beside fjall, a log-structured key-value store: would it do as well, with less code of ours?
//!
//! An operation is an event of 200 bytes. Both give what they are given to the operating system with each turn of 64 events and
//! sync nothing, as the level `spool` does; fjall does not compress, since events differ and hold little to compress. Both take
//! a new folder for every run; opening and removing it are not measured.

use std::path::Path;

use adtrack::kinesis::spool::name::{Kind, SegmentName};
use adtrack::kinesis::spool::reader::{ReadLimits, read_at};
use adtrack::kinesis::spool::segment::{Payloads, push_frame};
use adtrack::kinesis::spool::writer::Writer;
use adtrack_benches::ratios::{Effort, measure};
use adtrack_benches::{Case, Question, Stopwatch};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use tempfile::TempDir;
use vertebra::BoxError;

/// Long enough for what a store does in the background.
const EFFORT: Effort = Effort { rounds: 9, round: std::time::Duration::from_millis(250) };
const TURN: u64 = 64;
/// As many are taken out at a time: the records of one call of Kinesis.
const CALL: usize = 500;
const EVENT: [u8; 200] = [0x5a; 200];
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

fn main() -> Result<(), BoxError> {
    for mut question in [written()?, written_read_and_removed()?] {
        print!("{}", measure(&mut question, EFFORT)?);
    }
    Ok(())
}

fn written() -> Result<Question, BoxError> {
    let log = Case::new("event log", |operations| {
        let folder = TempDir::new()?;
        let stopwatch = Stopwatch::start();
        write_log(folder.path(), operations)?;
        Ok(stopwatch.stop())
    });
    let fjall = Case::new("fjall", |operations| {
        let folder = TempDir::new()?;
        let (database, events) = open(folder.path())?;
        let stopwatch = Stopwatch::start();
        write_fjall(&database, &events, operations)?;
        Ok(stopwatch.stop())
    });
    Ok(Question::new("events written, 64 at a time", vec![log.ours(), fjall]))
}

fn written_read_and_removed() -> Result<Question, BoxError> {
    let log = Case::new("event log", |operations| {
        let folder = TempDir::new()?;
        let stopwatch = Stopwatch::start();
        let segments = write_log(folder.path(), operations)?;
        let read = read_log(folder.path(), &segments)?;
        done(read, operations)?;
        Ok(stopwatch.stop())
    });
    let fjall = Case::new("fjall", |operations| {
        let folder = TempDir::new()?;
        let (database, events) = open(folder.path())?;
        let stopwatch = Stopwatch::start();
        write_fjall(&database, &events, operations)?;
        let read = read_fjall(&database, &events)?;
        done(read, operations)?;
        Ok(stopwatch.stop())
    });
    Ok(Question::new("written, read back in order and removed, 500 at a time", vec![log.ours(), fjall]))
}

/// Work that was not done has no figure.
fn done(read: u64, wanted: u64) -> Result<(), BoxError> {
    if read == wanted { Ok(()) } else { Err(format!("{read} of {wanted} events were read back").into()) }
}

fn write_log(folder: &Path, events: u64) -> Result<Vec<SegmentName>, BoxError> {
    let mut writer = Writer::new(folder, 0, Kind::Log, SEGMENT_BYTES_MAX);
    let mut segments = Vec::new();
    let mut frames = Vec::new();
    let mut left = events;
    while left > 0 {
        frames.clear();
        for _ in 0..left.min(TURN) {
            push_frame(&mut frames, |out| out.extend_from_slice(&EVENT))?;
        }
        left -= left.min(TURN);
        if writer.must_roll(frames.len()) {
            segments.extend(writer.close());
        }
        writer.append(&frames, 1)?;
    }
    segments.extend(writer.close());
    Ok(segments)
}

fn read_log(folder: &Path, segments: &[SegmentName]) -> Result<u64, BoxError> {
    let limits = ReadLimits { bytes_max: 1024 * 1024, records_max: CALL };
    let mut read = 0;
    for segment in segments {
        let path = folder.join(segment.file_name(Kind::Log));
        let mut offset = 0;
        loop {
            let chunk = read_at(&path, offset, limits)?;
            read += Payloads::new(chunk.frames).count() as u64;
            offset = chunk.next_offset;
            if chunk.end.is_some() {
                break;
            }
        }
        std::fs::remove_file(path)?;
    }
    Ok(read)
}

fn open(folder: &Path) -> Result<(Database, Keyspace), BoxError> {
    let database = Database::builder(folder).open()?;
    let events = database.keyspace("events", KeyspaceCreateOptions::default)?;
    Ok((database, events))
}

fn write_fjall(database: &Database, events: &Keyspace, count: u64) -> Result<(), BoxError> {
    let mut next = 0_u64;
    while next < count {
        let mut batch = database.batch();
        for key in next..count.min(next + TURN) {
            batch.insert(events, key.to_be_bytes(), EVENT);
        }
        batch.commit()?;
        next += TURN;
    }
    Ok(())
}

fn read_fjall(database: &Database, events: &Keyspace) -> Result<u64, BoxError> {
    let (mut read, mut from) = (0, 0_u64);
    loop {
        let mut batch = database.batch();
        for entry in events.range(from.to_be_bytes()..).take(CALL) {
            let (key, value) = entry.into_inner()?;
            std::hint::black_box(value);
            batch.remove(events, key);
        }
        let taken = batch.len() as u64;
        if taken == 0 {
            return Ok(read);
        }
        batch.commit()?;
        read += taken;
        from += taken;
    }
}
