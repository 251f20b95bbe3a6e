//! The event log as all loops share it: the folder, its bounds, and what is known about its health.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, UNIX_EPOCH};

use adtrack_config::{EventsConfig, KinesisConfig};

use super::budget::Budget;
use super::cursor;
use super::ledger::{self, Counted, Ledger, Place, Stock};
use super::left::{self, Left};
use super::metrics::Metrics;
use super::room::Room;
use super::spool::directory::{self, Directory, Listing, OpenError};
use super::spool::name::{Kind, SegmentName};
use crate::drain::Drain;

/// The log of one process: opened once, shared by every [`Intake`](super::Intake) and the [`Shipper`](super::Shipper).
///
/// Numbers only on the hot path; the locks in here are taken when a segment is begun or closed, and when something has
/// failed.
#[derive(Debug)]
pub struct EventLog {
    directory: Directory,
    config: EventsConfig,
    kinesis: KinesisConfig,
    budget: Budget,
    room: Arc<Room>,
    metrics: Metrics,
    drain: Drain,
    bytes: AtomicU64,
    kept_bytes: AtomicU64,
    // By instance: what may be written to at this moment, and must not be removed.
    open: Mutex<BTreeMap<usize, (SegmentName, SharedCounted)>>,
    // Of an earlier run, and not counted yet.
    found: Mutex<Vec<SegmentName>>,
    // Of all segments that are known, or were begun. A name that is used again - a clock was set back - would meet what is known of
    // the segment that had it, and its events would be taken for settled: so each has a higher one.
    highest_seq: AtomicU32,
    stock: Stock,
    failing: AtomicUsize,
    last_failure: Mutex<String>,
    // Why the folder is not this process's any more.
    astray: Mutex<Option<String>>,
    retaining: AtomicBool,
    retention_fails: AtomicBool,
    stream_up: AtomicBool,
    shipper: AtomicU64,
    /// The next write panics.
    #[cfg(test)]
    pub(crate) next_write_panics: AtomicBool,
    /// What comes next is written, and then there is a panic.
    #[cfg(test)]
    pub(crate) next_booking_panics: AtomicBool,
    /// The next sync fails.
    #[cfg(test)]
    pub(crate) next_sync_fails: AtomicBool,
}

/// What of an open segment is in the log alone.
pub(crate) type SharedCounted = Arc<Mutex<Counted>>;

impl EventLog {
    /// Opens the log below `data_dir` and takes its lock. Blocking.
    ///
    /// Whatever stands in the folder is left as it is: segments of an earlier run are shipped by the
    /// [`Shipper`](super::Shipper), or stay when there is no stream; anything else is counted and named in a log line.
    ///
    /// # Errors
    /// Another process has the log open, or the folder cannot be made or read.
    pub fn open(
        data_dir: &Path,
        config: &EventsConfig,
        kinesis: &KinesisConfig,
        metrics: Metrics,
        drain: Drain,
    ) -> Result<Arc<Self>, OpenError> {
        let directory = Directory::open(data_dir)?;
        let listing = directory::list(directory.path())
            .map_err(|source| OpenError::Io { path: directory.path().to_owned(), source })?;
        let bytes = listing.segments.iter().map(|(_, bytes)| bytes).sum();
        report(&listing, &metrics);
        let kept_bytes = listing.kept_bytes();
        let highest_seq = AtomicU32::new(cursor::highest_seq(directory.path(), &listing));
        let budget = Budget::new(config);
        let log = Self {
            directory,
            config: config.clone(),
            kinesis: kinesis.clone(),
            budget,
            room: Room::new(kinesis.queue_events_max, budget.in_flight()),
            metrics,
            drain,
            bytes: AtomicU64::new(0),
            kept_bytes: AtomicU64::new(0),
            open: Mutex::default(),
            found: Mutex::new(listing.segments.iter().map(|(name, _)| *name).collect()),
            highest_seq,
            stock: Stock::default(),
            failing: AtomicUsize::new(0),
            last_failure: Mutex::default(),
            astray: Mutex::default(),
            retaining: AtomicBool::new(false),
            retention_fails: AtomicBool::new(false),
            stream_up: AtomicBool::new(false),
            shipper: AtomicU64::new(0),
            #[cfg(test)]
            next_write_panics: AtomicBool::new(false),
            #[cfg(test)]
            next_booking_panics: AtomicBool::new(false),
            #[cfg(test)]
            next_sync_fails: AtomicBool::new(false),
        };
        log.ledger().show(config.ledger_customers_shown);
        log.grown(bytes);
        log.kept(kept_bytes);
        log.drop_oldest_kept(None).map_err(|source| OpenError::Io { path: log.directory.path().to_owned(), source })?;
        Ok(Arc::new(log))
    }

