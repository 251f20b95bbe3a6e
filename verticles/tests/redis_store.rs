//! The Redis store against a real server.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and waits in real time")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use adtrack::redis::{Metrics, RedisStore};
use adtrack_config::RedisConfig;
use adtrack_proto::bus::{
    AskHealth, DeleteProgram, Deleted, Found, Health, INVALID, ListPrograms, Lookup, PurgeStore, PutPrograms,
    STORE_DELETE, STORE_HEALTH, STORE_LIST, STORE_LOOKUP, STORE_PURGE, STORE_PUT, Stored, UNAVAILABLE,
};
use adtrack_proto::program::{Deletion, Update};
use adtrack_proto::{Program, ProgramId};
use support::eventually;
use support::redis_server::RedisServer;
use vertebra::testing::TestRuntime;
use vertebra::{Deploy, RequestError};

struct Under {
    rt: TestRuntime,
    metrics: Metrics,
}

impl Under {
    async fn deploy(rt: TestRuntime, server: &RedisServer) -> Self {
        Self::deploy_with(rt, server.config()).await
    }

    async fn deploy_as(rt: TestRuntime, server: &RedisServer, username: &str, password: &str) -> Self {
        Self::deploy_with(rt, server.config_as(username, password)).await
    }

    async fn deploy_with(rt: TestRuntime, config: RedisConfig) -> Self {
        let metrics = Metrics::default();
        let counted = metrics.clone();
        let store = Deploy::new(move || RedisStore::new(config.clone(), counted.clone())).on_loop("io");
        rt.deploy(store).await.unwrap();
        Self { rt, metrics }
    }

    async fn lookup(&self, text: &str) -> Result<Option<Arc<Program>>, RequestError> {
        self.find(text).await.map(Found::program)
    }

    async fn find(&self, text: &str) -> Result<Found, RequestError> {
        let program_id = ProgramId::new(text).unwrap();
        self.rt.bus().request(STORE_LOOKUP, Lookup { program_id }).await
    }

    async fn delete(&self, text: &str) -> Result<Deleted, RequestError> {
        let program_id = ProgramId::new(text).unwrap();
        self.rt.bus().request(STORE_DELETE, DeleteProgram { program_id }).await
    }

    /// What is found without its version.
    async fn content(&self, text: &str) -> Option<Arc<Program>> {
        let found = self.lookup(text).await.unwrap();
        found.map(|program| Arc::new(Program { version: None, ..Program::clone(&program) }))
    }

    async fn version(&self, text: &str) -> Option<u64> {
        self.lookup(text).await.unwrap().and_then(|program| program.version)
    }

    /// Puts one version, and says which one stands in its way.
    async fn put_version(&self, text: &str, version: Option<u64>) -> Option<u64> {
        let program = Program { version, ..Program::clone(&program(text)) };
        self.put(vec![Arc::new(program)]).await.unwrap().outdated.pop().map(|outdated| outdated.stored)
    }

    async fn put(&self, programs: Vec<Arc<Program>>) -> Result<Stored, RequestError> {
        self.rt.bus().request(STORE_PUT, PutPrograms { programs }).await
    }

    async fn health(&self) -> Health {
        self.rt.bus().request(STORE_HEALTH, AskHealth).await.unwrap()
    }

    async fn list(&self, limit: usize) -> Vec<String> {
        let (mut ids, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.rt.bus().request(STORE_LIST, ListPrograms { cursor, limit }).await.unwrap();
            ids.extend(page.programs.iter().map(|program| program.program_id.to_string()));
            cursor = page.next;
            if cursor.is_none() {
                ids.sort();
                return ids;
            }
        }
    }
}

fn program(id: &str) -> Arc<Program> {
    Arc::new(Program {
        program_id: ProgramId::new(id).unwrap(),
        program_name: "ünïcode \0 \"q\"".to_owned(),
        checksum: "c".to_owned(),
        customer_id: -7,
        customer_name: "n".to_owned(),
        valid: false,
        version: None,
    })
}

fn hset(server: &RedisServer, key: &str, field: &str, value: &str) {
    redis::cmd("HSET").arg(key).arg(&[field, value]).exec(&mut server.client()).unwrap();
}

