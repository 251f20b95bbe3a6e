//! Publishing, paced: the publisher makes some deliveries and waits until they are handled.

use std::sync::Arc;

use adtrack_benches::{Body, Measured, Stopwatch, yield_once};
use vertebra::BoxError;

use crate::ticks::ticks;
use crate::work::{CONSUMERS, DELIVERIES_PER_TURN};

/// Publishes until there were so many deliveries, on the loop of the consumers.
pub(crate) async fn publish_all(
    deliveries: u64,
    mut publish: impl FnMut(&Arc<Body>) -> Result<(), BoxError>,
) -> Result<Measured, BoxError> {
    let body = Body::new();
    let publications = deliveries.div_ceil(CONSUMERS);
    let before = ticks();
    let stopwatch = Stopwatch::start();
    for published in 1..=publications {
        publish(&body)?;
        let all = published == publications;
        while (all || published % (DELIVERIES_PER_TURN / CONSUMERS) == 0) && ticks() - before < published * CONSUMERS {
            yield_once().await;
        }
    }
    Ok(stopwatch.stop())
}
