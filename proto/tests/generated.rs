//! The checked-in protobuf code is what the schemas generate.
//!
//! After a change to one of them: `UPDATE=1 cargo test -p adtrack-proto --test generated`
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests")]

use std::fs;
use std::path::Path;

#[test]
fn the_checked_in_code_is_what_the_schema_of_an_event_generates() {
    compare("tracking.proto", "src/wire/generated.rs");
}

#[test]
fn the_checked_in_code_is_what_the_schema_of_an_aggregate_generates() {
    compare("aggregated_record.proto", "src/aggregated/generated.rs");
}

fn compare(schema: &str, code: &str) {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let checked_in = package.join(code);
    let generated = generate(package, schema);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&checked_in, &generated).unwrap();
    }
    assert!(
        fs::read_to_string(&checked_in).unwrap_or_default() == generated,
        "{} is not what proto/{schema} generates; update it with \
         `UPDATE=1 cargo test -p adtrack-proto --test generated`",
        checked_in.display(),
    );
}

fn generate(package: &Path, schema: &str) -> String {
    let descriptors = protox::compile([schema], [package]).unwrap();
    let out = tempfile::tempdir().unwrap();
    prost_build::Config::new()
        .out_dir(out.path())
        .default_package_filename("generated")
        .compile_fds(descriptors)
        .unwrap();
    fs::read_to_string(out.path().join("generated.rs")).unwrap()
}
