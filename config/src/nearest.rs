//! Which known name a mistyped one may have meant.

/// Bytes of a name that are compared: no known name is longer, and the work grows with the square.
const COMPARED_BYTES_MAX: usize = 64;

/// The known name that looks most like `name`: the one with fewest letters to change, unless another ends in the same
/// word (`http.ttl_ms` rather means `cache.ttl_ms` than `http.drain_delay_ms`). Case, dots and underscores do not count.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = plain(name);
    known.min_by_key(|candidate| {
        let same_end = candidate.split_once('.').is_some_and(|(_, key)| ends_in(&name, &plain(key)));
        let changes = distance(&name, &plain(candidate));
        // A slip of two letters in the section is still nearer than the same key elsewhere.
        (changes > 2 && !same_end, changes)
    })
}

fn plain(name: &str) -> Vec<u8> {
    name.bytes()
        .take(COMPARED_BYTES_MAX)
        .map(|byte| if byte == b'.' { b'_' } else { byte.to_ascii_lowercase() })
        .collect()
}

fn ends_in(name: &[u8], key: &[u8]) -> bool {
    name.strip_suffix(key).is_some_and(|before| before.is_empty() || before.ends_with(b"_"))
}

/// Letters to insert, delete or replace (Levenshtein).
fn distance(a: &[u8], b: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b) {
            let replaced = diagonal + usize::from(x != y);
            diagonal = *cell;
            *cell = replaced.min(left + 1).min(diagonal + 1);
            left = *cell;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 6] =
        ["http.listen", "http.drain_delay_ms", "cache.ttl_ms", "redis.port", "kinesis.linger_ms", "compat"];

    #[test]
    fn the_distance_counts_inserted_deleted_and_replaced_letters() {
        for (a, b, expected) in [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)]
        {
            assert_eq!(distance(a.as_bytes(), b.as_bytes()), expected, "{a} {b}");
        }
    }

    #[test]
    fn a_slip_finds_the_name_that_was_meant() {
        for (name, meant) in [
            ("http.lisen", "http.listen"),
            ("HTP_LISTEN", "http.listen"),
            ("http.ttl_ms", "cache.ttl_ms"),
            ("port", "redis.port"),
            ("kinesis.linger", "kinesis.linger_ms"),
            ("COMPAD", "compat"),
        ] {
            assert_eq!(nearest(name, KNOWN.into_iter()), Some(meant), "{name}");
        }
    }

    #[test]
    fn a_name_of_any_length_is_answered() {
        assert!(nearest(&"x".repeat(1_000_000), KNOWN.into_iter()).is_some());
    }
}
