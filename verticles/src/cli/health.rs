//! `adtrack health`: asks a running service whether it is ready, for containers that have no shell and no curl.

use std::net::SocketAddr;
use std::time::Duration;

use adtrack_config::Config;
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use vertebra::Clock;

use crate::addresses::{Addresses, reachable};

/// How long the service has to answer. Load balancers wait about as long.
const ANSWER_WITHIN: Duration = Duration::from_secs(4);

/// Why the service does not count as ready.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// Nothing listens there, or it is no HTTP server.
    #[error("{address} cannot be asked")]
    Unreachable {
        /// Where it was asked.
        address: SocketAddr,
        /// Why not.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answered, and not with 200.
    #[error("{address} says {status}")]
    NotReady {
        /// Where it was asked.
        address: SocketAddr,
        /// What it said.
        status: http::StatusCode,
    },
    /// There is no executor to ask with.
    #[error("the command cannot be run")]
    Executor(#[source] std::io::Error),
    /// It did not answer in time.
    #[error("{address} did not answer within {ANSWER_WITHIN:?}")]
    Silent {
        /// Where it was asked.
        address: SocketAddr,
    },
}

/// Asks `/health/check` of the service with these settings.
///
/// # Errors
/// [`HealthError`] when it is not ready.
pub fn health(config: &Config) -> Result<(), HealthError> {
    let address = public_address(config);
    let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(HealthError::Executor)?;
    let asked = executor.block_on(async { Clock::system().timeout(ANSWER_WITHIN, ask(address)).await });
    let asked = asked.map_err(|_| HealthError::Silent { address })?;
    match asked.map_err(|source| HealthError::Unreachable { address, source })? {
        http::StatusCode::OK => Ok(()),
        status => Err(HealthError::NotReady { address, status }),
    }
}

/// Where the service listens: as noted by the running one when the port was left to the system, else as configured.
fn public_address(config: &Config) -> SocketAddr {
    let configured = config.http.listen;
    let listens = match configured.port() {
        0 => Addresses::read(&config.data.dir).map_or(configured, |noted| noted.public),
        _ => configured,
    };
    reachable(listens)
}

async fn ask(address: SocketAddr) -> Result<http::StatusCode, Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let request = http::Request::get("/health/check")
        .header(http::header::HOST, address.to_string())
        .header(http::header::USER_AGENT, concat!("adtrack/", env!("CARGO_PKG_VERSION")))
        .body(Empty::<bytes::Bytes>::new())?;
    let answered = sender.send_request(request);
    tokio::select! {
        answer = answered => Ok(answer?.status()),
        ended = connection => match ended {
            Ok(()) => Err("the connection was closed without an answer".into()),
            Err(error) => Err(error.into()),
        },
    }
}
