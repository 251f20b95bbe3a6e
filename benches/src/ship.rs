//! From the log to the stream: read, checked, put together, handed to the client, settled.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use adtrack::drain::{Drain, DrainTimes};
use adtrack::kinesis::client::{Outcome, PutError, StreamClient};
use adtrack::kinesis::entry::Entry;
use adtrack::kinesis::shard::{Shard, ShardId};
use adtrack::kinesis::spool::directory::events_dir;
use adtrack::kinesis::spool::name::Kind;
use adtrack::kinesis::spool::segment::push_frame;
use adtrack::kinesis::spool::writer::Writer;
use adtrack::kinesis::{self, EventLog, KinesisClient, Shipper};
use adtrack_config::{Config, Overrides};
use prometheus_client::registry::Registry;
use vertebra::{BoxError, Deploy};

use crate::encode::sample;
use crate::loops::Loops;
use crate::stopwatch::{Measured, Stopwatch};

/// The stream and its shards.
const STREAM: &str = "events";
const SHARDS: &str = "events:4";
const SERVER: &str = "kinesis-test-server";
/// Says that nobody is called.
const NOBODY: &str = "-";
const FORMATS: [&str; 2] = ["record", "aggregated"];
/// Events written to the log at a time.
const CHUNK_EVENTS: usize = 1_000;
const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How much is done.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    events: u64,
    rounds: usize,
}

impl Size {
    /// What is measured.
    pub const FULL: Self = Self { events: 500_000, rounds: 3 };
    /// That it runs.
    pub const TRIAL: Self = Self { events: 2_000, rounds: 1 };
}

/// Measures each format with a client that takes everything at once, and with the AWS SDK that calls a server; writes what came
/// of it.
///
/// # Errors
/// When a row cannot be measured.
pub fn print(size: Size, out: &mut impl Write) -> Result<(), BoxError> {
    let mut event = Vec::new();
    sample()?.encode(&mut event);
    writeln!(out, "{} events of {} bytes out of the log, {} rounds", size.events, event.len(), size.rounds)?;
    writeln!(out, "(CPU time is that of the process that ships; the server is another)")?;
    let server = Server::start()?;
    for _ in 0..size.rounds {
        for format in FORMATS {
            row(format, NOBODY, size.events, out)?;
            match &server {
                Some(server) => row(format, &server.endpoint, size.events, out)?,
                None => writeln!(out, "  {format:<11} AWS SDK: left out, {SERVER} is not built")?,
            }
        }
    }
    Ok(())
}

