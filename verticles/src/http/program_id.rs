//! The program id in a tracking URL.

use std::borrow::Cow;

use adtrack_config::{ProgramIdRefusal, ProgramIdRule};
use adtrack_proto::ProgramId;

/// Why a tracking URL names no program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MalformedId {
    /// There is nothing where the id should be.
    Empty,
    /// It is longer than the settings allow.
    TooLong,
    /// A character that the settings do not allow.
    Character,
}

impl MalformedId {
    /// The body of the answer, in JSON.
    pub(super) fn body(self) -> &'static str {
        match self {
            Self::Empty => r#"{"error":"the program id is empty"}"#,
            Self::TooLong => r#"{"error":"the program id is too long"}"#,
            Self::Character => r#"{"error":"the program id has a character that is not allowed"}"#,
        }
    }
}

/// The id in the rest of a path, percent-decoded and checked.
pub(super) fn decode(text: &str, rule: &ProgramIdRule) -> Result<ProgramId, MalformedId> {
    let decoded: Cow<'_, [u8]> = percent_encoding::percent_decode_str(text).into();
    rule.check(&decoded).map_err(|refusal| match refusal {
        ProgramIdRefusal::Empty => MalformedId::Empty,
        ProgramIdRefusal::TooLong { .. } => MalformedId::TooLong,
        ProgramIdRefusal::Character { .. } => MalformedId::Character,
    })?;
    let text = std::str::from_utf8(&decoded).map_err(|_| MalformedId::Character)?;
    ProgramId::new(text).map_err(|_| MalformedId::TooLong)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use adtrack_config::{Config, Overrides};
    use proptest::prelude::*;

    fn rule() -> ProgramIdRule {
        let config = Config::load(&Overrides::default(), &[("ADTRACK_HTTP_LISTEN", "127.0.0.1:0")]).unwrap();
        config.http.program_id_rule()
    }

    #[test]
    fn an_id_is_decoded_and_checked() {
        let rule = rule();
        for (text, expected) in [("212313", "212313"), ("%32%312313", "212313"), ("a.b_c:d~e-f", "a.b_c:d~e-f")] {
            assert_eq!(decode(text, &rule).unwrap().as_str(), expected);
        }
        assert!(decode(&"x".repeat(128), &rule).is_ok());
        for (text, expected) in [
            (String::new(), MalformedId::Empty),
            ("x".repeat(129), MalformedId::TooLong),
            ("%78".repeat(129), MalformedId::TooLong),
            ("a/b".into(), MalformedId::Character),
            ("%00".into(), MalformedId::Character),
            ("%2e%2e%2f".into(), MalformedId::Character),
            ("%0d%0aSet-Cookie:x=1".into(), MalformedId::Character),
            ("%c0%ae".into(), MalformedId::Character),
            ("%e4%b8%ad".into(), MalformedId::Character),
            ("*".into(), MalformedId::Character),
            ("{a}".into(), MalformedId::Character),
            ("%zz".into(), MalformedId::Character),
            ("a+b".into(), MalformedId::Character),
        ] {
            assert_eq!(decode(&text, &rule), Err(expected), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_an_id_of_allowed_characters_or_refused(text in any::<String>()) {
            let rule = rule();
            if let Ok(id) = decode(&text, &rule) {
                prop_assert!(rule.check(id.as_str().as_bytes()).is_ok() && id.as_str().len() <= 128);
            }
        }
    }
}
