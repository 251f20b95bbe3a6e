//! The way back from an outage: as fast as the shards allow, without starving what comes in now, and without a storm.

use std::collections::VecDeque;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::Plan;
use crate::faults::contents::made_ms;
use crate::faults::error::RunError;
use crate::faults::latencies::Latencies;
use crate::faults::load::Loaded;
use crate::faults::report::{Check, Outcome, Row};
use crate::faults::stand::Stand;
use crate::kinesis_server::{Operation, ShardLimits};
use crate::wait;

const SHARDS: u32 = 4;
/// Of what the shards take: so much the backlog and the live events together must make of it.
const SHARE_MIN: f64 = 0.8;
const LIVE_PER_S: u32 = 1_000;
const BACKLOG_PER_S: u32 = 4_000;
const LIVE_AGE_MAX: Duration = Duration::from_secs(5);
const CALLS_RATIO_MAX: f64 = 2.0;
/// The service's longest pause between two tries, and a second.
const NOTICE_MAX: Duration = Duration::from_secs(2);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);
const SAMPLE: Duration = Duration::from_millis(100);
const SAMPLES_A_SECOND: usize = 10;

pub(super) fn run(plan: Plan) -> Result<Outcome, RunError> {
    let mut stand = Stand::start(SHARDS, |service| {
        // What the shards take.
        let service = service.env("ADTRACK_KINESIS_SHARD_RECORDS_PER_S", "1000");
        service.env("ADTRACK_KINESIS_SHARD_BYTES_PER_S", "1048576")
    })?;
    stand.kinesis.set_limits(Some(ShardLimits::SERVICE));
    let live = stand.load(LIVE_PER_S);
    let mut calm = Calls::new(&stand);
    sample(&mut stand, &mut calm, plan.seconds(5, 20), |_stand| false);
    let mut all = live.finish();

    stand.kinesis.stop();
    let load = stand.load(BACKLOG_PER_S);
    stand.watch(plan.seconds(10, 60));
    let backlog = load.finish();
    let backlog_ids: Vec<u128> = backlog.accepted().collect();
    let live = stand.load(LIVE_PER_S);
    std::thread::sleep(Duration::from_secs(1));

    let before = stand.totals()?.records;
    let mut busy = Calls::new(&stand);
    let restarted = Instant::now();
    stand.kinesis.restart()?;
    // Until then the service cannot know of it, and what comes goes where the rest of the outage went.
    let noticed = wait::until("the first record after the outage", NOTICE_MAX, || {
        stand.totals().is_ok_and(|totals| totals.records > before).then(Instant::now)
    });
    let (begun, returned_ms) = (Instant::now(), now_ms());
    let noticed = noticed.ok().map(|noticed| noticed.saturating_duration_since(restarted));
    let mut missing = backlog_ids;
    sample(&mut stand, &mut busy, DRAIN_TIMEOUT, |stand| {
        missing.retain(|id| !stand.contents.has(*id));
        missing.is_empty()
    });
    let took = begun.elapsed();
    let taken = stand.totals()?.records - before;
    let live = live.finish();
    all.add(backlog);
    let ages = drained_ages(&mut stand, &all, &live, returned_ms);
    all.add(live);
    let mut row = Row::account("recovery", &mut stand, &all)?;
    row.check(Check::came_within("the stream's return is noticed", noticed, NOTICE_MAX));
    row.check(Check::at_most("of the backlog not delivered", missing.len() as u64, 0));
    let limit = f64::from(SHARDS) * ShardLimits::SERVICE.records_per_s;
    let share = taken as f64 / took.as_secs_f64() / limit;
    let found = format!("{:.0} records a second, {:.0} % of the limit, for {took:.1?}", share * limit, share * 100.0);
    row.check(Check::new("recovery", found, "at least 80 % of the limit", share >= SHARE_MIN));
    let [p50, age] = [0.5, 0.99].map(|share| Duration::from_secs_f64(ages.percentile_ms(share) / 1_000.0));
    let old = ages.longer_than_ms(LIVE_AGE_MAX.as_secs_f64() * 1_000.0);
    let what = format!("age of live events meanwhile, p99 (p50 {p50:.1?}; {old} are older than asked)");
    row.check(Check::within(&what, age, LIVE_AGE_MAX));
    let found = format!("{}, steady {}", busy.most, calm.most);
    let is_calm = busy.most as f64 <= CALLS_RATIO_MAX * calm.most as f64;
    row.check(Check::new("most PutRecords calls within a second", found, "at most 2 times the steady", is_calm));
    Ok(Outcome::Rows(vec![row]))
}

/// How old each event from after the end of the outage was when it came to the stream. One that never does is in the account.
fn drained_ages(stand: &mut Stand, before: &Loaded, live: &Loaded, returned_ms: u64) -> Latencies {
    let accepted: Vec<u128> = before.accepted().chain(live.accepted()).collect();
    stand.drain(&accepted, DRAIN_TIMEOUT);
    stand.settle();
    let ages = live.accepted().filter(|id| made_ms(*id) >= returned_ms).filter_map(|id| stand.contents.age_ms(id));
    Latencies::of(ages.map(|ms| u32::try_from(ms.saturating_mul(1_000)).unwrap_or(u32::MAX)))
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}

/// `PutRecords` calls in any second.
struct Calls {
    window: VecDeque<u64>,
    most: u64,
}

impl Calls {
    fn new(stand: &Stand) -> Self {
        Self { window: VecDeque::from([stand.kinesis.calls(Operation::PutRecords)]), most: 0 }
    }

    fn sample(&mut self, calls: u64) {
        self.window.push_back(calls);
        if self.window.len() > SAMPLES_A_SECOND + 1 {
            self.window.pop_front();
        }
        self.most = self.most.max(calls - self.window.front().copied().unwrap_or(calls));
    }
}

/// Counts calls until it is over, at most so long.
fn sample(stand: &mut Stand, calls: &mut Calls, duration: Duration, mut is_over: impl FnMut(&Stand) -> bool) {
    let begun = Instant::now();
    let mut samples = 0;
    while begun.elapsed() < duration {
        samples += 1;
        let due = begun + SAMPLE * samples;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        calls.sample(stand.kinesis.calls(Operation::PutRecords));
        // Decoding is dear on a machine that the service shares; once a second is enough.
        if samples % 10 == 0 {
            stand.look();
            if is_over(stand) {
                return;
            }
        }
    }
}
