//! Every other fault of the stream: for a while it is there, then it is gone, and nothing is missing.

use std::time::Duration;

use super::Plan;
use super::kill::CALLS_IN_FLIGHT;
use crate::adtrack::Builder;
use crate::faults::error::RunError;
use crate::faults::report::{Check, Outcome, Row};
use crate::faults::stand::{ACCESS_KEY, STREAM, Stand};
use crate::kinesis_server::{CallFault, Faults, Operation, RecordFault};

const RATE_PER_S: u32 = 1_000;
const SHARDS: u32 = 2;
const ATTEMPT_TIMEOUT_MS: &str = "1000";
const DELIVERED_WITHIN: Duration = Duration::from_secs(30);
/// Of the events that a fault does not concern.
const UNCONCERNED_SHARE_MIN: f64 = 0.9;
const THROTTLED_SHARD: &str = "shardId-000000000001";

/// One fault.
struct Hazard {
    name: &'static str,
    faults: fn(Faults) -> Faults,
    /// What else happens while it is there.
    meanwhile: fn(&mut Stand, Duration) -> Result<Vec<Check>, RunError>,
}

pub(super) fn run(plan: Plan) -> Result<Outcome, RunError> {
    HAZARDS.iter().map(|hazard| run_one(hazard, plan)).collect::<Result<_, _>>().map(Outcome::Rows)
}

const HAZARDS: [Hazard; 15] = [
    Hazard { name: "throttled calls", faults: |f| f.share(0.5, CallFault::throttled()), meanwhile: watch },
    Hazard { name: "invalid calls", faults: |f| f.share(0.1, CallFault::invalid()), meanwhile: watch },
    Hazard { name: "500", faults: |f| f.share(0.5, CallFault::failed()), meanwhile: watch },
    Hazard { name: "503", faults: |f| f.share(0.5, CallFault::unavailable()), meanwhile: watch },
    Hazard { name: "closed before", faults: |f| f.share(0.3, CallFault::CloseBefore), meanwhile: watch },
    Hazard { name: "closed after", faults: |f| f.share(0.3, CallFault::CloseAfter), meanwhile: watch },
    Hazard { name: "fewer results", faults: |f| f.share(0.3, CallFault::Fewer(1)), meanwhile: watch },
    Hazard { name: "more results", faults: |f| f.share(0.3, CallFault::More(1)), meanwhile: watch },
    Hazard { name: "malformed JSON", faults: |f| f.share(0.3, CallFault::CutShort), meanwhile: watch },
    Hazard { name: "hang and answer late", faults: |f| f.share(0.3, CallFault::Late { ms: 3_000 }), meanwhile: watch },
    Hazard { name: "slow body", faults: |f| f.share(0.3, CallFault::SlowBody { byte_ms: 1_000 }), meanwhile: watch },
    Hazard {
        name: "one shard throttled",
        faults: |f| f.fail_records_of_shard(THROTTLED_SHARD, 1.0, RecordFault::Throughput),
        meanwhile: other_shard_goes_on,
    },
    Hazard { name: "reshard", faults: |f| f, meanwhile: reshard },
    Hazard { name: "expired credentials", faults: |f| f.expired_key(ACCESS_KEY), meanwhile: new_credentials },
    Hazard {
        name: "clock skew",
        faults: |f| f.clock_offset(600_000, "InvalidSignatureException"),
        meanwhile: is_delivered_meanwhile,
    },
];

fn run_one(hazard: &Hazard, plan: Plan) -> Result<Row, RunError> {
    let mut stand = Stand::start(SHARDS, attempts_of_1_s)?;
    let load = stand.load(RATE_PER_S);
    stand.watch(Duration::from_secs(1));
    stand.kinesis.set_faults((hazard.faults)(Faults::seeded(plan.seed).only(Operation::PutRecords)));
    let checks = (hazard.meanwhile)(&mut stand, plan.seconds(4, 15))?;
    stand.kinesis.set_faults(Faults::default());
    stand.watch(Duration::from_secs(1));
    let loaded = load.finish();
    let accepted: Vec<u128> = loaded.accepted().collect();
    let drained = stand.drain(&accepted, DELIVERED_WITHIN);
    stand.settle();
    let totals = stand.totals()?;
    let mut row = Row::account(hazard.name, &mut stand, &loaded)?;
    checks.into_iter().for_each(|check| row.check(check));
    row.check(Check::at_most("answers that were not 200", loaded.answers.len() as u64 - row.accepted, 0));
    let what = format!("not delivered {:.1?} after the end of it", drained.took);
    row.check(Check::at_most(&what, drained.missing as u64, 0));
    let duplicates_max = totals.doubtful + CALLS_IN_FLIGHT * totals.largest_call;
    row.check(Check::at_most("duplicates, against calls whose answer was withheld", row.duplicates, duplicates_max));
    Ok(row)
}

/// The same as five seconds, only sooner.
fn attempts_of_1_s(service: Builder) -> Builder {
    service.env("ADTRACK_KINESIS_ATTEMPT_TIMEOUT_MS", ATTEMPT_TIMEOUT_MS)
}

fn watch(stand: &mut Stand, duration: Duration) -> Result<Vec<Check>, RunError> {
    stand.watch(duration);
    Ok(Vec::new())
}

fn other_shard_goes_on(stand: &mut Stand, duration: Duration) -> Result<Vec<Check>, RunError> {
    let of_first = |stand: &Stand| Ok::<_, RunError>(stand.totals()?.shards.first().map_or(0, |shard| shard.records));
    let before = of_first(stand)?;
    stand.watch(duration);
    let taken = of_first(stand)? - before;
    let expected = f64::from(RATE_PER_S) * duration.as_secs_f64() / f64::from(SHARDS);
    let share = taken as f64 / expected;
    let found = format!("{:.0} %", share * 100.0);
    let is_met = share >= UNCONCERNED_SHARE_MIN;
    Ok(vec![Check::new("of the other shard's events delivered meanwhile", found, "at least 90 %", is_met)])
}

fn reshard(stand: &mut Stand, duration: Duration) -> Result<Vec<Check>, RunError> {
    let before = stand.contents.distinct();
    for shards in [SHARDS * 2, SHARDS + 1] {
        stand.kinesis.reshard(STREAM, shards).map_err(|kind| RunError::Stream(kind.name().to_owned()))?;
        stand.watch(duration / 2);
    }
    Ok(vec![delivered_meanwhile(stand, before, duration)])
}

fn new_credentials(stand: &mut Stand, duration: Duration) -> Result<Vec<Check>, RunError> {
    stand.watch(duration / 2);
    let before = stand.contents.distinct();
    stand.set_access_key("key-of-later")?;
    stand.watch(duration / 2 + Duration::from_secs(6));
    let is_met = stand.contents.distinct() > before;
    let found = format!("{} events", stand.contents.distinct() - before);
    Ok(vec![Check::new("delivered with the new key, without a restart", found, "some", is_met)])
}

fn is_delivered_meanwhile(stand: &mut Stand, duration: Duration) -> Result<Vec<Check>, RunError> {
    let before = stand.contents.distinct();
    stand.watch(duration);
    Ok(vec![delivered_meanwhile(stand, before, duration)])
}

fn delivered_meanwhile(stand: &Stand, before: u64, duration: Duration) -> Check {
    let share = (stand.contents.distinct() - before) as f64 / (f64::from(RATE_PER_S) * duration.as_secs_f64());
    let found = format!("{:.0} %", share * 100.0);
    Check::new("delivered meanwhile", found, "at least 90 %", share >= UNCONCERNED_SHARE_MIN)
}