/// The changes that the stream keeps, oldest first.
fn changes(server: &RedisServer) -> Vec<Program> {
    type Entry = (String, HashMap<String, String>);
    let entries: Vec<Entry> =
        redis::cmd("XRANGE").arg(&["adtrack:changes", "-", "+"]).query(&mut server.client()).unwrap();
    entries.iter().map(|(_, fields)| Program::from_json(fields["change"].as_bytes()).unwrap()).collect()
}

fn code(result: Result<impl std::fmt::Debug, RequestError>) -> i32 {
    match result {
        Err(RequestError::Failed(failure)) => failure.code(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_program_put_is_the_references_hash_with_a_version_and_is_found() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        under.put(vec![program("212313")]).await.unwrap();
        assert_eq!(under.content("212313").await, Some(program("212313")));
        let hash: HashMap<String, String> = redis::cmd("HGETALL").arg("212313").query(&mut server.client()).unwrap();
        let mut names: Vec<_> = hash.keys().map(String::as_str).collect();
        names.sort_unstable();
        let reference =
            ["checksum", "customerId", "customerName", "messageId", "programId", "programName", "userAgent", "valid"];
        assert_eq!(names[..8], reference);
        assert_eq!(names[8..], ["version"]);
        assert_eq!((hash["customerId"].as_str(), hash["valid"].as_str()), ("-7", "false"));
        assert_eq!(under.lookup("212314").await, Ok(None));
    });
}

#[test]
fn a_hash_written_by_anybody_is_found() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let mut hset = redis::cmd("HSET");
        hset.arg("7").arg(&["programId", "7", "programName", "p", "checksum", "c", "customerId", "9124"]);
        hset.arg(&["customerName", "n", "valid", "true", "somethingElse", "x"]);
        hset.exec(&mut server.client()).unwrap();
        let under = Under::deploy(rt, &server).await;
        assert_eq!(under.lookup("7").await.unwrap().unwrap().customer_id, 9124);
    });
}

#[test]
fn what_is_put_is_published_on_the_channel() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let mut listener = server.client();
        let mut listener = listener.as_pubsub();
        listener.subscribe("channel1").unwrap();
        let under = Under::deploy(rt, &server).await;
        under.put(vec![program("1"), program("2")]).await.unwrap();
        for id in ["1", "2"] {
            let payload: Vec<u8> = listener.get_message().unwrap().get_payload().unwrap();
            let published = Program::from_json(&payload).unwrap();
            assert_eq!(Some(published.version), under.lookup(id).await.unwrap().map(|stored| stored.version));
            assert_eq!(Program { version: None, ..published }, *program(id));
        }
    });
}

#[test]
fn what_is_put_without_a_version_gets_the_servers_time_or_one_above_the_stored_one() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        let now_ms = || {
            let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut server.client()).unwrap();
            seconds * 1_000 + micros / 1_000
        };
        let (before, _, after) = (now_ms(), under.put_version("1", None).await, now_ms());
        let first = under.version("1").await.unwrap();
        assert!((before..=after).contains(&first), "{before} <= {first} <= {after}");
        for (stored, next) in [
            ("9000000000000", 9_000_000_000_001),
            ("9999999999999", 10_000_000_000_000),
            ("0018014398509481990", 18_014_398_509_481_991),
            ("18446744073709551614", u64::MAX),
        ] {
            hset(&server, "1", "version", stored);
            assert_eq!(under.put_version("1", None).await, None);
            assert_eq!(under.version("1").await, Some(next), "after {stored}");
        }
        assert_eq!(under.put_version("1", None).await, Some(u64::MAX), "there is none above");
        for garbage in ["", "x", "-1", "1.5", "18446744073709551616"] {
            hset(&server, "1", "version", garbage);
            assert_eq!(under.put_version("1", None).await, None);
            assert!(under.version("1").await.unwrap() >= before, "{garbage:?} is no version");
        }
    });
}

