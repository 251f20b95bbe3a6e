//! Handing the events of an intake over to the shipper: in memory as long as there is room, by the log otherwise. Pure:
//! sending is a closure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use vertebra::Address;

use super::acks::Ack;
use super::ledger::Counted;
use super::room::{Held, Room};
use super::spool::name::SegmentName;
use super::spool::writer::Appended;

/// Where the shipper listens. Private to this verticle.
pub(crate) const SHIP: Address<ToShip> = Address::new("events.ship");

/// What an intake tells the shipper.
#[derive(Debug)]
pub(crate) enum ToShip {
    /// The events of one turn.
    Events {
        /// The segment that holds them.
        segment: SegmentName,
        /// Where they begin in it, in bytes.
        offset: u64,
        /// Whole frames.
        frames: Bytes,
        /// The room they take.
        held: Held,
        /// Who waits for the stream to have some of them.
        acks: Vec<Ack>,
    },
    /// A segment is closed. Comes after everything that was handed over of it.
    Closed {
        /// Which.
        segment: SegmentName,
        /// Where what was not handed over begins: it has to be read back.
        unread_from: Option<u64>,
        /// What the ledger has of it as being in the log alone.
        counted: Counted,
    },
}

/// The state of the way to the shipper, of one intake.
#[derive(Debug)]
pub(crate) struct HandOver {
    room: Arc<Room>,
    mode: Mode,
    is_stream_up: bool,
    // Of the open segment: from where on it was not handed over.
    unread_from: Option<u64>,
    // Not delivered yet. Bounded by the segments the log can hold.
    announcements: VecDeque<(SegmentName, Option<u64>, Counted)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Memory,
    Disk { since: Duration },
}

/// So long events go by the log alone, once they do: changing costs a segment.
const DISK_MODE_MIN: Duration = Duration::from_secs(1);

/// Events go through memory again when at most so much of the room is taken.
const RETURN_PERCENT: usize = 75;

/// While the stream takes nothing, so much of the room is filled and no more: the rest is for what comes when it does again, and
/// is not to wait behind what has waited.
const DOWN_PERCENT: usize = 50;

impl HandOver {
    /// In memory, to begin with.
    pub(crate) fn new(room: Arc<Room>) -> Self {
        Self { room, mode: Mode::Memory, is_stream_up: true, unread_from: None, announcements: VecDeque::new() }
    }

    /// Whether the stream takes events, as far as is known.
    pub(crate) fn note_stream(&mut self, is_up: bool) {
        self.is_stream_up = is_up;
    }

    /// Whether events are handed over in memory.
    pub(crate) fn in_memory(&self) -> bool {
        self.mode == Mode::Memory
    }

    /// Whether it is time to hand events over in memory again. If so it begins with the next segment: the caller closes
    /// the open one.
    pub(crate) fn may_return(&mut self, now: Duration) -> bool {
        let Mode::Disk { since } = self.mode else { return false };
        let is_told = self.announcements.is_empty();
        let may = self.is_stream_up && now >= since + DISK_MODE_MIN && is_told && self.room.is_below(RETURN_PERCENT);
        if may {
            self.mode = Mode::Memory;
        }
        may
    }

    /// The events of a turn have been written. Hands them over, unless there is no room or events go by the log anyway.
    /// `false`: the caller closes the segment now, so that the shipper can read it.
    pub(crate) fn written(
        &mut self,
        appended: Appended,
        frames: Bytes,
        events: usize,
        acks: Vec<Ack>,
        now: Duration,
        send: impl FnOnce(ToShip) -> bool,
    ) -> bool {
        if self.mode == Mode::Memory {
            let may = self.announcements.is_empty() && (self.is_stream_up || self.room.is_below(DOWN_PERCENT));
            let room = if may { self.room.try_take(events, frames.len()) } else { None };
            let Appended { segment, offset, .. } = appended;
            let handed = room.is_some_and(|held| send(ToShip::Events { segment, offset, frames, held, acks }));
            if handed {
                return true;
            }
            self.mode = Mode::Disk { since: now };
            self.unread_from.get_or_insert(appended.offset);
            return false;
        }
        self.unread_from.get_or_insert(appended.offset);
        true
    }

    /// What was handed over of the open segment is not known to whoever listens now: all of it has to be read.
    pub(crate) fn forgotten(&mut self) {
        self.unread_from = Some(0);
    }

    /// The segment is closed: to be announced, with what the ledger has of it.
    pub(crate) fn closed(&mut self, segment: SegmentName, counted: Counted) {
        self.announcements.push_back((segment, self.unread_from.take(), counted));
    }

