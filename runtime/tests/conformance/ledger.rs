//! The ledger: each promise is kept by a test or differs on purpose, and `runtime/CONFORMANCE.md` says which.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Promises that nothing holds yet, one in a line. Take a number out when its test or its row under "Differs on purpose"
/// comes in; the list only ever shrinks.
const OPEN: &str = include_str!("open.txt");

/// The most rows under "Differs on purpose".
const DIFFERS_MAX: usize = 25;

struct Promise {
    id: String,
    area: String,
    words: String,
}

/// The runtime's directory; the manifest of these tests is in `tests/conformance/` there.
fn crate_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).expect("two directories up").to_owned()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The cells of a table's row.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

/// The number that a name or a cell begins with.
fn id_of(text: &str) -> Option<String> {
    let digits = text.strip_prefix(['v', 'V'])?.get(..3)?;
    digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| format!("V{digits}"))
}

fn promises() -> Vec<Promise> {
    let rows = include_str!("promises.md").lines().filter_map(cells);
    let promise = |row: Vec<&str>| {
        let id = row.first().and_then(|cell| id_of(cell))?;
        let [_, area, words] = row[..] else { panic!("{id}: a promise is `| id | area | promise |`") };
        Some(Promise { id, area: area.to_owned(), words: words.to_owned() })
    };
    rows.filter_map(promise).collect()
}

/// By number: what differs. A row of the table may stand for several numbers; the rows are counted.
fn differing() -> (BTreeSet<String>, usize) {
    let text = read(&crate_dir().join("src/semantics.md"));
    let section = text.split("# Differs on purpose").nth(1).expect("the semantics have a section of differences");
    let section = section.split("\n# ").next().unwrap_or(section);
    let rows: Vec<_> = section.lines().filter_map(cells).filter(|row| id_of(row[0]).is_some()).collect();
    let mut ids = BTreeSet::new();
    for row in &rows {
        assert!(row.len() == 4 && row.iter().all(|cell| !cell.is_empty()), "{row:?}: id, what, reason and instead");
        ids.extend(row[0].split(',').map(|id| id_of(id.trim()).unwrap_or_else(|| panic!("{id} is no number"))));
    }
    (ids, rows.len())
}

/// Every Rust file below a directory, in the order of their paths.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    let mut entries: Vec<_> = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// By number: the tests that hold to it, as `path::name`.
fn tests() -> BTreeMap<String, Vec<String>> {
    let mut files = Vec::new();
    sources(&crate_dir().join("tests"), &mut files);
    let mut tests: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for file in files {
        let text = read(&file);
        let path = file.strip_prefix(crate_dir()).unwrap().display().to_string();
        let lines: Vec<_> = text.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            let line = line.trim_start();
            let (promised, name) = match (line.strip_prefix("async fn "), line.strip_prefix("fn ")) {
                (Some(name), _) => (true, name),
                (_, Some(name)) => (false, name),
                _ => continue,
            };
            let name = name.split('(').next().unwrap_or(name);
            let Some(id) = id_of(name).filter(|_| name.get(4..5) == Some("_")) else { continue };
            assert!(is_a_test(&lines[..at], promised), "{path}: {name} is neither in `promises!` nor a `#[test]`");
            tests.entry(id).or_default().push(format!("{path}::{name}"));
        }
    }
    tests
}

/// Whether the function that follows these lines is run: an `async fn` by the macro around it, another by its attribute.
fn is_a_test(before: &[&str], promised: bool) -> bool {
    let own = before.iter().rev().map(|line| line.trim_start());
    let has_attribute =
        own.take_while(|line| line.starts_with("#[") || line.starts_with("///")).any(|line| line == "#[test]");
    let in_macro = before.iter().rev().map(|line| line.trim_end()).find(|line| matches!(*line, "promises! {" | "}"));
    if promised { in_macro == Some("promises! {") } else { has_attribute }
}

fn table(promises: &[Promise], tests: &BTreeMap<String, Vec<String>>, differing: &BTreeSet<String>) -> String {
    let state = |id: &str| match (tests.contains_key(id), differing.contains(id)) {
        (_, true) => "differs",
        (true, false) => "kept",
        (false, false) => "open",
    };
    let mut text =
        String::from("<!-- Made by runtime/tests/conformance/ledger.rs; edit promises.md or the tests instead. -->\n");
    text.push_str("# What is promised, and which test holds it\n\n");
    text.push_str("What differs on purpose, and why, is in [`semantics.md`](src/semantics.md).\n\n");
    text.push_str("| id | area | promise | test | state |\n|---|---|---|---|---|\n");
    for promise in promises {
        let held = tests.get(&promise.id).map(|tests| tests.join("<br>"));
        let held =
            held.unwrap_or_else(|| if differing.contains(&promise.id) { "differs".into() } else { String::new() });
        let Promise { id, area, words } = promise;
        writeln!(text, "| {id} | {area} | {words} | {held} | {} |", state(id)).unwrap();
    }
    text
}

#[test]
fn every_promise_has_a_test_or_differs_on_purpose() {
    let (promises, tests, (differing, rows)) = (promises(), tests(), differing());
    assert!(rows <= DIFFERS_MAX, "{rows} rows differ on purpose, {DIFFERS_MAX} may");
    let known: BTreeSet<_> = promises.iter().map(|promise| promise.id.clone()).collect();
    assert_eq!(known.len(), promises.len(), "a number is promised twice");
    for id in tests.keys().chain(&differing) {
        assert!(known.contains(id), "{id} is not in promises.md: {:?}", tests.get(id));
    }
    let held = |id: &str| tests.contains_key(id) || differing.contains(id);
    let open: BTreeSet<_> = OPEN.lines().map(str::to_owned).collect();
    let unheld: Vec<_> = known.iter().filter(|id| !held(id) && !open.contains(*id)).collect();
    assert!(unheld.is_empty(), "no test begins with these numbers, and they do not differ on purpose: {unheld:?}");
    let closed: Vec<_> = open.iter().filter(|id| held(id) || !known.contains(*id)).collect();
    assert!(closed.is_empty(), "take these out of open.txt, they are held now: {closed:?}");
}

#[test]
fn the_table_of_promises_is_as_the_tests_say() {
    let text = table(&promises(), &tests(), &differing().0);
    let made = Path::new(env!("CARGO_TARGET_TMPDIR")).join("CONFORMANCE.md");
    fs::write(&made, &text).unwrap();
    let kept = crate_dir().join("CONFORMANCE.md");
    let (made, at) = (made.display(), kept.display());
    assert!(fs::read_to_string(&kept).is_ok_and(|kept| kept == text), "CONFORMANCE.md is old: cp {made} {at}");
}
