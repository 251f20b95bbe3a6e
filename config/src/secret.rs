//! A value that must not be printed.

use std::fmt;

/// A password or token. `Debug` and `Display` print `***`; only [`Secret::expose`] gives the text.
///
/// There is no `PartialEq`: an ordinary comparison tells by its duration how much of a guess is right. Use [`Secret::matches`].
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for the one place that sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether `candidate` is this secret. Its duration depends on the candidate's length, never on how much of it is right.
    #[must_use]
    pub fn matches(&self, candidate: &[u8]) -> bool {
        let secret = self.0.as_bytes();
        let mut difference = secret.len() ^ candidate.len();
        for (index, byte) in candidate.iter().enumerate() {
            let expected = secret.get(index).copied().unwrap_or(0);
            difference |= usize::from(std::hint::black_box(expected ^ byte));
        }
        difference == 0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_its_text() {
        let secret = Secret::new("correct horse".into());
        assert_eq!(format!("{secret} {secret:?} {:?}", Some(&secret)), "*** *** Some(***)");
    }

    #[test]
    fn a_secret_matches_itself_and_nothing_else() {
        let secret = Secret::new("correct horse".into());
        assert!(secret.matches(b"correct horse"));
        for wrong in ["", "correct hors", "correct horse ", "correct horsf", "\0", "correct horse\0"] {
            assert!(!secret.matches(wrong.as_bytes()), "{wrong:?}");
        }
    }
}
