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
use super::tracker::Damage;

/// Segments are read while at most so much of the room is taken: the rest is for events that come now.
const READ_PERCENT: usize = 50;

/// A segment that the file system cannot read is tried again after a pause, which doubles up to the longest; others go first.
const READ_PAUSE_MIN: Duration = Duration::from_secs(1);
const READ_PAUSE_MAX: Duration = Duration::from_secs(60);

/// A segment that holds events of a crowded shard - and perhaps of others - is read no more often.
const CROWDED_PAUSE: Duration = Duration::from_secs(1);

/// Reads as long as the instance lives.
pub(super) async fn run<C: StreamClient>(ctx: Context<Shipper<C>>) {
    let mut crowded_until = Duration::ZERO;
    loop {
        let Some((segment, offset)) = next(ctx.verticle(), ctx.clock().now(), &mut crowded_until) else {
            wait(&ctx).await;
            continue;
        };
        match read(&ctx, segment, offset).await {
            Ok(chunk) => take_over(&ctx, segment, chunk),
            Err(error) => {
                if matches!(error, ReadError::Gone) {
                    recount(&ctx).await;
                }
                not_read(ctx.verticle(), segment, &error, ctx.clock().now());
            }
        }
    }
}

/// Until there may be something to read.
async fn wait<C: StreamClient>(ctx: &Context<Shipper<C>>) {
    let shipper = ctx.verticle();
    if shipper.state.borrow().tracker.has_postponed() {
        // Whether it is time or something has changed: both mean to look again.
        let _either = ctx.clock().timeout(CROWDED_PAUSE, shipper.room.rung()).await;
    } else {
        shipper.room.rung().await;
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

fn next<C: StreamClient>(
    shipper: &Shipper<C>,
    now: Duration,
    crowded_until: &mut Duration,
) -> Option<(SegmentName, u64)> {
    let state = &mut *shipper.state.borrow_mut();
    // What is not read before the end stays where it is: there is no time for more.
    if state.flushing {
        return None;
    }
    // Shards that take nothing hold their share for as long as that lasts: the others' events are not to wait for it.
    let crowded = state.outbox.crowded();
    let (events, bytes) = crowded.unwrap_or_default();
    if !shipper.log.room().is_below_without(READ_PERCENT, events, bytes) {
        return None;
    }
    let let_go_may = now >= *crowded_until || crowded.is_none();
    if let Some(again) = state.tracker.resume(now, let_go_may, &state.progress) {
        state.backlog.again(again);
        *crowded_until = now + CROWDED_PAUSE;
    }
    state.tracker.next_unread()
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
        records_max: records_max(shipper.config().queue_events_max, shipper.log.room().events()),
    };
    match ctx.execute_blocking_unordered(move || reader::read_at(&path, offset, limits)).await {
        Ok(read) => read,
        Err(error) => Err(ReadError::Io(std::io::Error::other(error))),
    }
}

/// As many as leave a quarter of the room to what comes now: an event that finds none goes by the log, and all others with it for a
/// second. Never fewer than a few, so that what crowded shards hold does not make it one at a time.
fn records_max(events_max: usize, taken: usize) -> usize {
    (events_max / 4 * 3).saturating_sub(taken).max(events_max / 16).max(1)
}

fn take_over<C: StreamClient>(ctx: &Context<Shipper<C>>, segment: SegmentName, chunk: Chunk) {
    let shipper = ctx.verticle();
    let metrics = shipper.log.metrics();
    let is_first = !shipper.state.borrow().tracker.is_read_again(segment);
    let known = chunk.damaged.map(|damaged| shipper.state.borrow_mut().tracker.damaged(segment, damaged.offset));
    if let (Some(damaged), Some(Damage::First | Damage::Another)) = (chunk.damaged, known) {
        metrics.damaged_bytes.inc_by(damaged.bytes);
        metrics.segments_damaged.inc_by(u64::from(known == Some(Damage::First)));
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
    let known = if is_first { chunk.records - records.len() } else { 0 };
    metrics.read_back_known.inc_by(known as u64);
    let held = shipper.log.room().take(records.len(), records.iter().map(Record::frame_bytes).sum());
    let came = records.len() as u64;
    shipper.state.borrow_mut().tracker.read(segment, came, chunk.next_offset, chunk.end.is_some());
    shipper.take_over(records.into_iter(), held, ctx.clock().now());
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

/// The segment could not be read: it is tried again later, or left.
fn not_read<C: StreamClient>(shipper: &Shipper<C>, segment: SegmentName, error: &ReadError, now: Duration) {
    let state = &mut *shipper.state.borrow_mut();
    match error {
        ReadError::Gone => {
            tracing::error!(%segment, "a segment of the event log was removed before it was shipped");
            let ledger = shipper.log.ledger();
            state.backlog.ended(ledger, segment, Reason::Gone);
            state.backlog.again(segment);
            state.backlog.ended(ledger, segment, Reason::Gone);
            state.tracker.leave(segment);
        }
        ReadError::Io(_) => {
            let failures = state.tracker.failed(segment, |failures| now + read_pause(failures));
            if failures == 1 {
                shipper.log.metrics().files_unreadable.inc();
            }
            tracing::error!(%segment, %error, failures, "a segment cannot be read: it is tried again");
        }
        ReadError::Version(_) => {
            shipper.log.metrics().files_unreadable.inc();
            tracing::error!(%segment, %error, "a segment cannot be read: it stays as it is until the next start");
            state.tracker.leave(segment);
        }
    }
}

fn read_pause(failures: u32) -> Duration {
    READ_PAUSE_MIN.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1))).min(READ_PAUSE_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_leaves_a_quarter_of_the_room_and_is_never_nothing() {
        let read = [0, 10_000, 14_999, 20_000, 40_000].map(|taken| records_max(20_000, taken));
        assert_eq!(read, [15_000, 5_000, 1_250, 1_250, 1_250]);
        assert_eq!((records_max(1, 0), records_max(1, 1)), (1, 1));
    }

    #[test]
    fn the_pause_of_a_segment_that_cannot_be_read_grows_up_to_a_minute() {
        assert_eq!([1, 2, 3, 7, 100].map(|failures| read_pause(failures).as_secs()), [1, 2, 4, 60, 60]);
    }
}
