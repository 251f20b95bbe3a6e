//! A Redis that is not there, goes away, or stands still.
//!
//! These tests take no turn: they wait most of their time, and ask little.

use std::time::{Duration, Instant};

use adtrack_tests::adtrack::{Adtrack, Builder};
use adtrack_tests::client::Client;
use adtrack_tests::services::RedisServer;
use http::StatusCode;
use tokio::task::JoinSet;

use crate::support::{
    ANSWER, DEADLINE, KNOWN, RECOVERY, assert_unavailable, dependency, event, hset, metric, name_in, program,
    timed_event, until, with_redis,
};

const OUTAGE: Duration = Duration::from_secs(30);
/// Between two looks during an outage.
const PROBE: Duration = Duration::from_millis(100);
/// Different programs nobody knows, asked for at once.
const BURST: usize = 300;
/// So short that everything known is past its time during an outage.
const TTL_MS: &str = "2000";

fn short_lived(redis: &RedisServer) -> Builder {
    let service = with_redis(Adtrack::builder(), redis);
    service.env("ADTRACK_CACHE_TTL_MS", TTL_MS).env("ADTRACK_CACHE_ABSENT_TTL_MS", "100")
}

/// Asks for a known and an unknown program again and again; both answers come in time, whatever Redis does. Gives how many
/// were asked for, and the slowest answer.
async fn known_and_unknown_during(service: &Adtrack, outage: Duration) -> (u32, Duration) {
    let begun = Instant::now();
    let (mut asked, mut slowest) = (0, Duration::ZERO);
    while begun.elapsed() < outage {
        let (known, known_took) = timed_event(service, KNOWN).await;
        assert_eq!(known.status, StatusCode::OK, "known, after {:?}: {}", begun.elapsed(), known.text());
        let (unknown, unknown_took) = timed_event(service, &format!("unknown-{asked}")).await;
        assert_unavailable(&unknown);
        slowest = slowest.max(known_took).max(unknown_took);
        assert!(slowest < ANSWER, "after {:?}: {known_took:?} and {unknown_took:?}", begun.elapsed());
        asked += 1;
        tokio::time::sleep(PROBE).await;
    }
    (asked, slowest)
}

/// Asks for many unknown programs at once; gives the slowest answer.
async fn burst_of_unknown(service: &Adtrack) -> Duration {
    let mut asking = JoinSet::new();
    for number in 0..BURST {
        let mut client = Client::connect(service.public()).await.unwrap();
        asking.spawn(async move {
            let begun = Instant::now();
            let answer = client.get(&format!("/event/burst-{number}")).await.unwrap();
            assert_unavailable(&answer);
            begun.elapsed()
        });
    }
    asking.join_all().await.into_iter().max().unwrap_or_default()
}

async fn until_known(service: &Adtrack, id: &str) -> Duration {
    let begun = Instant::now();
    until(&format!("{id} to be known"), DEADLINE, async || {
        (event(service, id).await.status == StatusCode::OK).then_some(())
    })
    .await;
    begun.elapsed()
}

async fn store_is_up(service: &Adtrack) -> bool {
    dependency(service, 0).await["up"] == true
}

#[tokio::test]
async fn a_redis_that_is_down_at_the_start_is_used_within_5_s_of_its_return() {
    let mut redis = RedisServer::start().unwrap();
    redis.kill();
    let service = with_redis(Adtrack::builder(), &redis).start().unwrap();
    let (answer, took) = timed_event(&service, KNOWN).await;
    assert_unavailable(&answer);
    assert!(took < ANSWER, "{took:?}");
    assert!(!store_is_up(&service).await);
    assert_eq!(service.get("/health/check").await.unwrap().status, StatusCode::OK, "a dead Redis takes no node out");
    redis.restart().unwrap();
    redis.cli(&hset(KNOWN, "program2")).unwrap();
    let took = until_known(&service, KNOWN).await;
    println!("Redis down at start: programs known {took:.1?} after its return");
    assert!(took < RECOVERY, "{took:?}");
    until("/health/deps to say so", RECOVERY, async || store_is_up(&service).await.then_some(())).await;
    let took = until_pushed(&redis, &service).await;
    println!("Redis down at start: changes flow {took:.1?} later");
    assert!(took < RECOVERY, "{took:?}");
}

