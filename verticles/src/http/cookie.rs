//! The value of one cookie.

use http::HeaderMap;
use http::header::COOKIE;

/// The longest value that is kept. One that is cut off would be another one's; a longer one is none.
const VALUE_BYTES_MAX: usize = 128;

/// The value of the first cookie of this name, without the quotes that may stand around it; `None` without one, or when it is not
/// 1 to 128 visible ASCII characters.
pub(super) fn value<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim_ascii().split_once('='));
    let (_, value) = pairs.find(|(known, _)| *known == name)?;
    let unquoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    let usable =
        (1..=VALUE_BYTES_MAX).contains(&unquoted.len()) && unquoted.bytes().all(|byte| byte.is_ascii_graphic());
    usable.then_some(unquoted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(lines: &[&str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_bytes(line.as_bytes()).unwrap())).collect()
    }

    #[test]
    fn the_named_cookie_is_found_among_others_in_one_header_or_several() {
        for lines in [
            &["uid=7f3a"][..],
            &["a=1; uid=7f3a; b=2"],
            &["a=1;uid=7f3a"],
            &["a=1", "uid=7f3a"],
            &["uid=\"7f3a\""],
            &["uid=7f3a; uid=other"],
            &["UID=x; uidx=y; uid=7f3a"],
            &["nonsense; ;=; uid=7f3a"],
        ] {
            assert_eq!(value(&headers(lines), "uid"), Some("7f3a"), "{lines:?}");
        }
        assert_eq!(value(&headers(&["uid=a=b=="]), "uid"), Some("a=b=="));
    }

    #[test]
    fn a_cookie_that_is_not_there_or_cannot_be_kept_is_none() {
        let long = format!("uid={}", "x".repeat(129));
        for line in ["", "a=1", "uid", "uid=", "uid=\"\"", "uid=a b", "uid=\u{e4}", &long] {
            assert_eq!(value(&headers(&[line]), "uid"), None, "{line}");
        }
        assert_eq!(value(&headers(&[&long[..long.len() - 1]]), "uid").map(str::len), Some(128));
    }

    proptest! {
        #[test]
        fn any_header_gives_a_value_within_its_bounds_or_none(line in prop::collection::vec(0x20_u8..0x7f, 0..300), name in "[a-c=;]{0,2}") {
            let headers: HeaderMap = [(COOKIE, HeaderValue::from_bytes(&line).unwrap())].into_iter().collect();
            if let Some(value) = value(&headers, &name) {
                prop_assert!((1..=128).contains(&value.len()));
            }
        }
    }
}
