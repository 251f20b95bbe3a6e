//! Rust source without what is not code: comments, the contents of literals, and tests.

/// The text with comments and literals blanked out. Lines stay where they are.
pub(super) fn code_only(text: &str) -> String {
    let source = text.as_bytes();
    let mut code = Vec::with_capacity(source.len());
    let mut at = 0;
    while at < source.len() {
        let length = skipped_length(source, at);
        if length == 0 {
            code.push(source[at]);
            at += 1;
        } else {
            let skipped = &source[at..at + length];
            code.extend(skipped.iter().map(|byte| if *byte == b'\n' { b'\n' } else { b' ' }));
            at += length;
        }
    }
    // Comments and literals begin and end at ASCII characters, so nothing is cut in two.
    String::from_utf8_lossy(&code).into_owned()
}

/// How long the comment or literal is that begins here; 0 when none does.
fn skipped_length(source: &[u8], at: usize) -> usize {
    let rest = &source[at..];
    let follows_identifier = at > 0 && is_identifier(source[at - 1]);
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment_length(rest),
        [b'"', ..] => string_length(rest, 0),
        [b'\'', ..] => char_length(rest),
        [b'b' | b'c', b'"', ..] if !follows_identifier => 1 + string_length(rest, 1),
        [b'b', b'\'', ..] if !follows_identifier => 1 + char_length(&rest[1..]),
        [b'r', ..] if !follows_identifier => raw_string_length(rest, 1),
        [b'b' | b'c', b'r', ..] if !follows_identifier => raw_string_length(rest, 2),
        _ => 0,
    }
}

fn is_identifier(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn block_comment_length(rest: &[u8]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            [b'/', b'*', ..] => {
                depth += 1;
                at += 2;
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    return at;
                }
            }
            _ => at += 1,
        }
    }
    rest.len()
}

/// The quoted part, after a prefix of `prefix` bytes.
fn string_length(rest: &[u8], prefix: usize) -> usize {
    let quoted = &rest[prefix..];
    let mut at = 1;
    while at < quoted.len() {
        match quoted[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    quoted.len()
}

/// 0 for an identifier that only looks like the beginning of a raw string.
fn raw_string_length(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|byte| **byte == b'#').count();
    let begin = prefix + hashes;
    if rest.get(begin) != Some(&b'"') {
        return 0;
    }
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let body = &rest[begin + 1..];
    body.windows(end.len()).position(|window| window == end).map_or(rest.len(), |found| begin + 1 + found + end.len())
}

/// 0 for a lifetime.
fn char_length(rest: &[u8]) -> usize {
    // A character is at most 4 bytes; an escape is at most '\u{10ffff}'.
    let is_escape = rest.get(1) == Some(&b'\\');
    let from = if is_escape { 3 } else { 2 };
    let to = rest.len().min(if is_escape { 13 } else { 6 });
    let end = (from..to).find(|at| rest[*at] == b'\'');
    match end {
        Some(end) if is_escape || is_one_char(&rest[1..end]) => end + 1,
        Some(_) | None => 0,
    }
}

fn is_one_char(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().count() == 1)
}

/// Code (see [`code_only`]) without the items behind `#[cfg(test)]`. Lines stay where they are.
pub(super) fn without_tests(code: &str) -> String {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut kept = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(found) = rest.find(ATTRIBUTE) {
        kept.push_str(&rest[..found]);
        let item = &rest[found..];
        let length = ATTRIBUTE.len() + item_length(&item[ATTRIBUTE.len()..]);
        kept.extend(item[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &item[length..];
    }
    kept.push_str(rest);
    kept
}

/// To the closing brace of the item's first block, or to its semicolon.
fn item_length(item: &str) -> usize {
    let mut depth = 0_usize;
    for (at, byte) in item.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth <= 1 => return at + 1,
            b'}' => depth -= 1,
            b';' if depth == 0 => return at + 1,
            _ => {}
        }
    }
    item.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squeezed(text: &str) -> String {
        code_only(text).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn comments_are_not_code() {
        assert_eq!(squeezed("a // b\nc /* d /* e */ f */ g //! h"), "a c g");
    }

    #[test]
    fn literals_are_not_code() {
        assert_eq!(
            squeezed(r##"f("x \" y", 'z', '"', b'\'', '\u{41}', r#"raw " text"#, br"t", b"u", c"v") w"##),
            "f( , , , , , , , , ) w"
        );
    }

    #[test]
    fn lifetimes_and_raw_identifiers_are_code() {
        assert_eq!(
            squeezed("fn f<'a>(r#type: &'a str, bar: &'static str) {}"),
            "fn f<'a>(r#type: &'a str, bar: &'static str) {}"
        );
        assert_eq!(squeezed("match c { 'a'..='b' | 'ä' => x }"), "match c { ..= | => x }");
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "a\n/* b\nc */ d\n\"e\nf\" g\n";
        assert_eq!(code_only(text).lines().count(), text.lines().count());
        assert_eq!(code_only(text).lines().nth(2).map(str::trim), Some("d"));
    }

    #[test]
    fn tests_are_cut_out_and_what_follows_stays() {
        let code = "a();\n#[cfg(test)]\nmod tests {\n fn t() { b(); }\n}\nc();\n#[cfg(test)]\nuse d;\ne();";
        let kept = without_tests(code);
        assert_eq!(kept.split_whitespace().collect::<Vec<_>>(), ["a();", "c();", "e();"]);
        assert_eq!(kept.lines().count(), code.lines().count());
    }
}
