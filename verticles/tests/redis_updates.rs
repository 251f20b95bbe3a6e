//! The core-data listener against a real server.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test fails by panicking, and waits in real time")]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use adtrack::redis::{Metrics, Updates};
use adtrack_config::RedisConfig;
use adtrack_proto::ProgramId;
use adtrack_proto::bus::{CACHE_REVALIDATE, CHANGED, Change};
use adtrack_proto::program::Deletion;
use support::eventually;
use support::redis_server::RedisServer;
use vertebra::Deploy;
use vertebra::testing::TestRuntime;

struct Under {
    server: RedisServer,
    metrics: Metrics,
    changes: Arc<Mutex<Vec<Change>>>,
    revalidations: Arc<AtomicUsize>,
}

impl Under {
    async fn deploy(rt: &TestRuntime, server: RedisServer) -> Self {
        let config = server.config();
        Self::deploy_with(rt, server, config).await
    }

    async fn deploy_with(rt: &TestRuntime, server: RedisServer, config: RedisConfig) -> Self {
        let metrics = Metrics::default();
        let (changes, revalidations) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicUsize::new(0)));
        let (seen, counted) = (Arc::clone(&changes), Arc::clone(&revalidations));
        rt.stub(CHANGED, move |change| {
            seen.lock().unwrap().push(change);
            async { Ok(()) }
        })
        .await
        .unwrap();
        rt.stub(CACHE_REVALIDATE, move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            async { Ok(()) }
        })
        .await
        .unwrap();
        let counted = metrics.clone();
        rt.deploy(Deploy::new(move || Updates::new(config.clone(), counted.clone())).on_loop("io")).await.unwrap();
        Self { server, metrics, changes, revalidations }
    }

    async fn subscribed(&self) {
        eventually("subscribed", async || self.metrics.subscribed.get() == 1).await;
    }

    /// How many received it.
    fn publish(&self, payload: impl redis::ToRedisArgs) -> usize {
        redis::cmd("PUBLISH").arg("channel1").arg(payload).query(&mut self.server.client()).unwrap()
    }

    fn pushed(&self) -> Vec<i32> {
        let changes = self.changes.lock().unwrap();
        let version = |change: &Change| match change {
            Change::Put(program) => program.customer_id,
            Change::Deleted(deletion) => panic!("{deletion:?}"),
        };
        changes.iter().map(version).collect()
    }

    fn revalidations(&self) -> usize {
        self.revalidations.load(Ordering::SeqCst)
    }

    /// Keeps changes in the stream and publishes them, as a writer does.
    fn add(&self, changes: impl IntoIterator<Item = String>) {
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for change in changes {
            pipeline.cmd("XADD").arg(&["adtrack:changes", "*", "change", &change]).ignore();
            pipeline.cmd("PUBLISH").arg(&["channel1", &change]).ignore();
        }
        pipeline.exec(&mut self.server.client()).unwrap();
    }

    /// Until it is known that everything in the stream has come.
    async fn seen_all(&self) {
        let newest: Vec<(String, HashMap<String, String>)> = redis::cmd("XREVRANGE")
            .arg(&["adtrack:changes", "+", "-", "COUNT", "1"])
            .query(&mut self.server.client())
            .unwrap();
        let (milliseconds, _) = newest[0].0.split_once('-').unwrap();
        let seconds = milliseconds.parse::<i64>().unwrap() / 1_000;
        eventually("a mark", async || self.metrics.last_change_seconds.get() >= seconds).await;
        // The second of the mark may have begun before the last change: two more questions make it sure.
        for _ in 0..2 {
            let heard = self.metrics.heard_at_seconds.get();
            eventually("a ping", async || self.metrics.heard_at_seconds.get() > heard).await;
        }
    }

    /// Cuts the connection and changes programs in one step, so that none of it can be pushed.
    fn cut_and_add(&self, changes: impl IntoIterator<Item = String>) {
        self.cut_and(changes, |_| ());
    }

    fn cut_and(&self, changes: impl IntoIterator<Item = String>, more: impl FnOnce(&mut redis::Pipeline)) {
        let mut pipeline = redis::pipe();
        pipeline.atomic().cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).ignore();
        for change in changes {
            pipeline.cmd("XADD").arg(&["adtrack:changes", "*", "change", &change]).ignore();
            pipeline.cmd("PUBLISH").arg(&["channel1", &change]).ignore();
        }
        more(&mut pipeline);
        pipeline.exec(&mut self.server.client()).unwrap();
    }

    fn cut(&self) {
        let kill = redis::cmd("CLIENT").arg(&["KILL", "TYPE", "pubsub"]).exec(&mut self.server.client());
        kill.unwrap();
    }
}

/// A program; the customer id serves as a version.
fn json(version: i32) -> String {
    format!(
        r#"{{"userAgent":"","programId":"1","programName":"p","checksum":"c","customerId":{version},"customerName":"n","messageId":"","valid":true}}"#
    )
}