/// Publishes until a change is seen; the ones before the subscription are lost, as pub/sub has it.
async fn until_pushed(redis: &RedisServer, service: &Adtrack) -> Duration {
    let begun = Instant::now();
    until("a published change", DEADLINE, async || {
        redis.cli(&["PUBLISH", "channel1", &program(KNOWN, "pushed")]).unwrap();
        (name_in(&event(service, KNOWN).await) == "pushed").then_some(())
    })
    .await;
    begun.elapsed()
}

#[tokio::test]
async fn a_redis_that_is_gone_for_30_s_takes_no_known_program_away_and_changes_flow_again_by_themselves() {
    let mut redis = RedisServer::start().unwrap();
    redis.cli(&hset(KNOWN, "program2")).unwrap();
    redis.cli(&hset("not asked for", "x")).unwrap();
    // A dump is what the restarted server begins with.
    redis.cli(&["SAVE"]).unwrap();
    let service = short_lived(&redis).start().unwrap();
    assert_eq!(name_in(&event(&service, KNOWN).await), "program2");
    assert_eq!(event(&service, "unknown").await.status, StatusCode::NOT_FOUND);
    redis.kill();
    until("the end to be noticed", DEADLINE, async || (!store_is_up(&service).await).then_some(())).await;
    let (asked, slowest) = known_and_unknown_during(&service, OUTAGE).await;
    assert!(metric(&service, "adtrack_cache_stale_served_total").await > 0.0, "past its time, and still answered");
    redis.restart().unwrap();
    let back = Instant::now();
    until("an unknown program to be 404 again", DEADLINE, async || {
        (event(&service, "unknown").await.status == StatusCode::NOT_FOUND).then_some(())
    })
    .await;
    let asked_again = back.elapsed();
    let pushed = until_pushed(&redis, &service).await;
    println!(
        "Redis gone for {OUTAGE:?}: {asked} known and {asked} unknown asked, slowest answer {slowest:.1?}; back: asked again \
         after {asked_again:.1?}, changes {pushed:.1?} later"
    );
    assert!(back.elapsed() < RECOVERY, "{:?}", back.elapsed());
}

#[tokio::test]
async fn a_change_made_while_redis_was_gone_is_seen_after_its_return() {
    let mut redis = RedisServer::start().unwrap();
    redis.cli(&hset(KNOWN, "program2")).unwrap();
    let service = with_redis(Adtrack::builder(), &redis).start().unwrap();
    assert_eq!(name_in(&event(&service, KNOWN).await), "program2");
    until("the subscription", DEADLINE, async || {
        (metric(&service, "adtrack_redis_subscribed").await == 1.0).then_some(())
    })
    .await;
    redis.kill();
    until("the end to be noticed", DEADLINE, async || (!store_is_up(&service).await).then_some(())).await;
    redis.restart().unwrap();
    let back = Instant::now();
    // Nobody publishes this one.
    redis.cli(&hset(KNOWN, "changed meanwhile")).unwrap();
    until("the change", DEADLINE, async || {
        // Before Redis is asked again the old one is known still; it was never unknown.
        let answer = event(&service, KNOWN).await;
        (name_in(&answer) == "changed meanwhile").then_some(())
    })
    .await;
    println!("changed while Redis was gone: seen {:.1?} after its return, not after 10 minutes", back.elapsed());
    assert!(back.elapsed() < RECOVERY, "{:?}", back.elapsed());
}

#[tokio::test]
async fn a_redis_that_stands_still_keeps_nobody_waiting_for_more_than_a_second() {
    let mut redis = RedisServer::start().unwrap();
    redis.cli(&hset(KNOWN, "program2")).unwrap();
    let service = short_lived(&redis).start().unwrap();
    assert_eq!(name_in(&event(&service, KNOWN).await), "program2");
    redis.pause().unwrap();
    // Before anybody has noticed.
    let burst = burst_of_unknown(&service).await;
    println!("Redis stopped: {BURST} unknown at once, slowest answer {burst:.1?}");
    assert!(burst < ANSWER, "{burst:?}");
    let (asked, slowest) = known_and_unknown_during(&service, Duration::from_secs(8)).await;
    println!("Redis stopped: {asked} known and {asked} unknown asked, slowest answer {slowest:.1?}");
    assert!(!store_is_up(&service).await);
    redis.resume().unwrap();
    redis.cli(&hset("new", "x")).unwrap();
    let took = until_known(&service, "new").await;
    println!("Redis resumed: asked again after {took:.1?}");
    assert!(took < RECOVERY, "{took:?}");
    let took = until_pushed(&redis, &service).await;
    assert!(took < RECOVERY, "{took:?}");
}
