//! What can be asked of the binary under test.

use std::process::Command;

use crate::adtrack::StartError;
use crate::binary::adtrack_binary;
use crate::faults::error::RunError;

/// Whether the binary under test knows these settings.
pub(super) fn knows(settings: &[(&str, &str)]) -> Result<bool, RunError> {
    let binary = adtrack_binary().map_err(StartError::from)?;
    let dir = tempfile::tempdir()?;
    // An unknown variable stops it, and it says so.
    let mut command = Command::new(binary);
    command.arg("check-config").env_clear().envs(settings.iter().copied()).current_dir(dir.path());
    Ok(command.output()?.status.success())
}
