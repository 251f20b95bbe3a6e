//! Which module of which package a file is.

/// The module path of a source file in its crate: `verticles/src/http/routes.rs` is `http`, `routes`. Crate roots are the empty path.
pub(super) fn module_path(file: &str) -> Vec<String> {
    let inside = file.rsplit_once("src/").map_or(file, |(_, inside)| inside);
    let mut segments: Vec<String> = inside.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if segments.last().is_some_and(|last| last == "mod") {
        segments.pop();
    }
    if segments.len() == 1 && matches!(segments[0].as_str(), "lib" | "main") {
        segments.clear();
    }
    segments
}

/// Whether a file holds only tests or benchmarks: it lies in such a directory, or is a module called so.
pub(super) fn is_test_file(file: &str) -> bool {
    file.split('/').any(|part| matches!(part, "tests" | "benches" | "tests.rs"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_module_it_lies_at() {
        assert_eq!(module_path("verticles/src/http/routes.rs"), ["http", "routes"]);
        assert_eq!(module_path("verticles/src/http/mod.rs"), ["http"]);
        assert_eq!(module_path("verticles/backend/src/store.rs"), ["store"]);
        assert!(module_path("verticles/src/lib.rs").is_empty());
        assert!(module_path("verticles/src/main.rs").is_empty());
    }

    #[test]
    fn tests_are_told_from_the_product_by_where_they_lie() {
        assert!(is_test_file("verticles/tests/http.rs"));
        assert!(is_test_file("runtime/src/bus/tests.rs"));
        assert!(!is_test_file("runtime/src/testing.rs"));
    }
}
