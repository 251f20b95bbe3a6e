//! What the texts of single settings may look like.

use std::net::Ipv6Addr;

/// A host name or IP address, nothing around it: no scheme, port, user or path.
pub(crate) fn is_host(text: &str) -> bool {
    let is_name = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    (1..=253).contains(&text.len()) && (is_name || text.parse::<Ipv6Addr>().is_ok())
}

pub(crate) fn is_region(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// As Kinesis defines it.
pub(crate) fn is_stream_name(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// `http://` or `https://`, a host, perhaps a port. User and password are refused: they would be printed with the URL.
pub(crate) fn is_endpoint(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")) else {
        return false;
    };
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if let Some(address) = authority.strip_prefix('[') {
        let Some((address, port)) = address.split_once(']') else {
            return false;
        };
        return address.parse::<Ipv6Addr>().is_ok() && (port.is_empty() || port.strip_prefix(':').is_some_and(is_port));
    }
    match authority.split_once(':') {
        Some((host, port)) => is_host(host) && is_port(port),
        None => is_host(authority),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// The name of a cookie: what HTTP calls a token.
pub(crate) fn is_cookie_name(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// Text that goes into a header: a token.
pub(crate) fn is_token(text: &str) -> bool {
    (16..=256).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Text without control characters.
pub(crate) fn is_plain(text: &str, chars_max: usize) -> bool {
    text.chars().count() <= chars_max && !text.chars().any(char::is_control)
}

/// The name of a pub/sub channel or of a key.
pub(crate) fn is_channel(text: &str) -> bool {
    !text.is_empty() && is_plain(text, 256) && !text.contains(char::is_whitespace)
}

/// The name of a file or directory. A line break in it would break the lines it is printed in.
pub(crate) fn is_path(text: &str) -> bool {
    !text.is_empty() && is_plain(text, 4096)
}

/// Directives of a log filter. A single word must be a level: a mistyped one would be taken for a target, and the log be
/// silent. What holds a span filter (`[`) is left to the filter's own parser.
pub(crate) fn is_log_filter(text: &str) -> bool {
    if text.is_empty() || !is_plain(text, 1024) {
        return false;
    }
    text.contains('[') || text.split(',').all(|part| is_log_directive(part.trim()))
}

fn is_log_directive(text: &str) -> bool {
    let level = match text.split_once('=') {
        Some(("", _)) => return false,
        Some((_, level)) => level,
        None => text,
    };
    ["off", "error", "warn", "info", "debug", "trace"].iter().any(|known| level.eq_ignore_ascii_case(known))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(is_valid: fn(&str) -> bool, good: &[&str], bad: &[&str]) {
        for text in good {
            assert!(is_valid(text), "{text:?} was refused");
        }
        for text in bad {
            assert!(!is_valid(text), "{text:?} was accepted");
        }
    }

    #[test]
    fn a_host_stands_alone() {
        check(
            is_host,
            &["localhost", "redis_1", "10.0.0.1", "::1", "a.b-c.example"],
            &["", "redis://host", "host:6379", "user@host", "host/0", "[::1]", "ho st", "é", &"x".repeat(254)],
        );
    }

    #[test]
    fn a_region_and_a_stream_name_have_the_letters_that_aws_allows() {
        check(is_region, &["eu-west-1", "local"], &["", "EU-WEST-1", "eu west", "eu_west"]);
        check(is_stream_name, &["a", "reactive-system-event-stream", "A_b.c-1"], &["", "a b", "a/b", &"x".repeat(129)]);
    }

    #[test]
    fn an_endpoint_is_a_url_of_scheme_host_and_port() {
        check(
            is_endpoint,
            &[
                "http://localhost:4567",
                "https://kinesis.eu-west-1.amazonaws.com",
                "http://h/",
                "http://[::1]:1",
                "http://[::1]",
            ],
            &[
                "",
                "localhost:4567",
                "ftp://h",
                "http://",
                "http://h:0",
                "http://h:+1",
                "http://h:99999",
                "http://u:p@h",
                "http://h/p",
                "http://h?q",
                "http://[::1",
            ],
        );
    }

    #[test]
    fn a_log_filter_is_made_of_levels() {
        check(
            is_log_filter,
            &["info", "INFO", "warn,adtrack::http=debug", "off", "adtrack[request{id=1}]=trace"],
            &["", "inof", "info,", "adtrack=", "=info", "adtrack=loud", "info\n"],
        );
    }

    #[test]
    fn a_token_fits_a_header() {
        check(
            is_token,
            &["0123456789abcdef", "0123456789-_.~+/="],
            &["", "short", "0123456789abcde ", "0123456789abcdé", &"x".repeat(257)],
        );
    }
}