#[test]
fn a_lower_version_is_not_stored_nor_published_nor_kept() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        // Beyond what a float can tell apart.
        let (low, high) = (18_446_744_073_709_551_613, 18_446_744_073_709_551_614);
        assert_eq!(under.put_version("1", Some(high)).await, None);
        assert_eq!(under.put_version("1", Some(low)).await, Some(high));
        assert_eq!(under.put_version("1", Some(9)).await, Some(high));
        assert_eq!(under.put_version("1", Some(high)).await, None, "the same once more: a retry does no harm");
        assert_eq!(under.version("1").await, Some(high));
        let kept: Vec<_> = changes(&server).iter().map(|change| change.version).collect();
        assert_eq!(kept, [Some(high), Some(high)]);
        assert_eq!(under.metrics.outdated_puts.get(), 2);
        let programs = vec![program("2"), Arc::new(Program { version: Some(1), ..Program::clone(&program("1")) })];
        let stored = under.put(programs).await.unwrap();
        assert_eq!(stored.outdated.len(), 1, "one that is refused keeps no other from being stored");
        assert!(under.version("2").await.is_some());
    });
}

#[test]
fn a_deletion_has_a_version_of_its_own_is_published_kept_and_found_for_a_day() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let mut listener = server.client();
        let mut listener = listener.as_pubsub();
        let under = Under::deploy(rt, &server).await;
        under.put_version("1", Some(1 << 60)).await;
        listener.subscribe("channel1").unwrap();
        let version = (1 << 60) + 1;
        assert_eq!(under.delete("1").await, Ok(Deleted { version, was_stored: true }));
        assert_eq!(under.find("1").await, Ok(Found::Deleted { version }));
        let payload: Vec<u8> = listener.get_message().unwrap().get_payload().unwrap();
        let deletion = Deletion { program_id: ProgramId::new("1").unwrap(), version: Some(version) };
        assert_eq!(Update::from_json(&payload), Ok(Update::Deleted(deletion)));
        let mut client = server.client();
        let left: Vec<String> = redis::cmd("XRANGE")
            .arg(&["adtrack:changes", "-", "+"])
            .query(&mut client)
            .map(|entries: Vec<(String, HashMap<String, String>)>| {
                entries.into_iter().map(|(_, it)| it["change"].clone()).collect()
            })
            .unwrap();
        assert_eq!(left[1].as_bytes(), payload);
        let exists: u64 = redis::cmd("EXISTS").arg("1").query(&mut client).unwrap();
        assert_eq!(exists, 0, "a reader that knows no deletions finds no key");
        let seconds: u64 = redis::cmd("TTL").arg("adtrack:deleted:{1}").query(&mut client).unwrap();
        assert!((86_300..=86_400).contains(&seconds), "{seconds}");
    });
}

#[test]
fn a_late_put_does_not_bring_a_deleted_program_back_and_a_newer_one_does() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        under.put_version("1", Some(1 << 60)).await;
        let deleted = under.delete("1").await.unwrap().version;
        assert_eq!(under.put_version("1", Some(1 << 60)).await, Some(deleted));
        assert_eq!(under.find("1").await, Ok(Found::Deleted { version: deleted }));
        assert_eq!(under.put_version("1", None).await, None);
        assert_eq!(under.version("1").await, Some(deleted + 1));
        redis::cmd("DEL").arg("1").exec(&mut server.client()).unwrap();
        assert_eq!(under.find("1").await, Ok(Found::Nothing), "the deletion went when it was put again");
    });
}

#[test]
fn what_is_not_there_can_be_deleted_and_what_is_no_program_cannot() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        let first = under.delete("1").await.unwrap();
        let second = under.delete("1").await.unwrap();
        assert!(!first.was_stored && !second.was_stored && first.version < second.version);
        hset(&server, "other", "a", "b");
        redis::cmd("SET").arg("text").arg("x").exec(&mut server.client()).unwrap();
        for key in ["other", "text"] {
            assert_eq!(code(under.delete(key).await), INVALID, "{key}");
            let left: u64 = redis::cmd("EXISTS").arg(key).query(&mut server.client()).unwrap();
            assert_eq!(left, 1, "{key}");
        }
        under.put_version("last", Some(u64::MAX)).await;
        assert_eq!(code(under.delete("last").await), INVALID);
        assert!(under.version("last").await.is_some());
        assert_eq!(under.list(10).await, ["last"], "a deletion is no program");
    });
}

