//! kill -9 while events come in.

use std::time::{Duration, Instant};

use super::Plan;
use super::settings::knows;
use crate::adtrack::Builder;
use crate::faults::error::RunError;
use crate::faults::latencies::Latencies;
use crate::faults::load::{Pace, Request};
use crate::faults::report::{Check, Outcome, Row};
use crate::faults::stand::{PATH, Stand};
use crate::kinesis_server::{CallFault, Faults, Operation, RecordFault};
use crate::wait;

const AGGREGATED: [(&str, &str); 1] = [("ADTRACK_KINESIS_FORMAT", "aggregated")];
const RATE_PER_S: u32 = 1_000;
const KILLED_WITHIN_MS: u64 = 3_000;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);
const RECOVERY_MAX: Duration = Duration::from_secs(2);
/// `kinesis.in_flight_max` as it is set at first.
pub(super) const CALLS_IN_FLIGHT: u64 = 4;
const SPOOLED_BYTES: u64 = 256 << 20;
const SPOOL_TIMEOUT: Duration = Duration::from_secs(180);
const LONG_USER_AGENT_BYTES: usize = 900;

/// Kills it again and again, half of the times with a stream that fails.
pub(super) fn run(plan: Plan) -> Result<Outcome, RunError> {
    rounds("kill9", plan, plan.size(10, 200), &[])
}

/// The same with many events in a record.
pub(super) fn run_aggregated(plan: Plan) -> Result<Outcome, RunError> {
    if !knows(&AGGREGATED)? {
        return Ok(Outcome::Skipped("this adtrack lacks kinesis.format = \"aggregated\"".to_owned()));
    }
    rounds("aggregated", plan, plan.size(4, 40), &AGGREGATED)
}

fn rounds(name: &str, plan: Plan, rounds: u64, settings: &[(&str, &str)]) -> Result<Outcome, RunError> {
    let mut row = Row::empty(name);
    let (mut latencies, mut slowest, mut allowed, mut undelivered) = (Vec::new(), Duration::ZERO, 0, 0);
    for round in 0..rounds {
        let seed = plan.seed.wrapping_add(round);
        let killed = round_of(seed, round % 2 == 1, settings)?;
        row.add(&killed.row, &mut latencies);
        slowest = slowest.max(killed.recovery);
        allowed += killed.duplicates_max;
        undelivered += killed.missing;
        if killed.row.lost > 0 || killed.row.duplicates > killed.duplicates_max {
            row.check(Check::new(
                format!("round with seed {seed}"),
                format!("{} lost, {} duplicates", killed.row.lost, killed.row.duplicates),
                format!("0, {}", killed.duplicates_max),
                false,
            ));
        }
    }
    row.latencies = Latencies::of(latencies);
    row.check(Check::at_most("lost", row.lost, 0));
    row.check(Check::at_most(
        "duplicates, against calls in flight and those whose answer was withheld",
        row.duplicates,
        allowed,
    ));
    row.check(Check::at_most("accepted and not delivered within 60 s of the restart", undelivered, 0));
    row.check(Check::within("slowest start until an event is accepted", slowest, RECOVERY_MAX));
    Ok(Outcome::Rows(vec![row]))
}

/// One round, accounted for.
struct Killed {
    row: Row,
    recovery: Duration,
    duplicates_max: u64,
    missing: u64,
}

fn round_of(seed: u64, with_faults: bool, settings: &[(&str, &str)]) -> Result<Killed, RunError> {
    let with = |service: Builder| settings.iter().fold(service, |service, (name, value)| service.env(name, value));
    let mut stand = Stand::start(2, with)?;
    if with_faults {
        let faults = Faults::seeded(seed).only(Operation::PutRecords).fail_records(0.3, RecordFault::Either);
        stand.kinesis.set_faults(faults.share(0.05, CallFault::CloseAfter));
    }
    let load = stand.load(RATE_PER_S);
    let killed_after = Duration::from_millis(fastrand::Rng::with_seed(seed).u64(0..KILLED_WITHIN_MS));
    std::thread::sleep(killed_after);
    stand.service.kill_9();
    let loaded = load.finish();
    let begun = Instant::now();
    stand.service.restart()?;
    let accepting = stand.until_accepting(RECOVERY_MAX * 10);
    let recovery = accepting.map_or(Duration::MAX, |_since_it_listens| begun.elapsed());
    let accepted: Vec<u128> = loaded.accepted().collect();
    let drained = stand.drain(&accepted, DRAIN_TIMEOUT);
    stand.settle();
    let totals = stand.totals()?;
    let row = Row::account("kill9", &mut stand, &loaded)?;
    let records = totals.doubtful + CALLS_IN_FLIGHT * totals.largest_call;
    let duplicates_max = records * stand.contents.largest_record();
    Ok(Killed { row, recovery, duplicates_max, missing: drained.missing as u64 })
}

/// A long log at the start: whoever waits for it is not kept waiting.
pub(super) fn run_spooled(_plan: Plan) -> Result<Outcome, RunError> {
    let mut stand = Stand::start(4, |service| service)?;
    stand.kinesis.stop();
    let request = Request::of(PATH).user_agent("x".repeat(LONG_USER_AGENT_BYTES));
    let load = stand.load_of(Pace::AsAnswered, 64, request);
    let filled = wait::until("256 MiB of log", SPOOL_TIMEOUT, || (stand.log_bytes() >= SPOOLED_BYTES).then_some(()));
    stand.service.kill_9();
    let loaded = load.finish();
    let spooled = stand.log_bytes();
    let begun = Instant::now();
    stand.service.restart()?;
    let accepting = stand.until_accepting(RECOVERY_MAX * 10).map(|_since_it_listens| begun.elapsed());
    stand.kinesis.restart()?;
    let accepted: Vec<u128> = loaded.accepted().collect();
    let drained = stand.drain(&accepted, DRAIN_TIMEOUT * 3);
    stand.settle();
    let mut row = Row::account("spooled", &mut stand, &loaded)?;
    row.check(Check::new("log at the kill", format!("{} MiB", spooled >> 20), "256 MiB", filled.is_ok()));
    row.check(Check::came_within("start until an event is accepted", accepting, RECOVERY_MAX));
    let rate = accepted.len() as f64 / drained.took.as_secs_f64();
    let what = format!("not delivered; the others at {rate:.0} events a second");
    row.check(Check::at_most(&what, drained.missing as u64, 0));
    Ok(Outcome::Rows(vec![row]))
}
