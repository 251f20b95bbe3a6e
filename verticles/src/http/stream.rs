//! The socket as the HTTP parser sees it: only heads that passed the check, whole, and their bodies.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::head::{HeadCheck, HeadLimits, Verdict};
use super::watch::Watch;

/// Bytes read at a time while a head is incomplete.
const READ_BYTES: usize = 4_096;

/// What the parser reads in place of a refused request. The service answers it with the refusal: so the answers before it
/// keep their order, and the connection is closed behind it like any other.
const REFUSED_REQUEST: &[u8] = b"GET /refused HTTP/1.1\r\nhost: refused\r\nconnection: close\r\n\r\n";

/// A socket whose incoming bytes are checked before they are passed on.
///
/// Bytes are checked in the reader's own buffer. What is not a whole head yet is held back and copied once; it is bounded
/// by the largest head and one read.
#[derive(Debug)]
pub(super) struct CheckedStream<S> {
    inner: S,
    watch: Rc<Watch>,
    limits: HeadLimits,
    /// The time of the last sweep.
    now: Rc<Cell<Duration>>,
    check: HeadCheck,
    /// Bytes of a body still to come.
    body: u64,
    held: Vec<u8>,
    /// The first so many bytes held were checked and may pass.
    passable: usize,
    refused_request_sent: bool,
}

impl<S> CheckedStream<S> {
    pub(super) fn new(inner: S, watch: Rc<Watch>, limits: HeadLimits, now: Rc<Cell<Duration>>) -> Self {
        Self {
            inner,
            watch,
            limits,
            now,
            check: HeadCheck::default(),
            body: 0,
            held: Vec::new(),
            passable: 0,
            refused_request_sent: false,
        }
    }

    /// The socket, with what is held back thrown away.
    pub(super) fn into_inner(self) -> S {
        self.inner
    }

    /// How many of the bytes may pass: whole heads and what has come of their bodies. `bytes` begin where the check
    /// left off, or where the head under check begins.
    fn pass(&mut self, bytes: &[u8]) -> usize {
        let mut passed = 0;
        loop {
            let rest = bytes.get(passed..).unwrap_or_default();
            let of_body = usize::try_from(self.body).unwrap_or(usize::MAX).min(rest.len());
            self.body -= of_body as u64;
            passed += of_body;
            let rest = rest.get(of_body..).unwrap_or_default();
            if rest.is_empty() {
                self.watch.holds_part(false, self.now.get());
                return passed;
            }
            match self.check.check(rest, &self.limits) {
                Verdict::Fine { len, body } => {
                    self.check = HeadCheck::default();
                    self.body = body;
                    passed += len;
                    self.watch.head_passed(self.now.get());
                }
                Verdict::Incomplete => {
                    self.watch.holds_part(true, self.now.get());
                    return passed;
                }
                Verdict::Refuse(refusal) => {
                    self.watch.refuse(refusal);
                    return passed;
                }
            }
        }
    }

    /// Gives out bytes that may pass; false when there are none.
    fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        if self.passable == 0 && self.watch.refusal().is_some() && !self.refused_request_sent {
            self.refused_request_sent = true;
            self.held.clear();
            self.held.extend_from_slice(REFUSED_REQUEST);
            self.passable = self.held.len();
        }
        let given = self.passable.min(buf.remaining());
        buf.put_slice(self.held.get(..given).unwrap_or_default());
        self.held.drain(..given);
        self.passable -= given;
        if self.held.is_empty() {
            // Most connections never hold anything; those that did once need not keep the room.
            self.held = Vec::new();
        }
        given > 0
    }
}

impl<S: AsyncRead + Unpin> CheckedStream<S> {
    /// Reads into the reader's buffer; what may not pass yet is moved out of it. `Ready(false)`: the client has closed.
    fn read_directly(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<bool>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        let read = buf.filled().get(before..).unwrap_or_default();
        if read.is_empty() {
            return Poll::Ready(Ok(false));
        }
        let passed = self.pass(read);
        self.held.extend_from_slice(read.get(passed..).unwrap_or_default());
        buf.set_filled(before + passed);
        Poll::Ready(Ok(true))
    }

