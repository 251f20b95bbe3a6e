//! Who may name what: rules about paths in source text.

use super::code::{code_only, without_tests};
use super::modules::{is_test_file, module_path};
use super::paths::{NamedPath, named_paths};
use super::{RepositoryFile, Violation};

/// The verticles of `adtrack`: modules of its crate that never import one another.
const VERTICLES: [&str; 5] = ["http", "cache", "redis", "embedded", "kinesis"];
/// Modules of its crate that may name every verticle: they put the service together.
const COMPOSERS: [&str; 2] = ["app", "cli"];
/// Packages whose code is the product.
const PRODUCT: [&str; 4] = ["runtime/", "proto/", "config/", "verticles/"];
/// The one file that imports the AWS SDK.
const AWS_FILES: [&str; 1] = ["verticles/src/kinesis/client.rs"];
/// Where unsafe code is allowed, each with its reason. Nowhere.
const UNSAFE_FILES: [&str; 0] = [];
/// What reads the time, or waits for it.
const TIME: [&[&str]; 5] =
    [&["Instant", "now"], &["SystemTime", "now"], &["tokio", "time"], &["thread", "sleep"], &["Uuid", "now_v7"]];

/// Verticles meet at addresses: none names another's module, and nobody names any but who composes them.
pub fn sibling_imports(files: &[RepositoryFile]) -> Vec<Violation> {
    let adtrack = files.iter().filter(|file| file.path.starts_with("verticles/src/"));
    let checked = adtrack.filter_map(|file| {
        let own = module_path(&file.path).into_iter().next()?;
        (!COMPOSERS.contains(&own.as_str())).then_some((file, own))
    });
    let mut found = Vec::new();
    for (file, own) in checked {
        for path in paths_with_tests(file) {
            let sibling = VERTICLES.iter().find(|verticle| **verticle != own && path.starts_with(&["crate", verticle]));
            found.extend(sibling.map(|sibling| {
                let what = format!("{own:?} names the verticle {sibling:?}; they meet at addresses in proto");
                Violation::new(&file.path, path.line, what)
            }));
        }
    }
    found
}

/// The AWS SDK is imported in one file.
pub fn aws_imports(files: &[RepositoryFile]) -> Vec<Violation> {
    let is_aws = |path: &NamedPath| path.segments.first().is_some_and(|first| first.starts_with("aws_"));
    let product = product(files).filter(|file| !AWS_FILES.contains(&file.path.as_str()));
    named(product, paths_with_tests, is_aws, "the AWS SDK is imported in kinesis/client.rs alone")
}

/// The Redis driver is imported in the `redis` module alone.
pub fn redis_imports(files: &[RepositoryFile]) -> Vec<Violation> {
    let product = product(files).filter(|file| module_path(&file.path).first().is_none_or(|module| module != "redis"));
    // The verticle of the same name is reached as `crate::redis`, so a path that begins with the word is the driver.
    let is_driver = |path: &NamedPath| path.segments.len() > 1 && path.starts_with(&["redis"]);
    named(product, paths_with_tests, is_driver, "the Redis driver is imported in redis/ alone")
}

/// Only `config/` reads the environment.
pub fn environment_reads(files: &[RepositoryFile]) -> Vec<Violation> {
    let product = product(files).filter(|file| !file.path.starts_with("config/"));
    let is_read = |path: &NamedPath| path.starts_with(&["std", "env"]) || path.starts_with(&["env", "var"]);
    named(product, paths, is_read, "only config/ reads the environment")
}

/// Only `main.rs` ends the process.
pub fn exits(files: &[RepositoryFile]) -> Vec<Violation> {
    let product = product(files).filter(|file| !file.path.ends_with("src/main.rs"));
    let is_exit = |path: &NamedPath| path.contains(&["process", "exit"]) || path.contains(&["process", "abort"]);
    named(product, paths, is_exit, "only main.rs ends the process")
}

