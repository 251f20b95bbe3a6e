//! The HTTP verticles on two real loops, with stubs behind the bus.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use adtrack::drain::{Drain, DrainTimes};
use adtrack::http::{Acceptor, Admin, AdminOptions, Listener, Metrics, Samples, Server};
use adtrack_config::{Config, Overrides, SAMPLE_PROGRAMS};
use adtrack_proto::bus::TRACK;
use adtrack_proto::bus::{
    Accepted, AtBound, Bound, CACHE_PURGE, DeleteProgram, Deleted, EVENTS_HEALTH, Found, Health, INVALID, LOOKUP,
    OVERLOADED, Outdated, ProgramPage, PutPrograms, STORE_DELETE, STORE_HEALTH, STORE_LIST, STORE_LOOKUP, STORE_PURGE,
    STORE_PUT, Stored, UNAVAILABLE,
};
use adtrack_proto::{Event, Program, ProgramId};
use prometheus_client::registry::Registry;
use vertebra::testing::TestRuntime;
use vertebra::{Clock, Deploy, Deployment, Failure};

use crate::client::Client;

/// What the stubs behind the bus were asked, and what they are to say.
#[derive(Default)]
pub(crate) struct Behind {
    pub(crate) lookups: AtomicU64,
    pub(crate) events: Mutex<Vec<Event>>,
    pub(crate) puts: Mutex<Vec<PutPrograms>>,
    pub(crate) store_down: AtomicBool,
    pub(crate) not_accepting: AtomicBool,
}

pub(crate) struct Service {
    pub(crate) public: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) behind: Arc<Behind>,
    pub(crate) metrics: Arc<Registry>,
    pub(crate) rt: TestRuntime,
    pub(crate) acceptor: Option<Deployment>,
    pub(crate) server: Option<Deployment>,
    pub(crate) drain: Drain,
}

impl Service {
    pub(crate) fn client(&self) -> Client {
        Client::connect(self.public)
    }

    pub(crate) fn operator(&self) -> Client {
        Client::connect(self.admin)
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.behind.events.lock().unwrap().clone()
    }

    /// The value of a counter, by its full name with labels.
    pub(crate) fn counted(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(known, _)| known == name));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).rsplit_once(' ').unwrap().1.parse().unwrap()
    }
}

/// Waits until something is so.
pub(crate) fn eventually(what: &str, condition: impl Fn() -> bool) {
    const PAUSE: Duration = Duration::from_millis(2);
    for _ in 0..4_000 {
        if condition() {
            return;
        }
        std::thread::park_timeout(PAUSE);
    }
    panic!("never: {what}");
}

/// Runs a test against the service with these settings, written as their environment variables without `ADTRACK_`.
pub(crate) fn serve<F: Future<Output = ()>>(settings: &[(&str, &str)], test: impl FnOnce(Service) -> F) {
    TestRuntime::on_loops(2, |rt| async move {
        test(start(rt, settings).await).await;
    });
}

async fn start(rt: TestRuntime, settings: &[(&str, &str)]) -> Service {
    let mut environment = BTreeMap::from([
        ("ADTRACK_HTTP_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
        ("ADTRACK_ADMIN_LISTEN".to_owned(), "127.0.0.1:0".to_owned()),
    ]);
    environment.extend(settings.iter().map(|(name, value)| (format!("ADTRACK_{name}"), (*value).to_owned())));
    let config = Config::load(&Overrides::default(), &environment).unwrap();
    let behind = Arc::new(Behind::default());
    stub_events(&rt, &behind).await;
    stub_store(&rt, &behind).await;

    let (public, admin) = (Listener::bind(config.http.listen).unwrap(), Listener::bind(config.admin.listen).unwrap());
    let addresses = (public.address(), admin.address());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry, &config.http.routes);
    let registry = Arc::new(registry);
    let events = Arc::new(config.events);
    let http = Arc::new(config.http);
    let samples = Samples::parse(SAMPLE_PROGRAMS).unwrap();
    let drain = Drain::new(DrainTimes { grace: config.runtime.shutdown_grace, delay: Duration::ZERO });
    let options = AdminOptions {
        admin: config.admin,
        http: Arc::clone(&http),
        samples: samples.clone(),
        registry: Arc::clone(&registry),
        event_loops: rt.event_loops(),
        data_dir: Path::new("/data").into(),
        drain: drain.clone(),
    };

    let admin_metrics = metrics.clone();
    let factory = move || Admin::new(admin.clone(), options.clone(), admin_metrics.clone());
    rt.deploy(Deploy::new(factory).name("admin").on_loop("io")).await.unwrap();
    let server = {
        let (http, drain, metrics) = (Arc::clone(&http), drain.clone(), metrics.clone());
        let factory = move || {
            Server::new(Arc::clone(&http), Arc::clone(&events), samples.clone(), drain.clone(), metrics.clone())
        };
        rt.deploy(Deploy::new(factory).name("http").instances(2)).await.unwrap()
    };
    let leaving = drain.clone();
    let factory = move || Acceptor::new(public.clone(), Arc::clone(&http), drain.clone(), metrics.clone());
    let acceptor = rt.deploy(Deploy::new(factory).name("acceptor")).await.unwrap();
    Service {
        public: addresses.0,
        admin: addresses.1,
        behind,
        metrics: registry,
        rt,
        acceptor: Some(acceptor),
        server: Some(server),
        drain: leaving,
    }
}

