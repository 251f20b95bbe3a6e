//! Keeping up with the shards of the stream.

use std::time::Duration;

use vertebra::Context;

use super::client::{PutError, StreamClient};
use super::shard_map::ShardMap;
use super::shipper::Shipper;

/// How often the service is asked, when nothing says that the shards have changed.
const REFRESH: Duration = Duration::from_secs(60);
/// How long to wait, whatever an answer says: the service allows few such calls.
const REFRESH_MIN: Duration = Duration::from_secs(1);
/// How long to wait when it could not be asked.
const AGAIN: Duration = Duration::from_secs(5);

/// Asks as long as the instance lives.
///
/// Not every role may ask. Without an answer nothing is paced, and everything works; a list that is known stays until there is a
/// newer one: what is wrong in it costs pace, and no event.
pub(super) async fn run<C: StreamClient>(ctx: Context<Shipper<C>>) {
    let shipper = ctx.verticle();
    let mut told = false;
    loop {
        let asked = ctx.clock().timeout(shipper.config().operation_timeout, shipper.client.shards()).await;
        match asked.unwrap_or(Err(PutError::TimedOut)) {
            Ok(shards) => {
                shipper.set_shards(ShardMap::new(shards));
                told = false;
                ctx.clock().sleep(REFRESH_MIN).await;
                // Whether it is time or an answer named another shard than was expected: both mean to ask again.
                let _either = ctx.clock().timeout(REFRESH - REFRESH_MIN, shipper.shards_differ.rung()).await;
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the shards of the stream cannot be listed: events are sent at no particular pace");
                }
                ctx.clock().sleep(if matches!(error, PutError::Denied(_)) { REFRESH } else { AGAIN }).await;
            }
        }
    }
}
