//! The admin API of a running service, from the command line: one connection for each question.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use adtrack_config::Secret;
use adtrack_proto::bus::{Deleted, Outdated, Stored};
use adtrack_proto::{Program, ProgramError, ProgramId};
use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use tokio::net::TcpStream;
use vertebra::Clock;

/// The service has this long for one answer: a put of many programs waits for its disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long to wait for a service that may be another one, or none.
const WHO_TIMEOUT: Duration = Duration::from_secs(2);
/// A page of programs is smaller.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Programs asked for at a time.
const PAGE_PROGRAMS: usize = 500;
/// How much of an unexpected answer is shown.
const SHOWN_CHARS_MAX: usize = 200;

/// Why the admin API did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Nobody listens there, or the connection broke.
    #[error("the admin API at {address} cannot be reached: {reason}")]
    Unreachable {
        /// Where.
        address: SocketAddr,
        /// In the words of the operating system or the HTTP client.
        reason: String,
    },
    /// The token is missing or wrong.
    #[error("the admin API at {address} refuses the token: set admin.token to the service's own")]
    Token {
        /// Where.
        address: SocketAddr,
    },
    /// It answered with something else than was hoped for.
    #[error("the admin API at {address} answered {status}: {body}")]
    Status {
        /// Where.
        address: SocketAddr,
        /// The HTTP status.
        status: StatusCode,
        /// The start of what it says.
        body: String,
    },
    /// Its answer is not a program.
    #[error("the admin API at {address} answered with something that is no program: {source}")]
    NotAProgram {
        /// Where.
        address: SocketAddr,
        /// What is wrong with it.
        source: ProgramError,
    },
}

/// The admin API of one service.
#[derive(Debug, Clone)]
pub(super) struct AdminClient {
    address: SocketAddr,
    token: Option<Secret>,
}

#[derive(Deserialize)]
struct Page {
    programs: Vec<serde_json::Value>,
    next: Option<String>,
}

#[derive(Deserialize)]
struct Conflict {
    outdated: Vec<Outdated>,
}

#[derive(Deserialize)]
struct Replayed {
    files: u64,
    events: u64,
}

#[derive(Deserialize)]
struct Who {
    #[serde(rename = "dataDir")]
    data_dir: Option<PathBuf>,
}

