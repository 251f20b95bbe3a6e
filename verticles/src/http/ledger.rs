//! `GET /admin/ledger`: where every event is, as JSON.

use adtrack_proto::bus::{Account, Ledger};
use serde_json::{Value, json};

/// The whole of it.
pub(super) fn json(ledger: &Ledger) -> String {
    let customers: Vec<Value> = ledger
        .customers
        .iter()
        .map(|customer| {
            let mut json = account(&customer.account);
            json["customerId"] = customer.customer_id.into();
            json
        })
        .collect();
    json!({
        "total": account(&ledger.total),
        "customers": customers,
        "other": account(&ledger.other),
        "imbalance": ledger.imbalance,
    })
    .to_string()
}

fn account(account: &Account) -> Value {
    let dropped = account.dropped;
    json!({
        "accepted": account.accepted,
        "recovered": account.recovered,
        "replayed": account.replayed,
        "spooled": account.spooled,
        "inFlight": account.in_flight,
        "delivered": account.delivered,
        "deadLettered": account.dead_lettered,
        "dropped": {
            "unwritten": dropped.unwritten,
            "bound": dropped.bound,
            "retention": dropped.retention,
            "damaged": dropped.damaged,
            "gone": dropped.gone,
        },
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use adtrack_proto::bus::CustomerAccount;

    use super::*;

    #[test]
    fn every_number_is_told_under_its_name() {
        let mut own = Account { accepted: 1, recovered: 2, replayed: 3, spooled: 4, ..Account::default() };
        (own.in_flight, own.delivered, own.dead_lettered, own.dropped.gone) = (5, 6, 7, 8);
        let customers = vec![CustomerAccount { customer_id: -9, account: own }];
        let ledger = Ledger { total: own + own, customers, other: own, imbalance: 11 };
        let told: Value = serde_json::from_str(&json(&ledger)).unwrap();
        assert_eq!((&told["imbalance"], &told["customers"][0]["customerId"]), (&11.into(), &(-9).into()));
        let numbers = ["accepted", "recovered", "replayed", "spooled", "inFlight", "delivered", "deadLettered"];
        for (number, name) in (1..).zip(numbers) {
            assert_eq!((&told["other"][name], &told["total"][name]), (&number.into(), &(2 * number).into()), "{name}");
        }
        assert_eq!(told["other"]["dropped"]["gone"], 8);
    }
}