fn row(format: &str, endpoint: &str, events: u64, out: &mut impl Write) -> Result<(), BoxError> {
    out.flush()?;
    let output = Command::new(std::env::current_exe()?)
        .args(["--row", format, endpoint, &events.to_string()])
        .envs([
            ("AWS_ACCESS_KEY_ID", "bench"),
            ("AWS_SECRET_ACCESS_KEY", "bench"),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        return Err(format!("the row {format} {endpoint} failed").into());
    }
    out.write_all(&output.stdout)?;
    Ok(())
}

/// One row.
#[derive(Debug)]
pub struct Row {
    format: String,
    endpoint: Option<String>,
    events: u64,
}

impl Row {
    /// The row that a process of its own is asked for; `None` when it is not.
    #[must_use]
    pub fn parse(arguments: &[String]) -> Option<Self> {
        let [asked, format, endpoint, events] = arguments else { return None };
        let endpoint = Some(endpoint.clone()).filter(|endpoint| endpoint != NOBODY);
        (asked == "--row").then_some(Self { format: format.clone(), endpoint, events: events.parse().ok()? })
    }

    /// Fills a log, ships it, and writes what that took.
    ///
    /// # Errors
    /// When something goes wrong, or an event is not shipped within the time.
    pub fn run(&self, out: &mut impl Write) -> Result<(), BoxError> {
        let data = tempfile::tempdir()?;
        let mut overrides = Overrides::new(None);
        overrides.set("kinesis.stream", STREAM, "--stream").set("kinesis.format", &self.format, "--format");
        // As fast as it goes: a shard has its pace otherwise.
        for rate in ["kinesis.shard_records_per_s", "kinesis.shard_bytes_per_s"] {
            overrides.set(rate, "0", "--rate");
        }
        if let Some(endpoint) = &self.endpoint {
            overrides.set("kinesis.endpoint", endpoint, "--endpoint");
        }
        let config = Config::load(&overrides, &BTreeMap::<String, String>::new())?;
        write_log(data.path(), self.events)?;
        let metrics = kinesis::Metrics::register(&mut Registry::default());
        let drain = Drain::new(DrainTimes { grace: config.runtime.shutdown_grace, delay: Duration::ZERO });
        let log = EventLog::open(data.path(), &config.events, &config.kinesis, metrics.clone(), drain)?;
        let (settings, sdk) = (config.kinesis.clone(), self.endpoint.is_some());
        let took = if sdk {
            self.ship(
                &metrics,
                Deploy::new(move || Shipper::new(Arc::clone(&log), KinesisClient::new(settings.clone()))),
            )?
        } else {
            self.ship(&metrics, Deploy::new(move || Shipper::new(Arc::clone(&log), Taking(AtomicU64::new(0)))))?
        };
        self.write(&metrics, took, out)
    }

    fn ship<C: StreamClient>(
        &self,
        metrics: &kinesis::Metrics,
        shipper: Deploy<Shipper<C>>,
    ) -> Result<Measured, BoxError> {
        const LOOK: Duration = Duration::from_millis(1);
        const LOOKS_MAX: u32 = 120_000;
        let loops = Loops::new()?;
        let stopwatch = Stopwatch::start();
        loops.deploy_here(shipper)?;
        for _ in 0..LOOKS_MAX {
            if metrics.shipped.get() == self.events {
                return Ok(stopwatch.stop());
            }
            std::thread::park_timeout(LOOK);
        }
        Err(format!("{} of {} events are shipped", metrics.shipped.get(), self.events).into())
    }

    fn write(&self, metrics: &kinesis::Metrics, took: Measured, out: &mut impl Write) -> Result<(), BoxError> {
        let events = self.events as f64;
        let client = if self.endpoint.is_some() { "AWS SDK" } else { "nobody called" };
        writeln!(
            out,
            "  {:<11} {client:<14} {:>6.2} us CPU an event, {:>9.0} events/s of a core; {:>6.1} calls for 10,000 events, {:>6.1} \
             events for 25 KB",
            self.format,
            took.cpu.as_secs_f64() * 1e6 / events,
            events / took.cpu.as_secs_f64(),
            metrics.calls.get() as f64 * 10_000.0 / events,
            events / metrics.payload_units.get() as f64,
        )?;
        Ok(())
    }
}

/// A log as an earlier run has left it.
fn write_log(data_dir: &Path, events: u64) -> Result<(), BoxError> {
    std::fs::create_dir_all(events_dir(data_dir))?;
    let mut writer = Writer::new(events_dir(data_dir), 0, Kind::Log, SEGMENT_BYTES_MAX);
    let (mut event, mut frames, mut written) = (sample()?, Vec::new(), 0);
    while written < events {
        frames.clear();
        for _ in 0..CHUNK_EVENTS.min((events - written) as usize) {
            event.message_id = format!("0193a5c1-8c9e-7d52-a1f0-{written:012x}").into();
            push_frame(&mut frames, |out| event.encode(out))?;
            written += 1;
        }
        if writer.must_roll(frames.len()) {
            writer.close();
        }
        writer.append(&frames, 1)?;
    }
    Ok(())
}

/// Takes everything, and touches what a client would send.
struct Taking(AtomicU64);

impl StreamClient for Taking {
    async fn put_records(&self, entries: &[Entry]) -> Result<Vec<Outcome>, PutError> {
        let bytes: usize = entries.iter().map(Entry::bytes).sum();
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
        Ok(entries.iter().map(|_| Outcome::Stored(None)).collect())
    }

    async fn shards(&self) -> Result<Vec<Shard>, PutError> {
        Ok((0..4_u8).map(|id| Shard { id: ShardId(id.into()), first_hash_key: u128::from(id) << 126 }).collect())
    }

    async fn probe(&self) -> Result<(), PutError> {
        Ok(())
    }
}

/// The Kinesis server of the tests, which counts what it gets.
struct Server {
    process: Child,
    endpoint: String,
}

impl Server {
    /// `None` when it is not built.
    fn start() -> Result<Option<Self>, BoxError> {
        // A benchmark is in target/release/deps, the server one above.
        let mut program = std::env::current_exe()?;
        program.pop();
        program.set_file_name(SERVER);
        if !program.exists() {
            return Ok(None);
        }
        let arguments = ["--port", "0", "--stream", SHARDS, "--count"];
        let mut process = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no output")?).read_line(&mut line)?;
        let endpoint = line.trim().strip_prefix("listening on ").ok_or("no endpoint")?.to_owned();
        Ok(Some(Self { process, endpoint }))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let (Ok(()) | Err(_)) = self.process.kill();
        let (Ok(_) | Err(_)) = self.process.wait();
    }
}
