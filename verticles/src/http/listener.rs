//! A listening socket, bound before anything is deployed so that its address is known.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use socket2::{Domain, Protocol, Socket, Type};

use super::permit::Permits;

/// Connections the kernel keeps until they are accepted; a burst beyond it waits for a second try. The kernel takes less
/// if its own bound (`net.core.somaxconn`) is lower.
const BACKLOG: i32 = 4_096;

/// An address that is listened on. Clones share the socket; it is closed when the verticle that serves it has stopped.
#[derive(Debug, Clone)]
pub struct Listener {
    socket: Arc<Mutex<Option<TcpListener>>>,
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// Why.
    pub source: io::Error,
}

impl Listener {
    /// Listens on an address; port 0 takes any free one. A port that another process listens on is refused.
    ///
    /// # Errors
    /// [`BindError`] when the kernel refuses: the port is taken, or not allowed.
    pub fn bind(address: SocketAddr) -> Result<Self, BindError> {
        let bound = listen(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
        match bound {
            Ok((local, socket)) => {
                Ok(Self { socket: Arc::new(Mutex::new(Some(socket))), address: local, connections: Arc::default() })
            }
            Err(source) => Err(BindError { address, source }),
        }
    }

    /// The address listened on, with the port that was taken.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The bound on its connections. The count is the listener's: an acceptor that is rebuilt goes on with it.
    pub(super) fn permits(&self, max: usize) -> Permits {
        Permits::new(Arc::clone(&self.connections), max)
    }

    /// The socket for an event loop.
    ///
    /// # Errors
    /// When it is closed already, or the process has no file descriptor left.
    pub(super) fn on_loop(&self) -> io::Result<tokio::net::TcpListener> {
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let socket =
            socket.as_ref().ok_or_else(|| io::Error::new(io::ErrorKind::NotConnected, "the listener is closed"))?;
        tokio::net::TcpListener::from_std(socket.try_clone()?)
    }

    /// Closes the socket, but for what [`Listener::on_loop`] gave out.
    pub(super) fn close(&self) {
        drop(self.socket.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart may take over the port while old connections linger; a port that is listened on stays refused.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_port_that_is_listened_on_is_refused_and_free_again_when_closed() {
        let first = Listener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let refused = Listener::bind(first.address()).unwrap_err();
        assert_eq!(refused.to_string(), format!("cannot listen on {}", first.address()));
        assert_eq!(refused.source.kind(), io::ErrorKind::AddrInUse);
        first.close();
        Listener::bind(first.address()).unwrap();
    }
}
