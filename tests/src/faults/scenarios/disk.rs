//! A disk that is full, then read-only, then well again.

use std::time::{Duration, Instant};

use super::Plan;
use crate::faults::error::RunError;
use crate::faults::load::{Answer, Loaded, Pace, Request};
use crate::faults::report::{Check, Outcome, Row};
use crate::faults::small_disk::SmallDisk;
use crate::faults::stand::{PATH, Stand};
use crate::wait;

const DISK_MIB: u32 = 16;
/// Small, so that a log that may write on in an open file soon needs another.
const SEGMENT_BYTES: &str = "65536";
const FILLER_BYTES: usize = 8 << 20;
const RATE_PER_S: u32 = 2_000;
const USER_AGENT_BYTES: usize = 900;
const REFUSED_WITHIN: Duration = Duration::from_secs(1);
const NORMAL_WITHIN: Duration = Duration::from_secs(5);
const PHASE: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(60);
/// `ENOSPC` and a refusal are what a full disk is; anything else is a wrong answer.
const UNAVAILABLE: u16 = 503;

pub(super) fn run(_plan: Plan) -> Result<Outcome, RunError> {
    let Some(disk) = SmallDisk::of_mib(DISK_MIB)? else {
        return Ok(Outcome::Skipped("a small file system cannot be mounted here: it needs root".to_owned()));
    };
    disk.fill(FILLER_BYTES);
    let mut stand = Stand::start(4, |service| {
        service.data_dir(disk.data_dir()).env("ADTRACK_EVENTS_SEGMENT_BYTES_MAX", SEGMENT_BYTES)
    })?;
    stand.kinesis.stop();
    let request = Request::of(PATH).user_agent("x".repeat(USER_AGENT_BYTES));
    let load = stand.load_of(Pace::PerSecond(RATE_PER_S), 64, request);
    let begun = Instant::now();
    let trouble = trouble(&stand, &disk, begun)?;
    stand.kinesis.restart()?;
    stand.watch(PHASE);
    let loaded = load.finish();
    let accepted: Vec<u128> = loaded.accepted().collect();
    let drained = stand.drain(&accepted, TIMEOUT);
    stand.settle();
    let mut row = Row::account("disk", &mut stand, &loaded)?;
    row.check(Check::came_within("full: an event is refused", trouble.full, TIMEOUT));
    row.check(Check::came_within("room again: an event is accepted", trouble.room, NORMAL_WITHIN));
    row.check(Check::came_within("read-only: an event is refused", trouble.read_only, REFUSED_WITHIN));
    row.check(Check::at_most("read-only, after that second: answered 200", accepted_within(&loaded, &trouble), 0));
    row.check(Check::came_within("writable again: an event is accepted", trouble.writable, NORMAL_WITHIN));
    row.check(Check::within("slowest refusal", slowest_refusal(&loaded), REFUSED_WITHIN));
    let others = loaded.answers.iter().filter(|answer| ![200, UNAVAILABLE].contains(&answer.status)).count();
    row.check(Check::at_most("answers that are neither 200 nor 503", others as u64, 0));
    row.check(Check::at_most("not delivered after the stream's return", drained.missing as u64, 0));
    Ok(Outcome::Rows(vec![row]))
}

/// How long each turn took to show; nothing where it never did.
struct Trouble {
    full: Option<Duration>,
    room: Option<Duration>,
    read_only: Option<Duration>,
    /// Since the start of the load.
    read_only_at: Duration,
    writable_at: Duration,
    writable: Option<Duration>,
}

fn trouble(stand: &Stand, disk: &SmallDisk, begun: Instant) -> Result<Trouble, RunError> {
    let full = until_refusing(stand, TIMEOUT);
    std::thread::sleep(PHASE);
    disk.make_room()?;
    let room = stand.until_accepting(NORMAL_WITHIN * 4);
    disk.make_read_only()?;
    let read_only_at = begun.elapsed();
    let read_only = until_refusing(stand, REFUSED_WITHIN * 5);
    std::thread::sleep(PHASE);
    let writable_at = begun.elapsed();
    disk.make_writable()?;
    let writable = stand.until_accepting(NORMAL_WITHIN * 4);
    Ok(Trouble { full, room, read_only, read_only_at, writable_at, writable })
}

fn until_refusing(stand: &Stand, timeout: Duration) -> Option<Duration> {
    let begun = Instant::now();
    wait::until("a refusal", timeout, || refuses(stand).then_some(())).ok().map(|()| begun.elapsed())
}

fn refuses(stand: &Stand) -> bool {
    stand.event().is_ok_and(|status| status.as_u16() == UNAVAILABLE)
}

fn slowest_refusal(loaded: &Loaded) -> Duration {
    let refusals = loaded.answers.iter().filter(|answer| answer.status == UNAVAILABLE);
    Duration::from_micros(refusals.map(|answer| u64::from(answer.latency_us)).max().unwrap_or_default())
}

fn accepted_within(loaded: &Loaded, trouble: &Trouble) -> u64 {
    let (from, to) = (trouble.read_only_at + REFUSED_WITHIN, trouble.writable_at);
    let is_within = |answer: &&Answer| answer.status == 200 && answer.at > from && answer.at < to;
    loaded.answers.iter().filter(is_within).count() as u64
}
