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
        let (now, trouble) = (ctx.clock().now(), asked.unwrap_or(Err(PutError::TimedOut)).err());
        let mut state = shipper.state.borrow_mut();
        if trouble.is_none() && state.flow.is_failing() {
            // That the stream is there says nothing against what was heard when it was to take something: that it takes nothing,
            // because a right is missing, say. It is tried again and again, and the next answer is the next word.
            state.last_call = Some(now);
            continue;
        }
        drop(state);
        shipper.note_call(now, trouble);
    }
}
