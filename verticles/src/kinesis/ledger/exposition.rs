//! The ledger as metrics: so many customers as are shown by themselves, and all others together.

use std::fmt;
use std::sync::Arc;

use adtrack_proto::bus::Account;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Ledger;

/// Asks the ledger whenever the metrics are asked for.
#[derive(Debug)]
pub(crate) struct Exposition(pub(crate) Arc<Ledger>);

impl Collector for Exposition {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let report = self.0.report();
        let help = "Events of the ledger, by customer and by where they are or how they came";
        let mut events = encoder.encode_descriptor("adtrack_ledger_events", help, None, MetricType::Gauge)?;
        for customer in &report.customers {
            account(&mut events, &customer.customer_id.to_string(), &customer.account)?;
        }
        account(&mut events, "other", &report.other)?;
        let help = "Events by which the ledger does not come out even, as seen five times in a row";
        let imbalance = ConstGauge::new(i64::try_from(report.imbalance).unwrap_or(i64::MAX));
        imbalance.encode(encoder.encode_descriptor("adtrack_ledger_imbalance_events", help, None, MetricType::Gauge)?)
    }
}

fn account(events: &mut MetricEncoder<'_>, customer: &str, account: &Account) -> Result<(), fmt::Error> {
    for (place, count) in account.places() {
        ConstGauge::new(count).encode(events.encode_family(&[("customer", customer), ("place", place)])?)?;
    }
    Ok(())
}
