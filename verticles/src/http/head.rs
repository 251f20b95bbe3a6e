//! Whether the bytes of a request head may reach the parser behind this.
//!
//! The parser (hyper's) takes heads that a proxy in front may read in another way - lines ended by a bare line feed, two
//! equal `Content-Length`, `Content-Length` beside `Transfer-Encoding` - and whoever can make two servers disagree about
//! where a request ends can hide one in another. Those are refused here, with what the parser cannot bound: the URL's
//! length and the body's. What the parser would refuse itself is refused here too: its own answer does not say why.
//!
//! A body is told by its `Content-Length` alone. No client of these routes needs chunks, and without them the end of a
//! request is known from its head.

use http::StatusCode;

use super::grammar::{is_host, is_text, is_token, is_url, split_at};

/// Room beside the URL in a request line: the method, two spaces and the version.
const LINE_BESIDE_URL_BYTES: usize = 64;
/// More digits may not fit a `u64`, and no body is that long.
const LENGTH_DIGITS_MAX: usize = 18;

/// The bounds of one request.
#[derive(Debug, Clone, Copy)]
pub(super) struct HeadLimits {
    /// Largest head, from the method to the empty line.
    pub(super) head_bytes_max: usize,
    /// Most header lines.
    pub(super) headers_max: usize,
    /// Longest request target.
    pub(super) url_bytes_max: usize,
    /// Largest body of a `POST`; other methods have none.
    pub(super) body_bytes_max: u64,
}

/// Why a request is not handed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request line is no request line of HTTP/1.0 or HTTP/1.1.
    RequestLine,
    /// The URL is none, or has characters that must be percent-encoded.
    Url,
    /// The URL is too long.
    UrlTooLong,
    /// The head is too long.
    HeadTooLarge,
    /// There are too many headers.
    TooManyHeaders,
    /// A line ends in a line feed alone.
    BareLineFeed,
    /// A header goes on in the next line.
    FoldedHeader,
    /// A header line that is no name, colon and text.
    Header,
    /// HTTP/1.1 with no `Host`, or any request with two, or one that is no host.
    Host,
    /// Two `Content-Length`, or one that is no plain number.
    ContentLength,
    /// Any `Transfer-Encoding`.
    TransferEncoding,
    /// A body where none is taken, or one that is too large.
    BodyTooLarge,
    /// The head did not come in time.
    TooSlow,
}

impl Refusal {
    /// All of them, for counters made in advance.
    pub(super) const ALL: [Self; 13] = [
        Self::RequestLine,
        Self::Url,
        Self::UrlTooLong,
        Self::HeadTooLarge,
        Self::TooManyHeaders,
        Self::BareLineFeed,
        Self::FoldedHeader,
        Self::Header,
        Self::Host,
        Self::ContentLength,
        Self::TransferEncoding,
        Self::BodyTooLarge,
        Self::TooSlow,
    ];

    /// The answer's status.
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::UrlTooLong => StatusCode::URI_TOO_LONG,
            Self::HeadTooLarge | Self::TooManyHeaders => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The reason in one word, for counters.
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::RequestLine => "request_line",
            Self::Url => "url",
            Self::UrlTooLong => "url_too_long",
            Self::HeadTooLarge => "head_too_large",
            Self::TooManyHeaders => "too_many_headers",
            Self::BareLineFeed => "bare_line_feed",
            Self::FoldedHeader => "folded_header",
            Self::Header => "header",
            Self::Host => "host",
            Self::ContentLength => "content_length",
            Self::TransferEncoding => "transfer_encoding",
            Self::BodyTooLarge => "body_too_large",
            Self::TooSlow => "too_slow",
        }
    }

    /// The body of the answer, in JSON.
    pub(super) fn body(self) -> &'static str {
        match self {
            Self::RequestLine => r#"{"error":"the request line must be of HTTP/1.0 or HTTP/1.1"}"#,
            Self::Url => r#"{"error":"the URL is none, or has characters that must be percent-encoded"}"#,
            Self::UrlTooLong => r#"{"error":"the URL is too long"}"#,
            Self::HeadTooLarge => r#"{"error":"the request head is too large"}"#,
            Self::TooManyHeaders => r#"{"error":"there are too many headers"}"#,
            Self::BareLineFeed => r#"{"error":"lines must end in carriage return and line feed"}"#,
            Self::FoldedHeader => r#"{"error":"a header must be one line"}"#,
            Self::Header => r#"{"error":"a header must be a name, a colon and text without control characters"}"#,
            Self::Host => r#"{"error":"there must be one Host header, a name or an address with or without a port"}"#,
            Self::ContentLength => r#"{"error":"there must be one Content-Length at most, a plain number"}"#,
            Self::TransferEncoding => r#"{"error":"Transfer-Encoding is not taken; send Content-Length"}"#,
            Self::BodyTooLarge => r#"{"error":"the body is too large, or none is taken here"}"#,
            Self::TooSlow => r#"{"error":"the request head did not come in time"}"#,
        }
    }
}

