//! `cargo bench -p adtrack-benches --no-default-features --bench scale`: what many verticles and many addresses cost.
//! Prints one table; README.md quotes it.

use adtrack_benches::scale;
use vertebra::BoxError;

fn main() -> Result<(), BoxError> {
    // Without cargo's `--bench` this is a test that everything runs.
    let many = std::env::args().any(|argument| argument == "--bench");
    scale::print(if many { scale::Size::FULL } else { scale::Size::TRIAL }, &mut std::io::stdout().lock())
}
