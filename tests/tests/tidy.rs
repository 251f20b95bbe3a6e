//! The rules of the house. Each is a function in `src/tidy/`, with tests of its own that it catches what it forbids.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(clippy::disallowed_methods, reason = "tests have an environment of their own")]

use std::process::Command;
use std::sync::OnceLock;

use adtrack_tests::repository;
use adtrack_tests::tidy::{self, Metadata, RepositoryFile, Violation};

fn files() -> &'static [RepositoryFile] {
    static FILES: OnceLock<Vec<RepositoryFile>> = OnceLock::new();
    FILES.get_or_init(|| tidy::repository_files(&repository::root()).unwrap())
}

fn metadata() -> Metadata {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["metadata", "--no-deps", "--format-version", "1"];
    let output = Command::new(cargo).args(arguments).current_dir(repository::root()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[track_caller]
fn assert_kept(violations: &[Violation]) {
    let lines: Vec<_> = violations.iter().map(ToString::to_string).collect();
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

#[test]
fn the_top_level_is_the_fixed_list() {
    assert_kept(&tidy::top_level(&tidy::top_level_names(&repository::root()).unwrap()));
}

#[test]
fn the_runtime_knows_no_product() {
    assert!(files().iter().any(|file| file.path.starts_with("runtime/src/")));
    assert_kept(&tidy::runtime_words(files()));
}

#[test]
fn the_public_surface_of_the_runtime_is_what_somebody_uses() {
    assert!(files().iter().any(|file| file.path.starts_with("runtime/examples/")));
    assert_kept(&tidy::unused_surface(files()));
}

#[test]
fn verticles_never_import_one_another() {
    assert_kept(&tidy::sibling_imports(files()));
}

#[test]
fn the_aws_sdk_is_imported_in_one_file() {
    assert_kept(&tidy::aws_imports(files()));
}

#[test]
fn the_redis_driver_is_imported_in_redis_alone() {
    assert_kept(&tidy::redis_imports(files()));
}

#[test]
fn only_config_reads_the_environment() {
    assert_kept(&tidy::environment_reads(files()));
}

#[test]
fn only_main_ends_the_process() {
    assert_kept(&tidy::exits(files()));
}

#[test]
fn only_the_clock_reads_the_time() {
    assert_kept(&tidy::time_reads(files()));
}

#[test]
fn packages_depend_on_one_another_in_the_directions_of_the_house() {
    assert_kept(&tidy::dependency_directions(&metadata()));
}

#[test]
fn the_aws_sdk_and_the_redis_driver_are_dependencies_of_who_uses_them() {
    assert_kept(&tidy::outside_dependencies(&metadata()));
}

#[test]
fn a_bare_cargo_run_is_the_service() {
    assert_kept(&tidy::workspace_defaults(&metadata()));
}

#[test]
fn no_file_holds_a_machine_path() {
    assert_kept(&tidy::machine_paths(files()));
}

#[test]
fn nothing_is_left_for_later() {
    assert_kept(&tidy::unfinished(files()));
}

#[test]
fn the_map_of_the_house_is_short() {
    assert_kept(&tidy::architecture_length(files()));
}

#[test]
fn no_code_is_unsafe() {
    assert_kept(&tidy::unsafe_code(files()));
}
