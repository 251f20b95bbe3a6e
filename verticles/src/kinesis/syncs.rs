//! Bringing what an intake has written to the disk: one fdatasync after the other, each for everybody who waits when it begins.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use vertebra::Context;

use super::bell::Bell;
use super::intake::Intake;
use super::pending::Turn;

/// Those who wait for a sync of one intake.
#[derive(Debug, Default)]
pub(crate) struct Syncs {
    next: RefCell<Rc<Turn>>,
    bell: Bell,
    failures: Cell<u64>,
    ended: Cell<bool>,
}

/// How many syncs had failed at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failures(u64);

impl Syncs {
    /// To be asked before an event is written.
    pub(crate) fn failures(&self) -> Failures {
        Failures(self.failures.get())
    }

    /// Waits for a sync that begins from now on; whether it worked, and every other since the event was written: one that was
    /// under way when this was called may have covered it, and what a sync could not write no later one does. Cancel safe.
    pub(crate) async fn synced(&self, since: Failures) -> bool {
        if self.ended.get() {
            return false;
        }
        let turn = Rc::clone(&self.next.borrow());
        self.bell.ring();
        turn.written().await && self.failures() == since
    }

    /// Something is to be synced, and nobody waits for it.
    pub(crate) fn ring(&self) {
        self.bell.ring();
    }
}

/// Syncs as long as the instance lives. No timer: while one sync is under way, those for the next one gather.
pub(crate) async fn run(ctx: Context<Intake>) {
    let intake = ctx.verticle();
    let _ended = Ended(ctx.clone());
    loop {
        intake.syncs.bell.rung().await;
        // Whoever comes from here on waits for the next one: what they wait for may be written after this one has begun.
        let turn = intake.syncs.next.take().unfinished();
        let begun = ctx.clock().now();
        let synced = sync(&ctx).await;
        let metrics = intake.log.metrics();
        metrics.syncs.inc();
        metrics.sync_seconds.observe(ctx.clock().now().saturating_sub(begun).as_secs_f64());
        if let Err(error) = &synced {
            let failures = &intake.syncs.failures;
            failures.set(failures.get() + 1);
            metrics.sync_failures.inc();
            tracing::error!(%error, "the event log cannot be synced: events that asked for it are refused");
            intake.close_segment(&ctx);
        }
        turn.finish(synced.is_ok());
    }
}

/// Nobody syncs any more - the instance is being replaced after a panic -: whoever waits for it, or comes to, is told.
struct Ended(Context<Intake>);

impl Drop for Ended {
    fn drop(&mut self) {
        let syncs = &self.0.verticle().syncs;
        syncs.ended.set(true);
        let turn = syncs.next.take();
        drop(turn.unfinished());
    }
}

async fn sync(ctx: &Context<Intake>) -> std::io::Result<()> {
    let unsynced = ctx.verticle().take_unsynced()?;
    #[cfg(test)]
    if ctx.verticle().log.next_sync_fails.swap(false, std::sync::atomic::Ordering::Relaxed) {
        return Err(std::io::ErrorKind::StorageFull.into());
    }
    let synced = ctx.execute_blocking_unordered(move || unsynced.sync()).await;
    synced.unwrap_or_else(|error| Err(std::io::Error::other(error)))
}
