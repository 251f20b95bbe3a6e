//! Telling the caches what has changed, so that none of it goes unnoticed.

use std::time::Duration;

use adtrack_proto::bus::{CACHE_REVALIDATE, CHANGED, Change, Revalidate};
use vertebra::{Bus, Clock, RequestError};

/// How often a change is published again to a cache that has no room for it, and how long is waited before each.
const ATTEMPTS_MAX: u32 = 200;
const PAUSE: Duration = Duration::from_millis(1);
/// How often, how long and after which pause the caches are asked to trust nothing.
const REVALIDATE_ATTEMPTS_MAX: u32 = 50;
const REVALIDATE_TIMEOUT: Duration = Duration::from_secs(1);
const REVALIDATE_PAUSE: Duration = Duration::from_millis(100);
const TAKEN_TIMEOUT: Duration = Duration::from_secs(1);

/// The caches could not be reached: they may answer with outdated programs until these expire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the caches could not be told what has changed")]
pub(crate) struct NotTold(#[source] RequestError);

/// What it took to tell the caches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Every cache has every change.
    All,
    /// One had no room for a change for too long; they were told to trust nothing instead.
    Revalidated,
}

/// Publishes changes, in order, each until every cache has it. A cache that had room the first time gets it again: a
/// change says what is, so that does no harm.
///
/// A cache that has no room holds back the publisher, 200 ms for one change at most; then the rest is not published and
/// the caches are told to [`revalidate`]. Cancel safe.
///
/// # Errors
/// [`NotTold`] when not even that was possible.
pub(crate) async fn tell(bus: &Bus, clock: &Clock, changes: impl IntoIterator<Item = Change>) -> Result<Told, NotTold> {
    for change in changes {
        if !published(bus, clock, &change).await {
            revalidate(bus, clock).await?;
            return Ok(Told::Revalidated);
        }
    }
    Ok(Told::All)
}

/// Waits until the caches have taken what this sender published before, a second at most: the last change is handed
/// over once more, as a question. For whoever promises that the next answer shows it.
pub(crate) async fn taken(bus: &Bus, last: Change) {
    // Not answered in time: they are busy or not there, and the change was published all the same.
    let (Ok(()) | Err(_)) = bus.request(CHANGED, last).timeout(TAKEN_TIMEOUT).await;
}

async fn published(bus: &Bus, clock: &Clock, change: &Change) -> bool {
    for _ in 0..ATTEMPTS_MAX {
        if bus.publish(CHANGED, change.clone()).dropped == 0 {
            return true;
        }
        clock.sleep(PAUSE).await;
    }
    false
}

/// Has the caches ask the store again for what they hold. Nobody serving the address is fine: then nothing is held.
///
/// Waits at most about a minute. Cancel safe.
///
/// # Errors
/// [`NotTold`] when no cache could be asked in that time.
pub(crate) async fn revalidate(bus: &Bus, clock: &Clock) -> Result<(), NotTold> {
    let mut attempts = 0;
    loop {
        attempts += 1;
        match bus.request(CACHE_REVALIDATE, Revalidate).timeout(REVALIDATE_TIMEOUT).await {
            Ok(()) | Err(RequestError::NoHandlers { .. }) => return Ok(()),
            Err(error) if attempts >= REVALIDATE_ATTEMPTS_MAX => return Err(NotTold(error)),
            Err(_) => clock.sleep(REVALIDATE_PAUSE).await,
        }
    }
}
