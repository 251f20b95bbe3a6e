//! The spool against a model: whatever happens to the disk and to the process, what was promised is delivered, and
//! nothing that was refused.
//!
//! The model is a queue: an event is promised when its append returns, promised beyond a power cut when a sync that began
//! after it returns, and leaves the queue when it has been read back and its segment removed. The spool is the real one - writer,
//! folder, names, reader -; only the disk under it is told when to fail.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod disk;

use std::collections::{BTreeMap, BTreeSet};

use adtrack::kinesis::spool::directory::{self, Directory};
use adtrack::kinesis::spool::name::{Kind, SegmentName};
use adtrack::kinesis::spool::reader::{ReadLimits, read_at};
use adtrack::kinesis::spool::segment::{Payloads, push_frame};
use adtrack::kinesis::spool::writer::Writer;
use proptest::prelude::*;
use tempfile::TempDir;

use disk::Disk;

/// What happens next.
#[derive(Debug, Clone)]
enum Step {
    /// The events of one turn, of these lengths.
    Append(Vec<u16>),
    /// The segment is closed, as an age or an error makes its owner do.
    Close,
    Sync,
    SyncFails,
    /// Everything there is is read back, as the shipper does, and removed.
    Deliver,
    /// So many bytes are left on the disk.
    Fill(u16),
    Free,
    ReadOnly(bool),
    CannotTruncate(bool),
    /// The owner looks whether the disk takes data again.
    Probe,
    /// SIGKILL between two operations.
    Kill,
    /// SIGKILL in a write of events of these lengths, so many bytes into it.
    KillInWrite(Vec<u16>, u16),
    /// The machine loses its power; the number decides what is left of what was not synced.
    PowerCut(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let turn = || prop::collection::vec(1..400_u16, 1..6);
    let step = prop_oneof![
        12 => turn().prop_map(Step::Append),
        2 => Just(Step::Close),
        3 => Just(Step::Sync),
        1 => Just(Step::SyncFails),
        2 => Just(Step::Deliver),
        2 => (0..900_u16).prop_map(Step::Fill),
        2 => Just(Step::Free),
        1 => any::<bool>().prop_map(Step::ReadOnly),
        1 => any::<bool>().prop_map(Step::CannotTruncate),
        1 => Just(Step::Probe),
        1 => Just(Step::Kill),
        2 => (turn(), any::<u16>()).prop_map(|(turn, written)| Step::KillInWrite(turn, written)),
        1 => any::<u64>().prop_map(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..60)
}

/// How far an event has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// Its append has returned: it survives the end of the process.
    Written,
    /// The same, by a process that is gone: no sync of another one covers it.
    Killed,
    /// It survives a power cut.
    Synced,
    /// Its append failed and could not be taken back, or was never answered: it may be there.
    Open,
}

/// The spool and what it has promised.
struct Run {
    data: TempDir,
    disk: Disk,
    directory: Option<Directory>,
    writer: Writer,
    starts: u32,
    now_ms: u64,
    next: u32,
    promised: BTreeMap<u32, Promise>,
    refused: BTreeSet<u32>,
    /// The bytes the writers have said the log has; none after a process ended in the middle of saying so.
    log_bytes: Option<u64>,
}

const SEGMENT_BYTES_MAX: u64 = 2_000;

impl Run {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        let disk = Disk::default();
        let directory = Directory::open(data.path()).unwrap();
        let writer = writer(&directory, &disk, 0);
        let (promised, refused) = (BTreeMap::new(), BTreeSet::new());
        let directory = Some(directory);
        Self { data, disk, directory, writer, starts: 0, now_ms: 1, next: 0, promised, refused, log_bytes: Some(0) }
    }

    fn step(&mut self, step: Step) {
        // The clock stands still at times, and goes back.
        self.now_ms = [self.now_ms, self.now_ms + 1, self.now_ms.saturating_sub(1)][self.next as usize % 3];
        match step {
            Step::Append(turn) => self.append(&turn),
            Step::Close => drop(self.writer.close()),
            Step::Sync => self.sync(),
            Step::SyncFails => {
                self.disk.set(|disk| disk.sync_fails = true);
                self.sync();
                self.disk.set(|disk| disk.sync_fails = false);
            }
            Step::Deliver => self.deliver(),
            Step::Fill(room) => self.disk.set(|disk| disk.room = Some(room.into())),
            Step::Free => self.disk.set(|disk| disk.room = None),
            Step::ReadOnly(read_only) => self.disk.set(|disk| disk.read_only = read_only),
            Step::CannotTruncate(cannot) => self.disk.set(|disk| disk.cannot_truncate = cannot),
            Step::Probe => self.probe(),
            Step::Kill => self.restart(),
            Step::KillInWrite(turn, written) => {
                self.disk.set(|disk| disk.killed_after = Some(written.into()));
                self.append(&turn);
                self.restart();
            }
            Step::PowerCut(seed) => self.power_cut(seed),
        }
    }

