//! The trace id of a W3C `traceparent`.

use http::HeaderMap;
use http::header::HeaderName;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The trace id the caller gave; `None` without one, with two, or with one that is not well formed.
pub(super) fn trace_id(headers: &HeaderMap) -> Option<&str> {
    let mut all = headers.get_all(TRACEPARENT).iter();
    let only = all.next()?;
    if all.next().is_some() {
        return None;
    }
    parse(only.to_str().ok()?)
}

/// `version "-" trace-id "-" parent-id "-" flags`, lower-case hexadecimal; a version after 00 may say more behind that.
fn parse(text: &str) -> Option<&str> {
    let mut parts = text.splitn(5, '-');
    let (version, trace, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let more = parts.next();
    let well_formed = is_hex(version, 2) && is_hex(trace, 32) && is_hex(parent, 16) && is_hex(flags, 2);
    let known = version != "ff" && (version != "00" || more.is_none());
    (well_formed && known && !is_zero(trace) && !is_zero(parent)).then_some(trace)
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_zero(text: &str) -> bool {
    text.bytes().all(|byte| byte == b'0')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_well_formed_traceparent_gives_its_trace_id() {
        for text in [
            format!("00-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-00"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-will-be"),
        ] {
            assert_eq!(parse(&text), Some(TRACE), "{text}");
        }
    }

    #[test]
    fn anything_else_gives_none() {
        let zeros = "0".repeat(32);
        for text in [
            String::new(),
            TRACE.into(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("00-{TRACE}-00f067aa0ba902b7-1"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{zeros}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-0000000000000000-01"),
            format!(" 00-{TRACE}-00f067aa0ba902b7-01"),
        ] {
            assert_eq!(parse(&text), None, "{text}");
        }
    }

    #[test]
    fn two_traceparents_are_none() {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            headers.append(
                TRACEPARENT,
                http::HeaderValue::from_static("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            );
        }
        assert_eq!(trace_id(&headers), None);
    }

    proptest! {
        #[test]
        fn any_text_gives_a_trace_id_or_none(text in any::<String>()) {
            if let Some(trace) = parse(&text) {
                prop_assert!(is_hex(trace, 32));
            }
        }
    }
}
