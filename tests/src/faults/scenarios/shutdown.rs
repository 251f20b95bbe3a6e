//! SIGTERM while events come in.

use std::time::{Duration, Instant};

use super::Plan;
use crate::faults::error::RunError;
use crate::faults::latencies::Latencies;
use crate::faults::report::{Check, Outcome, Row};
use crate::faults::stand::Stand;
use crate::kinesis_server::{CallFault, Faults};

const RATE_PER_S: u32 = 1_000;
const HEALTHY_EXIT_MAX: Duration = Duration::from_secs(10);
const EXIT_MAX: Duration = Duration::from_secs(25);
/// Behind a second SIGTERM.
const HURRIED_EXIT_MAX: Duration = Duration::from_secs(3);
const HANG_MS: u64 = 600_000;
/// When nothing is left.
const NOTHING_LEFT: i32 = 0;
/// When events stay in the log for the next start.
const SOMETHING_LEFT: i32 = 3;

pub(super) fn run(plan: Plan) -> Result<Outcome, RunError> {
    let rounds = plan.size(6, 100);
    let (mut row, mut latencies) = (Row::empty("sigterm"), Vec::new());
    let (mut healthy, mut hung) = (Duration::ZERO, Duration::ZERO);
    let (mut wrong_codes, mut unanswered) = (Vec::new(), 0);
    for round in 0..rounds {
        let is_hung = round % 3 == 2;
        let ended = round_of("sigterm", plan.seed.wrapping_add(round), is_hung, false)?;
        row.add(&ended.row, &mut latencies);
        unanswered += ended.unanswered;
        let slowest = if is_hung { &mut hung } else { &mut healthy };
        *slowest = ended.took.max(*slowest);
        wrong_codes.extend(ended.wrong_code());
    }
    row.latencies = Latencies::of(latencies);
    row.check(Check::at_most("lost", row.lost, 0));
    row.check(Check::within("slowest exit, healthy", healthy, HEALTHY_EXIT_MAX));
    row.check(Check::within("slowest exit, stream hung", hung, EXIT_MAX));
    let found = wrong_codes.first().cloned().unwrap_or_else(|| "none".to_owned());
    let what = format!("exit codes other than 0 with nothing left, 3 with something: {}", wrong_codes.len());
    row.check(Check::new(what, found, "none", wrong_codes.is_empty()));
    // A request may cross the end of its idle connection on the way; it was not answered, so nothing is lost.
    row.check(Check::at_most("requests without an answer", unanswered, rounds));
    let mut twice = round_of("sigterm twice", plan.seed, true, true)?;
    twice.row.check(Check::within("exit behind the second, stream hung", twice.took, HURRIED_EXIT_MAX));
    Ok(Outcome::Rows(vec![row, twice.row]))
}

/// One round, accounted for.
struct Ended {
    row: Row,
    took: Duration,
    code: Option<i32>,
    left: u64,
    unanswered: u64,
}

impl Ended {
    fn wrong_code(&self) -> Option<String> {
        let expected = if self.left == 0 { NOTHING_LEFT } else { SOMETHING_LEFT };
        (self.code != Some(expected)).then(|| format!("{:?} with {} left", self.code, self.left))
    }
}

fn round_of(name: &str, seed: u64, is_hung: bool, is_twice: bool) -> Result<Ended, RunError> {
    let mut stand = Stand::start(4, |service| service)?;
    if is_hung {
        stand.kinesis.set_faults(Faults::default().share(1.0, CallFault::Stall { ms: HANG_MS }));
    }
    let load = stand.load(RATE_PER_S);
    std::thread::sleep(Duration::from_millis(fastrand::Rng::with_seed(seed).u64(300..2_000)));
    let mut begun = Instant::now();
    stand.service.sigterm()?;
    if is_twice {
        std::thread::sleep(Duration::from_millis(300));
        begun = Instant::now();
        stand.service.sigterm()?;
    }
    let code = stand.service.wait_exit(EXIT_MAX * 2)?;
    let took = begun.elapsed();
    let loaded = load.finish();
    stand.settle();
    let row = Row::account(name, &mut stand, &loaded)?;
    let left = loaded.accepted().filter(|id| !stand.contents.has(*id)).count() as u64;
    Ok(Ended { row, took, code, left, unanswered: loaded.unanswered })
}
