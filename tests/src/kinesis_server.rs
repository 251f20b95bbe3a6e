//! Our own server of the Kinesis protocol, for tests: everything in memory, as fast as a producer, and able to fail on demand.
//!
//! It speaks awsJson1.1 over plain HTTP/1.1, knows the thirteen operations of [`Operation`] and checks the limits of the service
//! (500 records and 5 MiB a call, 1 MiB a record). Signatures are not checked. Streams are active, and reshards done, at once; the
//! limits per second of a shard are enforced when they are asked for; nothing is ever trimmed, so what it stores is bounded by 2 GiB
//! instead, or records are counted and not kept at all. It has a thread and an event loop of its own, so that it serves synchronous
//! tests too and cannot slow down the loop of the program under test.

mod account;
mod answer_body;
mod call_fault;
mod caller;
mod date;
mod error;
mod faults;
mod hash_key;
mod iterator;
mod key_counts;
mod limits;
mod operation;
mod operations;
mod record_fault;
mod sequence_number;
mod server;
mod shard;
mod state;
mod stream;
mod totals;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::oneshot;

use self::account::StreamRef;
pub use self::call_fault::CallFault;
pub use self::error::ErrorType;
pub use self::faults::Faults;
use self::key_counts::KeyCounts;
pub use self::limits::ShardLimits;
pub use self::operation::Operation;
pub use self::record_fault::RecordFault;
use self::state::Shared;
pub use self::state::StoredRecord;
pub use self::totals::{ShardTotals, Totals};

/// Why the server did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The port is taken, or may not be bound.
    #[error("cannot listen on 127.0.0.1:{port}")]
    Bind {
        /// The port that was asked for; 0 asked for any.
        port: u16,
        /// What the system said.
        source: io::Error,
    },
    /// No thread could be started for it.
    #[error("cannot start the server's thread")]
    Thread(#[source] io::Error),
}

/// A Kinesis server on 127.0.0.1, stopped when dropped.
#[derive(Debug)]
pub struct KinesisServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    serving: Option<Serving>,
}

