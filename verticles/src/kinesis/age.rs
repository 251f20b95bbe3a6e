//! How long the oldest event waits that the stream does not have.

use std::time::Duration;

use vertebra::Context;

use super::client::StreamClient;
use super::shipper::Shipper;

const EACH: Duration = Duration::from_secs(1);

/// Tells it each second, as long as the instance lives.
///
/// An event is sent again for as long as it takes, however old it is: it holds a place in the log, and in memory no more than the
/// queue may. The age is for a person, who knows how old an event may get - and that a stream keeps it for a day.
pub(super) async fn run<C: StreamClient>(ctx: Context<Shipper<C>>) {
    let shipper = ctx.verticle();
    loop {
        let now_ms = u64::try_from(ctx.clock().unix_ms()).unwrap_or(0);
        let since_ms = shipper.state.borrow().tracker.oldest().map_or(now_ms, |segment| segment.created_ms);
        let age_s = now_ms.saturating_sub(since_ms) / 1_000;
        shipper.log.metrics().oldest_seconds.set(i64::try_from(age_s).unwrap_or(i64::MAX));
        ctx.clock().sleep(EACH).await;
    }
}
