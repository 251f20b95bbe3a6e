//! What it costs to bring events into the log. An operation is an event, encoded, framed, and written with the others of its turn.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use adtrack::kinesis::spool::name::Kind;
use adtrack::kinesis::spool::segment::push_frame;
use adtrack::kinesis::spool::writer::Writer;
use adtrack_proto::Event;
use tempfile::TempDir;
use vertebra::BoxError;

use crate::program::program;
use crate::question::{Case, Question};
use crate::stopwatch::{Measured, Stopwatch};

/// As the service has them.
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;
const NOW_MS: u64 = 1_731_930_000_000;

/// Every question about the log.
///
/// # Errors
/// When the sample program cannot be read, or no folder be made.
pub fn questions() -> Result<Vec<Question>, BoxError> {
    let mut questions = Vec::new();
    for (turn, name) in [
        (64, "events into the log, 64 a write"),
        (16, "events into the log, 16 a write"),
        (1, "events into the log, 1 a write"),
    ] {
        questions.push(Question::new(name, vec![bare_write(turn)?, encode_frame_write(turn)?]));
    }
    questions.push(Question::new("two loops write, 32 a turn", vec![writer_each(32)?, writer_shared(32)?]));
    Ok(questions)
}

/// The same bytes, made before.
fn bare_write(turn: usize) -> Result<Case, BoxError> {
    let mut frames = Vec::new();
    frame(&event()?, turn, &mut frames)?;
    let bytes = frames.len() / turn;
    Ok(Case::new(format!("write(2) of as many bytes, {bytes} an event"), move |operations| {
        let folder = TempDir::new()?;
        let mut file = File::options().create_new(true).append(true).open(folder.path().join("log"))?;
        let stopwatch = Stopwatch::start();
        for _ in 0..turns(operations, turn) {
            file.write_all(&frames)?;
        }
        Ok(per_event(stopwatch.stop(), operations, turn))
    }))
}

fn encode_frame_write(turn: usize) -> Result<Case, BoxError> {
    let event = event()?;
    Ok(Case::new("encode, CRC32C, write(2)", move |operations| {
        let folder = TempDir::new()?;
        let mut writer = Writer::new(folder.path(), 0, Kind::Log, SEGMENT_BYTES_MAX);
        let stopwatch = Stopwatch::start();
        write_turns(&mut writer, &event, turns(operations, turn), turn)?;
        Ok(per_event(stopwatch.stop(), operations, turn))
    })
    .ours())
}

/// As it is: every loop has a segment of its own.
fn writer_each(turn: usize) -> Result<Case, BoxError> {
    let event = event()?;
    Ok(Case::new("each to a segment of its own", move |operations| {
        let folder = TempDir::new()?;
        let stopwatch = Stopwatch::start();
        let done: Vec<Result<(), BoxError>> = std::thread::scope(|threads| {
            let (folder, event) = (&folder, &event);
            let writing = [0, 1].map(|event_loop| {
                threads.spawn(move || {
                    let mut writer = Writer::new(folder.path(), event_loop, Kind::Log, SEGMENT_BYTES_MAX);
                    write_turns(&mut writer, event, turns(operations, 2 * turn), turn)
                })
            });
            writing.map(|thread| thread.join().unwrap_or_else(|_| Err("a writing thread panicked".into()))).into()
        });
        let measured = stopwatch.stop();
        done.into_iter().collect::<Result<(), _>>()?;
        Ok(per_event(measured, operations, 2 * turn))
    })
    .ours())
}

