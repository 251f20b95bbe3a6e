//! Which version a program gets that is put into the store.

use std::collections::HashMap;
use std::sync::Arc;

use adtrack_proto::bus::Outdated;
use adtrack_proto::{Program, ProgramId};

/// Gives each program that has no version the next one: the time, or one above the stored version if that is higher. One
/// whose version is below the stored one is not to be stored. In order; a program may be there twice.
pub fn versioned(
    programs: &[Arc<Program>],
    stored: impl Fn(&ProgramId) -> Option<u64>,
    now_ms: i64,
) -> Vec<Result<Arc<Program>, Outdated>> {
    let mut given: HashMap<&ProgramId, u64> = HashMap::new();
    let mut outcomes = Vec::with_capacity(programs.len());
    for program in programs {
        let before = given.get(&program.program_id).copied().or_else(|| stored(&program.program_id));
        let version =
            program.version.or_else(|| next_version(before, now_ms)).filter(|version| Some(*version) >= before);
        outcomes.push(match (version, before) {
            (Some(version), _) => {
                given.insert(&program.program_id, version);
                Ok(match program.version {
                    Some(_) => Arc::clone(program),
                    None => Arc::new(Program { version: Some(version), ..Program::clone(program) }),
                })
            }
            (None, before) => Err(Outdated {
                program_id: program.program_id.clone(),
                version: program.version,
                stored: before.unwrap_or_default(),
            }),
        });
    }
    outcomes
}

/// The version that comes next: the time, or one above the stored version if that is higher; none behind the highest.
pub fn next_version(stored: Option<u64>, now_ms: i64) -> Option<u64> {
    let now_ms = u64::try_from(now_ms).unwrap_or_default();
    stored.map_or(Some(now_ms), |stored| stored.checked_add(1).map(|next| next.max(now_ms)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use super::*;

    fn program(id: &str, version: Option<u64>) -> Arc<Program> {
        let mut program = Program::list_from_json(adtrack_config::SAMPLE_PROGRAMS.as_bytes()).unwrap().remove(0);
        program.program_id = ProgramId::new(id).unwrap();
        program.version = version;
        Arc::new(program)
    }

    /// The version that is given, or the one that stands in the way.
    fn given(version: Option<u64>, stored: Option<u64>) -> Result<u64, u64> {
        let outcome = versioned(&[program("1", version)], |_| stored, 1_000).remove(0);
        outcome.map(|program| program.version.unwrap()).map_err(|outdated| outdated.stored)
    }

    #[test]
    fn without_a_version_it_is_the_time_or_one_above_the_stored_one() {
        assert_eq!(given(None, None), Ok(1_000));
        assert_eq!(given(None, Some(7)), Ok(1_000));
        assert_eq!(given(None, Some(1_000)), Ok(1_001));
        assert_eq!(given(None, Some(5_000)), Ok(5_001));
        assert_eq!(given(None, Some(u64::MAX)), Err(u64::MAX));
    }

    #[test]
    fn a_version_is_taken_unless_a_higher_one_is_stored() {
        assert_eq!(given(Some(0), None), Ok(0));
        assert_eq!(given(Some(7), Some(7)), Ok(7));
        assert_eq!(given(Some(8), Some(7)), Ok(8));
        assert_eq!(given(Some(6), Some(7)), Err(7));
        assert_eq!(given(Some(u64::MAX), Some(u64::MAX)), Ok(u64::MAX));
    }

    #[test]
    fn those_of_one_id_are_taken_in_order() {
        let programs = [program("1", Some(5)), program("1", None), program("2", None), program("1", Some(6))];
        let outcomes = versioned(&programs, |_| None, 1_000);
        let versions: Vec<_> = outcomes.into_iter().map(|outcome| outcome.ok().and_then(|it| it.version)).collect();
        assert_eq!(versions, [Some(5), Some(1_000), Some(1_000), None]);
    }
}
