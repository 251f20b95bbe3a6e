//! Where `tests/services/install` puts what the tests need.

use std::env;
use std::path::{Path, PathBuf};

use super::ServiceError;
use crate::repository;

/// `TEST_TOOLS_DIR`, or `test-tools` in the target directory.
pub fn tools_dir() -> PathBuf {
    let chosen = env::var_os("TEST_TOOLS_DIR").filter(|dir| !dir.is_empty());
    chosen.map_or_else(|| repository::target_dir().join("test-tools"), PathBuf::from)
}

/// The Python that has the plain protobuf runtime: the judge of our encoding that shares no code with it.
///
/// # Errors
/// [`ServiceError::NotInstalled`].
pub fn protobuf_python() -> Result<PathBuf, ServiceError> {
    installed(tools_dir().join("protobuf/bin/python"))
}

/// Whether the person who runs the tests has said that kinesalite is not to be asked: `TEST_SKIP_FOREIGN=1`.
pub fn foreign_judge_is_skipped() -> bool {
    env::var_os("TEST_SKIP_FOREIGN").is_some_and(|value| value == "1")
}

/// The directory of Node packages that holds kinesalite.
pub(super) fn node_modules() -> Result<PathBuf, ServiceError> {
    let modules = tools_dir().join("node_modules");
    installed(modules.join("kinesalite"))?;
    Ok(modules)
}

fn installed(path: PathBuf) -> Result<PathBuf, ServiceError> {
    if Path::exists(&path) { Ok(path) } else { Err(ServiceError::NotInstalled { missing: path }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_way_to_get_it() {
        let message = installed(PathBuf::from("no/such/thing")).map_err(|error| error.to_string());
        assert_eq!(message, Err("no/such/thing is missing: run tests/services/install".to_owned()));
    }
}