/// What is known about a head so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has not ended yet; nothing is wrong so far.
    Incomplete,
    /// It may pass.
    Fine {
        /// Its bytes, the empty line included.
        len: usize,
        /// The bytes of the body that follow.
        body: u64,
    },
    /// It may not.
    Refuse(Refusal),
}

/// The check of one head; it goes over each byte once, however the bytes come.
#[derive(Debug, Default)]
pub(super) struct HeadCheck {
    /// No line feed before this.
    searched: usize,
    /// Where the line that is not ended begins.
    line: usize,
    skipped_empty_line: bool,
    /// The request line has been read.
    begun: bool,
    http_1_1: bool,
    may_have_body: bool,
    headers: usize,
    host: bool,
    content_length: Option<u64>,
}

impl HeadCheck {
    /// Goes on with the check. `bytes` begin where the head begins: those of the last call and some more.
    pub(super) fn check(&mut self, bytes: &[u8], limits: &HeadLimits) -> Verdict {
        while let Some(found) = bytes.get(self.searched..).and_then(|rest| rest.iter().position(|byte| *byte == b'\n'))
        {
            let end = self.searched + found;
            let line = bytes.get(self.line..end).unwrap_or_default();
            self.searched = end + 1;
            self.line = end + 1;
            if end >= limits.head_bytes_max {
                return Verdict::Refuse(self.too_long());
            }
            let Some(line) = line.strip_suffix(b"\r") else {
                return Verdict::Refuse(Refusal::BareLineFeed);
            };
            if line.is_empty() && self.begun {
                return self.end(limits);
            }
            if let Err(refusal) = self.line(line, limits) {
                return Verdict::Refuse(refusal);
            }
        }
        self.searched = bytes.len();
        let line_bytes_max = if self.begun { usize::MAX } else { limits.url_bytes_max + LINE_BESIDE_URL_BYTES };
        if bytes.len() >= limits.head_bytes_max || bytes.len() - self.line > line_bytes_max {
            return Verdict::Refuse(self.too_long());
        }
        Verdict::Incomplete
    }

    fn too_long(&self) -> Refusal {
        if self.begun { Refusal::HeadTooLarge } else { Refusal::UrlTooLong }
    }

