//! A service with its stream, and what is known of both.

use std::path::Path;
use std::time::{Duration, Instant};

use adtrack_proto::wire::TrackingEvent;
use http::StatusCode;
use prost::Message;

use super::connection::uuid;
use super::contents::Contents;
use super::error::RunError;
use super::ledger::Ledger;
use super::load::{Load, Pace, Request};
use crate::adtrack::{Adtrack, Builder};
use crate::kinesis_server::{KinesisServer, Totals};
use crate::wait;

/// The stream of every run.
pub(crate) const STREAM: &str = "events";
/// The access key that a service starts with.
pub(crate) const ACCESS_KEY: &str = "key-of-the-start";
/// A sample program.
pub(crate) const PATH: &str = "/event/212313?type=click";
const CREDENTIALS: &str = "credentials";
const CONNECTIONS: usize = 64;
const BETWEEN_LEDGERS: Duration = Duration::from_millis(200);
const SILENCE: Duration = Duration::from_millis(500);
const SETTLE_MAX: Duration = Duration::from_secs(10);

/// The service under test, its stream, and a runtime to ask it on.
#[derive(Debug)]
pub(crate) struct Stand {
    pub(crate) kinesis: KinesisServer,
    pub(crate) service: Adtrack,
    pub(crate) contents: Contents,
    pub(crate) ledger: Ledger,
    /// When the ledger was asked for last.
    looked_at: Option<Instant>,
    home: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

/// How the wait for a whole stream ended.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drained {
    pub(crate) took: Duration,
    /// Accepted events that are not there.
    pub(crate) missing: usize,
}

/// What the service is told about the stream. Credentials come from a file, so that a scenario can change them.
fn settings(endpoint: &str, home: &Path) -> Builder {
    let settings = [
        ("EVENT_STREAM", STREAM),
        ("REGION", "eu-west-1"),
        ("AWS_ENDPOINT_URL_KINESIS", endpoint),
        ("AWS_EC2_METADATA_DISABLED", "true"),
        // The server takes what comes, unless a scenario has it enforce limits.
        ("ADTRACK_KINESIS_SHARD_RECORDS_PER_S", "0"),
        ("ADTRACK_KINESIS_SHARD_BYTES_PER_S", "0"),
    ];
    let service = settings.into_iter().fold(Adtrack::builder(), |service, (name, value)| service.env(name, value));
    service.env("HOME", home).env("AWS_SHARED_CREDENTIALS_FILE", home.join(CREDENTIALS))
}

fn write_credentials(home: &Path, key: &str) -> std::io::Result<()> {
    let text = format!("[default]\naws_access_key_id = {key}\naws_secret_access_key = dummy\n");
    // In one step: half a file is no credentials.
    std::fs::write(home.join("next"), text)?;
    std::fs::rename(home.join("next"), home.join(CREDENTIALS))
}

impl Stand {
    /// A server with so many shards, and the service as `change` would have it.
    pub(crate) fn start(shards: u32, change: impl FnOnce(Builder) -> Builder) -> Result<Self, RunError> {
        let kinesis = KinesisServer::start()?;
        kinesis.create_stream(STREAM, shards).map_err(|kind| RunError::Stream(kind.name().to_owned()))?;
        let home = tempfile::tempdir()?;
        write_credentials(home.path(), ACCESS_KEY)?;
        let service = change(settings(&kinesis.endpoint(), home.path())).start()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (contents, ledger) = (Contents::default(), Ledger::default());
        Ok(Self { kinesis, service, contents, ledger, looked_at: None, home, runtime })
    }

    /// Asks for events at this rate on 64 connections.
    pub(crate) fn load(&self, rate_per_s: u32) -> Load {
        self.load_of(Pace::PerSecond(rate_per_s), CONNECTIONS, Request::of(PATH))
    }

    /// Any other load.
    pub(crate) fn load_of(&self, pace: Pace, connections: usize, request: Request) -> Load {
        Load::start(self.service.public(), pace, connections, request)
    }

    /// One event, on a connection of its own.
    pub(crate) fn event(&self) -> Result<StatusCode, RunError> {
        Ok(self.runtime.block_on(self.service.get(PATH))?.status)
    }

    /// Reads on what the stream has, and what the ledger says.
    pub(crate) fn look(&mut self) {
        self.look_into(|_payload| {});
    }

    fn look_into(&mut self, look: impl FnMut(&[u8])) {
        self.contents.read_on(&self.kinesis, STREAM, look);
        self.look_at_ledger();
    }