    /// Tells the shipper what is closed; what it cannot be told now is kept for the next time.
    pub(crate) fn announce(&mut self, mut send: impl FnMut(ToShip) -> bool) {
        while let Some((segment, unread_from, counted)) = self.announcements.front().cloned() {
            if !send(ToShip::Closed { segment, unread_from, counted }) {
                return;
            }
            self.announcements.pop_front();
        }
    }

    /// Whether the shipper has been told everything.
    pub(crate) fn is_told(&self) -> bool {
        self.announcements.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn appended(seq: u32, offset: u64) -> Appended {
        Appended { segment: SegmentName { created_ms: 1, event_loop: 0, seq }, offset, grown_bytes: 0 }
    }

    fn announced(hand_over: &mut HandOver) -> Vec<(u32, Option<u64>)> {
        let mut told = Vec::new();
        hand_over.announce(|message| {
            if let ToShip::Closed { segment, unread_from, .. } = message {
                told.push((segment.seq, unread_from));
            }
            true
        });
        told
    }

    #[test]
    fn events_are_handed_over_as_long_as_there_is_room_and_read_from_the_log_from_there_on() {
        let room = Room::new(10, 1_000);
        let mut hand_over = HandOver::new(Arc::clone(&room));
        let mut kept = Vec::new();
        assert!(hand_over.written(appended(1, 16), Bytes::new(), 6, Vec::new(), SECOND, |message| {
            kept.push(message);
            true
        }));
        assert!(
            !hand_over.written(appended(1, 100), Bytes::new(), 5, Vec::new(), SECOND, |_| panic!("there is no room"))
        );
        hand_over.closed(appended(1, 0).segment, Counted::default());
        assert_eq!(announced(&mut hand_over), [(1, Some(100))]);
        assert!(
            hand_over.written(appended(2, 16), Bytes::new(), 1, Vec::new(), SECOND, |_| panic!("not in this mode"))
        );
        assert!(
            hand_over.written(appended(2, 50), Bytes::new(), 1, Vec::new(), SECOND, |_| panic!("not in this mode"))
        );
        hand_over.closed(appended(2, 0).segment, Counted::default());
        assert_eq!(announced(&mut hand_over), [(2, Some(16))]);
        assert_eq!(room.events(), 6);
    }

    #[test]
    fn a_shipper_that_does_not_take_the_message_is_one_without_room_and_keeps_none() {
        let room = Room::new(10, 1_000);
        let mut hand_over = HandOver::new(Arc::clone(&room));
        assert!(!hand_over.written(appended(1, 16), Bytes::new(), 6, Vec::new(), SECOND, |_| false));
        assert_eq!(room.events(), 0);
        assert!(!hand_over.in_memory());
    }

    #[test]
    fn memory_is_used_again_when_there_is_room_but_not_at_once() {
        let room = Room::new(100, 1_000);
        let mut hand_over = HandOver::new(Arc::clone(&room));
        let held = room.take(76, 0);
        assert!(!hand_over.written(appended(1, 16), Bytes::new(), 25, Vec::new(), SECOND, |_| true));
        assert!(!hand_over.may_return(2 * SECOND), "76 of 100 are taken");
        drop(held);
        assert!(!hand_over.may_return(SECOND + SECOND / 2), "too early");
        assert!(hand_over.may_return(2 * SECOND));
        assert!(hand_over.in_memory() && !hand_over.may_return(3 * SECOND));
    }

    #[test]
    fn while_the_stream_takes_nothing_half_of_the_room_stays_free_for_what_comes_when_it_does_again() {
        let room = Room::new(100, 1_000);
        let mut hand_over = HandOver::new(Arc::clone(&room));
        hand_over.note_stream(false);
        let _held = room.take(51, 0);
        assert!(!hand_over.written(appended(1, 16), Bytes::new(), 1, Vec::new(), SECOND, |_| panic!("half is taken")));
        assert!(!hand_over.may_return(60 * SECOND), "it is still away");
        hand_over.note_stream(true);
        assert!(hand_over.may_return(60 * SECOND));
        assert!(hand_over.written(appended(2, 16), Bytes::new(), 1, Vec::new(), 60 * SECOND, |_| true));
    }

    #[test]
    fn what_could_not_be_announced_is_announced_later_in_order_and_before_any_event() {
        let mut hand_over = HandOver::new(Room::new(10, 1_000));
        hand_over.closed(appended(1, 0).segment, Counted::default());
        hand_over.forgotten();
        hand_over.closed(appended(2, 0).segment, Counted::default());
        hand_over.announce(|_| false);
        assert!(!hand_over.is_told());
        assert!(
            !hand_over
                .written(appended(3, 16), Bytes::new(), 1, Vec::new(), SECOND, |_| panic!("not before it is told"))
        );
        assert_eq!(announced(&mut hand_over), [(1, None), (2, Some(0))]);
        assert!(hand_over.is_told());
    }
}
