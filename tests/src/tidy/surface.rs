//! The public surface of the runtime is what somebody uses: an example, a guide or a verticle.

use super::code::{code_only, without_tests};
use super::{RepositoryFile, Violation};

/// What declares an item, behind `pub`. A module is what is in it.
const KINDS: [&str; 7] = ["fn", "struct", "enum", "trait", "type", "const", "static"];
/// What may stand between `pub` and these.
const QUALIFIERS: [&str; 2] = ["const", "async"];
/// Items that nobody is to name, each with its reason.
const UNNAMED: [&str; 2] = [
    // What the compiler is given, so that it says which handler is missing.
    "Never",
    "NeverEver",
];

/// A public item of the runtime.
struct Item {
    line: usize,
    is_function: bool,
    name: String,
    /// What a function gives.
    gives: String,
}

/// Each public item of `runtime/src` is named in an example, in a guide, in the README or by a verticle; a type may also be
/// what a function gives that is. A function counts as named where it is called or written as a path, a type wherever its
/// name stands.
pub fn unused_surface(files: &[RepositoryFile]) -> Vec<Violation> {
    let runtime = files.iter().filter(|file| file.path.starts_with("runtime/src/") && file.path.ends_with(".rs"));
    let declared: Vec<_> = runtime.map(|file| (file, items(&without_tests(&code_only(&file.text))))).collect();
    let users: Vec<_> = files.iter().filter_map(words_of_user).collect();
    let named = |item: &Item| users.iter().any(|user| names(user, item));
    let all = || declared.iter().flat_map(|(_, items)| items);
    let given: Vec<_> = all().filter(|item| item.is_function && named(item)).map(|item| item.gives.as_str()).collect();
    let is_given = |item: &Item| given.iter().any(|gives| words(gives).any(|(_, word)| word == item.name));
    let mut found = Vec::new();
    for (file, items) in &declared {
        for item in items {
            let is_used = named(item) || (!item.is_function && is_given(item));
            if !is_used && !UNNAMED.contains(&item.name.as_str()) {
                let what = format!("{:?} is public, and no example, guide or verticle uses it", item.name);
                found.push(Violation::new(&file.path, item.line, what));
            }
        }
    }
    found
}

/// The text in which a use counts.
fn words_of_user(file: &RepositoryFile) -> Option<String> {
    let path = file.path.as_str();
    let is_code = path.starts_with("runtime/examples/") || path.starts_with("verticles/src/");
    if is_code && path.ends_with(".rs") {
        return Some(without_tests(&code_only(&file.text)));
    }
    (path.starts_with("runtime/guides/") || path == "README.md").then(|| file.text.clone())
}

fn names(text: &str, item: &Item) -> bool {
    words(text).any(|(at, word)| word == item.name && (!item.is_function || text[..at].ends_with(['.', ':'])))
}

/// Each identifier, and where it begins.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let pieces = text.split(move |c| !is_part(c)).filter(|word| !word.is_empty());
    pieces.map(|word| (word.as_ptr().addr() - text.as_ptr().addr(), word))
}

fn items(code: &str) -> Vec<Item> {
    let mut found = Vec::new();
    for (at, _) in words(code).filter(|(_, word)| *word == "pub") {
        let rest = &code[at + "pub".len()..];
        let head = rest.split(['{', ';', '=']).next().unwrap_or_default();
        // `pub(crate)` is not public.
        if head.starts_with('(') {
            continue;
        }
        let mut head_words = words(head).map(|(_, word)| word).peekable();
        let mut kind = head_words.next();
        while kind.is_some_and(|word| QUALIFIERS.contains(&word)) && head_words.peek().is_some_and(is_kind) {
            kind = head_words.next();
        }
        if let Some(kind) = kind.filter(is_kind)
            && let Some(name) = head_words.next()
        {
            let gives = head.split_once("->").map(|(_, gives)| gives.to_owned()).unwrap_or_default();
            let line = code[..at].matches('\n').count() + 1;
            found.push(Item { line, is_function: kind == "fn", name: name.to_owned(), gives });
        }
    }
    found
}

fn is_kind(word: &&str) -> bool {
    KINDS.contains(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught(source: &str, users: &[(&str, &str)]) -> Vec<String> {
        let users = users.iter().map(|(path, text)| RepositoryFile::new(path, text));
        let files: Vec<_> = users.chain([RepositoryFile::new("runtime/src/bus.rs", source)]).collect();
        unused_surface(&files).iter().map(ToString::to_string).collect()
    }

    const SOURCE: &str = "pub struct Bus {\n    pub room: usize,\n}\nimpl Bus {\n    pub async fn send<M>(&self) -> Sent { todo() }\n    \
                          pub const fn open() -> Self {}\n}\npub enum Sent {}\npub(crate) fn own() {}\npub const BOUND: usize = 1;";

    #[test]
    fn what_nobody_names_is_caught_with_its_line() {
        let unused = caught(SOURCE, &[("runtime/examples/chat.rs", "let bus: Bus = Bus::open();")]);
        let expected = [(5, "send"), (8, "Sent"), (10, "BOUND")].map(|(line, name)| {
            format!("runtime/src/bus.rs:{line}: {name:?} is public, and no example, guide or verticle uses it")
        });
        assert_eq!(unused, expected);
    }

    #[test]
    fn examples_guides_verticles_and_the_readme_count_and_so_does_what_a_used_function_gives() {
        let users = [
            ("runtime/examples/chat.rs", "bus.send(1);"),
            ("runtime/guides/from_vertx.md", "a `Bus` is"),
            ("verticles/src/app.rs", "use vertebra::BOUND;"),
            ("README.md", "`Bus::open`"),
        ];
        assert!(caught(SOURCE, &users).is_empty());
    }

    #[test]
    fn comments_tests_other_places_and_a_variable_of_the_same_name_do_not_count() {
        let users = [
            ("runtime/examples/chat.rs", "// bus.send(1), Bus::open()\nlet send = \"Bus::open\";"),
            ("runtime/tests/bus.rs", "bus.send(1); Bus::open(); BOUND"),
            ("verticles/src/app.rs", "#[cfg(test)]\nmod tests {\n fn t() { bus.send(BOUND); }\n}"),
        ];
        assert_eq!(caught(SOURCE, &users).len(), 5);
        assert!(caught("#[cfg(test)]\nmod tests {\n pub fn helper() {}\n}\n// pub fn said() {}", &[]).is_empty());
    }
}
