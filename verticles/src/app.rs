//! The composition: which verticles there are, how many of each, on which loops, and in which order they come and go.
//!
//! The only place that names them all. What is deployed first is undeployed last: requests end before the log closes, and
//! the log hands over before the shipper ends.

mod ending;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use adtrack_config::{Config, SAMPLE_PROGRAMS, TrackingRoute};
use prometheus_client::collector::Collector;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use vertebra::{BuildError, Clock, Deploy, DeployError, Event, Report, Restart, Runtime};

use self::ending::{Stop, end, left, log_report};
use crate::addresses::{Addresses, reachable};
use crate::cache::{self, Cache, SharedPrograms};
use crate::data_dir::real_path;
use crate::drain::{Drain, DrainTimes};
use crate::embedded::{self, Embedded};
use crate::http::{self, Acceptor, Admin, AdminOptions, BindError, Listener, Samples, Server};
use crate::kinesis::{self, EventLog, Intake, KinesisClient, Left, Shipper};
use crate::redis::{Metrics as RedisMetrics, RedisStore, Updates};

/// The loop of what must not sit between two requests: shipping, the store, the operators.
const IO: &str = "io";
/// What becomes of a verticle that has panicked, unless it says here why not: another one is built in its place. One that
/// panics more often is given up, and the service with it.
const REBUILT: Restart = Restart::at_most(5, Duration::from_secs(60));
/// A lookup is answered from what is known, or refused, this long before the caller gives up on it.
const STORE_MARGIN: Duration = Duration::from_millis(100);
/// How often it is looked whether the addresses are still noted.
const NOTED_EVERY: Duration = Duration::from_secs(1);

