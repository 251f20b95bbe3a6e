//! The order of one key's events, while records fail one by one.

use std::collections::HashMap;
use std::time::Duration;

use adtrack_proto::wire::TrackingEvent;
use serde_json::{Value, json};

use super::Plan;
use super::partial::failing;
use super::settings::knows;
use crate::adtrack::Builder;
use crate::faults::error::RunError;
use crate::faults::load::{Pace, Request};
use crate::faults::report::{Check, Outcome, Row};
use crate::faults::stand::Stand;

/// Keys.
const PROGRAMS: usize = 64;
const SETTINGS: [(&str, &str); 2] = [("ADTRACK_KINESIS_ORDERED", "true"), ("ADTRACK_KINESIS_PARTITION_KEY", "program")];
const DRAIN_TIMEOUT: Duration = Duration::from_secs(120);
/// Of all keys together; one key goes no faster than an event each round trip.
const RATE_PER_S: u32 = 640;

pub(super) fn run(plan: Plan) -> Result<Outcome, RunError> {
    if !knows(&SETTINGS)? {
        return Ok(Outcome::Skipped("this adtrack lacks kinesis.ordered or kinesis.partition_key".to_owned()));
    }
    let with = |service: Builder| SETTINGS.iter().fold(service, |service, (name, value)| service.env(name, value));
    let mut stand = Stand::start(4, with)?;
    stand.put_programs(&programs())?;
    stand.kinesis.set_faults(failing(plan.seed));
    // One connection a program: its events have an order to be kept.
    let request = Request::of_each((0..PROGRAMS).map(|program| format!("/event/{}", id(program)))).numbered();
    let load = stand.load_of(Pace::PerSecond(RATE_PER_S), PROGRAMS, request);
    let mut order = Order::default();
    std::thread::sleep(plan.seconds(5, 60));
    let loaded = load.finish();
    let accepted: Vec<u128> = loaded.accepted().collect();
    let drained = stand.drain_with(&accepted, DRAIN_TIMEOUT, |payload| order.take(payload));
    stand.settle();
    let mut row = Row::account("order", &mut stand, &loaded)?;
    row.check(Check::at_most("duplicates", row.duplicates, 0));
    row.check(Check::at_most("not delivered with the fault still there", drained.missing as u64, 0));
    let what = format!("events of {} keys that come behind a later one of theirs", order.last.len());
    row.check(Check::new(what, order.behind.to_string(), "0", order.behind == 0 && order.last.len() == PROGRAMS));
    Ok(Outcome::Rows(vec![row]))
}

fn id(program: usize) -> String {
    format!("faults-{program}")
}

/// As `adtrack programs import` reads them.
fn programs() -> String {
    let program = |program| {
        let id = id(program);
        json!({"programId": id, "programName": id, "checksum": "1", "customerId": 1, "customerName": "faults", "valid": true})
    };
    Value::from_iter((0..PROGRAMS).map(program)).to_string()
}

/// The numbers of each program's events, as they come out of their shard.
#[derive(Debug, Default)]
struct Order {
    last: HashMap<String, u64>,
    behind: u64,
}

impl Order {
    fn take(&mut self, payload: &[u8]) {
        let Ok(event) = TrackingEvent::from_payload(payload) else { return };
        let number = event.query.iter().find(|parameter| parameter.name == "n");
        let Some(number) = number.and_then(|parameter| parameter.value.parse::<u64>().ok()) else { return };
        let last = self.last.entry(event.programid).or_default();
        self.behind += u64::from(number < *last);
        *last = number.max(*last);
    }
}

#[cfg(test)]
mod tests {
    use adtrack_proto::wire::QueryParameter;
    use prost::Message;

    use super::*;

    fn event(program: &str, number: u64) -> Vec<u8> {
        let query = vec![QueryParameter { name: "n".to_owned(), value: number.to_string() }];
        TrackingEvent { programid: program.to_owned(), query, ..TrackingEvent::default() }.encode_to_vec()
    }

    #[test]
    fn an_event_behind_a_later_one_of_its_key_is_seen() {
        let mut order = Order::default();
        for (program, number) in [("a", 1), ("b", 9), ("a", 2), ("a", 5), ("b", 8), ("a", 3)] {
            order.take(&event(program, number));
        }
        assert_eq!((order.behind, order.last.len()), (2, 2));
    }
}
