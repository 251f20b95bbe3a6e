//! Servers behind a channel, each request with a oneshot for its reply: what one writes without a bus.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use vertebra::BoxError;

use crate::body::Body;

/// Room in every bounded channel; the default of our mailboxes.
pub(super) const ROOM: usize = 1_024;

pub(super) type Asked = (Arc<Body>, oneshot::Sender<u64>);

/// Tokio's unbounded channel, the cheapest it has.
#[expect(clippy::disallowed_methods, reason = "the cheapest channel is the base that is hardest to reach")]
pub(super) fn mpsc() -> (mpsc::UnboundedSender<Asked>, mpsc::UnboundedReceiver<Asked>) {
    mpsc::unbounded_channel()
}

pub(super) async fn serve_mpsc(mut asked: mpsc::UnboundedReceiver<Asked>) {
    while let Some((body, reply)) = asked.recv().await {
        if reply.send(body.look()).is_err() {
            break;
        }
    }
}

pub(super) async fn ask_mpsc(server: &mpsc::UnboundedSender<Asked>, body: Arc<Body>) -> Result<u64, BoxError> {
    let (reply, outcome) = oneshot::channel();
    server.send((body, reply))?;
    Ok(outcome.await?)
}

pub(super) async fn serve_flume(asked: flume::Receiver<Asked>) {
    while let Ok((body, reply)) = asked.recv_async().await {
        if reply.send(body.look()).is_err() {
            break;
        }
    }
}

pub(super) async fn ask_flume(server: &flume::Sender<Asked>, body: Arc<Body>) -> Result<u64, BoxError> {
    let (reply, outcome) = oneshot::channel();
    server.send_async((body, reply)).await?;
    Ok(outcome.await?)
}