/// What was not chosen: a thread of its own writes for both. It takes what both have and writes it at once; a loop goes on when
/// its turn is written.
fn writer_shared(turn: usize) -> Result<Case, BoxError> {
    let event = event()?;
    Ok(Case::new("both to one, by a thread of its own", move |operations| {
        let folder = TempDir::new()?;
        let stopwatch = Stopwatch::start();
        let done: Result<(), BoxError> = std::thread::scope(|threads| {
            let (give, given) = flume::bounded::<(Vec<u8>, flume::Sender<Vec<u8>>)>(2);
            let (folder, event) = (&folder, &event);
            let writing = threads.spawn(move || write_for_all(folder, &given));
            for _ in 0..2 {
                let give = give.clone();
                threads.spawn(move || hand_turns(&give, event, turns(operations, 2 * turn), turn));
            }
            drop(give);
            writing.join().unwrap_or_else(|_| Err("the writing thread panicked".into()))
        });
        let measured = stopwatch.stop();
        done.map(|()| per_event(measured, operations, 2 * turn))
    }))
}

fn write_for_all(folder: &TempDir, given: &flume::Receiver<(Vec<u8>, flume::Sender<Vec<u8>>)>) -> Result<(), BoxError> {
    let mut writer = Writer::new(folder.path(), 0, Kind::Log, SEGMENT_BYTES_MAX);
    let mut waiting = Vec::new();
    let mut frames = Vec::new();
    while let Ok(first) = given.recv() {
        frames.clear();
        for (buffer, written) in std::iter::once(first).chain(given.try_iter()) {
            frames.extend_from_slice(&buffer);
            waiting.push((buffer, written));
        }
        append(&mut writer, &frames)?;
        for (buffer, written) in waiting.drain(..) {
            written.send(buffer)?;
        }
    }
    Ok(())
}

/// Ends early when the writer has ended; that one says why.
fn hand_turns(give: &flume::Sender<(Vec<u8>, flume::Sender<Vec<u8>>)>, event: &Event, turns: u64, turn: usize) {
    let (written, wait) = flume::bounded(1);
    let mut frames = Vec::new();
    for _ in 0..turns {
        frames.clear();
        let framed = frame(event, turn, &mut frames).is_ok();
        if !framed || give.send((std::mem::take(&mut frames), written.clone())).is_err() {
            return;
        }
        match wait.recv() {
            Ok(buffer) => frames = buffer,
            Err(_) => return,
        }
    }
}

fn write_turns(writer: &mut Writer, event: &Event, turns: u64, turn: usize) -> Result<(), BoxError> {
    let mut frames = Vec::new();
    for _ in 0..turns {
        frames.clear();
        frame(event, turn, &mut frames)?;
        append(writer, &frames)?;
    }
    Ok(())
}

fn append(writer: &mut Writer, frames: &[u8]) -> Result<(), BoxError> {
    if writer.must_roll(frames.len()) {
        writer.close();
    }
    writer.append(frames, NOW_MS)?;
    Ok(())
}

fn frame(event: &Event, turn: usize, out: &mut Vec<u8>) -> Result<(), BoxError> {
    for _ in 0..turn {
        push_frame(out, |out| event.encode(out))?;
    }
    Ok(())
}

fn turns(operations: u64, turn: usize) -> u64 {
    operations.div_ceil(turn as u64)
}

/// A last turn is whole, also when fewer events were asked for.
fn per_event(measured: Measured, operations: u64, turn: usize) -> Measured {
    let share = operations as f64 / (turns(operations, turn) * turn as u64) as f64;
    Measured { wall: measured.wall.mul_f64(share), cpu: measured.cpu.mul_f64(share) }
}

/// An impression of about two hundred bytes.
fn event() -> Result<Event, BoxError> {
    Ok(Event {
        program: Arc::new(program("212313")?),
        message_id: "0193a5c1-8c9e-7d52-a1f0-3f1f6f1b2c3d".into(),
        user_agent: "Mozilla/5.0 (X11; Linux x86_64; rv:132.0) Gecko/20100101 Firefox/132.0".into(),
        event_time_ms: 1_731_930_000_000,
        event_type: "impression".into(),
        referer: "https://a.example".into(),
        client_ip: "192.0.2.0".into(),
        trace_id: String::new(),
        query: Vec::new(),
        cookie_id: String::new(),
    })
}