#[test]
fn what_stands_in_the_place_of_a_deletion_is_passed_over() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        redis::cmd("SET").arg("adtrack:deleted:{1}").arg("x").exec(&mut server.client()).unwrap();
        hset(&server, "adtrack:deleted:{2}", "version", "x");
        for id in ["1", "2"] {
            assert_eq!(under.find(id).await, Ok(Found::Nothing), "{id}");
        }
    });
}

#[test]
fn writers_at_the_same_time_get_versions_of_their_own_in_the_order_of_the_changes() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        let writer = async || {
            for _ in 0..10 {
                let programs = (0..25).map(|_| program("1")).collect();
                assert_eq!(under.put(programs).await, Ok(Stored::default()));
            }
        };
        tokio::join!(writer(), writer(), writer(), writer());
        let versions: Vec<_> = changes(&server).iter().map(|change| change.version).collect();
        assert_eq!(versions.len(), 1_000);
        assert!(versions.is_sorted_by(|one, next| one < next));
        assert_eq!(under.version("1").await, versions[999]);
    });
}

#[test]
fn the_stream_keeps_the_latest_changes_and_lets_the_oldest_go() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy_with(rt, RedisConfig { changes_max: 1_000, ..server.config() }).await;
        for round in 0..4 {
            let programs = (0..1_000).map(|n| program(&format!("p{round}-{n}"))).collect();
            under.put(programs).await.unwrap();
        }
        let kept = changes(&server);
        assert!((1_000..=1_200).contains(&kept.len()), "{}", kept.len());
        assert_eq!(kept[kept.len() - 1].program_id.as_str(), "p3-999");
    });
}

#[test]
fn a_change_that_cannot_be_kept_is_not_stored_either() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        redis::cmd("SET").arg("adtrack:changes").arg("x").exec(&mut server.client()).unwrap();
        let under = Under::deploy(rt, &server).await;
        assert_eq!(code(under.put(vec![program("1")]).await), UNAVAILABLE);
        assert_eq!(under.lookup("1").await, Ok(None));
    });
}

#[test]
fn in_a_cluster_changes_are_kept_in_a_step_of_their_own() {
    let server = RedisServer::start_with(&["--cluster-enabled", "yes"]);
    let mut client = server.client();
    redis::cmd("CLUSTER").arg(&["ADDSLOTSRANGE", "0", "16383"]).exec(&mut client).unwrap();
    TestRuntime::on_loops(1, |rt| async move {
        let is_up = async || {
            let info: String = redis::cmd("CLUSTER").arg("INFO").query(&mut server.client()).unwrap();
            info.contains("cluster_state:ok")
        };
        eventually("the cluster is up", is_up).await;
        let under = Under::deploy(rt, &server).await;
        let programs: Vec<_> = (0..150).map(|n| program(&format!("p{n}"))).collect();
        assert_eq!(under.put(programs).await, Ok(Stored::default()));
        let kept = changes(&server);
        assert_eq!(kept.len(), 150);
        for change in kept {
            let id = change.program_id.clone();
            assert_eq!(under.lookup(id.as_str()).await, Ok(Some(Arc::new(change))), "what is kept is what is stored");
        }
        assert_eq!(under.put_version("p1", Some(1)).await, under.version("p1").await, "an older one is refused");
        let deleted = under.delete("p1").await.unwrap();
        assert_eq!(under.find("p1").await, Ok(Found::Deleted { version: deleted.version }));
        let left: usize = redis::cmd("XLEN").arg("adtrack:changes").query(&mut client).unwrap();
        assert_eq!(left, 151);
    });
}

#[test]
fn a_server_that_has_forgotten_its_scripts_is_no_surprise() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        for _ in 0..3 {
            redis::cmd("SCRIPT").arg("FLUSH").exec(&mut server.client()).unwrap();
            assert_eq!(under.put(vec![program("1"), program("2")]).await, Ok(Stored::default()));
        }
    });
}

