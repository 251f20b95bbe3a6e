//! The environment as a value, so that a test passes its own.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

/// Where environment variables come from.
pub trait Source {
    /// All variables, in any order. A name occurs once.
    fn variables(&self) -> Vec<(OsString, OsString)>;
}

/// The environment of this process, as it is when [`Source::variables`] is called.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessEnv;

impl Source for ProcessEnv {
    #[allow(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    fn variables(&self) -> Vec<(OsString, OsString)> {
        std::env::vars_os().collect()
    }
}

impl<K: AsRef<OsStr>, V: AsRef<OsStr>> Source for BTreeMap<K, V> {
    fn variables(&self) -> Vec<(OsString, OsString)> {
        self.iter().map(|(name, value)| (name.as_ref().to_owned(), value.as_ref().to_owned())).collect()
    }
}

impl<K: AsRef<OsStr>, V: AsRef<OsStr>, const N: usize> Source for [(K, V); N] {
    fn variables(&self) -> Vec<(OsString, OsString)> {
        self.iter().map(|(name, value)| (name.as_ref().to_owned(), value.as_ref().to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn the_process_environment_is_passed_on() {
        let variables = ProcessEnv.variables();
        assert!(variables.iter().any(|(name, value)| name == "PATH" && !value.is_empty()));
    }
}