impl AdminClient {
    /// A service that listens on every address of a machine is asked on this one's own.
    pub(super) fn new(mut address: SocketAddr, token: Option<Secret>) -> Self {
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip() {
                IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
                IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
            });
        }
        Self { address, token }
    }

    /// The data directory of the service, in its own words; none when it does not tell.
    pub(super) async fn data_dir(&self) -> Result<Option<PathBuf>, AdminError> {
        let (status, body) = self.ask_within(WHO_TIMEOUT, Method::GET, "/health/deps", String::new()).await?;
        match serde_json::from_slice::<Who>(&body) {
            Ok(who) if status == StatusCode::OK => Ok(who.data_dir),
            _ => Err(self.unexpected(status, &body)),
        }
    }

    /// Puts what the stream has refused back into the log; how many files and events that were.
    pub(super) async fn replay(&self) -> Result<(u64, u64), AdminError> {
        let (status, body) = self.ask(Method::POST, "/events/replay", String::new()).await?;
        match serde_json::from_slice::<Replayed>(&body) {
            Ok(replayed) if status == StatusCode::OK => Ok((replayed.files, replayed.events)),
            _ => Err(self.unexpected(status, &body)),
        }
    }

    pub(super) async fn put(&self, programs: &[impl AsRef<Program>]) -> Result<Stored, AdminError> {
        let objects: Vec<_> = programs.iter().map(|program| program.as_ref().to_json()).collect();
        let body = format!("[{}]", objects.join(","));
        match self.ask(Method::POST, "/programs", body).await? {
            (status, _) if status.is_success() => Ok(Stored::default()),
            (status, body) => match serde_json::from_slice(&body) {
                Ok(Conflict { outdated }) if status == StatusCode::CONFLICT => Ok(Stored { outdated }),
                _ => Err(self.unexpected(status, &body)),
            },
        }
    }

    pub(super) async fn get(&self, id: &ProgramId) -> Result<Option<Program>, AdminError> {
        let path = format!("/programs/{}", utf8_percent_encode(id.as_str(), NON_ALPHANUMERIC));
        match self.ask(Method::GET, &path, String::new()).await? {
            (StatusCode::OK, body) => self.program(&body).map(Some),
            (StatusCode::NOT_FOUND, _) => Ok(None),
            (status, body) => Err(self.unexpected(status, &body)),
        }
    }

    pub(super) async fn delete(&self, id: &ProgramId) -> Result<Deleted, AdminError> {
        let path = format!("/programs/{}", utf8_percent_encode(id.as_str(), NON_ALPHANUMERIC));
        let (status, body) = self.ask(Method::DELETE, &path, String::new()).await?;
        match serde_json::from_slice(&body) {
            Ok(deleted) if status == StatusCode::OK => Ok(deleted),
            _ => Err(self.unexpected(status, &body)),
        }
    }

    pub(super) async fn page(&self, cursor: Option<&str>) -> Result<(Vec<Program>, Option<String>), AdminError> {
        let mut path = format!("/programs?limit={PAGE_PROGRAMS}");
        if let Some(cursor) = cursor {
            path.push_str("&cursor=");
            path.extend(utf8_percent_encode(cursor, NON_ALPHANUMERIC));
        }
        let (status, body) = self.ask(Method::GET, &path, String::new()).await?;
        let page = match serde_json::from_slice::<Page>(&body) {
            Ok(page) if status == StatusCode::OK => page,
            _ => return Err(self.unexpected(status, &body)),
        };
        let programs = page.programs.iter().map(|program| self.program(program.to_string().as_bytes()));
        Ok((programs.collect::<Result<_, _>>()?, page.next))
    }

    fn program(&self, json: &[u8]) -> Result<Program, AdminError> {
        Program::from_json(json).map_err(|source| AdminError::NotAProgram { address: self.address, source })
    }

    async fn ask(&self, method: Method, path: &str, body: String) -> Result<(StatusCode, Bytes), AdminError> {
        self.ask_within(ANSWER_TIMEOUT, method, path, body).await
    }

    async fn ask_within(
        &self,
        timeout: Duration,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, Bytes), AdminError> {
        let answered = Clock::system().timeout(timeout, self.exchange(method, path, body)).await;
        let answer = answered.unwrap_or_else(|_| Err(format!("no answer within {} s", timeout.as_secs()).into()));
        match answer {
            Ok((StatusCode::UNAUTHORIZED, _)) => Err(AdminError::Token { address: self.address }),
            Ok(answer) => Ok(answer),
            Err(error) => Err(AdminError::Unreachable { address: self.address, reason: error.to_string() }),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let socket = TcpStream::connect(self.address).await?;
        let (mut requests, connection) = hyper::client::conn::http1::handshake(TokioIo::new(socket)).await?;
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, self.address.to_string());
        request = request.header(header::CONTENT_TYPE, "application/json").header(header::CONNECTION, "close");
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.expose()));
        }
        let request = request.body(Full::new(Bytes::from(body)))?;
        let answer = async {
            let answer = requests.send_request(request).await?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes();
            Ok((status, body))
        };
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            // The connection ends with the answer it has brought; without one, this tells why.
            ended = connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error.into()),
            },
        }
    }

    fn unexpected(&self, status: StatusCode, body: &[u8]) -> AdminError {
        let body: String = String::from_utf8_lossy(body).chars().take(SHOWN_CHARS_MAX).collect();
        AdminError::Status { address: self.address, status, body: body.escape_debug().to_string() }
    }
}
