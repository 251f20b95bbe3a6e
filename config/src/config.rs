//! The checked configuration as a whole.

use std::fmt;

use crate::{
    AdminConfig, CacheConfig, Compat, ConfigErrors, DataConfig, Durability, EventsConfig, HttpConfig, KinesisConfig,
    LogConfig, Origin, Overrides, RedisConfig, RuntimeConfig, Source, StoreConfig, check, layers, reader::Reader,
    secret_file,
};

/// Every setting, checked. Its `Debug` prints secrets as `***`.
#[derive(Clone, Debug)]
pub struct Config {
    /// Whose defaults hold.
    pub compat: Compat,
    /// `[runtime]`
    pub runtime: RuntimeConfig,
    /// `[http]`
    pub http: HttpConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[cache]`
    pub cache: CacheConfig,
    /// `[redis]`
    pub redis: RedisConfig,
    /// `[kinesis]`
    pub kinesis: KinesisConfig,
    /// `[events]`
    pub events: EventsConfig,
    /// `[data]`
    pub data: DataConfig,
    /// `[log]`
    pub log: LogConfig,
    /// `[store]`
    pub store: StoreConfig,
    pub(crate) described: Vec<Described>,
}

impl Config {
    /// Puts flags, variables, the file they name and the defaults on top of one another and checks the result.
    ///
    /// Blocks for the reading of at most three small files (the configuration and two secrets); meant for the start.
    ///
    /// # Errors
    /// All that is wrong, not only the first: values out of range, rules between two settings that do not hold, keys and
    /// `ADTRACK_*` variables that do not exist, files that cannot be read.
    pub fn load(flags: &Overrides, source: &dyn Source) -> Result<Self, ConfigErrors> {
        let mut errors = ConfigErrors::new();
        let mut raw = layers::gather(flags, source, &mut errors);
        let failed = secret_file::read_all(&mut raw, &mut errors);
        check::check(Reader::new(&raw, errors, &failed))
    }

    /// Every level that an event may have.
    pub(crate) fn levels(&self) -> impl Iterator<Item = Durability> {
        let routes = self.http.routes.iter().map(|route| route.durability);
        let allowed = self.events.durability_allowed.iter().copied();
        std::iter::once(self.events.durability).chain(allowed).chain(routes)
    }

    /// Every key with its value and origin, in the order of `default.toml`; secrets as `***`. Each prints as one line of
    /// TOML, `key = value  # source`; the lines together are a configuration file (secrets aside) that gives this configuration.
    #[must_use]
    pub fn describe(&self) -> &[Described] {
        &self.described
    }
}

/// One setting for people to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// As in `default.toml`, such as `http.listen`.
    pub key: &'static str,
    /// As TOML writes it; a secret is `"***"`.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}  # {}", self.key, self.value, self.origin)
    }
}
