//! Reading back what is in the log and was not handed over, when there is room for it.

use std::sync::Arc;
use std::time::Duration;

use vertebra::Context;

use super::client::StreamClient;
use super::ledger::{Read, Reason};
use super::record::Record;
use super::shipper::Shipper;
use super::spool::name::SegmentName;
use super::spool::reader::{self, Chunk, ReadError, ReadLimits};

/// Segments are read while at most so much of the room is taken: the rest is for events that come now.
const READ_PERCENT: usize = 50;

/// How often a segment the file system cannot read is tried, and how long to wait in between.
const READ_TRIES_MAX: u32 = 3;
const READ_PAUSE: Duration = Duration::from_secs(1);

/// Reads as long as the instance lives.
pub(super) async fn run<C: StreamClient>(ctx: Context<Shipper<C>>) {
    let mut tries = 0;
    loop {
        let Some((segment, offset)) = next(ctx.verticle()) else {
            ctx.verticle().room.rung().await;
            continue;
        };
        match read(&ctx, segment, offset).await {
            Ok(chunk) => {
                tries = 0;
                take_over(&ctx, segment, chunk);
            }
            Err(error) => {
                tries += 1;
                if matches!(error, ReadError::Gone) {
                    recount(&ctx).await;
                }
                if give_up(ctx.verticle(), segment, &error, tries) {
                    tries = 0;
                } else {
                    ctx.clock().sleep(READ_PAUSE).await;
                }
            }
        }
    }
}

/// Somebody has removed a segment, to make room perhaps.
async fn recount<C: StreamClient>(ctx: &Context<Shipper<C>>) {
    let log = Arc::clone(&ctx.verticle().log);
    let counted = ctx.execute_blocking_unordered(move || log.recount()).await;
    if let Err(error) = counted.unwrap_or_else(|error| Err(std::io::Error::other(error))) {
        tracing::error!(%error, "the event log cannot be counted");
    }
}

fn next<C: StreamClient>(shipper: &Shipper<C>) -> Option<(SegmentName, u64)> {
    let state = shipper.state.borrow();
    // What is not read before the end stays where it is: there is no time for more.
    if state.flushing || !shipper.log.room().is_below(READ_PERCENT) { None } else { state.tracker.next_unread() }
}

async fn read<C: StreamClient>(
    ctx: &Context<Shipper<C>>,
    segment: SegmentName,
    offset: u64,
) -> Result<Chunk, ReadError> {
    let shipper = ctx.verticle();
    let path = shipper.log.directory().segment(segment);
    let limits = ReadLimits {
        bytes_max: shipper.log.config().recovery_bytes_per_read,
        records_max: (shipper.config().queue_events_max / 2).max(1),
    };
    match ctx.execute_blocking_unordered(move || reader::read_at(&path, offset, limits)).await {
        Ok(read) => read,
        Err(error) => Err(ReadError::Io(std::io::Error::other(error))),
    }
}

fn take_over<C: StreamClient>(ctx: &Context<Shipper<C>>, segment: SegmentName, chunk: Chunk) {
    let shipper = ctx.verticle();
    let metrics = shipper.log.metrics();
    if let Some(damaged) = chunk.damaged {
        metrics.damaged_bytes.inc_by(damaged.bytes);
        let first = shipper.state.borrow_mut().tracker.damaged(segment);
        metrics.segments_damaged.inc_by(u64::from(first));
        tracing::error!(%segment, %damaged, "a segment is damaged: all other events in it are shipped, the file is kept");
    }
    let offset = chunk.next_offset - chunk.frames.len() as u64;
    // Copied out: one that waits for its shard would pin all that was read with it, which the room does not count.
    let all = Record::copied_from(chunk.frames, segment, offset, shipper.config().partition_key);
    let mut records: Vec<Record> = all.map(Record::read_back).collect();
    if let Some(settled) = shipper.state.borrow().progress.of(segment) {
        records.retain(|record| !settled.covers(&record.place()));
    }
    count(shipper, segment, &records, chunk.end.is_some());
    metrics.read_back.inc_by(records.len() as u64);
    metrics.read_back_known.inc_by((chunk.records - records.len()) as u64);
    let held = shipper.log.room().take(records.len(), records.iter().map(Record::frame_bytes).sum());
    let came = records.len() as u64;
    shipper.take_over(records.into_iter(), held, ctx.clock().now());
    shipper.state.borrow_mut().tracker.read(segment, came, chunk.next_offset, chunk.end.is_some());
    shipper.finished.ring();
}

/// The ledger is told before anybody can be through with one of the records.
fn count<C: StreamClient>(shipper: &Shipper<C>, segment: SegmentName, records: &[Record], is_all: bool) {
    let ledger = shipper.log.ledger();
    let mut state = shipper.state.borrow_mut();
    let read = |record: &Record| Read {
        account: ledger.account_of(record.customer_id()),
        end: record.place().end,
        bytes: record.frame_bytes() as i64,
    };
    state.backlog.read(ledger, segment, records.iter().map(read));
    if is_all {
        state.backlog.ended(ledger, segment, Reason::Damaged);
    }
}

/// Whether the segment is not to be tried again.
fn give_up<C: StreamClient>(shipper: &Shipper<C>, segment: SegmentName, error: &ReadError, tries: u32) -> bool {
    let mut state = shipper.state.borrow_mut();
    match error {
        ReadError::Gone => {
            tracing::error!(%segment, "a segment of the event log was removed before it was shipped");
            state.backlog.ended(shipper.log.ledger(), segment, Reason::Gone);
            state.tracker.leave(segment);
        }
        ReadError::Io(_) if tries < READ_TRIES_MAX => return false,
        ReadError::Version(_) | ReadError::Io(_) => {
            shipper.log.metrics().files_unreadable.inc();
            tracing::error!(%segment, %error, "a segment cannot be read: it stays as it is until the next start");
            state.tracker.leave(segment);
        }
    }
    true
}
