//! `kinesis-test-server`: the Kinesis server of the tests, started by hand. Data is in memory and gone when it ends.

use std::process::ExitCode;

use adtrack_tests::kinesis_server::{KinesisServer, ShardLimits};
use clap::Parser;

/// A Kinesis-protocol server on 127.0.0.1 for trying things out; data is in memory
#[derive(Debug, Parser)]
#[command(name = "kinesis-test-server")]
struct Arguments {
    /// Port to listen on; 0 is any free one
    #[arg(long, default_value_t = 4567)]
    port: u16,
    /// A stream to make at once, and its number of shards; may be given several times
    #[arg(long = "stream", value_name = "NAME:SHARDS", value_parser = stream)]
    streams: Vec<(String, u32)>,
    /// Count records instead of keeping them, for loads of minutes; GET /totals/NAME tells the counts
    #[arg(long)]
    count: bool,
    /// Enforce what a shard takes in a second: 1,000 records and 1 MiB
    #[arg(long)]
    limits: bool,
}

fn stream(text: &str) -> Result<(String, u32), String> {
    let parts = text.rsplit_once(':').filter(|(name, _)| !name.is_empty());
    let stream = parts.and_then(|(name, shards)| Some((name.to_owned(), shards.parse().ok()?)));
    stream.ok_or_else(|| format!("{text:?} is not NAME:SHARDS, for example events:2"))
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command talks to its user")]
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match start(&arguments) {
        Ok(server) => {
            println!("listening on {}", server.endpoint());
            println!("export AWS_ENDPOINT_URL_KINESIS={}", server.endpoint());
            // Serves on its own thread until the process is killed.
            loop {
                std::thread::park();
            }
        }
        Err(message) => {
            eprintln!("kinesis-test-server: {message}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: &Arguments) -> Result<KinesisServer, String> {
    let server = KinesisServer::start_on(arguments.port).map_err(with_cause)?;
    for (name, shards) in &arguments.streams {
        server
            .create_stream(name, *shards)
            .map_err(|error| format!("cannot create stream {name:?} with {shards} shards: {}", error.name()))?;
    }
    if arguments.count {
        server.count_records();
    }
    server.set_limits(arguments.limits.then_some(ShardLimits::SERVICE));
    Ok(server)
}

fn with_cause(error: impl std::error::Error) -> String {
    error.source().map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_a_name_and_a_number_of_shards() {
        assert_eq!(stream("events:2"), Ok(("events".to_owned(), 2)));
        for bad in ["events", ":2", "events:", "events:x", "events:-1"] {
            assert!(stream(bad).is_err(), "{bad:?}");
        }
    }
}
