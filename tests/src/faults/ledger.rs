//! What the service says about its own events, as `GET /admin/ledger` tells it.

use serde_json::Value;

/// How events come, and where they can be.
const CAME: [&str; 3] = ["accepted", "recovered", "replayed"];
const ARE: [&str; 4] = ["spooled", "inFlight", "delivered", "deadLettered"];

/// What was seen of the ledger in a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    looks: u64,
    /// The first time the service itself said that it does not come out even.
    imbalance: Option<Value>,
    last: Value,
}

impl Ledger {
    /// Where the service tells it, on the operator's side.
    pub(crate) const PATH: &'static str = "/admin/ledger";

    /// One look.
    pub(crate) fn take(&mut self, ledger: Value) {
        self.looks += 1;
        if ledger["imbalance"] != 0 && self.imbalance.is_none() {
            self.imbalance = Some(ledger.clone());
        }
        self.last = ledger;
    }

    /// How often it was looked at; 0 when there is none.
    pub(crate) fn looks(&self) -> u64 {
        self.looks
    }

    /// The first ledger of which the service said that it does not come out even; or else the last one, when it does not by our own
    /// sums. For when nothing is on its way any more: meanwhile an event may be between two places.
    pub(crate) fn uneven(&self) -> Option<&Value> {
        let accounts = || self.last["customers"].as_array().into_iter().flatten().chain([&self.last["other"]]);
        let is_uneven = || accounts().chain([&self.last["total"]]).any(|account| difference(account) != 0);
        self.imbalance.as_ref().or_else(|| is_uneven().then_some(&self.last))
    }
}

/// Events that came, less those that are somewhere or were dropped.
fn difference(account: &Value) -> i64 {
    let number = |value: &Value| value.as_i64().unwrap_or_default();
    let sum = |names: &[&str]| names.iter().map(|name| number(&account[*name])).sum::<i64>();
    let dropped: i64 =
        account["dropped"].as_object().into_iter().flatten().map(|(_reason, events)| number(events)).sum();
    sum(&CAME) - sum(&ARE) - dropped
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ledger(delivered: i64, imbalance: i64) -> Value {
        let account =
            json!({"accepted": 10, "recovered": 5, "spooled": 2, "delivered": delivered, "dropped": {"gone": 1}});
        json!({"total": account, "customers": [], "other": {}, "imbalance": imbalance})
    }

    #[test]
    fn a_ledger_is_even_when_its_sums_are_and_the_service_says_so() {
        let uneven = |looks: &[Value]| {
            let mut seen = Ledger::default();
            looks.iter().for_each(|look| seen.take(look.clone()));
            seen.uneven().cloned()
        };
        assert_eq!(uneven(&[]), None);
        assert_eq!(uneven(&[ledger(11, 0), ledger(12, 0)]), None, "an event was between two places");
        assert_eq!(uneven(&[ledger(12, 0), ledger(11, 0)]), Some(ledger(11, 0)));
        assert_eq!(uneven(&[ledger(12, 3), ledger(12, 0)]), Some(ledger(12, 3)));
    }
}
