//! The programs that `/cache/fill` loads.

use std::sync::Arc;

use adtrack_proto::{Program, program::ProgramListError};

/// Sample programs, parsed once and shared.
#[derive(Debug, Clone, Default)]
pub struct Samples(Arc<[Arc<Program>]>);

impl Samples {
    /// Reads them from a JSON array of programs in the contract's shape.
    ///
    /// # Errors
    /// Names the first element that is not a program.
    pub fn parse(json: &str) -> Result<Self, ProgramListError> {
        Ok(Self(Program::list_from_json(json.as_bytes())?.into_iter().map(Arc::new).collect()))
    }

    /// The programs.
    pub(super) fn programs(&self) -> Vec<Arc<Program>> {
        self.0.to_vec()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_samples_of_the_settings_are_the_three_of_the_reference() {
        let samples = Samples::parse(adtrack_config::SAMPLE_PROGRAMS).unwrap();
        let ids: Vec<String> = samples.programs().iter().map(|program| program.program_id.to_string()).collect();
        assert_eq!(ids, ["212312", "212313", "212314"]);
    }
}