pub(crate) fn program(id: &ProgramId) -> Program {
    Program {
        program_id: id.clone(),
        program_name: "program2".into(),
        checksum: "124".into(),
        customer_id: 9124,
        customer_name: "Customer2".into(),
        valid: !id.as_str().starts_with("invalid"),
        version: None,
    }
}

/// Ids say what becomes of a lookup, types what becomes of an event.
async fn stub_events(rt: &TestRuntime, behind: &Arc<Behind>) {
    let (asked, clock) = (Arc::clone(behind), rt.clock().clone());
    let lookup = move |lookup: adtrack_proto::bus::Lookup| {
        asked.lookups.fetch_add(1, Ordering::Relaxed);
        look_up(lookup.program_id, clock.clone())
    };
    rt.stub(LOOKUP, lookup).await.unwrap();
    let (taken, clock) = (Arc::clone(behind), rt.clock().clone());
    let track = move |track: adtrack_proto::bus::Track| {
        let (taken, clock) = (Arc::clone(&taken), clock.clone());
        async move {
            match track.event.event_type.as_str() {
                "full" if track.at_bound == AtBound::Drop => return Ok(Accepted::Dropped { bound: Bound::Log }),
                "overloaded" | "full" => return Err(Failure::new(OVERLOADED, "the queue is full")),
                "broken" => return Err(Failure::new(UNAVAILABLE, "the disk is full")),
                "slow" => clock.sleep(Duration::from_millis(400)).await,
                _ => {}
            }
            taken.events.lock().unwrap().push(track.event);
            Ok(Accepted::Held { durability: track.durability })
        }
    };
    rt.stub(TRACK, track).await.unwrap();
    let told = Arc::clone(behind);
    let health = move |_| {
        let accepting = !told.not_accepting.load(Ordering::Relaxed);
        std::future::ready(Ok(Health { name: "event log", up: true, accepting, detail: String::new() }))
    };
    rt.stub(EVENTS_HEALTH, health).await.unwrap();
}

async fn look_up(id: ProgramId, clock: Clock) -> Result<Option<Arc<Program>>, Failure> {
    match id.as_str() {
        "down" => Err(Failure::new(UNAVAILABLE, "the store is down")),
        "stuck" => {
            clock.sleep(Duration::from_millis(1_500)).await;
            Ok(None)
        }
        "unknown" => Ok(None),
        _ => Ok(Some(Arc::new(program(&id)))),
    }
}

async fn stub_store(rt: &TestRuntime, behind: &Arc<Behind>) {
    rt.stub(STORE_LOOKUP, {
        let clock = rt.clock().clone();
        move |lookup: adtrack_proto::bus::Lookup| {
            let found = look_up(lookup.program_id, clock.clone());
            async { Ok(found.await?.map_or(Found::Nothing, Found::Program)) }
        }
    })
    .await
    .unwrap();
    let told = Arc::clone(behind);
    let put = move |put: PutPrograms| {
        let down = told.store_down.load(Ordering::Relaxed);
        if !down {
            told.puts.lock().unwrap().push(put.clone());
        }
        // Of whatever is put with a version, a higher one is stored.
        let versioned = put.programs.iter().filter(|program| program.version.is_some());
        let outdated = versioned.map(|program| {
            let (program_id, version) = (program.program_id.clone(), program.version);
            Outdated { program_id, version, stored: u64::MAX }
        });
        let outdated = outdated.collect();
        std::future::ready(if down {
            Err(Failure::new(UNAVAILABLE, "the store is down"))
        } else {
            Ok(Stored { outdated })
        })
    };
    rt.stub(STORE_PUT, put).await.unwrap();
    let delete = |delete: DeleteProgram| {
        std::future::ready(match delete.program_id.as_str() {
            "down" => Err(Failure::new(UNAVAILABLE, "the store is down")),
            "foreign" => Err(Failure::new(INVALID, "key foreign holds no program")),
            id => Ok(Deleted { version: 7, was_stored: id != "unknown" }),
        })
    };
    rt.stub(STORE_DELETE, delete).await.unwrap();
    let list = |list: adtrack_proto::bus::ListPrograms| {
        let id = ProgramId::new(list.cursor.as_deref().unwrap_or("first")).unwrap();
        let next = list.cursor.is_none().then(|| format!("after{}", list.limit));
        std::future::ready(Ok(ProgramPage { programs: vec![Arc::new(program(&id))], next }))
    };
    rt.stub(STORE_LIST, list).await.unwrap();
    rt.stub(STORE_PURGE, |_| std::future::ready(Ok(7))).await.unwrap();
    rt.stub(CACHE_PURGE, |_| std::future::ready(Ok(5))).await.unwrap();
    let health = |_| {
        std::future::ready(Ok(Health {
            name: "redis",
            up: false,
            accepting: true,
            detail: "connection refused".into(),
        }))
    };
    rt.stub(STORE_HEALTH, health).await.unwrap();
}
