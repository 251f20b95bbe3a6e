//! Where log lines go: standard error, as text for people or as JSON for machines.

use std::io::{self, IsTerminal as _};

use adtrack_config::{LogConfig, LogFormat};
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// The filter in `log.level` is not one.
#[derive(Debug, thiserror::Error)]
#[error("log.level is \"{level}\": it must be filter directives such as info or info,adtrack::http=debug")]
pub struct LogLevelError {
    level: String,
    source: tracing_subscriber::filter::ParseError,
}

/// Log lines that may wait for whoever reads them. When nobody does, further ones are dropped and counted: a log must
/// never hold up an event loop.
const LINES_WAITING_MAX: usize = 16_384;

/// Keeps the log going. Dropping it writes what waits, for a second at most.
#[derive(Debug)]
#[must_use = "log lines are lost when this is dropped"]
pub struct Logging {
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

impl Logging {
    /// Lines that were dropped because nobody read the ones before.
    pub fn dropped_lines(&self) -> usize {
        self.dropped.dropped_lines()
    }
}

/// Starts logging, for the whole process; where somebody logs already, that stands. Lines are written by a thread of their
/// own; standard error that is closed, full or not read costs the lines and nothing else.
///
/// # Errors
/// [`LogLevelError`] when the filter cannot be understood.
pub fn start(config: &LogConfig) -> Result<Logging, LogLevelError> {
    let filter = EnvFilter::builder()
        .parse(&config.level)
        .map_err(|source| LogLevelError { level: config.level.clone(), source })?;
    let (writer, guard) = NonBlockingBuilder::default()
        .lossy(true)
        .buffered_lines_limit(LINES_WAITING_MAX)
        .thread_name("log")
        .finish(io::stderr());
    let logging = Logging { dropped: writer.error_counter(), _writer: guard };
    // Internal errors would be printed to the very stream that cannot be written, and that panics.
    let lines = tracing_subscriber::fmt().with_env_filter(filter).log_internal_errors(false).with_writer(writer);
    let started = match config.format {
        LogFormat::Text => lines.with_ansi(io::stderr().is_terminal()).try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    // Somebody logs already - a test, or a program that embeds this one: its choice stands.
    drop(started);
    Ok(logging)
}
