//! One keep-alive connection that asks for an event and reads nothing of the answer but what the account needs.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Head and body of any answer to `/event`.
const ANSWER_BYTES_MAX: usize = 65_536;
const HEAD_END: &[u8] = b"\r\n\r\n";
const MESSAGE_ID: &[u8] = b"\"messageId\":\"";
const UUID_CHARS: usize = 36;

/// What an answer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) status: u16,
    /// The message id of the body; 0 when it has none.
    pub(crate) id: u128,
    /// The server closes the connection behind this answer.
    pub(crate) is_last: bool,
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: TcpStream,
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> io::Result<Self> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        Ok(Self { socket, buffer: Vec::with_capacity(4_096) })
    }

    /// Whether the other side has closed it, as far as is known here: who sends all the same gets no answer.
    pub(crate) fn is_closed(&self) -> bool {
        let mut byte = [0];
        // There is nothing to be read between two answers.
        !matches!(self.socket.try_read(&mut byte), Err(error) if error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Sends a whole request and waits for the whole answer. Not cancel safe: the connection is of no more use then, nor after an error.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> io::Result<Said> {
        self.socket.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.socket.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(said) = read(&self.buffer)? {
                return Ok(said);
            }
            if self.buffer.len() > ANSWER_BYTES_MAX {
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
    }
}

/// What these bytes say when they are a whole answer; nothing when some are missing.
fn read(bytes: &[u8]) -> io::Result<Option<Said>> {
    let Some(end) = find(bytes, HEAD_END) else { return Ok(None) };
    let invalid = || io::Error::from(io::ErrorKind::InvalidData);
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_not_text| invalid())?;
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).ok_or_else(invalid)?;
    let (mut length, mut is_last) = (None, false);
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse::<usize>().ok();
        } else if name.eq_ignore_ascii_case("connection") {
            is_last = value.trim().eq_ignore_ascii_case("close");
        }
    }
    let body = &bytes[end + HEAD_END.len()..];
    let length = length.ok_or_else(invalid)?;
    Ok((body.len() >= length).then(|| Said { status, id: message_id(body), is_last }))
}

fn message_id(body: &[u8]) -> u128 {
    let found = find(body, MESSAGE_ID).and_then(|at| {
        let text = body.get(at + MESSAGE_ID.len()..)?.get(..UUID_CHARS)?;
        uuid(std::str::from_utf8(text).ok()?)
    });
    found.unwrap_or_default()
}

/// The number that a UUID's text stands for.
pub(crate) fn uuid(text: &str) -> Option<u128> {
    let mut number = 0;
    for character in text.bytes().filter(|byte| *byte != b'-') {
        number = number << 4 | u128::from(char::from(character).to_digit(16)?);
    }
    (text.len() == UUID_CHARS).then_some(number)
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

    use super::*;

    const ID: &str = "01a1fc48-7b71-7261-af5d-86f353ed1cd4";

    #[test]
    fn an_answer_is_read_when_it_is_whole() {
        let body = format!("{{\"messageId\":\"{ID}\"}}");
        let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        let said = Said { status: 200, id: 0x01a1_fc48_7b71_7261_af5d_86f3_53ed_1cd4, is_last: true };
        assert_eq!(read(answer.as_bytes()).unwrap(), Some(said));
        for end in 0..answer.len() {
            assert_eq!(read(&answer.as_bytes()[..end]).unwrap(), None, "{end}");
        }
    }

    #[test]
    fn an_answer_without_an_id_has_none_and_what_is_no_answer_is_an_error() {
        let said = read(b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\nno").unwrap().unwrap();
        assert_eq!((said.status, said.id, said.is_last), (503, 0, false));
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n").is_err());
        assert!(read(b"nonsense\r\n\r\n").is_err());
    }

    #[test]
    fn a_uuid_is_a_number_of_128_bits() {
        assert_eq!(uuid(ID), Some(0x01a1_fc48_7b71_7261_af5d_86f3_53ed_1cd4));
        assert_eq!((uuid("01a1"), uuid(&ID.replace('a', "x"))), (None, None));
    }
}
