//! A stream that hangs, and then is not there at all, while memory is short.

use std::time::{Duration, Instant};

use super::Plan;
use crate::faults::error::RunError;
use crate::faults::latencies::Latencies;
use crate::faults::load::Loaded;
use crate::faults::memory_group::MemoryGroup;
use crate::faults::report::{Check, Outcome, Row};
use crate::faults::resident::Resident;
use crate::faults::stand::Stand;
use crate::kinesis_server::{CallFault, Faults};

const RATE_PER_S: u32 = 5_000;
const MEMORY_BYTES: u64 = 256 << 20;
const RESIDENT_BYTES_MAX: u64 = 192 << 20;
/// What counts as flat.
const GROWTH_MIB_MAX: f64 = 4.0;
const WARM_UP: Duration = Duration::from_secs(2);
const HANG_MS: u64 = 600_000;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);
const P99_RATIO_MAX: f64 = 2.0;

pub(super) fn run(plan: Plan) -> Result<Outcome, RunError> {
    let group = MemoryGroup::of_bytes(MEMORY_BYTES);
    let launcher = group.as_ref().map(MemoryGroup::launcher);
    let mut stand = Stand::start(4, |service| match &launcher {
        Some(launcher) => service.launcher(launcher),
        None => service,
    })?;
    let calm = plan.seconds(6, 30);
    // Connections, caches and the first segments are not what is compared.
    let mut all = healthy(&mut stand, WARM_UP);
    let mut well = healthy(&mut stand, calm);
    let (loaded, resident) = outage(&mut stand, plan.seconds(15, 120));
    let back = Instant::now();
    stand.kinesis.set_faults(Faults::default());
    stand.kinesis.restart()?;
    let bad = p99_ms(&loaded);
    all.add(loaded);
    let accepted: Vec<u128> = all.accepted().chain(well.accepted()).collect();
    let drained = stand.drain(&accepted, DRAIN_TIMEOUT);
    let drained_after = back.elapsed();
    // Before and after: what else the machine does changes within minutes.
    well.add(healthy(&mut stand, calm));
    let calm = p99_ms(&well);
    all.add(well);
    stand.settle();
    let mut row = Row::account("outage", &mut stand, &all)?;
    let bound = if group.is_some() { "in a memory cgroup of 256 MiB" } else { "no cgroup: not root here" };
    let mib = format!("{} MiB, {bound}", resident.peak() >> 20);
    row.check(Check::new("most resident memory", mib, "at most 192 MiB", resident.peak() <= RESIDENT_BYTES_MAX));
    let growth = resident.growth_mib();
    let what = "its growth over the last four fifths";
    row.check(Check::new(what, format!("{growth:.2} MiB"), "at most 4 MiB", growth <= GROWTH_MIB_MAX));
    let ratio = bad / calm;
    let found = format!("{bad:.2} ms, healthy before and after {calm:.2} ms: {ratio:.2} times");
    row.check(Check::new("p99 during the outage", found, "at most 2 times", ratio <= P99_RATIO_MAX));
    row.check(Check::at_most("answers that were not 200", all.answers.len() as u64 - row.accepted, 0));
    let what = format!("not delivered {drained_after:.1?} after its return");
    row.check(Check::at_most(&what, drained.missing as u64, 0));
    Ok(Outcome::Rows(vec![row]))
}

fn healthy(stand: &mut Stand, duration: Duration) -> Loaded {
    let load = stand.load(RATE_PER_S);
    stand.watch(duration);
    load.finish()
}

/// The first half it hangs, the second half it refuses connections.
fn outage(stand: &mut Stand, duration: Duration) -> (Loaded, Resident) {
    stand.kinesis.set_faults(Faults::default().share(1.0, CallFault::Stall { ms: HANG_MS }));
    let load = stand.load(RATE_PER_S);
    let (begun, mut resident) = (Instant::now(), Resident::new());
    let mut hangs = true;
    while begun.elapsed() < duration {
        if hangs && begun.elapsed() > duration / 2 {
            stand.kinesis.stop();
            hangs = false;
        }
        resident.sample(stand.service.pid());
        stand.look_at_ledger();
        std::thread::sleep(Duration::from_secs(1));
    }
    (load.finish(), resident)
}

fn p99_ms(loaded: &Loaded) -> f64 {
    Latencies::of(loaded.answers.iter().filter(|a| a.status == 200).map(|answer| answer.latency_us)).percentile_ms(0.99)
}
