//! The runtime knows no product: some words never occur in it.

use super::{RepositoryFile, Violation};

const FOREIGN_WORDS: [&str; 5] = ["ad", "tracking", "redis", "kinesis", "aws"];

/// The words of the product do not occur in `runtime/src`, neither in code nor in comments.
pub fn runtime_words(files: &[RepositoryFile]) -> Vec<Violation> {
    let runtime = files.iter().filter(|file| file.path.starts_with("runtime/src/"));
    runtime.flat_map(|file| foreign_words(&file.path, &file.text)).collect()
}

fn foreign_words(path: &str, text: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let words = words(line);
        let foreign = words.iter().filter(|word| FOREIGN_WORDS.contains(&word.to_lowercase().as_str()));
        found.extend(
            foreign.map(|word| Violation::new(path, index + 1, format!("the runtime knows nothing of {word:?}"))),
        );
    }
    found
}

/// Splits at everything that is no letter, and inside `camelCase` and `HTTPServer`.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for run in line.split(|c: char| !c.is_alphabetic()) {
        let chars: Vec<char> = run.chars().collect();
        let mut word = String::new();
        for (at, c) in chars.iter().enumerate() {
            let after_lower = at > 0 && chars[at - 1].is_lowercase();
            let before_lower = chars.get(at + 1).is_some_and(|next| next.is_lowercase());
            if c.is_uppercase() && (after_lower || before_lower) && !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            word.push(*c);
        }
        if !word.is_empty() {
            words.push(word);
        }
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caught(text: &str) -> usize {
        runtime_words(&[RepositoryFile::new("runtime/src/bus.rs", text)]).len()
    }

    #[test]
    fn a_foreign_word_is_caught_in_code_and_comments_and_names() {
        for text in [
            "// as Redis does",
            "struct AwsClient;",
            "let ad_id = 1;",
            "REDIS_URL",
            "an Ad.",
            "tracking-event",
            "XMLAds AdTag",
        ] {
            assert_eq!(caught(text), 1, "{text:?}");
        }
    }

    #[test]
    fn a_word_that_only_contains_one_is_let_through() {
        assert_eq!(caught("// read, add, load, thread, backtracking, awst, Adapter, laws, adhoc"), 0);
    }

    #[test]
    fn other_packages_may_say_what_they_are() {
        assert!(runtime_words(&[RepositoryFile::new("verticles/src/redis.rs", "Redis")]).is_empty());
    }
}
