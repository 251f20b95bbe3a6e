//! Core data end to end: cache, store and listener together, against a real server.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and waits in real time")]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use adtrack::{cache, redis as service};
use adtrack_proto::bus::{DeleteProgram, LOOKUP, Lookup, PutPrograms, STORE_DELETE, STORE_PUT, UNAVAILABLE};
use adtrack_proto::{Program, ProgramId};
use support::eventually;
use support::redis_server::RedisServer;
use vertebra::RequestError;
use vertebra::testing::TestRuntime;

struct Under {
    rt: TestRuntime,
    server: RedisServer,
    cache: cache::Metrics,
    redis: service::Metrics,
}

impl Under {
    async fn deploy(rt: TestRuntime) -> Self {
        let server = RedisServer::start();
        let (cache, redis) = support::core_data::deploy(&rt, &server).await;
        Self { rt, server, cache, redis }
    }

    async fn subscribed(&self) {
        let both = async || self.redis.subscribed.get() == 1 && self.redis.connected.get() == 1;
        eventually("connected", both).await;
    }

    async fn version(&self, id: &str) -> Result<Option<i32>, RequestError> {
        let program_id = ProgramId::new(id).unwrap();
        let found = self.rt.bus().request(LOOKUP, Lookup { program_id }).await?;
        Ok(found.map(|program| program.customer_id))
    }

    fn hset(&self, program: &Program) {
        let mut hset = redis::cmd("HSET");
        hset.arg(program.program_id.as_str());
        for (name, value) in program.to_fields() {
            hset.arg(name).arg(&*value);
        }
        hset.exec(&mut self.server.client()).unwrap();
    }
}

fn program(id: &str, version: i32) -> Program {
    let text = || "x".to_owned();
    Program {
        program_id: ProgramId::new(id).unwrap(),
        program_name: text(),
        checksum: text(),
        customer_id: version,
        customer_name: text(),
        valid: true,
        version: None,
    }
}

