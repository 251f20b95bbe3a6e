//! A program in a Redis hash, and what may be found there instead.

use adtrack_proto::{Program, ProgramError, ProgramId};

/// Why a hash is not the program its key promises.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Foreign {
    /// Larger than a program may be.
    #[error("{bytes} bytes, it must have at most {bytes_max}")]
    TooLarge { bytes: usize, bytes_max: usize },
    /// Not text.
    #[error("{field} is not UTF-8")]
    NotText { field: String },
    /// Not a program.
    #[error(transparent)]
    NotProgram(#[from] ProgramError),
    /// Another program than the key says.
    #[error("programId is {program_id}, not the key")]
    OtherId { program_id: ProgramId },
}

/// What HGETALL answered for a key; `None` when there is no such key.
pub(super) fn program(
    key: &ProgramId,
    fields: &[(Vec<u8>, Vec<u8>)],
    bytes_max: usize,
) -> Result<Option<Program>, Foreign> {
    if fields.is_empty() {
        return Ok(None);
    }
    let bytes = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
    if bytes > bytes_max {
        return Err(Foreign::TooLarge { bytes, bytes_max });
    }
    let mut texts = Vec::with_capacity(fields.len());
    for (name, value) in fields {
        // A field whose name is no text is none of ours.
        let Ok(name) = std::str::from_utf8(name) else { continue };
        let not_text = |_| Foreign::NotText { field: name.escape_debug().to_string() };
        texts.push((name, std::str::from_utf8(value).map_err(not_text)?));
    }
    let program = Program::from_fields(texts)?;
    if program.program_id != *key {
        return Err(Foreign::OtherId { program_id: program.program_id });
    }
    Ok(Some(program))
}

/// The version in a hash, if there is one.
pub(super) fn version(fields: &[(Vec<u8>, Vec<u8>)]) -> Option<u64> {
    let (_, text) = fields.iter().find(|(name, _)| name == b"version")?;
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use proptest::prelude::*;

    use super::*;

    fn id(text: &str) -> ProgramId {
        ProgramId::new(text).unwrap()
    }

    fn hash() -> Vec<(Vec<u8>, Vec<u8>)> {
        let json =
            br#"{"programId":"1","programName":"a","checksum":"c","customerId":1,"customerName":"n","valid":true}"#;
        let program = Program::from_json(json).unwrap();
        program.to_fields().map(|(name, value)| (name.into(), value.as_bytes().to_vec())).to_vec()
    }

    #[test]
    fn a_missing_key_is_no_program() {
        assert_eq!(program(&id("1"), &[], 100), Ok(None));
    }

    #[test]
    fn a_hash_is_the_program_of_its_key_only() {
        assert!(program(&id("1"), &hash(), 1_000).unwrap().is_some());
        assert_eq!(program(&id("2"), &hash(), 1_000), Err(Foreign::OtherId { program_id: id("1") }));
    }

    #[test]
    fn other_hashes_are_foreign() {
        let other = vec![(b"a".to_vec(), b"b".to_vec())];
        assert!(matches!(program(&id("1"), &other, 1_000), Err(Foreign::NotProgram(_))));
        let mut binary = hash();
        binary[2].1 = vec![0xff, 0xfe];
        assert_eq!(program(&id("1"), &binary, 1_000), Err(Foreign::NotText { field: "programName".to_owned() }));
        let mut large = hash();
        large[2].1 = vec![b'x'; 1_000];
        assert!(matches!(program(&id("1"), &large, 1_000), Err(Foreign::TooLarge { .. })));
    }

    #[test]
    fn fields_of_other_writers_are_not_looked_at() {
        let mut more = hash();
        more.push((vec![0xff], vec![0xff]));
        assert!(program(&id("1"), &more, 1_000).unwrap().is_some());
    }

    proptest! {
        #[test]
        fn no_hash_makes_the_reader_panic(
            fields in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), prop::collection::vec(any::<u8>(), 0..40)), 0..10),
        ) {
            drop(program(&id("1"), &fields, 200));
        }
    }
}
