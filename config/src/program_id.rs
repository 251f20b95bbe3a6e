//! Which program ids a tracking URL can ask for.

use thiserror::Error;

use crate::{CharSet, HttpConfig};

/// `http.program_id_bytes_max` and `http.program_id_chars` as one rule: the route checks what it is asked for by it, and
/// whoever stores a program checks that somebody can ask for it.
///
/// ```
/// # use adtrack_config::{Config, Overrides};
/// let config = Config::load(&Overrides::default(), &[("ADTRACK_HTTP_LISTEN", "127.0.0.1:0")])?;
/// let rule = config.http.program_id_rule();
/// assert!(rule.check(b"212313").is_ok());
/// assert_eq!(
///     rule.check(b"a/b").unwrap_err().to_string(),
///     r"programId has '/', so no URL can ask for it: http.program_id_chars is \-.0-:A-Z_a-z~",
/// );
/// # Ok::<(), adtrack_config::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgramIdRule {
    bytes_max: usize,
    chars: CharSet,
}

/// Why no URL can ask for an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProgramIdRefusal {
    /// There is nothing to ask for.
    #[error("programId is empty, so no URL can ask for it")]
    Empty,
    /// It is longer than `http.program_id_bytes_max`.
    #[error("programId has {bytes} bytes, so no URL can ask for it: http.program_id_bytes_max is {bytes_max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The setting.
        bytes_max: usize,
    },
    /// It has a byte that is not in `http.program_id_chars`.
    #[error("programId has {:?}, so no URL can ask for it: http.program_id_chars is {chars}", char::from(*byte))]
    Character {
        /// The first such byte.
        byte: u8,
        /// The setting.
        chars: CharSet,
    },
}

impl ProgramIdRule {
    /// Whether a URL can ask for this id, given as it is when it is percent-decoded.
    ///
    /// # Errors
    /// [`ProgramIdRefusal`], in the order of its variants.
    pub fn check(&self, id: &[u8]) -> Result<(), ProgramIdRefusal> {
        let Self { bytes_max, chars } = *self;
        if id.is_empty() {
            return Err(ProgramIdRefusal::Empty);
        }
        if id.len() > bytes_max {
            return Err(ProgramIdRefusal::TooLong { bytes: id.len(), bytes_max });
        }
        match id.iter().find(|byte| !chars.contains(**byte)) {
            Some(byte) => Err(ProgramIdRefusal::Character { byte: *byte, chars }),
            None => Ok(()),
        }
    }
}

impl HttpConfig {
    /// The rule for program ids.
    #[must_use]
    pub fn program_id_rule(&self) -> ProgramIdRule {
        ProgramIdRule { bytes_max: self.program_id_bytes_max, chars: self.program_id_chars }
    }
}