#[test]
fn keys_that_hold_no_program_are_absent_counted_and_left_alone() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let mut client = server.client();
        redis::cmd("SET").arg("text").arg("x").exec(&mut client).unwrap();
        redis::cmd("RPUSH").arg("list").arg("x").exec(&mut client).unwrap();
        redis::cmd("HSET").arg("other").arg(&["a", "b"]).exec(&mut client).unwrap();
        redis::cmd("HSET").arg("liar").arg(&["programId", "x"]).exec(&mut client).unwrap();
        redis::cmd("HSET").arg("broken").arg(&["programId", "broken", "customerId", "x"]).exec(&mut client).unwrap();
        redis::cmd("HSET").arg("binary").arg("programId").arg(&[0xff_u8, 0xfe][..]).exec(&mut client).unwrap();
        redis::cmd("HSET").arg("huge").arg("x").arg("y".repeat(1 << 20)).exec(&mut client).unwrap();
        let under = Under::deploy(rt, &server).await;
        let foreign = ["text", "list", "other", "liar", "broken", "binary", "huge"];
        for key in foreign {
            assert_eq!(under.lookup(key).await, Ok(None), "{key}");
        }
        assert_eq!(under.metrics.foreign_keys.get(), foreign.len() as u64);

        under.put(vec![program("1"), program("2")]).await.unwrap();
        assert_eq!(under.list(10).await, ["1", "2"]);
        assert_eq!(
            under.rt.bus().request(STORE_PURGE, PurgeStore).await,
            Ok(3),
            "a broken program is one all the same"
        );
        let mut left: Vec<String> = redis::cmd("KEYS").arg("*").query(&mut client).unwrap();
        left.sort();
        assert_eq!(left, ["adtrack:changes", "binary", "huge", "liar", "list", "other", "text"]);
    });
}

#[test]
fn a_put_over_something_else_fails_and_is_not_published() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let mut listener = server.client();
        listener.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut listener = listener.as_pubsub();
        listener.subscribe("channel1").unwrap();
        redis::cmd("SET").arg("1").arg("x").exec(&mut server.client()).unwrap();
        let under = Under::deploy(rt, &server).await;
        assert_eq!(code(under.put(vec![program("1")]).await), UNAVAILABLE);
        assert!(listener.get_message().is_err());
    });
}

#[test]
fn a_listing_gives_every_program_whatever_the_page() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        let programs: Vec<_> = (0..1_000).map(|n| program(&format!("p{n:04}"))).collect();
        let expected: Vec<_> = programs.iter().map(|program| program.program_id.to_string()).collect();
        under.put(programs).await.unwrap();
        for limit in [0, 1_000_000, 50] {
            let mut ids = under.list(limit).await;
            ids.dedup();
            assert_eq!(ids, expected);
        }
        let list = ListPrograms { cursor: Some("x".to_owned()), limit: 1 };
        assert_eq!(code(under.rt.bus().request(STORE_LIST, list).await), INVALID);
        assert_eq!(under.rt.bus().request(STORE_PURGE, PurgeStore).await, Ok(1_000));
    });
}

#[test]
fn ids_that_mean_something_to_redis_are_only_ids() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        for id in ["*", "{a}", "h?llo", "[abc]", "\\", "$2147483647", "*1", "FLUSHALL", "'\"", "0"] {
            assert_eq!(under.lookup(id).await, Ok(None), "{id}");
            under.put(vec![program(id)]).await.unwrap();
            assert_eq!(under.content(id).await, Some(program(id)), "{id}");
        }
        assert_eq!(under.list(100).await.len(), 10);
    });
}

#[test]
fn without_redis_it_starts_fails_at_once_and_works_when_redis_comes() {
    let mut server = RedisServer::stopped();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        let began = Instant::now();
        assert_eq!(code(under.lookup("1").await), UNAVAILABLE);
        assert!(began.elapsed() < Duration::from_millis(200), "{:?}", began.elapsed());
        let health = under.health().await;
        assert!(!health.up && health.detail.contains("refused"), "{health:?}");
        server.restart();
        let began = Instant::now();
        eventually("it works", async || under.lookup("1").await == Ok(None)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert!(under.health().await.up);
    });
}

/// The driver's own attempts come to an end before this.
#[test]
fn after_an_outage_of_many_attempts_it_works_within_5_s() {
    let mut server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        under.put(vec![program("1")]).await.unwrap();
        server.kill();
        eventually("it is down", async || under.lookup("1").await.is_err()).await;
        let outage = server.outage(1);
        eventually("many attempts", async || {
            let asked = Instant::now();
            assert_eq!(code(under.lookup("1").await), UNAVAILABLE);
            assert!(asked.elapsed() < Duration::from_millis(700), "{:?}", asked.elapsed());
            outage.is_finished()
        })
        .await;
        server.restart();
        let began = Instant::now();
        eventually("it works", async || under.lookup("1").await == Ok(None)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(under.metrics.reconnects.get(), 1);
    });
}

