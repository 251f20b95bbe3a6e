//! Keeping what the stream will never take: at once if that can be, later if the disk takes nothing now.
//!
//! What waits holds no call's place. It holds its room in memory, which bounds how much can wait - while half of the room is held,
//! nothing is read back -, and, where order is asked for, its lane: what is behind it waits with it. It stands in the log until
//! it is kept, so that what waits at the end of the service comes again at the next start.

use std::io;
use std::time::Duration;

use vertebra::Context;

use super::client::StreamClient;
use super::dead::Dead;
use super::entry::{self, Entry};
use super::ledger::Place;
use super::record::Record;
use super::retry;
use super::shipper::Shipper;

/// How long to wait before what could not be kept is tried again.
pub(super) const AGAIN: Duration = Duration::from_secs(1);

/// Keeps what is refused for good in its file; what cannot be kept there waits, in nobody's way, and is tried again by
/// [`again`].
pub(super) async fn bury<C: StreamClient>(ctx: &Context<Shipper<C>>, dead: Vec<Dead>) {
    bring(ctx.verticle(), dead);
    keep(ctx).await;
    // The cleaner looks whether something waits, and whether more is kept than may be.
    ctx.verticle().finished.ring();
}

fn bring<C: StreamClient>(shipper: &Shipper<C>, dead: Vec<Dead>) {
    let mut state = shipper.state.borrow_mut();
    state.refused_since = state.refused_since.saturating_add(dead.len());
    // One after the other, and nothing taken in between: it may be the stream, or what stands before it, that has changed.
    state.proven &= state.refused_since < retry::LONE_REFUSALS_MAX as usize;
    state.dead_letters.bring(dead);
}

/// Tries again to keep what could not be kept. To be called about once in [`AGAIN`].
pub(super) async fn again<C: StreamClient>(ctx: &Context<Shipper<C>>) {
    ctx.verticle().state.borrow_mut().dead_letters.try_again();
    keep(ctx).await;
}

async fn keep<C: StreamClient>(ctx: &Context<Shipper<C>>) {
    let shipper = ctx.verticle();
    let now_ms = u64::try_from(ctx.clock().unix_ms()).unwrap_or(0);
    let mut kept: Vec<Entry> = Vec::new();
    loop {
        let next = shipper.state.borrow_mut().dead_letters.keep_next(now_ms);
        let Some((Dead { entry, why }, bytes)) = next else { break };
        shipper.log.kept(bytes);
        let id = entry.records().first().map(Record::id);
        tracing::error!(id, reason = %why, "the stream refuses an event: it is kept in a .dead file");
        kept.push(entry);
    }
    if kept.is_empty() {
        return;
    }
    sync(ctx).await;
    shipper.log.metrics().dead_lettered.inc_by(entry::events(&kept) as u64);
    shipper.settle(&kept, Place::DeadLettered, ctx.clock());
}

/// The segment goes when its records are settled: what was on the disk there must be on it here before.
async fn sync<C: StreamClient>(ctx: &Context<Shipper<C>>) {
    let shipper = ctx.verticle();
    let unsynced = shipper.state.borrow_mut().dead_letters.take_unsynced();
    let synced = match unsynced {
        Ok(unsynced) => {
            let syncing = ctx.execute_blocking_unordered(move || unsynced.sync()).await;
            syncing.unwrap_or_else(|error| Err(io::Error::other(error)))
        }
        Err(error) => Err(error),
    };
    if let Err(error) = synced {
        shipper.log.metrics().sync_failures.inc();
        tracing::error!(%error, "a .dead file cannot be synced: it survives the process, and perhaps no power cut");
    }
}