/// Why the service does not run.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The data directory cannot be made.
    #[error("data.dir is {dir}: it cannot be made", dir = dir.display())]
    DataDir {
        /// Which.
        dir: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// The event log cannot be opened; most often another process has it.
    #[error("the event log cannot be opened")]
    Log(#[from] kinesis::OpenError),
    /// An address cannot be listened on.
    #[error("{key} is {address}: it cannot be listened on", address = source.address)]
    Listen {
        /// The setting.
        key: &'static str,
        /// Why not.
        source: BindError,
    },
    /// The runtime cannot be built.
    #[error("the event loops cannot be started")]
    Runtime(#[from] BuildError),
    /// A verticle does not start.
    #[error(transparent)]
    Deploy(#[from] DeployError),
    /// The signals that end the service cannot be listened for.
    #[error("signals cannot be received")]
    Signals(#[source] std::io::Error),
    /// The compiled-in sample programs cannot be read.
    #[error("the sample programs cannot be read")]
    Samples(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// How the service ended.
#[derive(Debug)]
pub struct Ended {
    /// Whether it was told to, and could.
    pub well: bool,
    /// What the shutdown came to.
    pub report: Report,
    /// What the stream does not have.
    pub left: Left,
    /// Events that were answered at the level `memory`, and could not be written before the end: they are lost.
    pub unwritten: u64,
}

/// Serves until SIGTERM or SIGINT - or until an event loop is lost or a verticle given up -, then drains. `announce` gets
/// the lines for a person: where to look, and the mode. `around` is what the process around the service counts; `/metrics`
/// shows it too.
///
/// # Errors
/// [`AppError`] when the service cannot begin; nothing of it runs then.
pub fn serve(config: &Config, around: Box<dyn Collector>, announce: &mut dyn FnMut(&str)) -> Result<Ended, AppError> {
    let broken = Broken::default();
    let runtime = build_runtime(config, &broken)?;
    runtime.block_on(async {
        // Before anything else: whoever is told to end while it starts ends in order.
        let mut stop = Stop::listen().map_err(AppError::Signals)?;
        let drain = Drain::new(DrainTimes { grace: config.runtime.shutdown_grace, delay: config.http.drain_delay });
        let doors = Doors::open(config, around, &drain)?;
        let deployed = tokio::select! {
            deployed = deploy(&runtime, config, &doors, &drain) => Some(deployed),
            () = stop.wait() => None,
        };
        let mut lost = None;
        match deployed {
            Some(Ok(())) => lost = until_its_end(&runtime, config, &doors, &broken, &mut stop, announce).await,
            Some(Err(error)) => {
                runtime.shutdown(config.runtime.shutdown_grace).await;
                return Err(error);
            }
            // Nobody was told to come: there is nobody to be told to go.
            None => drain.skip_delay(),
        }
        match &lost {
            None => tracing::info!("draining"),
            // Half a service that looks whole is worse than none: whoever supervises it starts a new one.
            Some(reason) => tracing::error!(reason, "draining, to be restarted"),
        }
        let unwritten_before = doors.log.unwritten();
        let report = end(&runtime, &drain, &mut stop).await;
        doors.addresses.remove(&config.data.dir);
        log_report(&report);
        let left = left(&doors.log, &drain, runtime.clock());
        let unwritten = doors.log.unwritten().saturating_sub(unwritten_before);
        Ok(Ended { well: lost.is_none() && report.stuck_loops.is_empty(), report, left, unwritten })
    })
}

/// Serves until a signal comes, or something is lost that the service cannot be without: what that is.
async fn until_its_end(
    runtime: &Runtime,
    config: &Config,
    doors: &Doors,
    broken: &Broken,
    stop: &mut Stop,
    announce: &mut dyn FnMut(&str),
) -> Option<String> {
    let noted = doors.addresses.write(&config.data.dir);
    if let Err(error) = &noted {
        // Commands will not find this service; requests will. A full disk must not keep it from emptying its log.
        tracing::warn!(%error, "the addresses could not be noted for other commands: it is tried again");
    }
    announce(&welcome(config, &doors.addresses, runtime.event_loops()));
    tokio::select! {
        () = stop.wait() => None,
        name = runtime.lost_loop() => Some(format!("event loop {name} is lost")),
        what = broken.is_broken() => Some(what),
        never = keep_noted(noted.is_ok(), doors.addresses, &config.data.dir, runtime.clock()) => match never {},
    }
}

/// Sees to it that commands find this service, also when the disk was full at its start, or somebody has removed the data
/// directory under it.
async fn keep_noted(mut noted: bool, addresses: Addresses, data_dir: &Path, clock: &Clock) -> Infallible {
    loop {
        clock.sleep(NOTED_EVERY).await;
        // An old note may stand there until the first one of this service could be written.
        match if noted { addresses.keep(data_dir) } else { addresses.write(data_dir) } {
            Ok(()) => noted = true,
            Err(error) => tracing::debug!(%error, "the addresses could not be noted again"),
        }
    }
}

/// What must be there before anything is deployed: the log with its lock, and both listening sockets.
struct Doors {
    log: Arc<EventLog>,
    public: Listener,
    admin: Listener,
    addresses: Addresses,
    /// The data directory by the one name that commands know it by too.
    data_dir: Arc<Path>,
    metrics: Metrics,
}

/// What each verticle counts, and the list that shows it.
struct Metrics {
    http: http::Metrics,
    cache: cache::Metrics,
    redis: RedisMetrics,
    embedded: embedded::Metrics,
    registry: Arc<Registry>,
}

impl Doors {
    fn open(config: &Config, around: Box<dyn Collector>, drain: &Drain) -> Result<Self, AppError> {
        let dir = &config.data.dir;
        std::fs::create_dir_all(dir).map_err(|source| AppError::DataDir { dir: dir.clone(), source })?;
        let data_dir = real_path(dir).map_err(|source| AppError::DataDir { dir: dir.clone(), source })?;
        let mut registry = Registry::default();
        registry.register_collector(around);
        let events = kinesis::Metrics::register(&mut registry);
        let log = EventLog::open(dir, &config.events, &config.kinesis, events, drain.clone())?;
        let listen = |key, address| Listener::bind(address).map_err(|source| AppError::Listen { key, source });
        let public = listen("http.listen", config.http.listen)?;
        let admin = listen("admin.listen", config.admin.listen)?;
        let addresses = Addresses { public: public.address(), admin: admin.address(), pid: std::process::id() };
        Ok(Self {
            log,
            public,
            admin,
            addresses,
            data_dir: data_dir.into(),
            metrics: Metrics::register(registry, &config.http.routes),
        })
    }
}

impl Metrics {
    fn register(mut registry: Registry, routes: &[TrackingRoute]) -> Self {
        Self {
            http: http::Metrics::register(&mut registry, routes),
            cache: cache::Metrics::register(&mut registry),
            redis: RedisMetrics::register(&mut registry),
            embedded: embedded::Metrics::register(&mut registry),
            registry: Arc::new(registry),
        }
    }
}

/// A part of the service that is gone for good.
#[derive(Clone, Default)]
struct Broken(Arc<watch::Sender<Option<String>>>);

impl Broken {
    fn note(&self, event: &Event) {
        if let Event::GivenUp { by, reason } = event {
            self.0.send_if_modified(|known| {
                let first = known.is_none();
                known.get_or_insert_with(|| format!("{by} does not stay up: {reason}"));
                first
            });
        }
    }

    /// Waits until there is one; what it is. For ever when all goes well.
    async fn is_broken(&self) -> String {
        let mut broken = self.0.subscribe();
        let known = broken.wait_for(Option::is_some).await.ok().and_then(|known| known.clone());
        match known {
            Some(what) => what,
            None => std::future::pending().await,
        }
    }
}

fn build_runtime(config: &Config, broken: &Broken) -> Result<Runtime, BuildError> {
    let broken = broken.clone();
    let mut builder = Runtime::builder()
        .named_loop(IO)
        .request_timeout(config.runtime.request_timeout)
        .mailbox(config.runtime.mailbox_messages_max)
        .on_event(move |event| broken.note(event));
    if let Some(loops) = config.runtime.loops {
        builder = builder.event_loops(loops.get());
    }
    builder.build()
}

async fn deploy(rt: &Runtime, config: &Config, doors: &Doors, drain: &Drain) -> Result<(), AppError> {
    let samples = Samples::parse(SAMPLE_PROGRAMS).map_err(|error| AppError::Samples(error.into()))?;
    deploy_store(rt, config, &doors.metrics).await?;
    deploy_cache(rt, config, &doors.metrics).await?;
    deploy_events(rt, config, &doors.log).await?;
    deploy_doors(rt, config, doors, drain, samples).await
}

/// Where programs are kept: in Redis, with a listener for what is pushed; or in a local file.
async fn deploy_store(rt: &Runtime, config: &Config, metrics: &Metrics) -> Result<(), AppError> {
    if config.redis.host.is_some() {
        let (redis, counts) = (config.redis.clone(), metrics.redis.clone());
        let store = Deploy::new(move || RedisStore::new(redis.clone(), counts.clone()));
        rt.deploy(store.name("redis").on_loop(IO).restart(REBUILT)).await?;
        let (redis, counts) = (config.redis.clone(), metrics.redis.clone());
        let updates = Deploy::new(move || Updates::new(redis.clone(), counts.clone()));
        rt.deploy(updates.name("updates").on_loop(IO).restart(REBUILT)).await?;
    } else {
        let limits =
            embedded::Limits { programs_max: config.store.programs_max, file_bytes_max: config.store.file_bytes_max };
        let options = embedded::Options { data_dir: config.data.dir.clone(), seed: SAMPLE_PROGRAMS.to_owned(), limits };
        let counts = metrics.embedded.clone();
        let store = Deploy::new(move || Embedded::new(options.clone(), counts.clone()));
        rt.deploy(store.name("embedded").on_loop(IO).restart(REBUILT)).await?;
    }
    Ok(())
}

/// One instance a loop, over one memory: a lookup never leaves its loop, and a program is held once.
async fn deploy_cache(rt: &Runtime, config: &Config, metrics: &Metrics) -> Result<(), AppError> {
    let programs = SharedPrograms::new(&config.cache);
    let store_timeout = config.http.lookup_timeout.saturating_sub(STORE_MARGIN).max(STORE_MARGIN / 2);
    let counts = metrics.cache.clone();
    let cache = Deploy::new(move || Cache::new(programs.clone(), store_timeout, counts.clone()));
    rt.deploy(cache.name("cache").instances(rt.event_loops()).restart(REBUILT)).await?;
    Ok(())
}

/// The shipper first, so that it ends last: what the intake hands over when it stops still finds it.
async fn deploy_events(rt: &Runtime, config: &Config, log: &Arc<EventLog>) -> Result<(), AppError> {
    if config.kinesis.stream.is_some() {
        let (kinesis, own) = (config.kinesis.clone(), Arc::clone(log));
        let shipper = Deploy::new(move || Shipper::new(Arc::clone(&own), KinesisClient::new(kinesis.clone())));
        // What it held in memory would be known to nobody but the log; a new process reads that from its beginning.
        rt.deploy(shipper.name("shipper").on_loop(IO).restart(Restart::never())).await?;
    }
    let own = Arc::clone(log);
    let intake = Deploy::new(move || Intake::new(Arc::clone(&own)));
    rt.deploy(intake.name("intake").instances(rt.event_loops()).restart(REBUILT)).await?;
    Ok(())
}

/// The operators' side, then the public one; the acceptor last: it must stop first.
async fn deploy_doors(
    rt: &Runtime,
    config: &Config,
    doors: &Doors,
    drain: &Drain,
    samples: Samples,
) -> Result<(), AppError> {
    let http = Arc::new(config.http.clone());
    let options = AdminOptions {
        admin: config.admin.clone(),
        http: Arc::clone(&http),
        samples: samples.clone(),
        registry: Arc::clone(&doors.metrics.registry),
        event_loops: rt.event_loops(),
        data_dir: Arc::clone(&doors.data_dir),
        drain: drain.clone(),
    };
    let (listener, counts) = (doors.admin.clone(), doors.metrics.http.clone());
    let admin = Deploy::new(move || Admin::new(listener.clone(), options.clone(), counts.clone()));
    // A panic in one connection's task must not end the others, which are tasks of the same instance.
    rt.deploy(admin.name("admin").on_loop(IO).restart(Restart::keep())).await?;

    let (own, counts, leaving) = (Arc::clone(&http), doors.metrics.http.clone(), drain.clone());
    let events = Arc::new(config.events.clone());
    let server = Deploy::new(move || {
        Server::new(Arc::clone(&own), Arc::clone(&events), samples.clone(), leaving.clone(), counts.clone())
    });
    rt.deploy(server.name("http").instances(rt.event_loops()).restart(Restart::keep())).await?;

    let (listener, counts, leaving) = (doors.public.clone(), doors.metrics.http.clone(), drain.clone());
    let acceptor =
        Deploy::new(move || Acceptor::new(listener.clone(), Arc::clone(&http), leaving.clone(), counts.clone()));
    rt.deploy(acceptor.name("acceptor").restart(REBUILT)).await?;
    Ok(())
}

fn welcome(config: &Config, addresses: &Addresses, event_loops: usize) -> String {
    let public = reachable(addresses.public);
    let programs = match &config.redis.host {
        Some(host) => format!("programs from Redis at {host}:{}", config.redis.port),
        None => format!("programs from {}", config.data.dir.join(embedded::FILE_NAME).display()),
    };
    let events = match &config.kinesis.stream {
        Some(stream) => format!("events to the Kinesis stream {stream}"),
        None => format!("events stay in {}", config.data.dir.join("events").display()),
    };
    let admin = addresses.admin;
    format!(
        "adtrack serves http://{public} on {event_loops} event loops; {programs}; {events}
         try   curl http://{public}/event/212313
         admin http://{admin}/metrics, http://{admin}/health/deps"
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use vertebra::testing::TestRuntime;

    use vertebra::{BoxError, Context, Verticle};

    use super::*;

    #[test]
    fn addresses_that_could_not_be_noted_replace_an_old_note_as_soon_as_they_can() {
        TestRuntime::paused(|rt| async move {
            let dir = tempfile::tempdir().unwrap();
            let data_dir = dir.path().join("data");
            let address = "127.0.0.1:1".parse().unwrap();
            let own = Addresses { public: address, admin: address, pid: 2 };
            let keeping = keep_noted(own.write(&data_dir).is_ok(), own, &data_dir, rt.clock());
            let looking = async {
                rt.clock().sleep(NOTED_EVERY * 3 / 2).await;
                std::fs::create_dir(&data_dir).unwrap();
                Addresses { pid: 1, ..own }.write(&data_dir).unwrap();
                rt.clock().sleep(NOTED_EVERY).await;
                assert_eq!(Addresses::read(&data_dir).unwrap(), own);
                std::fs::remove_dir_all(&data_dir).unwrap();
                rt.clock().sleep(NOTED_EVERY).await;
                assert_eq!(Addresses::read(&data_dir).unwrap(), own);
            };
            tokio::select! {
                never = keeping => match never {},
                () = looking => {}
            }
        });
    }

    struct Hopeless;

    impl Verticle for Hopeless {
        async fn start(&self, ctx: &Context<Self>) -> Result<(), BoxError> {
            ctx.spawn(async { panic!("as always") });
            Ok(())
        }
    }

    #[test]
    fn a_verticle_that_is_given_up_is_a_reason_to_end_and_one_that_was_rebuilt_is_none() {
        let broken = Broken::default();
        let note = broken.clone();
        let rt = Runtime::builder().event_loops(1).on_event(move |event| note.note(event)).build().unwrap();
        rt.block_on(async {
            rt.deploy(Deploy::new(|| Hopeless).name("hopeless").restart(Restart::keep())).await.unwrap();
            assert!(rt.clock().timeout(Duration::from_millis(50), broken.is_broken()).await.is_err());
            rt.deploy(Deploy::new(|| Hopeless).name("hopeless").restart(REBUILT)).await.unwrap();
            let what = rt.clock().timeout(Duration::from_secs(20), broken.is_broken()).await.unwrap();
            assert_eq!(what, "hopeless (deployment 2, instance 0) does not stay up: as always");
        });
    }
}