/// Only the runtime's clock, and its test kit, read the time.
pub fn time_reads(files: &[RepositoryFile]) -> Vec<Violation> {
    const CLOCKS: [&str; 2] = ["clock", "testing"];
    let is_clock = |file: &RepositoryFile| {
        let module = module_path(&file.path);
        file.path.starts_with("runtime/src/") && module.first().is_some_and(|first| CLOCKS.contains(&first.as_str()))
    };
    let product = product(files).filter(|file| !is_clock(file));
    let is_time = |path: &NamedPath| TIME.iter().any(|time| path.contains(time));
    named(product, paths, is_time, "time comes from the runtime's clock")
}

/// Nothing is left for later.
pub fn unfinished(files: &[RepositoryFile]) -> Vec<Violation> {
    let is_left = |path: &NamedPath| {
        let last = path.segments.last().map(String::as_str);
        matches!(last, Some("todo!" | "unimplemented!"))
    };
    named(rust(files), paths_with_tests, is_left, "nothing is left for later")
}

/// No unsafe code outside the list of files that may have some.
pub fn unsafe_code(files: &[RepositoryFile]) -> Vec<Violation> {
    let checked = rust(files).filter(|file| !UNSAFE_FILES.contains(&file.path.as_str()));
    let is_unsafe = |path: &NamedPath| path.segments == ["unsafe"];
    named(checked, paths_with_tests, is_unsafe, "no unsafe code")
}

fn rust(files: &[RepositoryFile]) -> impl Iterator<Item = &RepositoryFile> {
    files.iter().filter(|file| file.path.ends_with(".rs"))
}

/// Source files of the product, without test and benchmark directories.
fn product(files: &[RepositoryFile]) -> impl Iterator<Item = &RepositoryFile> {
    rust(files)
        .filter(|file| PRODUCT.iter().any(|package| file.path.starts_with(package)))
        .filter(|file| !is_test_file(&file.path))
}

fn paths_with_tests(file: &RepositoryFile) -> Vec<NamedPath> {
    named_paths(&code_only(&file.text), &module_path(&file.path))
}

fn paths(file: &RepositoryFile) -> Vec<NamedPath> {
    named_paths(&without_tests(&code_only(&file.text)), &module_path(&file.path))
}

