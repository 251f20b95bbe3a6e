//! How everything is that this node depends on, for people.

use std::path::Path;
use std::time::Duration;

use adtrack_proto::bus::{AskHealth, EVENTS_HEALTH, Health, STORE_HEALTH};
use serde::Serialize;
use vertebra::{Address, Bus, Clock};

const TIMEOUT: Duration = Duration::from_secs(1);

#[derive(Debug, Serialize)]
struct Report {
    status: &'static str,
    #[serde(rename = "uptimeMs")]
    uptime_ms: u64,
    #[serde(rename = "eventLoops")]
    event_loops: usize,
    #[serde(rename = "dataDir")]
    data_dir: String,
    dependencies: [Dependency; 2],
}

#[derive(Debug, Serialize)]
struct Dependency {
    name: &'static str,
    up: bool,
    accepting: bool,
    detail: String,
}

/// Asks the store and the way to the stream, and writes down what they say as JSON.
pub(super) async fn report(bus: &Bus, clock: &Clock, event_loops: usize, data_dir: &Path) -> String {
    let (store, events) = tokio::join!(ask(bus, STORE_HEALTH, "store"), ask(bus, EVENTS_HEALTH, "events"));
    let dependencies = [store, events];
    let status = if dependencies.iter().all(|each| each.up) { "ok" } else { "degraded" };
    let uptime_ms = u64::try_from(clock.now().as_millis()).unwrap_or(u64::MAX);
    let data_dir = data_dir.to_string_lossy().into_owned();
    let report = Report { status, uptime_ms, event_loops, data_dir, dependencies };
    serde_json::to_string(&report).unwrap_or_else(|error| {
        tracing::error!(%error, "the report could not be written");
        r#"{"status":"unknown"}"#.to_owned()
    })
}

async fn ask(bus: &Bus, address: Address<AskHealth, Health>, name: &'static str) -> Dependency {
    match bus.request(address, AskHealth).timeout(TIMEOUT).await {
        Ok(Health { name, up, accepting, detail }) => Dependency { name, up, accepting, detail },
        Err(error) => Dependency { name, up: false, accepting: false, detail: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use vertebra::testing::TestRuntime;

    #[test]
    fn the_report_says_what_is_down_and_asks_nobody_for_longer_than_a_second() {
        TestRuntime::paused(|rt| async move {
            let store = rt.stub(STORE_HEALTH, |_| std::future::pending()).await.unwrap();
            let up = Health { name: "event log", up: true, accepting: true, detail: "12 bytes".into() };
            let events = rt.stub(EVENTS_HEALTH, move |_| std::future::ready(Ok(up.clone()))).await.unwrap();
            let json: serde_json::Value =
                serde_json::from_str(&report(rt.bus(), rt.clock(), 2, Path::new("/data")).await).unwrap();
            assert_eq!(rt.elapsed(), TIMEOUT);
            assert_eq!((&json["status"], &json["eventLoops"]), (&"degraded".into(), &2.into()));
            assert_eq!(json["dataDir"], "/data");
            assert_eq!(json["dependencies"][0]["up"], false);
            assert_eq!(json["dependencies"][1]["detail"], "12 bytes");
            store.undeploy_within(Duration::ZERO).await.unwrap();
            events.undeploy().await.unwrap();
        });
    }
}
