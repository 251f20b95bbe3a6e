//! Removing segments the stream has completely, and setting damaged ones aside; off the loop.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use vertebra::Context;

use super::burial;
use super::client::StreamClient;
use super::cursor;
use super::shipper::Shipper;
use super::spool::name::SegmentName;
use super::tracker::Fate;

/// How long to wait before a file that could not be removed is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Cleans up as long as the instance lives.
pub(super) async fn run<C: StreamClient>(ctx: Context<Shipper<C>>) {
    let shipper = ctx.verticle();
    let mut bury_at = Duration::ZERO;
    loop {
        if shipper.log.keeps_too_much()
            && let Err(error) = drop_oldest_kept(&ctx).await
        {
            tracing::error!(%error, "files kept for a person have reached their bound, and cannot be removed");
            ctx.clock().sleep(PAUSE).await;
        }
        remove_cursors(&ctx).await;
        let waits = shipper.state.borrow().dead_letters.waits();
        if waits && ctx.clock().now() >= bury_at {
            shipper.state.borrow_mut().cleaning = true;
            burial::again(&ctx).await;
            shipper.state.borrow_mut().cleaning = false;
            bury_at = ctx.clock().now() + burial::AGAIN;
        }
        let next = shipper.state.borrow_mut().tracker.take_finished();
        let Some((segment, fate)) = next else {
            something_to_do(&ctx).await;
            continue;
        };
        shipper.state.borrow_mut().cleaning = true;
        let done = dispose(&ctx, segment, fate).await;
        shipper.state.borrow_mut().cleaning = false;
        match done {
            Ok(bytes) => {
                shipper.log.shrunk(bytes);
                shipper.forget(segment, ctx.clock());
                if fate == Fate::SetAside {
                    shipper.log.kept(bytes);
                }
            }
            Err(error) => {
                tracing::error!(%segment, %error, "a segment that was shipped cannot be removed");
                shipper.state.borrow_mut().tracker.put_back(segment, fate);
                ctx.clock().sleep(PAUSE).await;
            }
        }
    }
}

async fn something_to_do<C: StreamClient>(ctx: &Context<Shipper<C>>) {
    let shipper = ctx.verticle();
    let waits = shipper.state.borrow().dead_letters.waits();
    if waits {
        // Whether it is time to bury again or a segment is finished: both mean to look.
        let _either = ctx.clock().timeout(burial::AGAIN, shipper.finished.rung()).await;
    } else {
        shipper.finished.rung().await;
    }
}

/// Removes cursors that a newer one has replaced. One that cannot be removed is left to the next start.
async fn remove_cursors<C: StreamClient>(ctx: &Context<Shipper<C>>) {
    loop {
        let next = ctx.verticle().state.borrow_mut().cursor.take_superfluous();
        let Some(name) = next else { return };
        let log = Arc::clone(&ctx.verticle().log);
        let removed = ctx.execute_blocking_unordered(move || cursor::remove(log.directory().path(), name)).await;
        if let Err(error) = removed.unwrap_or_else(|error| Err(io::Error::other(error))) {
            tracing::warn!(%name, %error, "a cursor that is not needed any more cannot be removed");
        }
    }
}

async fn drop_oldest_kept<C: StreamClient>(ctx: &Context<Shipper<C>>) -> io::Result<()> {
    let log = Arc::clone(&ctx.verticle().log);
    let written_to = ctx.verticle().state.borrow().dead_letters.open_file();
    let dropped = ctx.execute_blocking(move || log.drop_oldest_kept(written_to)).await;
    dropped.unwrap_or_else(|error| Err(io::Error::other(error)))
}

async fn dispose<C: StreamClient>(ctx: &Context<Shipper<C>>, segment: SegmentName, fate: Fate) -> io::Result<u64> {
    let log = Arc::clone(&ctx.verticle().log);
    let disposed = ctx.execute_blocking_unordered(move || match fate {
        Fate::Remove => log.directory().remove(segment),
        Fate::SetAside => log.directory().set_aside(segment),
    });
    disposed.await.unwrap_or_else(|error| Err(io::Error::other(error)))
}
