//! Records that fail one by one.

use std::time::Duration;

use super::Plan;
use crate::faults::error::RunError;
use crate::faults::report::{Check, Outcome, Row};
use crate::faults::stand::Stand;
use crate::kinesis_server::{Faults, Operation, RecordFault};

const RATE_PER_S: u32 = 2_000;
/// Of the records of each call.
pub(super) const SHARE: f64 = 0.3;
const DRAIN_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) fn run(plan: Plan) -> Result<Outcome, RunError> {
    let mut stand = Stand::start(4, |service| service)?;
    stand.kinesis.set_faults(failing(plan.seed));
    let load = stand.load(RATE_PER_S);
    stand.watch(plan.seconds(5, 60));
    let loaded = load.finish();
    let accepted: Vec<u128> = loaded.accepted().collect();
    let drained = stand.drain(&accepted, DRAIN_TIMEOUT);
    stand.settle();
    let mut row = Row::account("partial", &mut stand, &loaded)?;
    row.check(Check::at_most("duplicates", row.duplicates, 0));
    row.check(Check::at_most("not delivered with the fault still there", drained.missing as u64, 0));
    Ok(Outcome::Rows(vec![row]))
}

pub(super) fn failing(seed: u64) -> Faults {
    Faults::seeded(seed).only(Operation::PutRecords).fail_records(SHARE, RecordFault::Either)
}
