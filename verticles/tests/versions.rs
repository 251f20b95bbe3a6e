//! The versions of programs by all ways at once, against a real server: none that is seen is ever followed by a lower one,
//! and the highest is what every loop has in the end.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and waits in real time")]
#![allow(clippy::print_stdout, reason = "the figures are what it is run for")]

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use adtrack_proto::bus::{CACHE_REVALIDATE, LOOKUP, Lookup, PutPrograms, Revalidate, STORE_PUT};
use adtrack_proto::{Program, ProgramId};
use support::core_data::deploy;
use support::redis_server::RedisServer;
use vertebra::Bus;
use vertebra::testing::TestRuntime;

/// How much of everything.
#[derive(Debug, Clone, Copy)]
struct Storm {
    runs: usize,
    programs: usize,
    versions: u64,
    /// Lookups of all runs together, at least.
    reads_min: u64,
}

/// Short enough for every day.
const BREEZE: Storm = Storm { runs: 2, programs: 50, versions: 100, reads_min: 20_000 };
const FULL: Storm = Storm { runs: 50, programs: 100, versions: 1_000, reads_min: 5_000_000 };

fn program(id: &str, version: u64) -> Program {
    Program {
        program_id: ProgramId::new(id).unwrap(),
        program_name: "p".to_owned(),
        checksum: "c".to_owned(),
        customer_id: i32::try_from(version).unwrap(),
        customer_name: "n".to_owned(),
        valid: true,
        version: Some(version),
    }
}

/// Every version of every program, twice, in no order.
fn shuffled(ids: &[String], versions: u64) -> Vec<Program> {
    let each = ids.iter().flat_map(|id| (1..=versions).map(move |version| program(id, version)));
    let mut all: Vec<_> = each.clone().chain(each).collect();
    fastrand::shuffle(&mut all);
    all
}

fn hset(pipeline: &mut redis::Pipeline, program: &Program) {
    let hset = pipeline.cmd("HSET").arg(program.program_id.as_str()).arg("version").arg(program.version);
    for (name, value) in program.to_fields() {
        hset.arg(name).arg(&*value);
    }
    hset.ignore();
}

/// Published, as by writers whose messages come late and twice; and kept in the stream of changes, in another order.
fn publish(client: &mut redis::Connection, published: &[Program], kept: &[Program]) {
    for (published, kept) in published.chunks(200).zip(kept.chunks(200)) {
        let mut pipeline = redis::pipe();
        for (published, kept) in published.iter().zip(kept) {
            pipeline.cmd("PUBLISH").arg("channel1").arg(published.to_json()).ignore();
            pipeline.cmd("XADD").arg(&["adtrack:changes", "*", "change", &kept.to_json()]).ignore();
        }
        pipeline.exec(client).unwrap();
    }
}

/// The hashes fall back, as when a replica takes over that has less; in the end they are what they should be.
fn fall_back(client: &mut redis::Connection, ids: &[String], versions: u64, over: &AtomicBool) {
    while !over.load(Ordering::SeqCst) {
        let mut pipeline = redis::pipe();
        for id in ids {
            hset(&mut pipeline, &program(id, fastrand::u64(1..=versions)));
        }
        pipeline.exec(client).unwrap();
        std::thread::sleep(Duration::from_millis(2));
    }
    let mut pipeline = redis::pipe();
    ids.iter().for_each(|id| hset(&mut pipeline, &program(id, versions)));
    pipeline.exec(client).unwrap();
}

/// What was seen of each program by one that keeps looking.
struct Poller<'b> {
    bus: &'b Bus,
    ids: Vec<ProgramId>,
    seen: Vec<Option<u64>>,
    reads: u64,
}

impl<'b> Poller<'b> {
    fn new(bus: &'b Bus, ids: &[String]) -> Self {
        let ids: Vec<_> = ids.iter().map(|id| ProgramId::new(id).unwrap()).collect();
        Self { bus, seen: vec![None; ids.len()], ids, reads: 0 }
    }

