//! `cargo bench -p adtrack-benches --bench ship`: what an event costs on its way from the log to the stream, in CPU time and in
//! what the stream's provider charges for. Prints one table; README.md quotes it.
//!
//! Each row is a process of its own, so that its CPU time is that of the row. With `cargo build --release -p adtrack-tests` before, the
//! rows with the AWS SDK have a server to talk to.

use adtrack_benches::ship;
use vertebra::BoxError;

fn main() -> Result<(), BoxError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut out = std::io::stdout().lock();
    if let Some(row) = ship::Row::parse(&arguments) {
        return row.run(&mut out);
    }
    // Without cargo's `--bench` this is a test that everything runs.
    let many = arguments.iter().any(|argument| argument == "--bench");
    ship::print(if many { ship::Size::FULL } else { ship::Size::TRIAL }, &mut out)
}
