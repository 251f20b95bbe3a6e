//! What a tracking URL says behind its question mark.

use smol_str::SmolStr;

const TYPE: &str = "type";
const TYPE_BYTES_MAX: usize = 64;

/// The parameters of one URL, decoded.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    /// The first `type` of 1 to 64 letters, digits, `_`, `.` or `-`; empty without one.
    pub(super) event_type: SmolStr,
    /// All parameters in order, `type` too, as far as the bounds let them be kept.
    pub(super) parameters: Vec<(String, String)>,
    /// How many were not kept.
    pub(super) dropped: usize,
}

/// How much of a query is kept.
#[derive(Debug, Clone, Copy)]
pub(super) struct QueryLimits {
    /// Most parameters.
    pub(super) parameters_max: usize,
    /// Most bytes, names and values together, as decoded.
    pub(super) bytes_max: usize,
}

/// Decodes a query. From the first parameter that does not fit on, none is kept.
pub(super) fn decode(query: Option<&str>, limits: QueryLimits) -> Query {
    let mut decoded = Query::default();
    let Some(query) = query else { return decoded };
    let mut room = limits.bytes_max;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if decoded.event_type.is_empty() && name == TYPE && is_type(&value) {
            decoded.event_type = SmolStr::new(&value);
        }
        let bytes = name.len() + value.len();
        if decoded.dropped > 0 || decoded.parameters.len() == limits.parameters_max || bytes > room {
            decoded.dropped += 1;
            continue;
        }
        room -= bytes;
        decoded.parameters.push((name.into_owned(), value.into_owned()));
    }
    decoded
}

fn is_type(value: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    (1..=TYPE_BYTES_MAX).contains(&value.len()) && value.bytes().all(allowed)
}

/// The first value a name has in a query.
pub(super) fn first<'a>(query: Option<&'a str>, name: &str) -> Option<std::borrow::Cow<'a, str>> {
    form_urlencoded::parse(query?.as_bytes()).find(|(known, _)| known == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: QueryLimits = QueryLimits { parameters_max: 3, bytes_max: 20 };

    fn pairs(query: &Query) -> Vec<(&str, &str)> {
        query.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect()
    }

    #[test]
    fn parameters_are_decoded_in_order_with_repeated_names_kept() {
        let query = decode(Some("b=1&a=x+y%21&b=2"), LIMITS);
        assert_eq!(pairs(&query), [("b", "1"), ("a", "x y!"), ("b", "2")]);
        assert_eq!(query.dropped, 0);
        assert_eq!(decode(None, LIMITS), Query::default());
    }

    #[test]
    fn what_is_beyond_the_bounds_is_dropped_and_counted() {
        let many = decode(Some("a=1&b=2&c=3&d=4&e=5"), LIMITS);
        assert_eq!((pairs(&many).len(), many.dropped), (3, 2));
        let long = decode(Some("a=1&b=xxxxxxxxxxxxxxxxxxxxxxxxx&c=3"), LIMITS);
        assert_eq!((pairs(&long), long.dropped), (vec![("a", "1")], 2));
    }

    #[test]
    fn the_type_is_the_first_that_can_be_one_also_when_it_is_not_kept() {
        for (text, expected) in [
            ("type=click", "click"),
            ("a=1&type=a.b_c-9", "a.b_c-9"),
            ("type=&type=<x>&type=click&type=other", "click"),
            ("a=1&b=1&c=1&d=1&type=click", "click"),
            ("type=a%20b", ""),
            ("Type=click", ""),
            ("", ""),
        ] {
            assert_eq!(decode(Some(text), LIMITS).event_type, expected, "{text}");
        }
        assert_eq!(decode(Some(&format!("type={}", "x".repeat(65))), LIMITS).event_type, "");
    }

    proptest! {
        #[test]
        fn any_query_is_decoded_inside_its_bounds(text in any::<String>()) {
            let query = decode(Some(&text), LIMITS);
            prop_assert!(query.parameters.len() <= LIMITS.parameters_max);
            prop_assert!(query.parameters.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>() <= LIMITS.bytes_max);
        }
    }
}
