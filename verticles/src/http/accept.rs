//! Accepting connections, whatever goes wrong with one.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use vertebra::Clock;

use super::metrics::{Listening, Metrics};
use super::permit::{Permit, Permits};

/// How long to wait when the process or the kernel has no room for another connection.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts the connections of one listener, up to a bound.
#[derive(Debug)]
pub(super) struct Accept {
    pub(super) listener: TcpListener,
    pub(super) listening: Listening,
    pub(super) permits: Permits,
    pub(super) clock: Clock,
    pub(super) metrics: Metrics,
}

impl Accept {
    /// Accepts until it is dropped. A connection over the bound is accepted and closed at once, so that its client knows.
    pub(super) async fn run(&self, take: impl Fn(TcpStream, SocketAddr, Permit)) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => self.hand_over(stream, peer, &take),
                Err(error) => {
                    self.metrics.accept_failed(self.listening);
                    if !is_of_one_connection(&error) {
                        tracing::warn!(%error, "no connection can be accepted now");
                        self.clock.sleep(PAUSE).await;
                    }
                }
            }
        }
    }

    /// Accepts what the kernel has accepted already, and returns.
    pub(super) async fn rest(&self, take: impl Fn(TcpStream, SocketAddr, Permit)) {
        poll_fn(|cx| {
            while let Poll::Ready(Ok((stream, peer))) = self.listener.poll_accept(cx) {
                self.hand_over(stream, peer, &take);
            }
            Poll::Ready(())
        })
        .await;
    }

    fn hand_over(&self, stream: TcpStream, peer: SocketAddr, take: &impl Fn(TcpStream, SocketAddr, Permit)) {
        let Some(permit) = self.permits.take() else {
            self.metrics.connection_refused(self.listening);
            return;
        };
        // Answers are small and written whole: waiting for more to send with them only delays them.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection was gone before it was served");
            return;
        }
        take(stream, peer, permit);
    }
}

/// Whether only the connection that was to be accepted is lost; the next one may well be there.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