    /// Asks for the ledger alone.
    pub(crate) fn look_at_ledger(&mut self) {
        // Who waits looks two hundred times a second; so much is a load of its own.
        if self.looked_at.is_some_and(|at| at.elapsed() < BETWEEN_LEDGERS) {
            return;
        }
        self.looked_at = Some(Instant::now());
        // A service that is down, or has none, has no ledger to be wrong.
        if let Ok(answer) = self.runtime.block_on(self.service.admin_get(Ledger::PATH))
            && answer.status == StatusCode::OK
        {
            self.ledger.take(answer.json());
        }
    }

    /// Looks again and again for so long.
    pub(crate) fn watch(&mut self, duration: Duration) {
        let end = Instant::now() + duration;
        while Instant::now() < end {
            self.look();
            let left = end.saturating_duration_since(Instant::now());
            std::thread::sleep(left.min(Duration::from_millis(200)));
        }
    }

    /// Waits until the stream has all of these, at most so long.
    pub(crate) fn drain(&mut self, accepted: &[u128], timeout: Duration) -> Drained {
        self.drain_with(accepted, timeout, |_payload| {})
    }

    /// The same, and gives each payload that is read to `look`, in the order of its shard.
    pub(crate) fn drain_with(&mut self, accepted: &[u128], timeout: Duration, mut look: impl FnMut(&[u8])) -> Drained {
        let begun = Instant::now();
        // What is found is not looked for again.
        let mut missing = accepted.to_vec();
        let all = wait::until("a whole stream", timeout, || {
            self.look_into(&mut look);
            missing.retain(|id| !self.contents.has(*id));
            missing.is_empty().then_some(())
        });
        // Whoever asked sees what is missing.
        let _timed_out = all.is_err();
        Drained { took: begun.elapsed(), missing: missing.len() }
    }

    /// Waits until nothing comes to the stream any more: half a second of silence, at most 10 s.
    pub(crate) fn settle(&mut self) {
        let (begun, mut last) = (Instant::now(), (0, Instant::now()));
        while begun.elapsed() < SETTLE_MAX {
            let records = self.kinesis.totals(STREAM).map_or(0, |totals| totals.records);
            if records != last.0 {
                last = (records, Instant::now());
            } else if last.1.elapsed() >= SILENCE {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.look();
    }

    /// What the server has counted.
    pub(crate) fn totals(&self) -> Result<Totals, RunError> {
        self.kinesis.totals(STREAM).map_err(|kind| RunError::Stream(kind.name().to_owned()))
    }

    /// Waits until an event is accepted, at most so long; gives how long it took.
    pub(crate) fn until_accepting(&self, timeout: Duration) -> Option<Duration> {
        let begun = Instant::now();
        let accepting = || self.event().is_ok_and(|status| status == StatusCode::OK).then_some(());
        wait::until("an event to be accepted", timeout, accepting).ok().map(|()| begun.elapsed())
    }

    /// Stores programs, a JSON array of them.
    pub(crate) fn put_programs(&self, programs: &str) -> Result<(), RunError> {
        let output = self.service.command(&["programs", "import", "-"], programs)?;
        if output.status.success() {
            return Ok(());
        }
        Err(RunError::Import(String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// The ids in one part of the log on disk: `log` or `dead`.
    pub(crate) fn exported(&self, part: &str) -> Result<Vec<u128>, RunError> {
        let output = self.service.command(&["events", "export", "--part", part, "--format", "protobuf"], "")?;
        if !output.status.success() {
            return Err(RunError::Export(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        let mut rest = &output.stdout[..];
        let mut ids = Vec::new();
        while !rest.is_empty() {
            let event = TrackingEvent::decode_length_delimited(&mut rest)
                .map_err(|error| RunError::Export(format!("what was exported is no event: {error}")))?;
            ids.extend(uuid(&event.message_id));
        }
        Ok(ids)
    }

    /// Bytes of the log on disk.
    pub(crate) fn log_bytes(&self) -> u64 {
        let files = std::fs::read_dir(self.service.data_dir().join("events")).into_iter().flatten().flatten();
        files.filter_map(|file| file.metadata().ok()).map(|about| about.len()).sum()
    }

    /// The access key that is found when credentials are asked for the next time.
    pub(crate) fn set_access_key(&self, key: &str) -> Result<(), RunError> {
        Ok(write_credentials(self.home.path(), key)?)
    }
}
