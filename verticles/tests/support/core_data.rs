//! Core data as the service has it, against a real server.

use std::time::Duration;

use adtrack::{cache, redis as service};
use adtrack_config::{Config, Overrides};
use vertebra::Deploy;
use vertebra::testing::TestRuntime;

use super::redis_server::RedisServer;

/// Deploys cache, store and listener as the service does, over two loops, and waits until they are connected.
pub async fn deploy(rt: &TestRuntime, server: &RedisServer) -> (cache::Metrics, service::Metrics) {
    let (config, redis, counted) = (server.config(), service::Metrics::default(), cache::Metrics::default());
    let (store, metrics) = (config.clone(), redis.clone());
    rt.deploy(Deploy::new(move || service::RedisStore::new(store.clone(), metrics.clone())).on_loop("io"))
        .await
        .unwrap();
    let settings = Config::load(&Overrides::default(), &[("ADTRACK_CACHE_ABSENT_TTL_MS", "0")]).unwrap().cache;
    let (shared, metrics) = (cache::SharedPrograms::new(&settings), counted.clone());
    let cache = Deploy::new(move || cache::Cache::new(shared.clone(), Duration::from_millis(600), metrics.clone()));
    rt.deploy(cache.instances(2)).await.unwrap();
    let metrics = redis.clone();
    rt.deploy(Deploy::new(move || service::Updates::new(config.clone(), metrics.clone())).on_loop("io")).await.unwrap();
    super::eventually("connected", async || redis.subscribed.get() == 1 && redis.connected.get() == 1).await;
    (counted, redis)
}
