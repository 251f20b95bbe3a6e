//! What is settled of each segment, and how that is written down. Pure.
//!
//! ```text
//! payload of a frame   u64 LE created_ms | u32 LE event_loop | u32 LE seq | (u64 LE start | u64 LE end) for each place
//! ```
//!
//! The places are settled, also when they were before; a payload without places says that the segment is gone.

use std::collections::BTreeMap;
use std::ops::Range;

use super::record::Record;
use super::settled::Settled;
use super::spool::name::SegmentName;
use super::spool::segment::{FrameError, push_frame};

/// What is settled of each segment that is still there.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Progress(BTreeMap<SegmentName, Settled>);

/// Places that were settled together, by segment.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Step(Vec<(SegmentName, Vec<Range<u64>>)>);

/// As many places stand in one frame.
const FRAME_PLACES_MAX: usize = 10_000;

impl Step {
    /// The places of these records; those that follow one another are one place.
    pub fn of<'a>(records: impl Iterator<Item = &'a Record>) -> Self {
        let mut step = Self::default();
        for record in records {
            step.add(record.segment(), record.place());
        }
        step
    }

    fn add(&mut self, segment: SegmentName, place: Range<u64>) {
        // There are as many as event loops, as a rule, and the last one is the usual one.
        let known = self.0.iter().rposition(|(name, _)| *name == segment);
        let places = match known {
            Some(at) => &mut self.0[at].1,
            None => return self.0.push((segment, vec![place])),
        };
        match places.last_mut() {
            Some(last) if last.end == place.start => last.end = place.end,
            _ => places.push(place),
        }
    }

    /// Appends it to `out`, in frames.
    ///
    /// # Errors
    /// None: a frame is as long as it may be, and never empty.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        self.0.iter().try_for_each(|(segment, places)| {
            places.chunks(FRAME_PLACES_MAX).try_for_each(|places| encode(*segment, places.iter().cloned(), out))
        })
    }
}

impl Progress {
    /// Something was settled.
    pub fn settled(&mut self, step: &Step) {
        for (segment, places) in &step.0 {
            let settled = self.0.entry(*segment).or_default();
            places.iter().for_each(|place| settled.add(place.clone()));
        }
    }

    /// The segment is gone; appends that to `out`, unless nothing was known of it.
    ///
    /// # Errors
    /// None, as [`Step::encode`].
    pub fn gone(&mut self, segment: SegmentName, out: &mut Vec<u8>) -> Result<(), FrameError> {
        if self.0.remove(&segment).is_some() { encode(segment, std::iter::empty(), out) } else { Ok(()) }
    }

    /// What is settled of a segment.
    pub fn of(&self, segment: SegmentName) -> Option<&Settled> {
        self.0.get(&segment)
    }

    /// From where on a segment has to be read.
    pub fn read_from(&self, segment: SegmentName) -> u64 {
        self.of(segment).map_or(0, Settled::read_from)
    }

    /// The segments of which something is known.
    pub fn segments(&self) -> impl Iterator<Item = SegmentName> {
        self.0.keys().copied()
    }

    /// Forgets every segment but these.
    pub fn retain(&mut self, mut is_there: impl FnMut(SegmentName) -> bool) {
        self.0.retain(|segment, _| is_there(*segment));
    }

    /// Whether nothing is known of any segment.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends all of it to `out`, in frames.
    ///
    /// # Errors
    /// None, as [`Step::encode`].
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), FrameError> {
        self.0.iter().try_for_each(|(segment, settled)| {
            let places: Vec<_> = settled.places().collect();
            places.chunks(FRAME_PLACES_MAX).try_for_each(|places| encode(*segment, places.iter().cloned(), out))
        })
    }

    /// Takes over what the payload of a frame says; whether it says anything.
    pub fn apply(&mut self, payload: &[u8]) -> bool {
        let Some((segment, places)) = decode(payload) else { return false };
        if places.is_empty() {
            self.0.remove(&segment);
        } else {
            self.settled(&Step(vec![(segment, places)]));
        }
        true
    }
}

