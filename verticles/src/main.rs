//! The command line of adtrack.

use std::io::{self, Write as _};
use std::process::ExitCode;

use adtrack::app;
use adtrack::cli::args::{Args, Command, Events, Programs};
use adtrack::cli::events::replay::LogTarget;
use adtrack::cli::events::{export, replay, stats, tail, verify};
use adtrack::cli::programs::{Input, Target};
use adtrack::cli::{health, logging, programs};
use adtrack_config::{Config, ProcessEnv, ProgramIdRule};
use anyhow::Context as _;
use clap::Parser as _;

/// Settings that cannot be used: EX_CONFIG of sysexits.h.
const EXIT_CONFIG: u8 = 78;
/// An end in order that leaves events in the log that the stream does not have.
const EXIT_LEFT: u8 = 3;

fn main() -> ExitCode {
    let args = Args::parse();
    let config = match Config::load(&args.settings.overrides(), &ProcessEnv) {
        Ok(config) => config,
        Err(errors) => {
            complain(&errors.to_string());
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    run(args.command.unwrap_or(Command::Serve), &config).unwrap_or_else(|error| {
        complain(&told(&error));
        ExitCode::FAILURE
    })
}

fn run(command: Command, config: &Config) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve => serve(config),
        Command::Programs(what) => programs(&what, &Target::of(config), &config.http.program_id_rule()),
        Command::Events(what) => events(&what, config),
        Command::Health => {
            health::health(config).context("not ready")?;
            Ok(ExitCode::SUCCESS)
        }
        Command::CheckConfig => {
            for setting in config.describe() {
                print(setting)?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn programs(what: &Programs, target: &Target, ids: &ProgramIdRule) -> anyhow::Result<ExitCode> {
    let mut report = io::stderr();
    match what {
        Programs::Put { file } => {
            let put = programs::put(target, ids, Input::open(file)?)?;
            writeln!(report, "{} is stored{}", put.program_id, told_to(target, put.published))?;
        }
        Programs::Get { id } => match programs::get(target, id)? {
            Some(program) => print(&program.to_json())?,
            None => {
                writeln!(report, "there is no program {id}")?;
                return Ok(ExitCode::FAILURE);
            }
        },
        Programs::List => {
            programs::list(target, &mut io::stdout())?;
        }
        Programs::Delete { id } => {
            let done = programs::delete(target, id)?;
            let what = if done.was_stored { "is deleted" } else { "was not stored; its deletion is kept" };
            writeln!(report, "{id} {what}{}", told_to(target, done.published))?;
        }
        Programs::Import { file } => {
            let done = programs::import(target, ids, Input::open(file)?, &mut report)?;
            let told = told_to(target, done.published);
            writeln!(report, "{} programs are stored{told}, {} were refused", done.imported, done.failed)?;
            if done.failed > 0 {
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn events(what: &Events, config: &Config) -> anyhow::Result<ExitCode> {
    let data_dir = &config.data.dir;
    let (mut out, mut report) = (io::stdout(), io::stderr());
    let faults = match what {
        Events::Tail { follow } => {
            tail::tail(data_dir, *follow, &mut out).context("the event log cannot be read")?;
            0
        }
        Events::Export { part, format } => {
            let done = export::export(data_dir, *part, *format, &mut out)?;
            let unread = done.undecodable + done.damaged;
            writeln!(report, "{} events are exported, {unread} parts could not be read", done.events)?;
            unread
        }
        Events::Verify => {
            let found = verify::verify(data_dir, &mut out)?;
            writeln!(report, "{} files with {} events, {} faults", found.files, found.events, found.faults)?;
            found.faults
        }
        Events::Stats => {
            print(&stats::stats(data_dir)?)?;
            0
        }
        Events::Replay => {
            let done = replay::replay(&LogTarget::of(config))?;
            let when = if done.is_running { "and are sent" } else { "for the next start" };
            writeln!(report, "{} events of {} files are in the log again {when}", done.events, done.files)?;
            0
        }
    };
    Ok(if faults == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Who knows of what is stored.
fn told_to(target: &Target, published: bool) -> String {
    match target {
        Target::Embedded(embedded) if !published => {
            format!(" in {} for the next start: no service is running there", embedded.data_dir.display())
        }
        _ => " and published".to_owned(),
    }
}

fn serve(config: &Config) -> anyhow::Result<ExitCode> {
    let log = logging::start(&config.log)?;
    let ended = app::serve(config, log.metrics(), &mut |lines| say(lines)).context("the service does not run")?;
    if log.dropped_lines() > 0 {
        complain(&format!("{} log lines were dropped: nobody read them", log.dropped_lines()));
    }
    if !ended.left.is_nothing() {
        let folder = config.data.dir.join("events");
        complain(&format!("{} stay in {} until the next start", ended.left, folder.display()));
    }
    if ended.unwritten > 0 {
        let events = ended.unwritten;
        complain(&format!(
            "{events} events are lost: they were answered at the level memory, and could not be written"
        ));
    }
    Ok(match (ended.well && ended.unwritten == 0, ended.left.is_nothing()) {
        (true, true) => ExitCode::SUCCESS,
        (true, false) => ExitCode::from(EXIT_LEFT),
        (false, _) => ExitCode::FAILURE,
    })
}

/// Prints a line. A reader that has enough of them is no error.
fn print(line: &impl std::fmt::Display) -> io::Result<()> {
    match writeln!(io::stdout(), "{line}") {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}

/// The error and its causes; what an error has said of its cause already is not said again.
fn told(error: &anyhow::Error) -> String {
    let mut text = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text.push_str(if text.is_empty() { "" } else { ": " });
            text.push_str(&cause);
        }
    }
    text
}

fn say(lines: &str) {
    // Nobody may be reading: the service runs all the same.
    drop(writeln!(io::stdout(), "{lines}"));
}

fn complain(text: &str) {
    drop(writeln!(io::stderr(), "adtrack: {text}"));
}