    /// The folder.
    pub(crate) fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The settings of the log.
    pub(crate) fn config(&self) -> &EventsConfig {
        &self.config
    }

    /// The settings of the way to the stream.
    pub(crate) fn kinesis(&self) -> &KinesisConfig {
        &self.kinesis
    }

    /// What is counted.
    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How much time is left, when the process is leaving.
    pub(crate) fn drain(&self) -> &Drain {
        &self.drain
    }

    /// What the stream does not have; nothing without a stream: the log is where events stay then. To be asked when everything
    /// that was deployed has ended; `has_time` says whether to go on counting. Blocks.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn left(&self, has_time: impl FnMut() -> bool) -> io::Result<Left> {
        if !self.is_streaming() {
            return Ok(Left { counted: true, ..Left::default() });
        }
        left::count(&self.directory, &directory::list(self.directory.path())?.segments, has_time)
    }

    /// Events, since the start, that were answered at the level `memory` and could not be written: nothing holds them.
    pub fn unwritten(&self) -> u64 {
        self.metrics.dropped.unwritten.get()
    }

    /// Where every event is.
    pub(crate) fn ledger(&self) -> &Ledger {
        &self.metrics.ledger
    }

    /// What each closed segment holds, where there is no stream.
    pub(crate) fn stock(&self) -> &Stock {
        &self.stock
    }

    /// Without a stream: counts what earlier runs have left. Blocking, for as long as reading all of it takes.
    pub(crate) fn count_found(&self) {
        let found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        for name in found {
            self.count_one(name);
        }
    }

    /// Without a stream: counts what was a `.dead` file. Blocking.
    pub(crate) fn count_replayed(&self, name: SegmentName) {
        let path = self.directory.segment(name);
        self.stock.found(self.ledger(), name, Place::Replayed, || ledger::count(self.ledger(), &path));
    }

    fn count_one(&self, name: SegmentName) {
        self.stock.found(self.ledger(), name, Place::Recovered, || {
            ledger::count(self.ledger(), &self.directory.segment(name))
        });
    }

    /// Whether events go on to a stream.
    pub(crate) fn is_streaming(&self) -> bool {
        self.kinesis.stream.is_some()
    }

    /// Whether an event may ask to be on the disk.
    pub(crate) fn may_sync(&self) -> bool {
        self.config.may_sync
    }

    /// The room for events in memory on their way to the stream.
    pub(crate) fn room(&self) -> &Arc<Room> {
        &self.room
    }

    /// The bytes of all segments.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What memory and disk may be used for.
    pub(crate) fn budget(&self) -> Budget {
        self.budget
    }

    /// So long may the log be, beside what is kept for a person at this moment.
    pub(crate) fn bytes_max(&self) -> u64 {
        self.budget.log(self.kept_bytes.load(Ordering::Relaxed))
    }

    /// So many events may be let go at a time, see [`Budget::let_go_events`].
    pub(crate) fn let_go_events_max(&self) -> u64 {
        self.budget.let_go_events()
    }

    /// So long is a segment of one of so many instances at most.
    pub(crate) fn segment_bytes_max(&self, instances: usize) -> u64 {
        self.budget.segment(self.config.segment_bytes_max, instances)
    }

    /// The log has grown.
    pub(crate) fn grown(&self, bytes: u64) {
        let before = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.metrics.log_bytes.set(i64::try_from(before.saturating_add(bytes)).unwrap_or(i64::MAX));
    }

    /// A segment of so many bytes is gone; none for one that was gone already.
    pub(crate) fn shrunk(&self, bytes: u64) {
        if bytes > 0 {
            // Somebody else may have written to the file: a number below zero would be a full log for ever.
            let less = |before: u64| Some(before.saturating_sub(bytes));
            let (Ok(before) | Err(before)) = self.bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
            self.metrics.log_bytes.set(i64::try_from(before.saturating_sub(bytes)).unwrap_or(i64::MAX));
            self.metrics.log_segments.dec();
        }
    }

    /// So many bytes more are kept for a person, in a `.damaged` or `.dead` file.
    pub(crate) fn kept(&self, bytes: u64) {
        let before = self.kept_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.metrics.kept_bytes.set(i64::try_from(before.saturating_add(bytes)).unwrap_or(i64::MAX));
    }

    /// So many bytes that were kept for a person are a segment again.
    pub(crate) fn revived(&self, bytes: u64) {
        // Somebody may have put the file there, and nobody has counted it: a number below zero would leave no room for the log.
        let less = |before: u64| Some(before.saturating_sub(bytes));
        let (Ok(before) | Err(before)) = self.kept_bytes.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.metrics.kept_bytes.set(i64::try_from(before.saturating_sub(bytes)).unwrap_or(i64::MAX));
        self.grown(bytes);
        self.metrics.log_segments.inc();
    }

    /// Whether more is kept for a person than may be.
    pub(crate) fn keeps_too_much(&self) -> bool {
        self.kept_bytes.load(Ordering::Relaxed) > self.budget.kept()
    }

    /// Removes the oldest files kept for a person until the rest is within its bound; not the one that is written to.
    /// Blocking.
    pub(crate) fn drop_oldest_kept(&self, written_to: Option<SegmentName>) -> io::Result<()> {
        if !self.keeps_too_much() {
            return Ok(());
        }
        let kept = directory::list(self.directory.path())?.kept;
        let mut bytes: u64 = kept.iter().map(|(.., bytes)| bytes).sum();
        for (name, kind, _) in kept {
            if bytes <= self.budget.kept() {
                break;
            }
            if kind == Kind::DeadLetter && Some(name) == written_to {
                continue;
            }
            bytes = bytes.saturating_sub(self.directory.remove_kept(name, kind)?);
            self.metrics.kept_files_dropped.inc();
            tracing::error!(file = %name.file_name(kind), "files kept for a person have reached their bound: the oldest is removed");
        }
        self.kept_bytes.store(bytes, Ordering::Relaxed);
        self.metrics.kept_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Counts again what is there, after somebody else has removed files. Blocking; what is written meanwhile may be
    /// counted wrongly.
    pub(crate) fn recount(&self) -> io::Result<()> {
        let mut gone = self.stock.names();
        let listing = directory::list(self.directory.path())?;
        gone.retain(|name| !listing.segments.iter().any(|(there, _)| there == name));
        self.stock.gone(self.ledger(), &gone);
        let bytes = listing.segments.iter().map(|(_, bytes)| bytes).sum();
        self.bytes.store(bytes, Ordering::Relaxed);
        self.metrics.log_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.metrics.log_segments.set(i64::try_from(listing.segments.len()).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Sees to it that the folder is this process's, also when somebody has removed or moved it. Blocking; to be called
    /// about once a second.
    pub(crate) fn hold_folder(&self) -> io::Result<()> {
        let held = self.directory.hold();
        let astray = held.as_ref().err().map(ToString::to_string);
        let mut known = self.astray.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(reason), None) = (&astray, &*known) {
            tracing::error!(reason, "the event log's folder was removed or moved away, and cannot be held anew");
        }
        *known = astray;
        drop(known);
        if held.is_ok_and(|anew| anew) {
            let folder = self.directory.path().display();
            tracing::error!(%folder, "the event log's folder was removed or moved away: it is made anew");
            self.recount()?;
        }
        Ok(())
    }

    /// Begins a segment for an instance: `begin` makes the file and gives its name. Nobody who looks for segments to
    /// read or remove sees the file before it is known to be open.
    pub(crate) fn begin_segment<E>(
        &self,
        instance: usize,
        begin: impl FnOnce() -> Result<Option<SegmentName>, E>,
    ) -> Result<SharedCounted, E> {
        let mut open = self.open_segments();
        let counted = SharedCounted::default();
        if let Some(name) = begin()? {
            open.insert(instance, (name, Arc::clone(&counted)));
            self.highest_seq.fetch_max(name.seq, Ordering::Relaxed);
            self.metrics.log_segments.inc();
        }
        Ok(counted)
    }

    /// The highest number of a segment so far: a writer that begins has higher ones.
    pub(crate) fn highest_seq(&self) -> u32 {
        self.highest_seq.load(Ordering::Relaxed)
    }

    /// The instance does not write to its segment any more; gives the segment, when it had one, and what of it is in the log
    /// alone.
    pub(crate) fn end_segment(&self, instance: usize) -> Option<(SegmentName, Counted)> {
        let (name, counted) = self.open_segments().remove(&instance)?;
        let counted = std::mem::take(&mut *counted.lock().unwrap_or_else(PoisonError::into_inner));
        Some((name, counted))
    }

    /// Every segment nobody writes to, oldest first. Blocking.
    pub(crate) fn closed_segments(&self) -> io::Result<Vec<SegmentName>> {
        let open = self.open_segments();
        let listing = directory::list(self.directory.path())?;
        let closed = listing.segments.into_iter().map(|(name, _)| name);
        Ok(closed.filter(|name| !open.values().any(|(open, _)| open == name)).collect())
    }

    fn open_segments(&self) -> MutexGuard<'_, BTreeMap<usize, (SegmentName, SharedCounted)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An instance could not write.
    pub(crate) fn began_to_fail(&self, failure: &str) {
        self.failing.fetch_add(1, Ordering::Relaxed);
        *self.last_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure.to_owned();
    }

    /// It can again.
    pub(crate) fn ceased_to_fail(&self) {
        self.failing.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether events can be accepted; the reason in words when they cannot.
    pub(crate) fn accepting(&self) -> Result<(), String> {
        if let Some(reason) = &*self.astray.lock().unwrap_or_else(PoisonError::into_inner) {
            return Err(reason.clone());
        }
        if self.failing.load(Ordering::Relaxed) > 0 {
            return Err(self.last_failure.lock().unwrap_or_else(PoisonError::into_inner).clone());
        }
        let bytes_max = self.bytes_max();
        if self.bytes() >= bytes_max {
            return Err(format!("the event log has reached its bound of {bytes_max} bytes"));
        }
        Ok(())
    }

    /// Whether the log of a service without a stream has grown so long that its oldest segments must go. Below the
    /// bound by an eighth, so that nothing is refused while they are removed.
    pub(crate) fn is_too_long(&self) -> bool {
        !self.is_streaming() && self.bytes() > self.bytes_max() / 8 * 7
    }

    /// Claims the removal of the oldest segments; one caller at a time gets it, and has it until it drops what it is given.
    pub(crate) fn claim_retention(self: &Arc<Self>) -> Option<RetentionClaim> {
        let is_free = !self.retaining.swap(true, Ordering::Acquire);
        is_free.then(|| RetentionClaim(Arc::clone(self)))
    }

    /// How long a log without a stream keeps events, when that is bounded.
    pub(crate) fn age_max(&self) -> Option<Duration> {
        if self.is_streaming() { None } else { self.config.log_age_max }
    }

    /// Removes the oldest closed segments until the log is short enough. Blocking.
    pub(crate) fn drop_oldest(&self) -> io::Result<()> {
        let result = self.drop_while(|_| Ok(self.is_too_long()), "the event log has reached its bound");
        self.retention_fails.store(result.is_err(), Ordering::Relaxed);
        result
    }

    /// Removes the oldest closed segments to which nothing was written for this long; `now_ms` in milliseconds since the Unix
    /// epoch. Blocking; to be claimed as [`drop_oldest`](Self::drop_oldest) is.
    pub(crate) fn drop_aged(&self, now_ms: u64, age_max: Duration) -> io::Result<()> {
        let is_aged = |name: SegmentName| {
            let last_write = fs::metadata(self.directory.segment(name))?.modified()?;
            let last_write_ms = last_write.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
            let now_ms = u128::from(now_ms);
            // A clock that was ahead, or a copy, has left a time that is still to come: it would keep all that is newer, too.
            let since_ms = if last_write_ms > now_ms { u128::from(name.created_ms) } else { last_write_ms };
            Ok(since_ms + age_max.as_millis() < now_ms)
        };
        self.drop_while(is_aged, "events have been kept as long as they are to be")
    }

    fn drop_while(&self, mut goes: impl FnMut(SegmentName) -> io::Result<bool>, why: &str) -> io::Result<()> {
        for name in self.closed_segments()? {
            if !goes(name)? {
                break;
            }
            // It may be of an earlier run, and not counted yet.
            self.count_one(name);
            self.shrunk(self.stock.dropped(self.ledger(), name, || self.directory.remove(name))?);
            self.metrics.segments_dropped.inc();
            tracing::warn!(segment = %name, why, "the oldest segment of the event log was removed");
        }
        Ok(())
    }

    /// Whether the oldest segments could not be removed when that was tried last.
    pub(crate) fn retention_fails(&self) -> bool {
        self.retention_fails.load(Ordering::Relaxed)
    }

    /// Whether the last call of the stream worked.
    pub(crate) fn is_stream_up(&self) -> bool {
        self.stream_up.load(Ordering::Relaxed)
    }

    pub(crate) fn set_stream_up(&self, up: bool) {
        self.stream_up.store(up, Ordering::Relaxed);
    }

    /// Which shipper there is, counted from 1; 0 before the first. A new one does not know what was handed to the one
    /// before it.
    pub(crate) fn shipper(&self) -> u64 {
        self.shipper.load(Ordering::Relaxed)
    }

    pub(crate) fn new_shipper(&self) {
        self.shipper.fetch_add(1, Ordering::Relaxed);
    }
}

/// Whoever has it removes the oldest segments, and nobody else does. Free again when it is dropped, however that comes.
#[derive(Debug)]
pub(crate) struct RetentionClaim(Arc<EventLog>);

impl Drop for RetentionClaim {
    fn drop(&mut self) {
        self.0.retaining.store(false, Ordering::Release);
    }
}

fn report(listing: &Listing, metrics: &Metrics) {
    metrics.log_segments.set(i64::try_from(listing.segments.len()).unwrap_or(i64::MAX));
    if listing.foreign > 0 {
        metrics.files_unreadable.inc_by(listing.foreign as u64);
        tracing::warn!(files = listing.foreign, names = ?listing.foreign_names, "foreign files in the event log's folder");
    }
    if !listing.kept.is_empty() {
        let (damaged, dead_letters) = (listing.kept_of(Kind::Damaged), listing.kept_of(Kind::DeadLetter));
        tracing::warn!(damaged, dead_letters, "the event log's folder holds files that wait for a person");
    }
}