    fn append(&mut self, turn: &[u16]) {
        let ids = self.next..self.next + u32::try_from(turn.len()).unwrap();
        self.next = ids.end;
        let mut frames = Vec::new();
        for (id, length) in ids.clone().zip(turn) {
            push_frame(&mut frames, |out| {
                out.extend_from_slice(&id.to_le_bytes());
                out.resize(out.len() + usize::from(*length), 0x5a);
            })
            .unwrap();
        }
        if self.writer.must_roll(frames.len()) {
            self.writer.close();
        }
        let killed = self.disk.set(|disk| disk.killed_after.is_some());
        let begun = self.writer.begin(self.now_ms);
        self.grown(begun.as_ref().copied().unwrap_or(0));
        let appended = self.writer.append(&frames, self.now_ms);
        let stray = self.writer.take_stray_bytes();
        self.grown(appended.as_ref().map_or(stray, |appended| appended.grown_bytes));
        match appended {
            // Whoever was killed in it has answered nobody.
            Ok(_) => self.promised.extend(ids.map(|id| (id, if killed { Promise::Open } else { Promise::Written }))),
            // What cannot be taken back may be there.
            Err(_) if killed || self.writer.must_roll(0) => {
                self.promised.extend(ids.map(|id| (id, Promise::Open)));
            }
            Err(_) => self.refused.extend(ids),
        }
    }

    fn grown(&mut self, bytes: u64) {
        self.log_bytes = self.log_bytes.map(|before| before + bytes);
    }

    fn sync(&mut self) {
        let unsynced = self.writer.take_unsynced();
        if unsynced.is_ok_and(|unsynced| unsynced.sync().is_ok()) {
            self.disk.names_are_durable();
            // What an earlier sync could not write, this one does not either: nobody is promised anything then.
            self.promised.values_mut().filter(|promise| **promise == Promise::Written).for_each(|promise| {
                *promise = Promise::Synced;
            });
        } else {
            // As the intake does: what failed to be synced is not promised again, and the segment is left.
            self.promised.values_mut().filter(|promise| **promise == Promise::Written).for_each(|promise| {
                *promise = Promise::Open;
            });
            self.writer.close();
        }
    }

    fn probe(&mut self) {
        if self.writer.must_roll(0) {
            self.writer.close();
        }
        let begun = self.writer.begin(self.now_ms).unwrap_or(0);
        let probed = self.writer.probe(self.now_ms).unwrap_or(0);
        let stray = self.writer.take_stray_bytes();
        self.grown(begun + probed + stray);
    }

    /// Reads everything back that nobody writes to, oldest segment first, checks it against the model, and removes it.
    fn deliver(&mut self) {
        self.writer.close();
        let directory = self.directory.as_ref().unwrap();
        let listing = directory::list(directory.path()).unwrap();
        let on_disk: u64 = listing.segments.iter().map(|(_, bytes)| bytes).sum();
        if let Some(bytes) = self.log_bytes {
            assert_eq!(bytes, on_disk, "the log knows how long it is");
        }
        let mut delivered = BTreeSet::new();
        for (segment, _) in listing.segments {
            let ids = read(directory, segment);
            assert!(ids.is_sorted(), "order within a segment is kept: {ids:?}");
            for id in ids {
                assert!(delivered.insert(id), "{id} was delivered twice");
            }
            directory.remove(segment).unwrap();
        }
        self.judge(&delivered);
        self.log_bytes = Some(0);
    }

    fn judge(&mut self, delivered: &BTreeSet<u32>) {
        for (id, promise) in std::mem::take(&mut self.promised) {
            assert!(promise == Promise::Open || delivered.contains(&id), "{id} was promised ({promise:?}) and is lost");
        }
        let wrong: Vec<&u32> = delivered.intersection(&self.refused).collect();
        assert!(wrong.is_empty(), "{wrong:?} were refused and are delivered");
    }

    /// Another process on the same folder; what an earlier one promised is promised still.
    fn restart(&mut self) {
        self.log_bytes = None;
        self.starts += 1;
        // The lock goes with the process.
        self.directory = None;
        self.disk.restart();
        let directory = Directory::open(self.data.path()).unwrap();
        self.writer = writer(&directory, &self.disk, self.starts);
        self.directory = Some(directory);
        // What the process before did not sync, this one does not either.
        self.promised.values_mut().filter(|promise| **promise == Promise::Written).for_each(|promise| {
            *promise = Promise::Killed;
        });
    }

    fn power_cut(&mut self, seed: u64) {
        let mut state = seed | 1;
        // Any sequence of numbers will do: this is Marsaglia's xorshift.
        self.disk
            .cut_power(|| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state
            })
            .unwrap();
        self.promised.values_mut().filter(|promise| **promise != Promise::Synced).for_each(|promise| {
            *promise = Promise::Open;
        });
        self.restart();
    }
}

fn writer(directory: &Directory, disk: &Disk, event_loop: u32) -> Writer {
    Writer::with_files(directory.path(), event_loop, Kind::Log, SEGMENT_BYTES_MAX, disk.files()).syncable()
}

fn read(directory: &Directory, segment: SegmentName) -> Vec<u32> {
    let limits = ReadLimits { bytes_max: 0, records_max: 3 };
    let (mut ids, mut offset) = (Vec::new(), 0);
    loop {
        let chunk = read_at(&directory.segment(segment), offset, limits).unwrap();
        ids.extend(Payloads::new(chunk.frames).map(|payload| u32::from_le_bytes(*payload.first_chunk().unwrap())));
        if chunk.end.is_some() {
            return ids;
        }
        assert!(chunk.next_offset > offset, "every read gets further");
        offset = chunk.next_offset;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn what_was_promised_is_delivered_once_and_what_was_refused_never(steps in steps()) {
        let mut run = Run::new();
        for step in steps {
            run.step(step);
        }
        run.disk.set(|disk| {
            disk.read_only = false;
            disk.room = None;
        });
        run.deliver();
    }
}