#[derive(Debug)]
struct Serving {
    /// Dropped to stop the thread.
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl KinesisServer {
    /// Starts on a free port. Connections are accepted when this returns.
    ///
    /// # Errors
    /// [`StartError`], when the system gives no port or no thread.
    pub fn start() -> Result<Self, StartError> {
        Self::start_on(0)
    }

    /// Starts on this port; 0 is any free one.
    ///
    /// # Errors
    /// [`StartError::Bind`] when the port is taken.
    pub fn start_on(port: u16) -> Result<Self, StartError> {
        let shared = Arc::new(Shared::default());
        let (address, serving) = serve(port, Arc::clone(&shared))?;
        Ok(Self { address, shared, serving: Some(serving) })
    }

    /// Stops as a crash would: the port and every connection are closed, unanswered calls stay unanswered. The data stays for
    /// [`restart`](Self::restart). Waits for the thread; stopping a stopped server does nothing.
    pub fn stop(&mut self) {
        if let Some(serving) = self.serving.take() {
            drop(serving.stop);
            // The thread's own failure shows as calls that fail; a test that cares has seen it by now.
            let _ended = serving.thread.join();
        }
    }

    /// Serves again on the same port, with the streams, records, faults and counts it had.
    ///
    /// # Errors
    /// [`StartError::Bind`] when somebody else has taken the port meanwhile.
    pub fn restart(&mut self) -> Result<(), StartError> {
        self.stop();
        let (_same, serving) = serve(self.address.port(), Arc::clone(&self.shared))?;
        self.serving = Some(serving);
        Ok(())
    }

    /// What a client is given as the endpoint: `http://127.0.0.1:PORT`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The port, the same after every restart.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Makes a stream without a client.
    ///
    /// # Errors
    /// What `CreateStream` would answer: the name is taken or malformed, or there are too many shards.
    pub fn create_stream(&self, name: &str, shards: u32) -> Result<(), ErrorType> {
        let now_ms = server::now_ms();
        self.shared.lock().account.create(name, shards, now_ms).map_err(|error| error.kind)
    }

    /// Everything the stream holds, shard after shard, in the order it was stored there; works on a stopped server too.
    ///
    /// # Errors
    /// [`ErrorType::ResourceNotFound`] when there is no such stream.
    pub fn records(&self, stream: &str) -> Result<Vec<StoredRecord>, ErrorType> {
        self.shared.records(stream)
    }

    /// What has come since the last time, at most ten thousand records of each shard; `positions` remembers how far each was read and is
    /// empty at first.
    ///
    /// # Errors
    /// [`ErrorType::ResourceNotFound`] when there is no such stream.
    pub fn records_after(&self, stream: &str, positions: &mut Vec<usize>) -> Result<Vec<StoredRecord>, ErrorType> {
        self.shared.records_after(stream, positions)
    }

    /// Replaces all faults; [`Faults::default`] ends them.
    pub fn set_faults(&self, faults: Faults) {
        self.shared.lock().faults = faults;
    }

    /// Counts records from now on, by their partition keys, instead of keeping them: for loads of minutes. What is kept already stays;
    /// nothing more can be read.
    pub fn count_records(&self) {
        self.shared.lock().account.keys.get_or_insert_with(KeyCounts::default);
    }

    /// Enforces these limits on every shard, or none.
    pub fn set_limits(&self, limits: Option<ShardLimits>) {
        self.shared.lock().account.limits = limits;
    }

    /// Brings the stream to so many shards of equal width.
    ///
    /// # Errors
    /// What `UpdateShardCount` would answer.
    pub fn reshard(&self, stream: &str, shards: u32) -> Result<(), ErrorType> {
        let now_ms = server::now_ms();
        let mut state = self.shared.lock();
        let named = StreamRef { stream_name: Some(stream.to_owned()), stream_arn: None };
        let stream = state.account.stream_mut(&named).map_err(|error| error.kind)?;
        stream.scale_to(shards.max(1), now_ms).map_err(|error| error.kind)
    }

    /// What the stream has taken, in numbers; also at `GET /totals/STREAM`.
    ///
    /// # Errors
    /// [`ErrorType::ResourceNotFound`] when there is no such stream.
    pub fn totals(&self, stream: &str) -> Result<Totals, ErrorType> {
        self.shared.totals(stream)
    }

    /// How many calls of this operation have arrived since the start, refused ones included.
    pub fn calls(&self, operation: Operation) -> u64 {
        self.shared.lock().calls.get(&operation).copied().unwrap_or_default()
    }
}

impl Drop for KinesisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn serve(port: u16, shared: Arc<Shared>) -> Result<(SocketAddr, Serving), StartError> {
    let (listener, address) = bind(port).map_err(|source| StartError::Bind { port, source })?;
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name("kinesis-server".to_owned())
        .spawn(move || server::serve(listener, shared, stopped))
        .map_err(StartError::Thread)?;
    Ok((address, Serving { stop, thread }))
}

/// Bound and listening: from here on the system queues connections until the thread accepts them.
fn bind(port: u16) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use std::net::TcpStream;

    use super::*;

    #[test]
    fn a_stopped_server_refuses_connections_and_a_restarted_one_keeps_its_data() {
        let mut server = KinesisServer::start().unwrap();
        server.create_stream("s", 1).unwrap();
        server.stop();
        assert!(TcpStream::connect(server.address).is_err());
        server.restart().unwrap();
        TcpStream::connect(server.address).unwrap();
        assert_eq!(server.records("s"), Ok(Vec::new()));
    }

    #[test]
    fn a_port_that_is_taken_is_said_to_be() {
        let server = KinesisServer::start().unwrap();
        let error = KinesisServer::start_on(server.port()).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot listen on 127.0.0.1:{}", server.port()));
    }
}
