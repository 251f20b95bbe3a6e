//! The keys that exist, as `default.toml` lists them.

use crate::nearest::nearest;

/// Before the name of every variable of ours.
pub(crate) const PREFIX: &str = "ADTRACK_";

/// All keys, such as `http.listen`.
pub(crate) struct Keys(Vec<String>);

impl Keys {
    pub(crate) fn new(keys: Vec<String>) -> Self {
        Self(keys)
    }

    pub(crate) fn contains(&self, key: &str) -> bool {
        self.0.iter().any(|known| known == key)
    }

    pub(crate) fn has_section(&self, name: &str) -> bool {
        self.0.iter().any(|known| known.split_once('.').is_some_and(|(section, _)| section == name))
    }

    /// The key that the variable `name` sets.
    pub(crate) fn of_variable(&self, name: &str) -> Option<&str> {
        self.0.iter().map(String::as_str).find(|key| variable_of(key) == name)
    }

    /// The key that looks most like `name`.
    pub(crate) fn nearest(&self, name: &str) -> &str {
        // A section without its key: any of its keys shows what is meant.
        let in_section = self.0.iter().find(|known| known.split_once('.').is_some_and(|(section, _)| section == name));
        if let Some(known) = in_section {
            return known;
        }
        nearest(name, self.0.iter().map(String::as_str)).unwrap_or_default()
    }

    /// The variable that looks most like `name`.
    pub(crate) fn nearest_variable(&self, name: &str) -> String {
        variable_of(self.nearest(name.strip_prefix(PREFIX).unwrap_or(name)))
    }
}

/// `http.listen` -> `ADTRACK_HTTP_LISTEN`
pub(crate) fn variable_of(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_ascii_uppercase())
}