fn named<'a>(
    files: impl Iterator<Item = &'a RepositoryFile>,
    paths: impl Fn(&RepositoryFile) -> Vec<NamedPath>,
    breaks: impl Fn(&NamedPath) -> bool,
    rule: &str,
) -> Vec<Violation> {
    let mut found = Vec::new();
    for file in files {
        let broken = paths(file).into_iter().filter(|path| breaks(path));
        found.extend(
            broken.map(|path| Violation::new(&file.path, path.line, format!("{}: {rule}", path.segments.join("::")))),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    type Rule = fn(&[RepositoryFile]) -> Vec<Violation>;

    /// The lines of `text`, as the file `path`, that break `rule`.
    fn lines(rule: Rule, path: &str, text: &str) -> Vec<usize> {
        rule(&[RepositoryFile::new(path, text)]).into_iter().map(|violation| violation.line).collect()
    }

    #[test]
    fn a_verticle_that_names_a_sibling_is_caught() {
        let text =
            "use crate::cache::Entry;\nuse super::super::{redis, http::respond};\nfn f() { crate::kinesis::g() }\n";
        assert_eq!(lines(sibling_imports, "verticles/src/http/routes.rs", text), [1, 2, 3]);
    }

    #[test]
    fn a_helper_that_names_a_verticle_is_caught_and_its_composer_is_not() {
        let text = "use crate::cache::Entry;";
        assert_eq!(lines(sibling_imports, "verticles/src/metrics.rs", text), [1]);
        for path in
            ["verticles/src/app.rs", "verticles/src/cli/programs.rs", "verticles/src/main.rs", "verticles/src/lib.rs"]
        {
            assert!(lines(sibling_imports, path, text).is_empty(), "{path}");
        }
    }

    #[test]
    fn a_verticle_may_name_itself_helpers_and_crates_of_a_siblings_name() {
        let text = "use crate::http::routes; use http::Request; use crate::metrics::Counter; // crate::cache\n";
        assert!(lines(sibling_imports, "verticles/src/http/respond.rs", text).is_empty());
    }

    #[test]
    fn the_aws_sdk_outside_its_file_is_caught() {
        let text = "use aws_sdk_kinesis::Client;\nfn f() { aws_config::load() }\n";
        assert_eq!(lines(aws_imports, "verticles/src/kinesis/batch.rs", text), [1, 2]);
        assert!(lines(aws_imports, "verticles/src/kinesis/client.rs", text).is_empty());
        assert!(lines(aws_imports, "tests/src/kinesis_client.rs", text).is_empty());
    }

    #[test]
    fn the_redis_driver_outside_its_module_is_caught() {
        let text = "use redis::Client;";
        assert_eq!(lines(redis_imports, "verticles/src/cache.rs", text), [1]);
        assert!(lines(redis_imports, "verticles/src/redis/store.rs", text).is_empty());
        assert!(lines(redis_imports, "verticles/src/redis.rs", text).is_empty());
        assert!(lines(redis_imports, "verticles/src/app.rs", "use crate::redis::Redis;").is_empty());
    }

    #[test]
    fn reading_the_environment_outside_config_is_caught() {
        let text =
            "use std::{env, fs};\nfn f() { std::env::var(\"X\") }\nconst P: &str = env!(\"CARGO_PKG_VERSION\");\n";
        assert_eq!(lines(environment_reads, "verticles/src/app.rs", text), [1, 2]);
        assert!(lines(environment_reads, "config/src/source.rs", text).is_empty());
        assert!(lines(environment_reads, "verticles/tests/http.rs", text).is_empty());
        let in_tests = "#[cfg(test)]\nmod tests { use std::env; }";
        assert!(lines(environment_reads, "verticles/src/app.rs", in_tests).is_empty());
    }

    #[test]
    fn ending_the_process_outside_main_is_caught() {
        let text = "use std::process;\nfn f() { process::exit(1) }\nfn g() { std::process::abort() }\nuse std::process::ExitCode;";
        assert_eq!(lines(exits, "verticles/src/app.rs", text), [2, 3]);
        assert!(lines(exits, "verticles/src/main.rs", text).is_empty());
    }

    #[test]
    fn reading_the_time_outside_the_clock_is_caught() {
        let text = "fn f() { Instant::now() }\nfn g() { std::time::SystemTime::now() }\nuse tokio::time::sleep;\nuse tokio::{sync, time};\n\
                    fn h() { Uuid::now_v7() }\nuse std::time::Duration;\n";
        for path in ["verticles/src/http.rs", "runtime/src/bus.rs", "config/src/lib.rs"] {
            assert_eq!(lines(time_reads, path, text), [1, 2, 3, 4, 5], "{path}");
        }
        for path in [
            "runtime/src/clock.rs",
            "runtime/src/testing.rs",
            "runtime/src/testing/virtual_time.rs",
            "runtime/tests/time.rs",
        ] {
            assert!(lines(time_reads, path, text).is_empty(), "{path}");
        }
    }

    #[test]
    fn what_is_left_for_later_is_caught_everywhere() {
        let text = "fn f() { todo!() }\nfn g() { unimplemented!(\"x\") }\nfn h() { let todo = 1; }\n// todo!\n";
        for path in ["verticles/src/http.rs", "tests/src/lib.rs", "benches/bus.rs"] {
            assert_eq!(lines(unfinished, path, text), [1, 2], "{path}");
        }
    }

    #[test]
    fn unsafe_code_is_caught_everywhere() {
        let text = "#![deny(unsafe_code)]\nunsafe fn f() {}\nfn g() { unsafe { f() } }\n// unsafe\n";
        assert_eq!(lines(unsafe_code, "runtime/src/bus.rs", text), [2, 3]);
    }
}
