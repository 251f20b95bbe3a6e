//! Where log lines go: standard error, as text for people or as JSON for machines.

use std::fmt;
use std::io::{self, IsTerminal as _};

use adtrack_config::{LogConfig, LogFormat};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;
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

    /// The same as a metric, for a registry.
    pub fn metrics(&self) -> Box<dyn Collector> {
        Box::new(DroppedLines(self.dropped.clone()))
    }
}

/// How many log lines were dropped, as a metric.
#[derive(Debug)]
struct DroppedLines(ErrorCounter);

impl Collector for DroppedLines {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let dropped = ConstCounter::new(self.0.dropped_lines() as u64);
        let help = "Log lines dropped because nobody read the ones before";
        dropped.encode(encoder.encode_descriptor("adtrack_log_lines_dropped", help, None, dropped.metric_type())?)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::io::Write as _;
    use std::sync::mpsc::{Receiver, sync_channel};

    use prometheus_client::registry::Registry;

    use super::*;

    /// An output that nobody reads before it is told.
    struct Unread(Receiver<()>);

    impl io::Write for Unread {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // An error is the end of the test: then everything is read.
            let (Ok(()) | Err(_)) = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_that_nobody_reads_are_dropped_and_counted_in_a_metric() {
        let (read, unread) = sync_channel(1);
        let builder = NonBlockingBuilder::default().lossy(true).buffered_lines_limit(4);
        let (mut writer, guard) = builder.finish(Unread(unread));
        let mut registry = Registry::default();
        registry.register_collector(Box::new(DroppedLines(writer.error_counter())));
        let shown = |registry: &Registry| {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, registry).unwrap();
            text.lines()
                .find_map(|line| line.strip_prefix("adtrack_log_lines_dropped_total ")?.parse::<u64>().ok())
                .unwrap()
        };
        assert_eq!(shown(&registry), 0);
        // Four wait and the thread may hold one more: of these, at least five are dropped.
        for _ in 0..10 {
            writer.write_all(b"line\n").unwrap();
        }
        let dropped = shown(&registry);
        assert!((5..=6).contains(&dropped), "{dropped}");
        drop(read);
        drop(guard);
    }
}
