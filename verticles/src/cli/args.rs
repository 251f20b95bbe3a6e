//! The command line, exactly as it was typed.

use std::path::PathBuf;

use adtrack_config::Overrides;
use clap::{Args as ClapArgs, Parser, Subcommand};

use super::events::Part;
use super::events::export::Format;

/// Tracks ad events: answers clicks, impressions and transactions from memory and streams them to Kinesis.
///
/// Without settings it runs by itself: programs from a local file, events in a local log. Every setting can also be
/// given as an environment variable or in a file; `adtrack check-config` shows them all.
#[derive(Debug, Parser)]
#[command(name = "adtrack", version, args_conflicts_with_subcommands = false)]
pub struct Args {
    /// Settings that any command takes.
    #[command(flatten)]
    pub settings: Settings,
    /// What to do; `serve` when nothing is said.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// Settings as flags; what they mean is in `default.toml`.
#[derive(Debug, Default, ClapArgs)]
pub struct Settings {
    /// Public address, such as 0.0.0.0:8080
    #[arg(long, global = true, value_name = "IP:PORT")]
    pub listen: Option<String>,
    /// Operators' address, such as 127.0.0.1:9090
    #[arg(long, global = true, value_name = "IP:PORT")]
    pub admin_listen: Option<String>,
    /// Where the event log and the local programs are
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<String>,
    /// A file with settings
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

impl Settings {
    /// The flags that were given, for the layer above all others.
    pub fn overrides(&self) -> Overrides {
        let mut overrides = Overrides::new(self.config.clone());
        let flags = [
            ("http.listen", &self.listen, "--listen"),
            ("admin.listen", &self.admin_listen, "--admin-listen"),
            ("data.dir", &self.data_dir, "--data-dir"),
        ];
        for (key, value, flag) in flags {
            if let Some(value) = value {
                overrides.set(key, value.clone(), flag);
            }
        }
        overrides
    }
}

/// What the program does.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Answer requests until SIGTERM or SIGINT (the default)
    Serve,
    /// Look at and change core data
    #[command(subcommand)]
    Programs(Programs),
    /// Look at the event log
    #[command(subcommand)]
    Events(Events),
    /// Ask a running service whether it is ready; exit code 0 when it is
    Health,
    /// Check the settings and print each with where it came from
    CheckConfig,
}

/// What can be done with programs. A change is stored and published to every node.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Programs {
    /// Store one program: a JSON object in FILE, or on standard input
    Put {
        /// A file name, or - for standard input
        #[arg(value_name = "FILE|-")]
        file: String,
    },
    /// Print one program as JSON
    Get {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Print all programs, one JSON object a line
    List,
    /// Delete one program from the store and from every memory
    Delete {
        /// Its id
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Store many programs: a JSON array, or one JSON object a line
    Import {
        /// A file name, or - for standard input
        #[arg(value_name = "FILE|-")]
        file: String,
    },
}

/// What can be done with the event log.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Events {
    /// Print the events the log holds, one JSON object a line, oldest first
    Tail {
        /// Go on with what is added, until interrupted
        #[arg(long, short)]
        follow: bool,
    },
    /// Write events for other programs to standard output
    Export {
        /// What to export
        #[arg(long, value_enum, default_value_t = Part::Log)]
        part: Part,
        /// How to write it
        #[arg(long, value_enum, default_value_t = Format::Json)]
        format: Format,
    },
    /// Read everything and tell what is damaged; exit code 1 when something is
    Verify,
    /// Print how much the log holds, as one JSON object
    Stats,
    /// Put the events that the stream has refused for good - those in .dead files - back into the log, to be sent once more
    Replay,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    fn parse(line: &str) -> Args {
        Args::parse_from(line.split_whitespace())
    }

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn nothing_said_means_serve() {
        assert_eq!(parse("adtrack").command, None);
        assert_eq!(parse("adtrack --listen 127.0.0.1:0").settings.listen.as_deref(), Some("127.0.0.1:0"));
    }

    #[test]
    fn flags_may_stand_before_and_after_the_command() {
        for line in ["adtrack --data-dir d events tail --follow", "adtrack events tail --follow --data-dir d"] {
            let args = parse(line);
            assert_eq!(args.settings.data_dir.as_deref(), Some("d"), "{line}");
            assert_eq!(args.command, Some(Command::Events(Events::Tail { follow: true })), "{line}");
        }
    }
}