fn on_loops<F: Future<Output = ()>>(test: impl FnOnce(Under) -> F) {
    TestRuntime::on_loops(1, |rt| async move {
        let under = Under::deploy(&rt, RedisServer::start()).await;
        under.subscribed().await;
        test(under).await;
    });
}

#[test]
fn what_is_published_becomes_a_change_in_order() {
    on_loops(|under| async move {
        for version in 0..1_000 {
            assert_eq!(under.publish(json(version)), 1);
        }
        eventually("all pushed", async || under.pushed().len() == 1_000).await;
        assert!(under.pushed().is_sorted());
        assert_eq!(under.metrics.pushes.get(), 1_000);
        assert_eq!(under.revalidations(), 1, "the subscription's own");
    });
}

#[test]
fn a_deletion_that_is_published_becomes_a_change() {
    on_loops(|under| async move {
        under.publish(r#"{"programId":"1","deleted":true,"version":7}"#);
        under.publish(r#"{"programId":"2","deleted":true}"#);
        eventually("both", async || under.changes.lock().unwrap().len() == 2).await;
        let deleted = |id, version| Change::Deleted(Deletion { program_id: ProgramId::new(id).unwrap(), version });
        assert_eq!(*under.changes.lock().unwrap(), [deleted("1", Some(7)), deleted("2", None)]);
    });
}

#[test]
fn a_burst_is_pushed_whole_or_has_the_caches_revalidate() {
    on_loops(|under| async move {
        let mut pipeline = redis::pipe();
        for version in 0..20_000 {
            pipeline.cmd("PUBLISH").arg("channel1").arg(json(version)).ignore();
        }
        pipeline.exec(&mut under.server.client()).unwrap();
        under.publish(json(1_000_000));
        let all = async || under.pushed().len() > 20_000 || under.revalidations() > 1;
        eventually("pushed or revalidated", all).await;
        assert!(under.pushed().is_sorted());
    });
}

#[test]
fn garbage_is_counted_by_reason_and_changes_nothing() {
    on_loops(|under| async move {
        let valid = json(1);
        let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
        let huge = format!("{{\"programId\":\"{}\"}}", "x".repeat(66_000));
        let payloads: Vec<(&str, Vec<u8>)> = vec![
            ("json", b"".to_vec()),
            ("json", b"hello".to_vec()),
            ("json", vec![0xff, 0x00, 0xfe]),
            ("json", deep.into_bytes()),
            ("json", [b"\xef\xbb\xbf", valid.as_bytes()].concat()),
            ("json", valid.replace("\"p\"", "\"\\ud800\"").into_bytes()),
            ("json", valid.replace(":1,", ":1e999,").into_bytes()),
            ("missing", b"{}".to_vec()),
            ("duplicate", valid.replacen('{', "{\"programId\":\"1\",", 1).into_bytes()),
            ("value", valid.replace(":1,", ":\"x\",").into_bytes()),
            ("value", valid.replace(":1,", ":2147483648,").into_bytes()),
            ("value", valid.replace("true}", "true,\"version\":-1}").into_bytes()),
            ("value", br#"{"programId":"1","deleted":true,"version":1.5}"#.to_vec()),
            ("missing", br#"{"deleted":true}"#.to_vec()),
            ("id", valid.replace("\"programId\":\"1\"", "\"programId\":\"a b\"").into_bytes()),
            ("oversized", huge.into_bytes()),
            ("oversized", vec![b'['; 20 << 20]),
        ];
        for (_, payload) in &payloads {
            assert_eq!(under.publish(&payload[..]), 1);
        }
        under.publish(json(7));
        eventually("the valid one", async || under.pushed() == [7]).await;
        for reason in ["json", "missing", "duplicate", "value", "id", "oversized"] {
            let expected = payloads.iter().filter(|(kind, _)| *kind == reason).count() as u64;
            assert_eq!(under.metrics.rejected_for(reason), expected, "{reason}");
        }
        assert_eq!(under.metrics.subscriptions.get(), 1, "the connection was kept");
        assert_eq!(under.revalidations(), 1);
    });
}

#[test]
fn a_cut_connection_is_subscribed_again_and_the_caches_revalidate() {
    on_loops(|under| async move {
        for round in 2..5 {
            under.cut();
            eventually("subscribed again", async || under.metrics.subscriptions.get() == round).await;
            let revalidated = async || under.revalidations() as u64 == round;
            eventually("revalidated", revalidated).await;
            eventually("received", async || under.publish(json(1)) == 1).await;
        }
    });
}

#[test]
fn what_was_changed_during_a_cut_is_replayed_in_order() {
    on_loops(|under| async move {
        under.add([json(1)]);
        under.seen_all().await;
        for round in 0..3 {
            under.changes.lock().unwrap().clear();
            let missed = (0..2_500).map(|n| json(round * 10_000 + n));
            under.cut_and_add(
                missed.chain([r#"{"programId":"1","deleted":true,"version":7}"#.to_owned(), "x".to_owned()]),
            );
            eventually("all are there", async || under.changes.lock().unwrap().len() == 2_501).await;
            let deleted = under.changes.lock().unwrap().pop();
            assert!(matches!(deleted, Some(Change::Deleted(Deletion { version: Some(7), .. }))), "{deleted:?}");
            assert!(under.pushed().is_sorted_by(|one, next| next - one == 1));
        }
        assert_eq!((under.metrics.changes_replayed.get(), under.metrics.replays_broken.get()), (3 * 2_502, 0));
        assert_eq!(under.metrics.rejected_for("json"), 3, "what is no change is counted");
        eventually("revalidated", async || under.revalidations() == 4).await;
    });
}

#[test]
fn what_came_by_the_channel_is_not_replayed() {
    on_loops(|under| async move {
        for n in 0..100 {
            under.add([json(n)]);
        }
        eventually("all pushed", async || under.pushed().len() == 100).await;
        under.seen_all().await;
        under.cut_and_add([json(1_000)]);
        eventually("the missed one", async || under.pushed().last() == Some(&1_000)).await;
        assert_eq!((under.pushed().len(), under.metrics.changes_replayed.get()), (101, 1));
    });
}

#[test]
fn when_the_stream_does_not_reach_back_nothing_is_replayed_and_the_caches_revalidate() {
    on_loops(|under| async move {
        under.add([json(1)]);
        under.seen_all().await;
        under.changes.lock().unwrap().clear();
        let trim = |pipeline: &mut redis::Pipeline| {
            pipeline.cmd("XTRIM").arg(&["adtrack:changes", "MAXLEN", "1"]).ignore();
        };
        under.cut_and((0..10).map(json), trim);
        eventually("revalidated", async || under.revalidations() == 2).await;
        assert_eq!((under.metrics.replays_broken.get(), under.metrics.changes_replayed.get()), (1, 0));
        assert!(under.pushed().is_empty());
        under.cut_and_add([json(20)]);
        eventually("it goes on from there", async || under.pushed() == [20]).await;
        under.cut_and([], |pipeline| {
            pipeline.cmd("DEL").arg("adtrack:changes").ignore();
        });
        eventually("revalidated again", async || under.revalidations() == 4).await;
        assert_eq!(under.metrics.replays_broken.get(), 2);
    });
}

#[test]
fn a_key_in_the_place_of_the_stream_or_a_missing_right_stops_no_push() {
    on_loops(|under| async move {
        under.cut_and([], |pipeline| {
            pipeline.cmd("SET").arg("adtrack:changes").arg("x").ignore();
        });
        for version in 0..3 {
            eventually("received", async || under.publish(json(version)) == 1).await;
            eventually("pushed", async || under.pushed().last() == Some(&version)).await;
        }
        assert_eq!(under.metrics.replays_broken.get(), 0);
        eventually("revalidated", async || under.revalidations() == 2).await;
    });
}

#[test]
fn without_redis_it_starts_and_subscribes_when_redis_comes() {
    TestRuntime::on_loops(1, |rt| async move {
        let mut under = Under::deploy(&rt, RedisServer::stopped()).await;
        assert_eq!(under.metrics.subscribed.get(), 0);
        under.server.restart();
        let began = Instant::now();
        under.subscribed().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        under.publish(json(3));
        eventually("pushed", async || under.pushed() == [3]).await;
    });
}

#[test]
fn a_user_who_may_only_subscribe_to_the_channel_is_enough() {
    TestRuntime::on_loops(1, |rt| async move {
        let server = RedisServer::start();
        let mut acl = redis::cmd("ACL");
        acl.arg(&["SETUSER", "app", "on", ">pass-of-app", "resetchannels", "&channel1", "+subscribe", "+ping"]);
        acl.exec(&mut server.client()).unwrap();
        let config = server.config_as("app", "pass-of-app");
        let under = Under::deploy_with(&rt, server, config).await;
        under.subscribed().await;
        under.publish(json(3));
        eventually("pushed", async || under.pushed() == [3]).await;
    });
}

/// The driver's own resubscription was measured not to come back from this.
#[test]
fn after_an_outage_of_many_attempts_it_is_subscribed_again_within_5_s() {
    on_loops(|mut under| async move {
        under.server.kill();
        let outage = under.server.outage(1);
        eventually("many attempts", async || outage.is_finished()).await;
        assert_eq!(under.metrics.subscribed.get(), 0);
        under.server.restart();
        let began = Instant::now();
        under.subscribed().await;
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        eventually("revalidated", async || under.revalidations() == 2).await;
        under.publish(json(9));
        eventually("pushed", async || under.pushed() == [9]).await;
    });
}

#[test]
fn a_connection_that_is_silently_dead_is_noticed_within_10_s_and_replaced() {
    on_loops(|under| async move {
        under.server.freeze(true);
        let began = Instant::now();
        eventually("noticed", async || under.metrics.subscribed.get() == 0).await;
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
        under.server.freeze(false);
        under.subscribed().await;
        eventually("revalidated", async || under.revalidations() == 2).await;
        eventually("received", async || under.publish(json(1)) == 1).await;
    });
}
