//! Keeping up with the shards of the stream.

use std::time::Duration;

use vertebra::Context;

use super::client::{PutError, StreamClient};
use super::shard_map::ShardMap;
use super::shipper::Shipper;

/// How often the service is asked, when nothing says that the shards have changed.
const REFRESH: Duration = Duration::from_secs(60);
/// How long to wait at least, whatever an answer says: the service allows few such calls. Twice as long each time that a list was
/// asked for because of an answer and is still the same, up to [`REFRESH`].
const REFRESH_MIN: Duration = Duration::from_secs(1);
/// How long to wait when it could not be asked; twice as long each time, up to [`REFRESH`].
const AGAIN_MIN: Duration = Duration::from_secs(5);

/// Asks as long as the instance lives.
///
/// Not every role may ask. Without an answer nothing is paced, and everything works; a list that is known stays until there is a
/// newer one: what is wrong in it costs pace, and no event.
pub(super) async fn run<C: StreamClient>(ctx: Context<Shipper<C>>) {
    let shipper = ctx.verticle();
    let mut told = false;
    let mut known = None;
    let (mut quiet, mut again) = (REFRESH_MIN, AGAIN_MIN);
    let mut has_reason = false;
    loop {
        let asked = ctx.clock().timeout(shipper.config().operation_timeout, shipper.client.shards()).await;
        match asked.unwrap_or(Err(PutError::TimedOut)) {
            Ok(shards) => {
                let map = ShardMap::new(shards);
                // An answer that names a shard that is in no list would have it asked for again and again.
                quiet = if has_reason && map == known { (quiet * 2).min(REFRESH) } else { REFRESH_MIN };
                known.clone_from(&map);
                shipper.set_shards(map);
                (told, again) = (false, AGAIN_MIN);
                ctx.clock().sleep(quiet).await;
                // Whether it is time or an answer named another shard than was expected: both mean to ask again.
                has_reason = ctx.clock().timeout(REFRESH - quiet, shipper.shards_differ.rung()).await.is_ok();
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the shards of the stream cannot be listed: events are sent at no particular pace");
                }
                let denied = matches!(error, PutError::Denied(_));
                ctx.clock().sleep(if denied { REFRESH } else { again }).await;
                again = (again * 2).min(REFRESH);
            }
        }
    }
}