    async fn look(&mut self) {
        for (id, seen) in self.ids.iter().zip(&mut self.seen) {
            let found = self.bus.request(LOOKUP, Lookup { program_id: id.clone() }).await.unwrap();
            let version = found.and_then(|program| program.version);
            assert!(version >= *seen, "{id} is {version:?} and was {seen:?}");
            *seen = version;
            self.reads += 1;
        }
    }

    fn all_are(&self, version: u64) -> bool {
        self.seen.iter().all(|seen| *seen == Some(version))
    }
}

/// One run; returns how often it was looked.
async fn run(rt: &TestRuntime, server: &RedisServer, ids: &[String], storm: Storm) -> u64 {
    let over = Arc::new(AtomicBool::new(false));
    let (mut client, published, kept) = (server.client(), shuffled(ids, storm.versions), shuffled(ids, storm.versions));
    let publisher = std::thread::spawn(move || publish(&mut client, &published, &kept));
    let (mut client, of_ids, ended) = (server.client(), ids.to_vec(), Arc::clone(&over));
    let replica = std::thread::spawn(move || fall_back(&mut client, &of_ids, storm.versions, &ended));
    let write = async {
        for programs in shuffled(ids, storm.versions).chunks(500) {
            let programs = programs.iter().cloned().map(Arc::new).collect();
            rt.bus().request(STORE_PUT, PutPrograms { programs }).await.unwrap();
        }
        while !publisher.is_finished() {
            rt.clock().sleep(Duration::from_millis(1)).await;
        }
        over.store(true, Ordering::SeqCst);
    };
    let mut client = server.client();
    let doubt = async {
        for round in 1_u32.. {
            if over.load(Ordering::SeqCst) {
                break;
            }
            rt.bus().request(CACHE_REVALIDATE, Revalidate).await.unwrap();
            rt.clock().sleep(Duration::from_millis(2)).await;
            if round.is_multiple_of(40) {
                redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).exec(&mut client).unwrap();
            }
        }
    };
    let mut poller = Poller::new(rt.bus(), ids);
    let look = async {
        while !over.load(Ordering::SeqCst) || poller.reads < storm.reads_min / storm.runs as u64 {
            poller.look().await;
        }
    };
    tokio::join!(write, doubt, look);
    publisher.join().unwrap();
    replica.join().unwrap();
    rt.bus().request(CACHE_REVALIDATE, Revalidate).await.unwrap();
    let began = Instant::now();
    while !poller.all_are(storm.versions) {
        assert!(began.elapsed() < support::DEADLINE, "{:?}", poller.seen);
        poller.look().await;
    }
    poller.reads
}

fn storm(storm: Storm) {
    TestRuntime::on_loops(2, |rt| async move {
        let server = RedisServer::start();
        let (cache, redis) = deploy(&rt, &server).await;
        let mut reads = 0;
        for round in 0..storm.runs {
            let ids: Vec<_> = (0..storm.programs).map(|n| format!("r{round}-p{n}")).collect();
            reads += run(&rt, &server, &ids, storm).await;
        }
        println!(
            "{reads} lookups, none of a lower version; {} pushes, {} replayed changes, {} refused puts, {} outdated",
            redis.pushes.get(),
            redis.changes_replayed.get(),
            redis.outdated_puts.get(),
            cache.outdated.get(),
        );
        assert!(reads >= storm.reads_min);
        let each = [&redis.pushes, &redis.changes_replayed, &redis.outdated_puts, &cache.outdated];
        assert!(each.into_iter().all(|counter| counter.get() > 0), "every way was gone");
    });
}

#[test]
fn no_version_that_is_seen_is_followed_by_a_lower_one() {
    storm(BREEZE);
}

#[test]
#[ignore = "some minutes: cargo test --release -p adtrack --test versions -- --ignored --nocapture"]
fn no_version_that_is_seen_is_followed_by_a_lower_one_in_50_runs_and_5_million_lookups() {
    storm(FULL);
}
