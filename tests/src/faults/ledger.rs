//! What the service says about its own events, as `GET /admin/ledger` tells it.

use serde_json::Value;

/// What was seen of the ledger in a run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    looks: u64,
    /// The first time the sides differed by more than what was on its way: the whole ledger.
    imbalance: Option<Value>,
}

impl Ledger {
    /// Where the service tells it, on the operator's side.
    pub(crate) const PATH: &'static str = "/admin/ledger";

    /// One look.
    pub(crate) fn take(&mut self, ledger: &Value) {
        self.looks += 1;
        let differs = ledger["imbalance"].as_i64().is_some_and(|imbalance| imbalance != 0);
        if differs && self.imbalance.is_none() {
            self.imbalance = Some(ledger.clone());
        }
    }

    /// How often it was looked at; 0 when there is none.
    pub(crate) fn looks(&self) -> u64 {
        self.looks
    }

    /// The first ledger that did not balance.
    pub(crate) fn imbalance(&self) -> Option<&Value> {
        self.imbalance.as_ref()
    }
}