    /// Reads behind what is held back. `Ready(false)`: the client has closed.
    fn read_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut chunk = [0; READ_BYTES];
        let mut read = ReadBuf::new(&mut chunk);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut read))?;
        if read.filled().is_empty() {
            return Poll::Ready(Ok(false));
        }
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(read.filled());
        self.passable = self.pass(&held);
        self.held = held;
        Poll::Ready(Ok(true))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for CheckedStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        loop {
            if this.give(buf) {
                return Poll::Ready(Ok(()));
            }
            if this.watch.refusal().is_some() {
                // The answer closes the connection; nothing that still comes matters.
                return Poll::Pending;
            }
            let open = if this.held.is_empty() { this.read_directly(cx, buf) } else { this.read_more(cx) };
            if !ready!(open)? || buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for CheckedStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// The parser flushes when all it had to write is written.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.watch.written(self.now.get());
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::http::head::Refusal;
    use proptest::prelude::*;
    use std::collections::VecDeque;

    const LIMITS: HeadLimits =
        HeadLimits { head_bytes_max: 512, headers_max: 10, url_bytes_max: 100, body_bytes_max: 600 };
    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// A socket that receives these pieces, one a read, and is closed then.
    struct Pieces(VecDeque<Vec<u8>>);

    impl AsyncRead for Pieces {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if let Some(mut piece) = self.0.pop_front() {
                let rest = piece.split_off(piece.len().min(buf.remaining()));
                buf.put_slice(&piece);
                if !rest.is_empty() {
                    self.0.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    /// What the parser reads, with a buffer of this size, until it would wait or the end.
    fn read_all(pieces: impl IntoIterator<Item = Vec<u8>>, buffer: usize) -> (Vec<u8>, Rc<Watch>) {
        let watch = Rc::new(Watch::new(Duration::ZERO));
        let pieces = Pieces(pieces.into_iter().filter(|piece| !piece.is_empty()).collect());
        let mut stream = CheckedStream::new(pieces, Rc::clone(&watch), LIMITS, Rc::default());
        let mut all = Vec::new();
        let mut cx = Context::from_waker(std::task::Waker::noop());
        let mut chunk = vec![0; buffer];
        loop {
            let mut buf = ReadBuf::new(&mut chunk);
            let read = Pin::new(&mut stream).poll_read(&mut cx, &mut buf);
            if read.is_pending() || buf.filled().is_empty() {
                return (all, watch);
            }
            all.extend_from_slice(buf.filled());
        }
    }

    fn cut(text: &str, at: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
        let mut rest = text.as_bytes().to_vec();
        let mut pieces: Vec<Vec<u8>> = Vec::new();
        for at in at {
            let behind = rest.split_off(at.min(rest.len()));
            pieces.push(std::mem::replace(&mut rest, behind));
        }
        pieces.push(rest);
        pieces
    }

    #[test]
    fn a_head_is_held_back_until_it_is_whole() {
        let (read, watch) = read_all([b"GET / HTTP/1.1\r\nHost".to_vec()], 1_000);
        assert!(read.is_empty() && !watch.is_idle());
    }

    #[test]
    fn a_refused_head_is_replaced_behind_those_that_passed() {
        for pieces in [
            cut(&format!("{GET}{GET}GET / HTTP/1.1\r\n\r\n{GET}"), []),
            cut(&format!("{GET}{GET}GET / HTTP/1.1\r\n\r\n"), [5, 60]),
        ] {
            let (read, watch) = read_all(pieces, 1_000);
            assert_eq!(read, [GET.as_bytes(), GET.as_bytes(), REFUSED_REQUEST].concat());
            assert_eq!(watch.refusal(), Some(Refusal::Host));
            assert_eq!([watch.begin(), watch.begin(), watch.begin()], [None, None, Some(Refusal::Host)]);
        }
    }

    #[test]
    fn a_body_that_looks_like_a_bad_head_passes() {
        let text = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n\n\n X : y\n\n{GET}");
        for at in 0..text.len() {
            assert_eq!(read_all(cut(&text, [at]), 1_000).0, text.as_bytes(), "cut at {at}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_does_not_depend_on_how_bytes_come_or_are_read(
            requests in prop::collection::vec(prop_oneof![
                Just(GET.to_owned()),
                (0usize..600).prop_map(|body| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {body}\r\n\r\n{}", "\n".repeat(body))),
                (0usize..400).prop_map(|value| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(value))),
            ], 0..5),
            cuts in prop::collection::vec(0usize..300, 0..20),
            buffer in 1usize..700,
        ) {
            let text = requests.concat();
            prop_assert_eq!(read_all(cut(&text, cuts), buffer).0, text.as_bytes());
        }

        #[test]
        fn any_bytes_are_read_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..2_000), buffer in 1usize..700) {
            read_all([bytes], buffer);
        }
    }
}
