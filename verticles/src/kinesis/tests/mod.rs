//! The promises of this verticle, on the real runtime and virtual time.
#![allow(clippy::unwrap_used, reason = "tests")]

mod aggregated;
mod burial;
mod cursor;
mod durability;
mod intake;
mod ledger;
mod reading;
mod replay;
mod shards;
mod shipper;
mod stream;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use adtrack_config::{self as config, EventsConfig, KinesisConfig};
use adtrack_proto::bus::{Accepted, AskHealth, AtBound, Durability, EVENTS_HEALTH, Health, TRACK, Track};
use adtrack_proto::{Event, Program, ProgramId};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::task::JoinSet;
use vertebra::testing::TestRuntime;
use vertebra::{Deploy, Deployment, RequestError};

use self::stream::StubStream;
use super::hand_over::{SHIP, ToShip};
use super::ledger::Counted;
use super::spool::directory::{self, events_dir};
use super::spool::name::SegmentName;
use super::spool::tail::{Found, Tail};
use super::{EventLog, Intake, Metrics, Shipper};
use crate::drain::{Drain, DrainTimes};

pub(crate) fn kinesis_config() -> KinesisConfig {
    KinesisConfig {
        stream: Some("events".into()),
        region: "eu-west-1".into(),
        endpoint: None,
        partition_key: config::PartitionKey::MessageId,
        format: config::RecordFormat::Record,
        aggregate_bytes_max: 51_200,
        linger: Duration::from_millis(20),
        batch_records_max: 500,
        batch_bytes_max: 4_500_000,
        record_bytes_max: 1_048_576,
        shard_records_per_s: 0,
        shard_bytes_per_s: 0,
        ordered: false,
        in_flight_max: 4,
        queue_events_max: 20_000,
        attempt_timeout: Duration::from_secs(5),
        operation_timeout: Duration::from_secs(15),
        connect_timeout: Duration::from_secs(3),
        backoff_min: Duration::from_millis(50),
        backoff_max: Duration::from_secs(5),
    }
}

fn events_config() -> EventsConfig {
    EventsConfig {
        durability: config::Durability::Spool,
        durability_allowed: vec![config::Durability::Memory, config::Durability::Sync, config::Durability::Stream],
        durability_timeout: Duration::from_secs(5),
        at_bound: config::AtBound::Refuse,
        may_sync: true,
        segment_bytes_max: 67_108_864,
        memory_bytes_max: 67_108_864,
        disk_bytes_max: 1_073_741_824,
        loop_queue_events_max: 16_384,
        log_age_max: None,
        ledger_customers_shown: 10,
        recovery_bytes_per_read: 1_048_576,
    }
}

/// Events may be sent for 6 s at the end.
pub(crate) fn drain() -> Drain {
    Drain::new(DrainTimes { grace: Duration::from_secs(6) / 9 * 10, delay: Duration::ZERO })
}

/// A service's part for events, in a folder that goes with it.
struct Fixture {
    data: TempDir,
    events: EventsConfig,
    kinesis: KinesisConfig,
    stream: StubStream,
}

/// One run of it: from opening the log to giving it up.
struct Run {
    log: Arc<EventLog>,
    metrics: Metrics,
    shipper: Option<Deployment>,
    intake: Deployment,
}

impl Fixture {
    fn with_stream() -> Self {
        let data = tempfile::tempdir().unwrap();
        Self { data, events: events_config(), kinesis: kinesis_config(), stream: StubStream::default() }
    }

    fn without_stream() -> Self {
        let mut fixture = Self::with_stream();
        fixture.kinesis.stream = None;
        fixture
    }

    async fn run(&self, rt: &TestRuntime) -> Run {
        let metrics = Metrics::register(&mut Registry::default());
        let mut log = None;
        // The one before it lets go of the lock when the last of its tasks is gone, just after its undeployment.
        until(rt, "the log can be opened", || {
            log = EventLog::open(self.data.path(), &self.events, &self.kinesis, metrics.clone(), drain()).ok();
            log.is_some()
        })
        .await;
        let log = log.unwrap();
        let shipper = match self.kinesis.stream {
            Some(_) => Some(self.deploy_shipper(rt, &log).await),
            None => None,
        };
        let intake_log = Arc::clone(&log);
        let intake = rt.deploy(Deploy::new(move || Intake::new(Arc::clone(&intake_log)))).await.unwrap();
        Run { log, metrics, shipper, intake }
    }

    async fn deploy_shipper(&self, rt: &TestRuntime, log: &Arc<EventLog>) -> Deployment {
        let (log, stream) = (Arc::clone(log), self.stream.clone());
        rt.deploy(Deploy::new(move || Shipper::new(Arc::clone(&log), stream.clone()))).await.unwrap()
    }

