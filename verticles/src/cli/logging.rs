//! Where log lines go: standard error, as text for people or as JSON for machines.

use std::io::{self, IsTerminal as _};

use adtrack_config::{LogConfig, LogFormat};
use tracing_subscriber::EnvFilter;

/// The filter in `log.level` is not one.
#[derive(Debug, thiserror::Error)]
#[error("log.level is \"{level}\": it must be filter directives such as info or info,adtrack::http=debug")]
pub struct LogLevelError {
    level: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Starts logging, for the whole process. A second call changes nothing.
///
/// # Errors
/// [`LogLevelError`] when the filter cannot be understood.
pub fn start(config: &LogConfig) -> Result<(), LogLevelError> {
    let filter = EnvFilter::builder()
        .parse(&config.level)
        .map_err(|source| LogLevelError { level: config.level.clone(), source })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let started = match config.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    // Somebody logs already - a test, or a program that embeds this one: its choice stands.
    drop(started);
    Ok(())
}
