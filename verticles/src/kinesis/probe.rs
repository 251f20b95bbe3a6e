//! Finding out how the stream is while there is nothing to ship.

use std::time::Duration;

use vertebra::Context;

use super::client::{PutError, StreamClient};
use super::shipper::Shipper;

/// How long nothing must have been sent before the stream is asked: while it is known to work, and while it is not.
const QUIET_UP: Duration = Duration::from_secs(30);
const QUIET_DOWN: Duration = Duration::from_secs(5);

/// Asks as long as the instance lives.
pub(super) async fn run<C: StreamClient>(ctx: Context<Shipper<C>>) {
    let shipper = ctx.verticle();
    loop {
        let now = ctx.clock().now();
        let quiet = if shipper.log.is_stream_up() { QUIET_UP } else { QUIET_DOWN };
        let due = shipper.state.borrow().last_call.map_or(now, |last| last + quiet);
        if now < due {
            ctx.clock().sleep((due - now).min(QUIET_DOWN)).await;
            continue;
        }
        let asked = ctx.clock().timeout(shipper.config().operation_timeout, shipper.client.probe()).await;
        shipper.note_call(ctx.clock().now(), asked.unwrap_or(Err(PutError::TimedOut)).err());
    }
}