    fn line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
        if self.begun {
            return self.header(line, limits);
        }
        // One empty line before a request is forgiven: old clients send one behind a body.
        if line.is_empty() && !self.skipped_empty_line {
            self.skipped_empty_line = true;
            return Ok(());
        }
        self.begun = true;
        self.request_line(line, limits)
    }

    fn request_line(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
        let (method, rest) = split_at(line, b' ').ok_or(Refusal::RequestLine)?;
        if rest.len() > limits.url_bytes_max + b" HTTP/1.1".len() {
            return Err(Refusal::UrlTooLong);
        }
        let (url, http_1_1) = match (rest.strip_suffix(b" HTTP/1.1"), rest.strip_suffix(b" HTTP/1.0")) {
            (Some(url), _) => (url, true),
            (None, Some(url)) => (url, false),
            (None, None) => return Err(Refusal::RequestLine),
        };
        if !is_token(method) {
            return Err(Refusal::RequestLine);
        }
        if !is_url(url) {
            return Err(Refusal::Url);
        }
        self.http_1_1 = http_1_1;
        self.may_have_body = method == b"POST";
        Ok(())
    }

    fn header(&mut self, line: &[u8], limits: &HeadLimits) -> Result<(), Refusal> {
        self.headers += 1;
        if self.headers > limits.headers_max {
            return Err(Refusal::TooManyHeaders);
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Refusal::FoldedHeader);
        }
        let (name, value) = split_at(line, b':').ok_or(Refusal::Header)?;
        if !is_token(name) || !is_text(value) {
            return Err(Refusal::Header);
        }
        // Most names are told by their length alone.
        if name.eq_ignore_ascii_case(b"host") {
            let second = std::mem::replace(&mut self.host, true);
            return if second || !is_host(value.trim_ascii()) { Err(Refusal::Host) } else { Ok(()) };
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            return self.content_length(value.trim_ascii());
        }
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            return Err(Refusal::TransferEncoding);
        }
        Ok(())
    }

    fn content_length(&mut self, text: &[u8]) -> Result<(), Refusal> {
        let plain = (1..=LENGTH_DIGITS_MAX).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
        if !plain || self.content_length.is_some() {
            return Err(Refusal::ContentLength);
        }
        let length = text.iter().fold(0, |length: u64, digit| length * 10 + u64::from(digit - b'0'));
        self.content_length = Some(length);
        Ok(())
    }

    fn end(&self, limits: &HeadLimits) -> Verdict {
        if self.http_1_1 && !self.host {
            return Verdict::Refuse(Refusal::Host);
        }
        let body = self.content_length.unwrap_or(0);
        let body_bytes_max = if self.may_have_body { limits.body_bytes_max } else { 0 };
        if body > body_bytes_max {
            return Verdict::Refuse(Refusal::BodyTooLarge);
        }
        Verdict::Fine { len: self.line, body }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: HeadLimits =
        HeadLimits { head_bytes_max: 512, headers_max: 4, url_bytes_max: 100, body_bytes_max: 10 };

    fn check(bytes: &[u8]) -> Verdict {
        HeadCheck::default().check(bytes, &LIMITS)
    }

    fn fine(text: &str, body: u64) {
        assert_eq!(check(text.as_bytes()), Verdict::Fine { len: text.len(), body }, "{text:?}");
    }

    fn refused(text: &str, why: Refusal) {
        assert_eq!(check(text.as_bytes()), Verdict::Refuse(why), "{text:?}");
    }

    #[test]
    fn an_ordinary_head_passes_with_the_length_of_its_body() {
        fine("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 0);
        fine("GET / HTTP/1.0\r\n\r\n", 0);
        fine("\r\nGET / HTTP/1.1\r\nhOsT:a\r\n\r\n", 0);
        fine("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 0);
        fine("POST / HTTP/1.1\r\nHost: a\r\ncontent-length:  10 \r\n\r\n", 10);
    }

    #[test]
    fn only_the_first_of_two_heads_is_looked_at() {
        let first = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(check(format!("{first}\n\n\n").as_bytes()), Verdict::Fine { len: first.len(), body: 0 });
    }

    #[test]
    fn a_head_that_two_servers_could_read_in_two_ways_is_refused() {
        for (head, why) in [
            ("GET / HTTP/1.1\nHost: a\r\n\r\n", Refusal::BareLineFeed),
            ("GET / HTTP/1.1\r\nHost: a\n\r\n", Refusal::BareLineFeed),
            ("GET / HTTP/1.1\r\nHost: a\r\n\n", Refusal::BareLineFeed),
            ("\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::BareLineFeed),
            ("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
            ("GET / HTTP/1.1\r\n Host: a\r\n\r\n", Refusal::FoldedHeader),
            ("GET / HTTP/1.1\r\nHost: a\r\n\tb\r\n\r\n", Refusal::FoldedHeader),
            ("GET / HTTP/1.1\r\n\r\n", Refusal::Host),
            ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Refusal::Header),
            ("GET / HTTP/1.1\r\nHost: a b/c\r\n\r\n", Refusal::Host),
            ("GET / HTTP/1.0\r\nHost: a@b\r\n\r\n", Refusal::Host),
            ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Refusal::Host),
            ("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", Refusal::Host),
            ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", Refusal::TransferEncoding),
            ("POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: chunked\r\n\r\n", Refusal::TransferEncoding),
            ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::TransferEncoding),
        ] {
            refused(head, why);
        }
    }

    #[test]
    fn a_content_length_that_is_not_one_plain_number_is_refused() {
        for value in ["+3", "-1", "0x3", "3 3", "3,3", "3, 3", "", "18446744073709551616", "1234567890123456789"] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {value}\r\n\r\n");
            refused(&head, Refusal::ContentLength);
        }
        for other in ["3", "4"] {
            let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\ncontent-length: {other}\r\n\r\n");
            refused(&head, Refusal::ContentLength);
        }
    }

    #[test]
    fn a_body_is_refused_beyond_its_bound_and_with_any_other_method_than_post() {
        refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 11\r\n\r\n", Refusal::BodyTooLarge);
        refused("GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", Refusal::BodyTooLarge);
        refused("POSTS / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n", Refusal::BodyTooLarge);
    }

    #[test]
    fn what_the_parser_would_refuse_without_a_word_is_refused_before_it() {
        for (head, why) in [
            ("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
            (" / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
            ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Url),
            ("GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Url),
            ("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Url),
            ("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Url),
            ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", Refusal::Header),
            ("GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n", Refusal::Header),
            ("GET / HTTP/1.1\r\nHost: a\r\na(b): x\r\n\r\n", Refusal::Header),
            ("GET / HTTP/1.1\r\nHost: a\r\na: \0\r\n\r\n", Refusal::Header),
            ("GET / HTTP/1.1\r\nHost: a\r\na: x\ry\r\n\r\n", Refusal::Header),
        ] {
            refused(head, why);
        }
    }

    #[test]
    fn a_request_line_of_another_protocol_is_refused() {
        for line in ["PRI * HTTP/2.0", "GET /", "GET / HTTP/0.9", "GET / http/1.1", "GET", "\u{16}\u{3}\u{1}"] {
            refused(&format!("{line}\r\nHost: a\r\n\r\n"), Refusal::RequestLine);
        }
    }

    #[test]
    fn every_bound_holds_for_a_whole_head_and_for_one_that_never_ends() {
        let at_most = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(LIMITS.url_bytes_max - 1));
        fine(&at_most, 0);
        refused(&at_most.replace("/x", "/xx"), Refusal::UrlTooLong);
        refused(&"x".repeat(400), Refusal::UrlTooLong);
        refused(&format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "a: b\r\n".repeat(4)), Refusal::TooManyHeaders);
        refused(&format!("GET / HTTP/1.1\r\nHost: a\r\na: {}", "x".repeat(512)), Refusal::HeadTooLarge);
        refused(&format!("GET / HTTP/1.1\r\nHost: a\r\na: {}\r\n\r\n", "x".repeat(512)), Refusal::HeadTooLarge);
    }

    #[test]
    fn the_longest_head_that_is_allowed_passes() {
        let start = "GET / HTTP/1.1\r\nHost: a\r\na: ";
        let head = format!("{start}{}\r\n\r\n", "x".repeat(LIMITS.head_bytes_max - start.len() - 4));
        fine(&head, 0);
        refused(&head.replacen(": x", ": xx", 1), Refusal::HeadTooLarge);
    }

    fn pieces() -> impl Strategy<Value = Vec<u8>> {
        let known = prop::sample::select(vec![
            &b"GET / HTTP/1.1\r\n"[..],
            b"POST /x HTTP/1.0\r\n",
            b"Host: a\r\n",
            b"Content-Length: 3\r\n",
            b"Transfer-Encoding: chunked\r\n",
            b"\r\n",
            b"\n",
            b"\r",
            b" ",
            b":",
        ]);
        let any = prop::collection::vec(any::<u8>(), 0..12);
        prop::collection::vec(prop_oneof![4 => known.prop_map(<[u8]>::to_vec), 1 => any], 0..12)
            .prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn the_verdict_does_not_depend_on_how_the_bytes_come(bytes in pieces(), cuts in prop::collection::vec(0usize..64, 0..8)) {
            let at_once = check(&bytes);
            let mut in_parts = HeadCheck::default();
            let mut verdict = Verdict::Incomplete;
            let mut end = 0;
            for cut in cuts.into_iter().chain([bytes.len()]) {
                end = (end + cut).min(bytes.len());
                verdict = in_parts.check(&bytes[..end], &LIMITS);
                if verdict != Verdict::Incomplete {
                    break;
                }
            }
            prop_assert_eq!(verdict, at_once);
        }

        #[test]
        fn what_passes_ends_in_an_empty_line_inside_the_bytes(bytes in pieces()) {
            if let Verdict::Fine { len, .. } = check(&bytes) {
                prop_assert!(bytes[..len].ends_with(b"\r\n\r\n"));
                prop_assert!(!bytes[..len].windows(2).any(|pair| pair[1] == b'\n' && pair[0] != b'\r'));
            }
        }
    }
}
