//! One record that the stream refuses, and every call it is in.

use std::time::Duration;

use super::Plan;
use crate::faults::error::RunError;
use crate::faults::latencies::Latencies;
use crate::faults::load::{Pace, Request};
use crate::faults::report::{Check, Outcome, Row};
use crate::faults::stand::{PATH, Stand};
use crate::kinesis_server::Faults;
use crate::wait;

const RATE_PER_S: u32 = 1_000;
const MARK: &str = "this-is-poison";
const NEIGHBOUR_AGE_MAX: Duration = Duration::from_secs(5);
const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) fn run(plan: Plan) -> Result<Outcome, RunError> {
    let mut stand = Stand::start(4, |service| service)?;
    stand.kinesis.set_faults(Faults::seeded(plan.seed).poison(MARK));
    let load = stand.load(RATE_PER_S);
    stand.watch(Duration::from_secs(1));
    let poison = stand.load_of(Pace::PerSecond(1), 1, Request::of(PATH).user_agent(MARK));
    let one = wait::until("the poison to be accepted", DRAIN_TIMEOUT, || (poison.accepted() > 0).then_some(()));
    let poison = poison.finish();
    stand.watch(plan.seconds(4, 20));
    let mut loaded = load.finish();
    let neighbours: Vec<u128> = loaded.accepted().collect();
    let poisonous: Vec<u128> = poison.accepted().collect();
    stand.drain(&neighbours, DRAIN_TIMEOUT);
    stand.settle();
    loaded.add(poison);
    let mut row = Row::account("poison", &mut stand, &loaded)?;
    let ages = neighbours.iter().map(|id| stand.contents.age_ms(*id).unwrap_or(u64::MAX).saturating_mul(1_000));
    let oldest = Latencies::of(ages.map(|us| u32::try_from(us).unwrap_or(u32::MAX))).max_ms();
    let oldest = Duration::from_secs_f64(oldest / 1_000.0);
    row.check(Check::within("oldest neighbour in the stream", oldest, NEIGHBOUR_AGE_MAX));
    let dead = stand.exported("dead")?;
    let found = poisonous.iter().filter(|id| dead.contains(id)).count();
    let is_apart = one.is_ok() && found == poisonous.len() && dead.len() == found;
    let asked = format!("{} and no other", poisonous.len());
    row.check(Check::new("poison in the file of dead records", format!("{found} of {}", dead.len()), asked, is_apart));
    row.check(Check::at_most("duplicates", row.duplicates, 0));
    Ok(Outcome::Rows(vec![row]))
}
