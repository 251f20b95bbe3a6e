//! Programs to ask for.

use adtrack_proto::{Program, ProgramId};
use vertebra::BoxError;

pub(crate) fn program(id: &str) -> Result<Program, BoxError> {
    Ok(Program {
        program_id: ProgramId::new(id)?,
        program_name: "program2".into(),
        checksum: "124".into(),
        customer_id: 9124,
        customer_name: "Customer2".into(),
        valid: true,
        version: None,
    })
}