fn encode(segment: SegmentName, places: impl Iterator<Item = Range<u64>>, out: &mut Vec<u8>) -> Result<(), FrameError> {
    let framed = push_frame(out, |out| {
        out.extend_from_slice(&segment.created_ms.to_le_bytes());
        out.extend_from_slice(&segment.event_loop.to_le_bytes());
        out.extend_from_slice(&segment.seq.to_le_bytes());
        for place in places {
            out.extend_from_slice(&place.start.to_le_bytes());
            out.extend_from_slice(&place.end.to_le_bytes());
        }
    });
    framed.map(|_| ())
}

fn decode(payload: &[u8]) -> Option<(SegmentName, Vec<Range<u64>>)> {
    let (created_ms, rest) = payload.split_first_chunk()?;
    let (event_loop, rest) = rest.split_first_chunk()?;
    let (seq, mut rest) = rest.split_first_chunk()?;
    let segment = SegmentName {
        created_ms: u64::from_le_bytes(*created_ms),
        event_loop: u32::from_le_bytes(*event_loop),
        seq: u32::from_le_bytes(*seq),
    };
    let mut places = Vec::with_capacity(rest.len() / 16);
    while !rest.is_empty() {
        let (start, behind) = rest.split_first_chunk()?;
        let (end, behind) = behind.split_first_chunk()?;
        places.push(u64::from_le_bytes(*start)..u64::from_le_bytes(*end));
        rest = behind;
    }
    Some((segment, places))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;
    use crate::kinesis::spool::segment::Payloads;

    fn name(seq: u32) -> SegmentName {
        SegmentName { created_ms: 7, event_loop: 1, seq }
    }

    fn record(seq: u32, end: u64) -> Record {
        Record::new(Bytes::from_static(b"xx"), name(seq), end, adtrack_config::PartitionKey::MessageId)
    }

    fn read(frames: Vec<u8>) -> Progress {
        let mut progress = Progress::default();
        for payload in Payloads::new(Bytes::from(frames)) {
            assert!(progress.apply(&payload));
        }
        progress
    }

    #[test]
    fn records_that_follow_one_another_are_one_place_also_between_those_of_other_segments() {
        let records = [record(1, 26), record(2, 26), record(1, 36), record(2, 46), record(1, 46)];
        assert_eq!(
            Step::of(records.iter()),
            Step(vec![(name(1), vec![Range { start: 16, end: 46 }]), (name(2), vec![16..26, 36..46])])
        );
    }

    #[test]
    fn a_segment_that_is_gone_is_gone_for_who_reads_it_later_too() {
        let mut progress = Progress::default();
        let mut frames = Vec::new();
        let step = Step::of([record(1, 26), record(2, 26)].iter());
        progress.settled(&step);
        step.encode(&mut frames).unwrap();
        progress.gone(name(1), &mut frames).unwrap();
        let length = frames.len();
        progress.gone(name(3), &mut frames).unwrap();
        assert_eq!(frames.len(), length, "nothing was known of it");
        assert_eq!(read(frames), progress);
        assert_eq!((progress.read_from(name(1)), progress.read_from(name(2))), (0, 26));
    }

    proptest! {
        #[test]
        fn what_is_written_step_by_step_or_as_a_whole_is_read_back_the_same(
            steps in proptest::collection::vec(proptest::collection::vec((0..4_u32, 0..30_u64), 0..20), 0..20),
        ) {
            let mut progress = Progress::default();
            let mut frames = Vec::new();
            for step in steps {
                let records: Vec<Record> = step.into_iter().map(|(seq, at)| record(seq, 26 + 10 * at)).collect();
                let step = Step::of(records.iter());
                progress.settled(&step);
                step.encode(&mut frames).unwrap();
            }
            prop_assert_eq!(&read(frames), &progress);
            let mut whole = Vec::new();
            progress.encode(&mut whole).unwrap();
            prop_assert_eq!(read(whole), progress);
        }

        #[test]
        fn no_payload_makes_the_decoder_panic(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            let said = Progress::default().apply(&payload);
            prop_assert_eq!(said, payload.len() >= 16 && payload.len() % 16 == 0);
        }
    }
}
