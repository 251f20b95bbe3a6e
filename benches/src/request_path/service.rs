//! The service, composed as in `app.rs`, with one event loop: its HTTP, cache and event log are on that loop.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use adtrack::cache::{self, Cache, SharedPrograms};
use adtrack::drain::{Drain, DrainTimes};
use adtrack::embedded::{self, Embedded};
use adtrack::http::{self, Acceptor, Listener, Samples, Server};
use adtrack::kinesis::{self, EventLog, Intake};
use adtrack_config::{Config, Overrides, SAMPLE_PROGRAMS};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use vertebra::{BoxError, Deploy};

use crate::loops::Loops;

use super::Serves;

pub(super) struct Service {
    loops: Loops,
    address: SocketAddr,
    // Goes after the loops that write there.
    _data: TempDir,
}

impl Service {
    /// Answers events when this level is met.
    pub(super) fn start(durability: &str) -> Result<Self, BoxError> {
        let data = tempfile::tempdir()?;
        let mut overrides = Overrides::new(None);
        overrides.set("data.dir", data.path().to_string_lossy(), "--data-dir");
        overrides.set("events.durability", durability, "the question");
        let config = Config::load(&overrides, &BTreeMap::<String, String>::new())?;
        let loops = Loops::new()?;
        let mut registry = Registry::default();
        deploy_store(&loops, &config, &mut registry)?;
        deploy_cache(&loops, &config, &mut registry)?;
        deploy_events(&loops, &config, &mut registry)?;
        let address = deploy_door(&loops, &config, &mut registry)?;
        Ok(Self { loops, address, _data: data })
    }
}

impl Serves for Service {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn cpu(&self) -> Result<Duration, BoxError> {
        self.loops.cpu()
    }
}

fn deploy_store(loops: &Loops, config: &Config, registry: &mut Registry) -> Result<(), BoxError> {
    let limits =
        embedded::Limits { programs_max: config.store.programs_max, file_bytes_max: config.store.file_bytes_max };
    let options = embedded::Options { data_dir: config.data.dir.clone(), seed: SAMPLE_PROGRAMS.to_owned(), limits };
    let counts = embedded::Metrics::register(registry);
    loops.deploy_there(Deploy::new(move || Embedded::new(options.clone(), counts.clone())))
}

fn deploy_cache(loops: &Loops, config: &Config, registry: &mut Registry) -> Result<(), BoxError> {
    let programs = SharedPrograms::new(&config.cache);
    let counts = cache::Metrics::register(registry);
    let store_timeout = config.http.lookup_timeout / 2;
    loops.deploy_here(Deploy::new(move || Cache::new(programs.clone(), store_timeout, counts.clone())))
}

fn deploy_events(loops: &Loops, config: &Config, registry: &mut Registry) -> Result<(), BoxError> {
    let counts = kinesis::Metrics::register(registry);
    let log = EventLog::open(&config.data.dir, &config.events, &config.kinesis, counts, drain(config))?;
    loops.deploy_here(Deploy::new(move || Intake::new(Arc::clone(&log))))
}

fn drain(config: &Config) -> Drain {
    Drain::new(DrainTimes { grace: config.runtime.shutdown_grace, delay: config.http.drain_delay })
}

fn deploy_door(loops: &Loops, config: &Config, registry: &mut Registry) -> Result<SocketAddr, BoxError> {
    let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = listener.address();
    let (http, drain) = (Arc::new(config.http.clone()), drain(config));
    let (counts, samples) = (http::Metrics::register(registry, &config.http.routes), Samples::parse(SAMPLE_PROGRAMS)?);
    let (own, leaving, served) = (Arc::clone(&http), drain.clone(), counts.clone());
    let events = Arc::new(config.events.clone());
    let server =
        move || Server::new(Arc::clone(&own), Arc::clone(&events), samples.clone(), leaving.clone(), served.clone());
    loops.deploy_here(Deploy::new(server))?;
    let acceptor = move || Acceptor::new(listener.clone(), Arc::clone(&http), drain.clone(), counts.clone());
    loops.deploy_here(Deploy::new(acceptor))?;
    Ok(address)
}