    fn folder(&self) -> std::path::PathBuf {
        events_dir(self.data.path())
    }

    fn segments(&self) -> usize {
        directory::list(&self.folder()).unwrap().segments.len()
    }
}

impl Run {
    /// The end of a service that is told to stop: the intake first, then the shipper.
    async fn stop(self, rt: &TestRuntime) {
        self.intake.undeploy().await.unwrap();
        if let Some(shipper) = self.shipper {
            shipper.undeploy().await.unwrap();
        }
        forget(rt).await;
    }

    /// The end by `kill -9`, as far as it can be had in one process: nobody flushes or says goodbye.
    async fn kill(self, rt: &TestRuntime) {
        self.intake.undeploy_within(Duration::ZERO).await.unwrap();
        if let Some(shipper) = self.shipper {
            shipper.undeploy_within(Duration::ZERO).await.unwrap();
        }
        forget(rt).await;
    }
}

/// A loop remembers the way to an address, and with it whoever served it, until somebody asks for the way again.
async fn forget(rt: &TestRuntime) {
    track(rt, "nobody").await.unwrap_err();
    rt.bus().request(EVENTS_HEALTH, AskHealth).await.unwrap_err();
    let closed = ToShip::Closed {
        segment: SegmentName { created_ms: 0, event_loop: 0, seq: 0 },
        unread_from: None,
        counted: Counted::default(),
    };
    rt.bus().try_send(SHIP, closed).unwrap_err();
}

fn event(message_id: &str) -> Event {
    Event {
        program: Arc::new(Program {
            program_id: ProgramId::new("212313").unwrap(),
            program_name: "program2".into(),
            checksum: "124".into(),
            customer_id: 9124,
            customer_name: "Customer2".into(),
            valid: true,
            version: None,
        }),
        message_id: message_id.into(),
        user_agent: "curl/7.54.0".into(),
        event_time_ms: 1_700_000_000_000,
        event_type: "click".into(),
        referer: String::new(),
        client_ip: String::new(),
        trace_id: String::new(),
        cookie_id: String::new(),
        query: vec![("a".into(), "b".into())],
    }
}

async fn track(rt: &TestRuntime, message_id: &str) -> Result<Accepted, RequestError> {
    track_at(rt, message_id, Durability::Spool).await
}

async fn track_at(rt: &TestRuntime, message_id: &str, durability: Durability) -> Result<Accepted, RequestError> {
    rt.bus()
        .request(TRACK, Track { event: event(message_id), durability, at_bound: AtBound::Refuse })
        .timeout(Duration::from_secs(5))
        .await
}

/// Tracks events together, as requests that arrive in one turn of the loop; gives the ids that were accepted, and why
/// the others were not.
async fn track_together(rt: &TestRuntime, ids: impl IntoIterator<Item = String>) -> (Vec<String>, Vec<RequestError>) {
    track_together_at(rt, ids, Durability::Spool).await
}

async fn track_together_at(
    rt: &TestRuntime,
    ids: impl IntoIterator<Item = String>,
    durability: Durability,
) -> (Vec<String>, Vec<RequestError>) {
    let mut asked = JoinSet::new();
    for id in ids {
        let bus = rt.bus().clone();
        asked.spawn_local(async move {
            (id.clone(), bus.request(TRACK, Track { event: event(&id), durability, at_bound: AtBound::Refuse }).await)
        });
    }
    let mut accepted = Vec::new();
    let mut refused = Vec::new();
    for (id, answer) in asked.join_all().await {
        match answer {
            Ok(_) => accepted.push(id),
            Err(error) => refused.push(error),
        }
    }
    accepted.sort();
    (accepted, refused)
}

fn ids(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|index| format!("m-{index:06}")).collect()
}

async fn health(rt: &TestRuntime) -> Health {
    rt.bus().request(EVENTS_HEALTH, AskHealth).await.unwrap()
}

/// The message ids of everything in the log.
fn in_log(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    Tail::new(folder)
        .poll::<std::io::Error>(|one| {
            if let Found::Record(payload) = one {
                found.push(adtrack_proto::wire::message_id(&payload).unwrap().to_owned());
            }
            Ok(())
        })
        .unwrap();
    found
}

/// Waits on virtual time until something is so; a minute of it at most.
async fn until(rt: &TestRuntime, what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if is_so() {
            return;
        }
        rt.clock().sleep(Duration::from_millis(1)).await;
    }
    panic!("it never came to this: {what}");
}
