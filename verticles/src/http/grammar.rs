//! What HTTP allows where in a head: the characters of methods, URLs, header lines and hosts.
//!
//! As strict as the parser behind this or stricter, so that whatever the parser would refuse is refused before it, with an
//! answer that says why.

/// For each byte whether it is in a set.
type Table = [bool; 256];

/// What RFC 9110 calls `token`: methods and header names.
const TOKEN: Table = table(b"!#$%&'*+-.^_`|~");
/// What most URLs are made of; others are looked at more closely.
const PLAIN_URL: Table = table(b"/?=&%-._~:+,;@!$'()*");
/// A registered name or an IPv4 address: unreserved, percent-encoded and sub-delimiters.
const HOST_NAME: Table = table(b"-._~%!$&'()*+,;=");
/// An address in brackets, its zone included.
const HOST_IN_BRACKETS: Table = table(b":.%-_~");

/// Letters, digits and these.
#[allow(clippy::indexing_slicing, reason = "in a constant: an index out of range does not compile")]
const fn table(others: &[u8]) -> Table {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        table[byte] = (byte as u8).is_ascii_alphanumeric();
        byte += 1;
    }
    let mut at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

fn all_in(bytes: &[u8], table: &Table) -> bool {
    bytes.iter().all(|byte| table.get(usize::from(*byte)).copied().unwrap_or(false))
}

/// A method or the name of a header.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all_in(bytes, &TOKEN)
}

/// What may stand between the method and the version.
pub(super) fn is_url(bytes: &[u8]) -> bool {
    if bytes.first() == Some(&b'/') && all_in(bytes, &PLAIN_URL) {
        return true;
    }
    let visible = bytes.iter().all(|byte| *byte > b' ' && *byte != 0x7f);
    visible && http::Uri::try_from(bytes).is_ok()
}

/// A line of visible characters, spaces and tabs. Every byte is looked at, so that it is done many at a time.
pub(super) fn is_text(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |fine, byte| fine & (((*byte >= b' ') & (*byte != 0x7f)) | (*byte == b'\t')))
}

/// The value of `Host`: a name or an address, and a port if there is one. The empty one is for URLs without an authority.
pub(super) fn is_host(bytes: &[u8]) -> bool {
    let port = match bytes.strip_prefix(b"[") {
        Some(rest) => {
            let Some((address, port)) = split_at(rest, b']') else { return false };
            if address.is_empty() || !all_in(address, &HOST_IN_BRACKETS) {
                return false;
            }
            match port.split_first() {
                None => return true,
                Some((b':', port)) => port,
                Some(_) => return false,
            }
        }
        None => {
            let (name, port) = split_at(bytes, b':').unwrap_or((bytes, b""));
            if !all_in(name, &HOST_NAME) {
                return false;
            }
            port
        }
    };
    port.iter().all(u8::is_ascii_digit)
}

/// What stands before and behind the first such byte.
pub(super) fn split_at(bytes: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = bytes.iter().position(|each| *each == byte)?;
    let (before, rest) = bytes.split_at(at);
    Some((before, rest.get(1..).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_plain_url_is_one_for_the_parser_too(rest in "[A-Za-z0-9/?=&%._~:+,;@!$'()*-]{0,60}") {
            let url = format!("/{rest}");
            prop_assert!(all_in(url.as_bytes(), &PLAIN_URL) && http::Uri::try_from(&url).is_ok(), "{}", url);
        }
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_or_without_a_port() {
        for host in
            ["", "a", "localhost:8080", "ads.example.org", "10.0.0.1:80", "[::1]", "[::1]:8080", "a:", "a_b-c~d%20"]
        {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in [
            "a b/c", "a b", "a/c", "a@b", "user@a", "a?b", "a#b", "a:b", "a:80:80", "::1", "[::1", "[]", "[::1]x",
            "[a b]", "a\\b", "a\"b", "<a>", "{a}", "a|b", "a^b", "\u{e4}", "http://a",
        ] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }

    #[test]
    fn a_url_is_a_path_or_a_whole_one_without_control_characters() {
        for url in
            ["/", "/event/1?type=click&a=%20", "*", "http://a/event/1", "/\u{4e2d}", "/{a}", "/[1]", "/a|b", "/a\"b"]
        {
            assert!(is_url(url.as_bytes()), "{url}");
        }
        for url in ["", "/a b", "/\u{7f}", "/\0", "/a\tb", "http:///a"] {
            assert!(!is_url(url.as_bytes()), "{url:?}");
        }
    }

    #[test]
    fn a_header_has_a_token_for_a_name_and_text_for_a_value() {
        assert!(is_token(b"X-a_1!") && is_text(b"a\tb \xff"));
        for name in ["", "a b", "a:", "a(", "\u{e4}"] {
            assert!(!is_token(name.as_bytes()), "{name}");
        }
        for value in [&b"\0"[..], b"a\rb", b"\x1b[0m", b"\x7f"] {
            assert!(!is_text(value));
        }
    }
}
