//! Every setting of adtrack: its default, unit and range, and where it may come from.
//!
//! [`Config::load`] takes the flags of the command line and the environment, reads the file they name, and returns
//! either a [`Config`] in which every value is in range, or *all* the errors it found. Nothing else in the workspace reads the environment.
//!
//! * [`DEFAULT_TOML`] lists every key with its default, unit and range: the text to read, and the lowest layer.
//! * `layers` puts flag, variables, file and defaults on top of one another and remembers which of them won.
//! * `check` turns what was written into the section structs ([`HttpConfig`], ...); `rules` holds the rules between two keys.
//!
//! ```
//! use adtrack_config::{Config, Overrides};
//!
//! let environment = [("ADTRACK_HTTP_LISTEN", "127.0.0.1:0"), ("REDIS_HOST", "redis.internal")];
//! let config = Config::load(&Overrides::default(), &environment)?;
//! assert_eq!(config.http.listen.port(), 0);
//! assert_eq!(config.redis.host.as_deref(), Some("redis.internal"));
//!
//! let errors = Config::load(&Overrides::default(), &[("ADTRACK_KINESIS_BATCH_RECORDS_MAX", "501")]).unwrap_err();
//! assert_eq!(
//!     errors.to_string(),
//!     "kinesis.batch_records_max = \"501\" (from ADTRACK_KINESIS_BATCH_RECORDS_MAX): must be a whole number, 1..=500",
//! );
//! # Ok::<(), adtrack_config::ConfigErrors>(())
//! ```

#![forbid(unsafe_code)]

mod charset;
mod check;
mod cidr;
mod config;
mod error;
mod file;
mod keys;
mod layers;
mod nearest;
mod origin;
mod overrides;
mod program_id;
mod raw;
mod reader;
mod rules;
mod secret;
mod secret_file;
mod sections;
mod source;
mod syntax;
mod tracking_route;

pub use charset::{CharSet, CharSetError};
pub use cidr::{Cidr, CidrError};
pub use config::{Config, Described};
pub use error::{ConfigError, ConfigErrors};
pub use origin::Origin;
pub use overrides::Overrides;
pub use program_id::{ProgramIdRefusal, ProgramIdRule};
pub use secret::Secret;
pub use sections::{
    AdminConfig, CacheConfig, ClientIp, Compat, DataConfig, Durability, EventsConfig, HttpConfig, KinesisConfig,
    LogConfig, LogFormat, OnInvalid, PartitionKey, RecordFormat, RedisConfig, RuntimeConfig, StoreConfig,
};
pub use source::{ProcessEnv, Source};
pub use tracking_route::{AtBound, TrackingRoute, TrackingRouteError};

/// Every key with its default, unit and range, as compiled in. It is a valid configuration file.
pub const DEFAULT_TOML: &str = include_str!("../default.toml");

/// Three sample programs (ids 212312, 212313, 212314) as a JSON array of objects in the contract's shape: what an
/// embedded store holds when it is new.
pub const SAMPLE_PROGRAMS: &str = include_str!("../sample_programs.json");
