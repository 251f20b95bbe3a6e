//! A client that costs little: raw sockets, one request at a time on each.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use vertebra::BoxError;

use super::{PROGRAM, USER_AGENT};

/// No answer here is longer.
const ANSWER_BYTES_MAX: usize = 4_096;

/// Open connections, each of which has had its first answer.
#[derive(Clone)]
pub(super) struct Pool {
    idle: Rc<RefCell<Vec<Connection>>>,
}

impl Pool {
    pub(super) async fn open(address: SocketAddr, connections: u64) -> Result<Self, BoxError> {
        let mut idle = Vec::new();
        for _ in 0..connections {
            idle.push(Connection::open(address).await?);
        }
        Ok(Self { idle: Rc::new(RefCell::new(idle)) })
    }

    /// How long an answer is, its head included.
    pub(super) fn answer_bytes(&self) -> Result<usize, BoxError> {
        Ok(self.idle.borrow().first().ok_or("no connection")?.answer_bytes)
    }

    /// Sends a request on a connection that is idle and reads the answer.
    pub(super) async fn ask(&self) -> Result<u64, BoxError> {
        let connection = self.idle.borrow_mut().pop();
        let mut connection = connection.ok_or("more requests than connections")?;
        connection.ask().await?;
        let first = u64::from(connection.buffer[0]);
        self.idle.borrow_mut().push(connection);
        Ok(first)
    }
}

struct Connection {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
    /// All answers are as long as the first.
    answer_bytes: usize,
}

impl Connection {
    async fn open(address: SocketAddr) -> Result<Self, BoxError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /event/{PROGRAM} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\n\r\n"
        );
        let mut opened =
            Self { stream, request: request.into_bytes(), buffer: vec![0; ANSWER_BYTES_MAX], answer_bytes: 0 };
        opened.answer_bytes = opened.first().await?;
        Ok(opened)
    }

    /// Reads the head and finds out how long the answer is.
    async fn first(&mut self) -> Result<usize, BoxError> {
        self.stream.write_all(&self.request).await?;
        let mut filled = 0;
        loop {
            let read = self.stream.read(&mut self.buffer[filled..]).await?;
            if read == 0 {
                return Err("the server closed before it had answered".into());
            }
            filled += read;
            if let Some(length) = length_of(&self.buffer[..filled])?
                && filled >= length
            {
                self.check()?;
                return Ok(length);
            }
        }
    }

    async fn ask(&mut self) -> Result<(), BoxError> {
        self.stream.write_all(&self.request).await?;
        self.stream.read_exact(&mut self.buffer[..self.answer_bytes]).await?;
        self.check()
    }

    fn check(&self) -> Result<(), BoxError> {
        match self.buffer.starts_with(b"HTTP/1.1 200 OK\r\n") {
            true => Ok(()),
            false => Err("an answer is not a 200, or not as long as the first one".into()),
        }
    }
}

/// How long the answer is that begins so; `None` while its head is not there.
fn length_of(bytes: &[u8]) -> Result<Option<usize>, BoxError> {
    let text = std::str::from_utf8(bytes)?;
    let Some((head, _)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let mut lines = head.lines().filter_map(|line| line.split_once(": "));
    let length = lines.find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    let (_, length) = length.ok_or("an answer has no length")?;
    Ok(Some(head.len() + 4 + length.parse::<usize>()?))
}
