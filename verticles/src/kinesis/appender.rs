//! The writing side of one intake: turns go to the log, from there to the shipper.

use std::io;
use std::sync::{Arc, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use vertebra::Clock;

use super::hand_over::{HandOver, ToShip};
use super::ledger::{Counted, Part, Place};
use super::log::{EventLog, SharedCounted};
use super::pending::Gathered;
use super::spool::name::Kind;
use super::spool::writer::{AppendError, Appended, Unsynced, Writer};

/// Writes what one loop accepts.
#[derive(Debug)]
pub(crate) struct Appender {
    log: Arc<EventLog>,
    instance: usize,
    writer: Writer,
    // Without a stream there is nobody to hand events over to.
    hand_over: Option<HandOver>,
    begun: Option<Begun>,
    // Of the open segment: what is in the log alone. Shared with the log, so that it outlives a panic of the instance.
    counted: SharedCounted,
    failing: bool,
}

/// What is known of the open segment.
#[derive(Debug, Clone, Copy)]
struct Begun {
    at: Duration,
    // The last write of events; none yet in a segment that was begun to try the disk.
    last_write: Option<Duration>,
    shipper: u64,
}

/// What a write came to.
#[derive(Debug)]
pub(crate) enum Written {
    /// The events are in the log. The buffer comes back when it was not handed over.
    Yes {
        /// To be filled again.
        buffer: Option<Vec<u8>>,
    },
    /// They are not, and nothing of them is.
    No,
}

/// A segment that nothing was written to for so long is closed, so that it can go; so is one of this age while the
/// stream keeps up, so that little is sent twice after a crash.
const SEGMENT_AGE_MAX: Duration = Duration::from_secs(1);

impl Appender {
    /// The appender of one of so many instances.
    pub(crate) fn new(log: Arc<EventLog>, instance: usize, instances: usize) -> Self {
        let event_loop = u32::try_from(instance).unwrap_or(u32::MAX);
        let writer = Writer::new(log.directory().path(), event_loop, Kind::Log, log.segment_bytes_max(instances))
            .numbered_above(log.highest_seq());
        let writer = if log.may_sync() { writer.syncable() } else { writer };
        let mut hand_over = log.is_streaming().then(|| HandOver::new(Arc::clone(log.room())));
        // An instance of this number that went without stopping has left its segment open.
        if let Some((left, counted)) = log.end_segment(instance) {
            match &mut hand_over {
                Some(hand_over) => {
                    hand_over.forgotten();
                    hand_over.closed(left, counted);
                }
                None => log.stock().closed(left, counted.parts()),
            }
        }
        Self { log, instance, writer, hand_over, begun: None, counted: SharedCounted::default(), failing: false }
    }

    /// Writes the frames of a turn with one `write(2)`, says that they are `in_log`, and hands them over. Takes frames and acks
    /// out of what was gathered.
    pub(crate) fn write(
        &mut self,
        gathered: &mut Gathered,
        clock: &Clock,
        in_log: impl FnOnce(),
        mut send: impl FnMut(ToShip) -> bool,
    ) -> Written {
        let frames = &gathered.frames;
        let now = clock.now();
        let is_stream_up = self.log.is_stream_up();
        let returns = self.hand_over.as_mut().is_some_and(|hand_over| {
            hand_over.note_stream(is_stream_up);
            hand_over.may_return(now)
        });
        if returns || self.writer.must_roll(frames.len()) {
            self.close(&mut send);
        }
        match self.append(frames, clock) {
            Ok(appended) => {
                in_log();
                self.count_written(gathered.events, frames.len());
                let buffer = self.hand_over(appended, gathered, now, &mut send);
                Written::Yes { buffer }
            }
            Err(error) => {
                self.log.metrics().write_failures.inc();
                self.fails(&error);
                Written::No
            }
        }
    }

    fn append(&mut self, frames: &[u8], clock: &Clock) -> Result<Appended, AppendError> {
        let before = clock.now();
        self.begin(clock)?;
        #[cfg(test)]
        assert!(!self.log.next_write_panics.swap(false, std::sync::atomic::Ordering::Relaxed), "a write that panics");
        let appended = self.writer.append(frames, unix_ms(clock));
        self.log.grown(self.writer.take_stray_bytes());
        let appended = appended?;
        let now = clock.now();
        if let Some(begun) = &mut self.begun {
            begun.last_write = Some(now);
        }
        self.log.grown(appended.grown_bytes);
        self.log.metrics().write_seconds.observe(now.saturating_sub(before).as_secs_f64());
        Ok(appended)
    }

    fn begin(&mut self, clock: &Clock) -> Result<(), AppendError> {
        if self.writer.open_segment().is_some() {
            return Ok(());
        }
        let (writer, log) = (&mut self.writer, &self.log);
        self.counted = log.begin_segment(self.instance, || {
            log.grown(writer.begin(unix_ms(clock))?);
            Ok(writer.open_segment())
        })?;
        self.begun = Some(Begun { at: clock.now(), last_write: None, shipper: self.log.shipper() });
        Ok(())
    }

    fn count_written(&mut self, events: usize, bytes: usize) {
        let metrics = self.log.metrics();
        metrics.writes.inc();
        metrics.accepted.inc_by(events as u64);
        metrics.written_bytes.inc_by(bytes as u64);
        self.works();
    }

    fn hand_over(
        &mut self,
        appended: Appended,
        gathered: &mut Gathered,
        now: Duration,
        send: &mut impl FnMut(ToShip) -> bool,
    ) -> Option<Vec<u8>> {
        let (frames, acks) = (std::mem::take(&mut gathered.frames), std::mem::take(&mut gathered.acks));
        let mut unbooked = Unbooked::new(&self.log, &self.counted, &gathered.parts, appended.offset);
        #[cfg(test)]
        assert!(
            !self.log.next_booking_panics.swap(false, std::sync::atomic::Ordering::Relaxed),
            "a booking that panics"
        );
        let Some(hand_over) = &mut self.hand_over else {
            unbooked.spooled();
            return Some(frames);
        };
        let was_in_memory = hand_over.in_memory();
        let keep = hand_over.written(appended, Bytes::from(frames), gathered.events, acks, now, |message| {
            // Before it is sent: the shipper may be through with it before this goes on.
            unbooked.in_flight();
            let sent = send(message);
            if !sent {
                unbooked.not_in_flight();
            }
            sent
        });
        unbooked.spooled();
        if was_in_memory && !hand_over.in_memory() {
            self.log.metrics().disk_mode_entered.inc();
        }
        if !keep {
            self.close(send);
        }
        None
    }

    /// Looks after what no event looks after. To be called about once a second; `true` when files have vanished.
    pub(crate) fn tick(&mut self, clock: &Clock, mut send: impl FnMut(ToShip) -> bool) -> bool {
        let vanished = self.writer.is_astray();
        if vanished {
            tracing::error!("a segment of the event log was removed or moved away while it was written to");
        }
        if vanished || self.is_to_be_closed(clock.now()) {
            self.close(&mut send);
        }
        if self.failing {
            match self.probe(clock, &mut send) {
                Ok(()) => self.works(),
                Err(error) => tracing::debug!(%error, "the event log still cannot be written"),
            }
        }
        if let Some(hand_over) = &mut self.hand_over {
            hand_over.announce(send);
        }
        vanished
    }

    /// Whether the last write did not work, and no other has since.
    pub(crate) fn is_failing(&self) -> bool {
        self.failing
    }

    /// Whether a closed segment waits to be synced.
    pub(crate) fn has_closed_unsynced(&self) -> bool {
        self.writer.has_closed_unsynced()
    }

    /// Takes what is written and not on the disk.
    pub(crate) fn take_unsynced(&mut self) -> io::Result<Unsynced> {
        self.writer.take_unsynced()
    }

    fn probe(&mut self, clock: &Clock, send: &mut impl FnMut(ToShip) -> bool) -> Result<(), AppendError> {
        if self.writer.must_roll(0) {
            self.close(send);
        }
        self.begin(clock)?;
        let probed = self.writer.probe(unix_ms(clock)).map(|grown_bytes| self.log.grown(grown_bytes));
        self.log.grown(self.writer.take_stray_bytes());
        probed
    }

    fn is_to_be_closed(&mut self, now: Duration) -> bool {
        let Some(begun) = self.begun else { return false };
        let Some(hand_over) = &mut self.hand_over else {
            // A segment goes as a whole: it must not hold up its oldest events for long.
            let age_max = self.log.age_max().filter(|_| begun.last_write.is_some());
            return age_max.is_some_and(|age_max| now >= begun.at + age_max / 8);
        };
        hand_over.note_stream(self.log.is_stream_up());
        let Some(last_write) = begun.last_write else { return false };
        let idle = now >= last_write + SEGMENT_AGE_MAX;
        let old = now >= begun.at + SEGMENT_AGE_MAX && hand_over.in_memory() && self.log.is_stream_up();
        idle || old || begun.shipper != self.log.shipper() || hand_over.may_return(now)
    }

    /// Closes the open segment and announces it.
    pub(crate) fn close(&mut self, mut send: impl FnMut(ToShip) -> bool) {
        let Some(segment) = self.writer.close() else { return };
        let counted = std::mem::take(&mut *lock(&self.counted));
        let begun = self.begun.take();
        let Some(hand_over) = &mut self.hand_over else {
            // Before somebody may remove it.
            self.log.stock().closed(segment, counted.parts());
            self.log.end_segment(self.instance);
            return;
        };
        self.log.end_segment(self.instance);
        if begun.is_some_and(|begun| begun.shipper != self.log.shipper()) {
            hand_over.forgotten();
        }
        hand_over.closed(segment, counted);
        hand_over.announce(&mut send);
    }

    /// Whether the shipper knows of everything that is closed.
    pub(crate) fn is_told(&self) -> bool {
        self.hand_over.as_ref().is_none_or(HandOver::is_told)
    }

    /// Tries again to tell it.
    pub(crate) fn announce(&mut self, send: impl FnMut(ToShip) -> bool) {
        if let Some(hand_over) = &mut self.hand_over {
            hand_over.announce(send);
        }
    }

    fn fails(&mut self, error: &AppendError) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(%error, "events cannot be accepted: the event log cannot be written");
            self.log.began_to_fail(&error.to_string());
        }
    }

    fn works(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!("the event log can be written again");
            self.log.ceased_to_fail();
        }
    }
}

