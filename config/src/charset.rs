//! Which ASCII characters a text may hold.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// A set of visible ASCII characters (`!` to `~`), written as the inside of a regular expression's brackets.
///
/// * `a-z` is a range, both ends included;
/// * `-` stands for itself at the beginning, at the end and after a backslash;
/// * a backslash before any character makes that character stand for itself;
/// * everything else stands for itself. There is no negation: `^` is a character like any other.
///
/// Asking is one shift of a 128-bit table. `Display` writes the set in a form that parses to the same set.
///
/// ```
/// # use adtrack_config::CharSet;
/// let set: CharSet = "A-Za-z0-9._:~-".parse()?;
/// assert!(set.contains(b'-') && set.contains(b'q') && !set.contains(b'/'));
/// assert!(set.contains_all(b"212313") && !set.contains_all(b"21 23"));
/// # Ok::<(), adtrack_config::CharSetError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct CharSet(u128);

/// Why a text is not a [`CharSet`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CharSetError {
    /// Nothing would be allowed.
    #[error("empty set")]
    Empty,
    /// A space, a control character or something beyond ASCII.
    #[error("{0:?} is not a visible ASCII character")]
    NotVisible(char),
    /// A range whose end comes before its start.
    #[error("range {0}-{1} is backwards")]
    Backwards(char, char),
    /// A backslash with nothing after it.
    #[error("backslash at the end")]
    Unfinished,
}

/// One character of the text: whether it is a bare `-`, which may mean a range, was decided here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Literal(u8),
    Dash,
}

impl CharSet {
    pub(crate) const NONE: Self = Self(0);

    /// Whether `byte` is in the set. A byte beyond ASCII never is.
    #[must_use]
    pub const fn contains(&self, byte: u8) -> bool {
        byte < 128 && (self.0 >> byte) & 1 == 1
    }

    /// Whether every byte is in the set; true for none.
    #[must_use]
    pub fn contains_all(&self, bytes: &[u8]) -> bool {
        bytes.iter().all(|byte| self.contains(*byte))
    }

    fn insert_range(&mut self, from: u8, to: u8) {
        for byte in from..=to {
            self.0 |= 1 << byte;
        }
    }
}

fn tokens(text: &str) -> Result<Vec<Token>, CharSetError> {
    let mut tokens = Vec::new();
    let mut chars = text.chars();
    while let Some(first) = chars.next() {
        let escaped = first == '\\';
        let literal = if escaped { chars.next().ok_or(CharSetError::Unfinished)? } else { first };
        if !literal.is_ascii_graphic() {
            return Err(CharSetError::NotVisible(literal));
        }
        let byte = u8::try_from(literal).map_err(|_| CharSetError::NotVisible(literal))?;
        tokens.push(if byte == b'-' && !escaped { Token::Dash } else { Token::Literal(byte) });
    }
    Ok(tokens)
}

impl FromStr for CharSet {
    type Err = CharSetError;

    fn from_str(text: &str) -> Result<Self, CharSetError> {
        let tokens = tokens(text)?;
        let mut set = Self(0);
        let mut rest = tokens.as_slice();
        loop {
            rest = match rest {
                [Token::Literal(from), Token::Dash, Token::Literal(to), rest @ ..] => {
                    if from > to {
                        return Err(CharSetError::Backwards(char::from(*from), char::from(*to)));
                    }
                    set.insert_range(*from, *to);
                    rest
                }
                [Token::Literal(byte), rest @ ..] => {
                    set.insert_range(*byte, *byte);
                    rest
                }
                [Token::Dash, rest @ ..] => {
                    set.insert_range(b'-', b'-');
                    rest
                }
                [] => break,
            };
        }
        if set.0 == 0 { Err(CharSetError::Empty) } else { Ok(set) }
    }
}

impl fmt::Display for CharSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut byte = 0;
        while byte < 128 {
            if !self.contains(byte) {
                byte += 1;
                continue;
            }
            let end = (byte..128).take_while(|each| self.contains(*each)).last().unwrap_or(byte);
            // Shorter than three characters, a range is harder to read than its members.
            if end - byte >= 2 {
                write_literal(f, byte)?;
                f.write_str("-")?;
                write_literal(f, end)?;
            } else {
                (byte..=end).try_for_each(|each| write_literal(f, each))?;
            }
            byte = end + 1;
        }
        Ok(())
    }
}

fn write_literal(f: &mut fmt::Formatter<'_>, byte: u8) -> fmt::Result {
    if matches!(byte, b'-' | b'\\') {
        f.write_str("\\")?;
    }
    write!(f, "{}", char::from(byte))
}

impl fmt::Debug for CharSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CharSet([{self}])")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use proptest::prelude::*;

    fn members(text: &str) -> String {
        let set: CharSet = text.parse().unwrap();
        (0..=u8::MAX).filter(|byte| set.contains(*byte)).map(char::from).collect()
    }

    #[test]
    fn ranges_literals_and_dashes_mean_what_they_mean_in_a_character_class() {
        for (text, expected) in [
            ("abc", "abc"),
            ("a-e", "abcde"),
            ("a-a", "a"),
            ("-a", "-a"),
            ("a-", "-a"),
            ("-", "-"),
            ("a-c-e", "-abce"),
            ("a\\-e", "-ae"),
            ("\\\\", "\\"),
            ("^a", "^a"),
            ("!-~", "!\"#$%&'()*+,-./0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~"),
        ] {
            assert_eq!(members(text), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_a_set_is_refused_with_its_reason() {
        for (text, expected) in [
            ("", CharSetError::Empty),
            ("a b", CharSetError::NotVisible(' ')),
            ("a\n", CharSetError::NotVisible('\n')),
            ("é", CharSetError::NotVisible('é')),
            ("z-a", CharSetError::Backwards('z', 'a')),
            ("a\\", CharSetError::Unfinished),
        ] {
            assert_eq!(text.parse::<CharSet>(), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_printed_set_parses_to_itself(text in "[!-~]{1,40}") {
            if let Ok(set) = text.parse::<CharSet>() {
                prop_assert_eq!(set.to_string().parse::<CharSet>(), Ok(set));
            }
        }

        #[test]
        fn any_text_is_a_set_or_an_error_and_never_beyond_visible_ascii(text in any::<String>()) {
            if let Ok(set) = text.parse::<CharSet>() {
                prop_assert!((0..=u8::MAX).all(|byte| !set.contains(byte) || byte.is_ascii_graphic()));
            }
        }
    }
}