fn failed(result: Result<Option<i32>, RequestError>) -> i32 {
    match result {
        Err(RequestError::Failed(failure)) => failure.code(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_published_change_is_the_next_answer_within_20_ms_and_without_a_miss() {
    TestRuntime::on_loops(2, |rt| async move {
        let under = Under::deploy(rt).await;
        under.hset(&program("1", 0));
        assert_eq!(under.version("1").await, Ok(Some(0)));
        let misses = under.cache.misses.get();
        let mut publisher = under.server.client();
        let mut times = Vec::new();
        for version in 1..=1_000 {
            let payload = program("1", version).to_json();
            let began = Instant::now();
            redis::cmd("PUBLISH").arg("channel1").arg(payload).exec(&mut publisher).unwrap();
            while under.version("1").await != Ok(Some(version)) {
                assert!(began.elapsed() < Duration::from_secs(5), "version {version} is not seen");
            }
            times.push(began.elapsed());
        }
        times.sort();
        assert!(times[990] < Duration::from_millis(20), "p99 {:?}", times[990]);
        assert_eq!(under.cache.misses.get(), misses);
    });
}

#[test]
fn what_this_node_has_put_is_its_next_answer() {
    TestRuntime::on_loops(2, |rt| async move {
        let under = Under::deploy(rt).await;
        assert_eq!(under.version("1").await, Ok(None));
        for version in 0..100 {
            let put = PutPrograms { programs: vec![Arc::new(program("1", version))] };
            under.rt.bus().request(STORE_PUT, put).await.unwrap();
            assert_eq!(under.version("1").await, Ok(Some(version)));
        }
    });
}

#[test]
fn a_program_that_was_deleted_during_a_cut_is_gone_when_the_subscription_is_back_and_one_that_only_went_is_not() {
    TestRuntime::on_loops(2, |rt| async move {
        let under = Under::deploy(rt).await;
        for id in ["1", "2"] {
            let put = PutPrograms { programs: vec![Arc::new(program(id, 1))] };
            under.rt.bus().request(STORE_PUT, put).await.unwrap();
            assert_eq!(under.version(id).await, Ok(Some(1)));
        }
        // By a script of somebody else's, on behalf of whom nothing is published; then the same without a trace.
        let mut client = under.server.client();
        redis::cmd("HSET").arg(&["adtrack:deleted:{1}", "version", "18446744073709551615"]).exec(&mut client).unwrap();
        redis::cmd("DEL").arg(&["1", "2"]).exec(&mut client).unwrap();
        redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).exec(&mut client).unwrap();
        eventually("the deletion is seen", async || under.version("1").await == Ok(None)).await;
        assert_eq!(under.version("2").await, Ok(Some(1)));
        let late = Program { version: Some(9), ..program("1", 9) };
        redis::cmd("PUBLISH").arg("channel1").arg(late.to_json()).exec(&mut client).unwrap();
        eventually("the late push is counted", async || under.cache.outdated.get() == 1).await;
        assert_eq!(under.version("1").await, Ok(None));
    });
}

#[test]
fn what_this_node_deletes_is_gone_with_its_next_answer_and_comes_back_when_it_is_put_again() {
    TestRuntime::on_loops(2, |rt| async move {
        let under = Under::deploy(rt).await;
        for version in 0..50 {
            let put = PutPrograms { programs: vec![Arc::new(program("1", version))] };
            under.rt.bus().request(STORE_PUT, put).await.unwrap();
            assert_eq!(under.version("1").await, Ok(Some(version)));
            let delete = DeleteProgram { program_id: ProgramId::new("1").unwrap() };
            assert!(under.rt.bus().request(STORE_DELETE, delete).await.unwrap().was_stored);
            assert_eq!(under.version("1").await, Ok(None));
        }
    });
}

#[test]
fn while_redis_is_down_and_when_it_comes_back_empty_known_programs_are_answered() {
    TestRuntime::on_loops(2, |rt| async move {
        let mut under = Under::deploy(rt).await;
        under.hset(&program("1", 1));
        assert_eq!(under.version("1").await, Ok(Some(1)));
        under.server.kill();
        let outage = under.server.outage(2);
        eventually("many attempts", async || {
            let asked = Instant::now();
            assert_eq!(under.version("1").await, Ok(Some(1)));
            assert_eq!(failed(under.version("2").await), UNAVAILABLE);
            assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
            outage.is_finished()
        })
        .await;
        under.server.restart();
        let back = Instant::now();
        eventually("unknown is unknown again", async || under.version("2").await == Ok(None)).await;
        under.subscribed().await;
        assert_eq!(under.version("1").await, Ok(Some(1)), "the server has lost its data, memory has not");
        assert!(back.elapsed() < Duration::from_secs(5), "{:?}", back.elapsed());
        let publish =
            || redis::cmd("PUBLISH").arg("channel1").arg(program("1", 3).to_json()).exec(&mut under.server.client());
        publish().unwrap();
        eventually("updates flow", async || under.version("1").await == Ok(Some(3))).await;
    });
}

/// The store does not have them: it is a replica that lags, and what is read from it is older than what was replayed.
#[test]
fn a_thousand_changes_kept_during_a_cut_are_seen_within_2_s_though_the_hashes_are_old() {
    const PROGRAMS: i32 = 1_000;
    TestRuntime::on_loops(2, |rt| async move {
        let under = Under::deploy(rt).await;
        let of = |n: i32, version: i32| Program {
            version: u64::try_from(version).ok(),
            ..program(&format!("p{n}"), version)
        };
        let mut client = under.server.client();
        let mut first = redis::pipe();
        for n in 0..PROGRAMS {
            let hset = first.cmd("HSET").arg(format!("p{n}")).arg("version").arg(1);
            for (name, value) in of(n, 1).to_fields() {
                hset.arg(name).arg(&*value);
            }
            hset.ignore();
        }
        first.cmd("XADD").arg(&["adtrack:changes", "*", "change", &of(0, 1).to_json()]).ignore();
        first.exec(&mut client).unwrap();
        for n in 0..PROGRAMS {
            assert_eq!(under.version(&format!("p{n}")).await, Ok(Some(1)));
        }
        eventually("the stream is followed", async || under.redis.last_change_seconds.get() > 0).await;
        let mut cut = redis::pipe();
        cut.atomic().cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).ignore();
        for n in 0..PROGRAMS {
            cut.cmd("XADD").arg(&["adtrack:changes", "*", "change", &of(n, 2).to_json()]).ignore();
        }
        cut.exec(&mut client).unwrap();
        let began = Instant::now();
        for n in 0..PROGRAMS {
            eventually("the change", async || under.version(&format!("p{n}")).await == Ok(Some(2))).await;
        }
        assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
        assert_eq!(under.redis.changes_replayed.get(), 1_000);
        eventually("the old hashes are counted", async || under.cache.outdated.get() > 0).await;
    });
}

#[test]
fn changes_published_while_the_subscription_was_cut_are_seen_when_it_is_back() {
    TestRuntime::on_loops(2, |rt| async move {
        let under = Under::deploy(rt).await;
        for round in 0..10 {
            for id in 0..20 {
                under.hset(&program(&format!("p{id}"), round));
            }
            let kill = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).exec(&mut under.server.client());
            kill.unwrap();
            for id in 0..20 {
                let seen = async || under.version(&format!("p{id}")).await == Ok(Some(round));
                eventually("the change", seen).await;
            }
        }
    });
}