#[test]
fn a_server_that_hangs_fails_lookups_in_time_and_is_used_again_when_it_goes_on() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        server.freeze(true);
        for _ in 0..8 {
            let asked = Instant::now();
            assert_eq!(code(under.lookup("1").await), UNAVAILABLE);
            assert!(asked.elapsed() < Duration::from_millis(800), "{:?}", asked.elapsed());
        }
        eventually("it is known to be down", async || !under.health().await.up).await;
        let asked = Instant::now();
        assert_eq!(code(under.lookup("1").await), UNAVAILABLE);
        assert!(asked.elapsed() < Duration::from_millis(100), "{:?}", asked.elapsed());
        server.freeze(false);
        let began = Instant::now();
        eventually("it works", async || under.lookup("1").await == Ok(None)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    });
}

#[test]
fn a_cut_connection_is_replaced_without_a_lookup_failing() {
    let server = RedisServer::start();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(rt, &server).await;
        for _ in 0..20 {
            let kill =
                redis::cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]).exec(&mut server.client());
            kill.unwrap();
            assert_eq!(under.lookup("1").await, Ok(None));
        }
    });
}

#[test]
fn a_user_who_may_only_read_programs_is_enough_to_answer() {
    let server = RedisServer::start();
    let mut acl = redis::cmd("ACL");
    acl.arg(&["SETUSER", "app", "on", ">pass-of-app", "~*", "resetchannels", "+hgetall", "+ping"]);
    acl.exec(&mut server.client()).unwrap();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy_as(rt, &server, "app", "pass-of-app").await;
        assert_eq!(under.lookup("1").await, Ok(None));
        assert_eq!(code(under.put(vec![program("1")]).await), UNAVAILABLE);
    });
}

#[test]
fn a_user_with_the_rights_that_are_told_can_store_and_delete() {
    let server = RedisServer::start();
    let mut acl = redis::cmd("ACL");
    acl.arg(&["SETUSER", "writer", "on", ">pass-of-writer", "~*", "resetchannels", "&channel1", "+hgetall", "+ping"]);
    acl.arg(&["+hget", "+hset", "+del", "+exists", "+expire", "+time", "+xadd", "+publish", "+eval", "+evalsha"]);
    acl.exec(&mut server.client()).unwrap();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy_as(rt, &server, "writer", "pass-of-writer").await;
        assert_eq!(under.put(vec![program("1"), program("2")]).await, Ok(Stored::default()));
        assert!(under.delete("1").await.unwrap().was_stored);
        assert_eq!(under.content("2").await, Some(program("2")));
    });
}

#[test]
fn a_user_who_may_not_see_deletions_sees_that_there_is_no_program() {
    let server = RedisServer::start();
    let mut acl = redis::cmd("ACL");
    acl.arg(&["SETUSER", "app", "on", ">pass-of-app", "resetkeys", "~[0-9]*", "resetchannels", "+hgetall", "+ping"]);
    acl.exec(&mut server.client()).unwrap();
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy_as(rt, &server, "app", "pass-of-app").await;
        assert_eq!(under.find("1").await, Ok(Found::Nothing));
    });
}

#[test]
fn a_wrong_password_is_told_in_the_health_without_showing_it() {
    let server = RedisServer::start_with(&["--requirepass", "pass-of-the-server"]);
    TestRuntime::on_loops(1, |rt| async move {
        let config = server.config_as("default", "pass-of-nobody");
        let metrics = Metrics::default();
        rt.deploy(Deploy::new(move || RedisStore::new(config.clone(), metrics.clone())).on_loop("io")).await.unwrap();
        let under = Under { rt, metrics: Metrics::default() };
        assert_eq!(code(under.lookup("1").await), UNAVAILABLE);
        let health = under.health().await;
        assert!(!health.up && !health.detail.contains("pass-of"), "{health:?}");
        assert!(health.detail.contains("WRONGPASS") || health.detail.contains("uthentication"), "{health:?}");
    });
}
