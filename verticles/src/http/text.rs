//! Header values as bounded text.

/// At most `bytes_max` bytes of a value as UTF-8, cut between characters; bytes that are no UTF-8 become `U+FFFD`.
pub(super) fn bounded(value: &[u8], bytes_max: usize) -> String {
    // Three bytes more, so that the character over the edge is whole and goes as a whole.
    let mut text = String::from_utf8_lossy(value.get(..bytes_max.saturating_add(3)).unwrap_or(value)).into_owned();
    text.truncate(text.floor_char_boundary(bytes_max));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn text_that_fits_stays_as_it_is() {
        assert_eq!(bounded("curl/7.54.0 ä".as_bytes(), 14), "curl/7.54.0 ä");
        assert_eq!(bounded(b"", 0), "");
    }

    #[test]
    fn longer_text_is_cut_between_characters() {
        assert_eq!(bounded(b"abcdef", 3), "abc");
        assert_eq!(bounded("aä".as_bytes(), 2), "a");
        assert_eq!(bounded("a\u{1f600}".as_bytes(), 4), "a");
        assert_eq!(bounded(b"a\xffb", 10), "a\u{fffd}b");
        assert_eq!(bounded(b"\xff\xff", 4), "\u{fffd}");
    }

    proptest! {
        #[test]
        fn any_value_is_text_inside_its_bound(value in prop::collection::vec(any::<u8>(), 0..40), bytes_max in 0usize..50) {
            prop_assert!(bounded(&value, bytes_max).len() <= bytes_max);
        }
    }
}
