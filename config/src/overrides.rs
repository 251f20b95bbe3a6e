//! What the command line sets.

use std::fmt;
use std::path::PathBuf;

/// Settings given as flags: the highest layer.
///
/// ```
/// # use adtrack_config::{Config, Overrides};
/// let mut flags = Overrides::default();
/// flags.set("http.listen", "127.0.0.1:0", "--listen");
/// let config = Config::load(&flags, &[("ADTRACK_HTTP_LISTEN", "0.0.0.0:80")])?;
/// assert_eq!(config.http.listen.to_string(), "127.0.0.1:0");
/// # Ok::<(), adtrack_config::ConfigErrors>(())
/// ```
#[derive(Clone, Default)]
pub struct Overrides {
    /// The file named by `--config`; it replaces the one named by `ADTRACK_CONFIG`.
    pub config_file: Option<PathBuf>,
    pub(crate) settings: Vec<Override>,
}

#[derive(Clone)]
pub(crate) struct Override {
    pub(crate) key: String,
    pub(crate) value: String,
    pub(crate) flag: String,
}

impl Overrides {
    /// No settings yet; `config_file` is what `--config` said.
    #[must_use]
    pub fn new(config_file: Option<PathBuf>) -> Self {
        Self { config_file, settings: Vec::new() }
    }

    /// Sets `key` (as in `default.toml`, such as `http.listen`) to `value`, written as in a variable. `flag` (such as
    /// `--listen`) is only named in messages. The last call for a key wins; a key that does not exist is an error of
    /// [`Config::load`](crate::Config::load).
    pub fn set(&mut self, key: &str, value: impl Into<String>, flag: &str) -> &mut Self {
        self.settings.push(Override { key: key.to_owned(), value: value.into(), flag: flag.to_owned() });
        self
    }
}

impl fmt::Debug for Overrides {
    /// Without the values: some are secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags: Vec<&str> = self.settings.iter().map(|each| each.flag.as_str()).collect();
        f.debug_struct("Overrides").field("config_file", &self.config_file).field("flags", &flags).finish()
    }
}
