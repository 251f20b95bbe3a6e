//! What the operators' routes ask of the store and the cache.

use std::sync::Arc;
use std::time::Duration;

use adtrack_proto::Program;
use adtrack_proto::bus::{CACHE_PURGE, PurgeCache, PurgeStore, PutPrograms, STORE_PURGE, STORE_PUT, Stored};
use vertebra::{Bus, RequestError};

/// How long the store may take for one thing; purging goes through everything it holds.
pub(super) const STORE_TIMEOUT: Duration = Duration::from_secs(15);

/// What a purge has removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Purged {
    pub(super) store: u64,
    pub(super) cache: u64,
}

/// A put that was not finished.
#[derive(Debug, thiserror::Error)]
#[error("the first {stored} programs are done, of the others some may be: {source}")]
pub(super) struct PutError {
    /// How many programs were stored before, or found to be outdated.
    pub(super) stored: usize,
    pub(super) source: RequestError,
}

/// Stores programs, in several messages when there are many.
pub(super) async fn put(bus: &Bus, programs: &[Arc<Program>]) -> Result<Stored, PutError> {
    let (mut stored, mut all) = (0, Stored::default());
    for part in programs.chunks(PutPrograms::MAX) {
        let message = PutPrograms { programs: part.to_vec() };
        let put = bus.request(STORE_PUT, message).timeout(STORE_TIMEOUT).await;
        all.outdated.extend(put.map_err(|source| PutError { stored, source })?.outdated);
        stored += part.len();
    }
    Ok(all)
}

/// Deletes all programs from the store, then from memory: in this order, so that no lookup brings one back.
pub(super) async fn purge(bus: &Bus) -> Result<Purged, RequestError> {
    let store = bus.request(STORE_PURGE, PurgeStore).timeout(STORE_TIMEOUT).await?;
    let cache = bus.request(CACHE_PURGE, PurgeCache).timeout(STORE_TIMEOUT).await?;
    Ok(Purged { store, cache })
}
