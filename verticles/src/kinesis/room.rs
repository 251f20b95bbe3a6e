//! The bound on what is in memory on its way to the stream, over all loops.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Room for so many events, and so many bytes of them.
#[derive(Debug)]
pub struct Room {
    events: AtomicUsize,
    bytes: AtomicUsize,
    events_max: usize,
    bytes_max: usize,
}

/// A part of the room that is taken. Given back when it is dropped, wherever that happens.
#[derive(Debug)]
pub struct Held {
    room: Arc<Room>,
    events: usize,
    bytes: usize,
}

/// Room that nobody has taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Free {
    /// For so many events.
    pub events: usize,
    /// For so many bytes of them.
    pub bytes: usize,
}

impl Room {
    /// All of it free.
    pub fn new(events_max: usize, bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { events: AtomicUsize::new(0), bytes: AtomicUsize::new(0), events_max, bytes_max })
    }

    /// Takes room, or none when there is not enough.
    pub fn try_take(self: &Arc<Self>, events: usize, bytes: usize) -> Option<Held> {
        let held = self.take(events, bytes);
        // Relaxed: the numbers bound memory, they order nothing. Too much is given back at once by the drop.
        let fits = self.events() <= self.events_max && self.bytes.load(Ordering::Relaxed) <= self.bytes_max;
        fits.then_some(held)
    }

    /// Takes room even above the bound: for what is bounded in another way already.
    pub fn take(self: &Arc<Self>, events: usize, bytes: usize) -> Held {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        Held { room: Arc::clone(self), events, bytes }
    }

    /// The events that hold room.
    pub fn events(&self) -> usize {
        self.events.load(Ordering::Relaxed)
    }

    /// What is not taken.
    pub fn free(&self) -> Free {
        Free {
            events: self.events_max.saturating_sub(self.events()),
            bytes: self.bytes_max.saturating_sub(self.bytes.load(Ordering::Relaxed)),
        }
    }

    /// Whether at most this percentage of the room is taken, by events and by bytes.
    pub fn is_below(&self, percent: usize) -> bool {
        self.is_below_without(percent, 0, 0)
    }

    /// The same of the room without a part that is taken.
    pub fn is_below_without(&self, percent: usize, events: usize, bytes: usize) -> bool {
        let below = |taken: &AtomicUsize, part: usize, max: usize| {
            let taken = taken.load(Ordering::Relaxed).saturating_sub(part);
            taken <= max.saturating_sub(part).saturating_mul(percent) / 100
        };
        below(&self.events, events, self.events_max) && below(&self.bytes, bytes, self.bytes_max)
    }
}

impl Held {
    /// For how many events it is.
    pub fn events(&self) -> usize {
        self.events
    }

    /// Adds what `other` holds to this.
    pub fn absorb(&mut self, mut other: Self) {
        self.events += std::mem::take(&mut other.events);
        self.bytes += std::mem::take(&mut other.bytes);
    }

    /// Takes more, even above the bound: for what is bounded in another way already.
    pub fn take(&mut self, events: usize, bytes: usize) {
        let more = self.room.take(events, bytes);
        self.absorb(more);
    }

    /// What is free of the room this is a part of.
    pub fn free(&self) -> Free {
        self.room.free()
    }

    /// Gives a part back.
    pub fn release(&mut self, events: usize, bytes: usize) {
        let events = events.min(self.events);
        let bytes = bytes.min(self.bytes);
        self.events -= events;
        self.bytes -= bytes;
        self.room.events.fetch_sub(events, Ordering::Relaxed);
        self.room.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release(self.events, self.bytes);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_taken_is_bounded_in_events_and_in_bytes() {
        let room = Room::new(10, 1_000);
        let first = room.try_take(6, 100).unwrap();
        assert!(room.try_take(5, 100).is_none());
        assert!(room.try_take(1, 901).is_none());
        let second = room.try_take(4, 900).unwrap();
        drop(first);
        assert_eq!(room.events(), 4);
        drop(second);
        assert!(room.is_below(0));
    }

    #[test]
    fn room_is_given_back_in_parts_and_never_more_than_was_held() {
        let room = Room::new(10, 1_000);
        let mut held = room.take(0, 0);
        held.absorb(room.take(8, 80));
        held.absorb(room.take(12, 20));
        assert!(!room.is_below(100));
        held.release(15, 90);
        assert_eq!(room.events(), 5);
        held.release(100, 100);
        assert_eq!(room.events(), 0);
        drop(held);
        assert!(room.is_below(0));
    }
}