/// Events that are in the log, and in the ledger not yet. Dropped before they are - by a panic - they are booked as being in the
/// log alone: whoever writes in this one's place has the segment read back, and they come with it.
struct Unbooked<'a> {
    log: &'a EventLog,
    counted: &'a SharedCounted,
    parts: &'a [Part],
    offset: u64,
    is_booked: bool,
}

impl<'a> Unbooked<'a> {
    fn new(log: &'a EventLog, counted: &'a SharedCounted, parts: &'a [Part], offset: u64) -> Self {
        if log.is_streaming() {
            log.ledger().hold(parts);
        }
        Self { log, counted, parts, offset, is_booked: false }
    }

    fn in_flight(&mut self) {
        self.log.ledger().came(Place::InFlight, self.parts);
        self.log.ledger().came(Place::Accepted, self.parts);
        self.is_booked = true;
    }

    fn not_in_flight(&mut self) {
        self.log.ledger().left(Place::Accepted, self.parts);
        self.log.ledger().left(Place::InFlight, self.parts);
        self.is_booked = false;
    }

    /// In the log alone, unless they are booked already.
    fn spooled(self) {
        drop(self);
    }
}

impl Drop for Unbooked<'_> {
    fn drop(&mut self) {
        if !self.is_booked {
            self.log.ledger().came(Place::Spooled, self.parts);
            self.log.ledger().came(Place::Accepted, self.parts);
            lock(self.counted).add(self.offset, self.parts);
        }
    }
}

impl Drop for Appender {
    fn drop(&mut self) {
        // Nobody writes here any more: that is no failure.
        if self.failing {
            self.log.ceased_to_fail();
        }
    }
}

fn lock(counted: &SharedCounted) -> MutexGuard<'_, Counted> {
    counted.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unix_ms(clock: &Clock) -> u64 {
    u64::try_from(clock.unix_ms()).unwrap_or(0)
}
