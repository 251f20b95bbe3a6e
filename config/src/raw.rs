//! What was written, before anything is known about it.
//!
//! Not a serde struct: serde stops at the first key it does not know and forgets the line. Here every value keeps its
//! origin, and all errors can be told at once.

use std::collections::BTreeMap;

use crate::Origin;

/// Characters of a written value that a message repeats.
const SHOWN_CHARS_MAX: usize = 128;

/// A value as it was written.
#[derive(Clone)]
pub(crate) enum Written {
    /// Of a flag or variable, where everything is text: its key decides what it means.
    Bare(String),
    /// A string of a file.
    Text(String),
    /// A whole number of a file. `None`: more than 128 bits.
    Whole(Option<i128>),
    /// `true` or `false` in a file.
    Truth(bool),
    /// A list of strings in a file.
    List(Vec<String>),
    /// A section where a value belongs, or one without keys.
    Section,
    /// What no setting is: a float, a date, a mixed list.
    Foreign(&'static str),
}

impl Written {
    pub(crate) fn text(&self) -> Option<&str> {
        match self {
            Self::Bare(text) | Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) fn whole(&self) -> Option<i128> {
        match self {
            Self::Bare(text) => text.parse().ok(),
            Self::Whole(number) => *number,
            _ => None,
        }
    }

    pub(crate) fn truth(&self) -> Option<bool> {
        match self {
            Self::Bare(text) => text.parse().ok(),
            Self::Truth(truth) => Some(*truth),
            _ => None,
        }
    }

    /// A bare value is split at commas; empty elements are left out, so that the empty text is the empty list.
    pub(crate) fn list(&self) -> Option<Vec<&str>> {
        match self {
            Self::Bare(text) => Some(text.split(',').map(str::trim).filter(|each| !each.is_empty()).collect()),
            Self::List(list) => Some(list.iter().map(String::as_str).collect()),
            _ => None,
        }
    }

    /// For a message: one line, of bounded length.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Bare(text) | Self::Text(text) => shown_text(text),
            Self::Whole(Some(number)) => number.to_string(),
            Self::Whole(None) => "a very large number".to_owned(),
            Self::Truth(truth) => truth.to_string(),
            Self::List(list) => shown_list(list),
            Self::Section => "a section".to_owned(),
            Self::Foreign(kind) => (*kind).to_owned(),
        }
    }
}

fn shown_list(list: &[String]) -> String {
    let kept: Vec<String> = list.iter().take(4).map(|each| shown_text(each)).collect();
    let more = if list.len() > kept.len() { ", ..." } else { "" };
    format!("[{}{more}]", kept.join(", "))
}

/// What stands before an `@` may be the password of a URL in a setting that takes none: it is not repeated.
fn shown_text(text: &str) -> String {
    if let Some((_, after)) = text.rsplit_once('@') {
        return shown_text(&format!("***{after}"));
    }
    let cut = cut(text);
    let more = if cut.len() < text.len() { "..." } else { "" };
    format!("{cut:?}{more}")
}

/// The first characters of `text`.
pub(crate) fn cut(text: &str) -> &str {
    text.char_indices().nth(SHOWN_CHARS_MAX).map_or(text, |(end, _)| text.get(..end).unwrap_or(text))
}

/// A value and where it was written.
#[derive(Clone)]
pub(crate) struct Setting {
    pub(crate) written: Written,
    pub(crate) origin: Origin,
}

/// What holds for each key after all layers.
#[derive(Clone, Default)]
pub(crate) struct Raw(BTreeMap<String, Setting>);

impl Raw {
    /// Puts a value on top of what was there.
    pub(crate) fn lay(&mut self, key: &str, written: Written, origin: Origin) {
        self.0.insert(key.to_owned(), Setting { written, origin });
    }

    pub(crate) fn get(&self, key: &str) -> Option<&Setting> {
        self.0.get(key)
    }

    /// The text of `key`, unless that is empty or not a text.
    pub(crate) fn text(&self, key: &str) -> Option<(&str, &Origin)> {
        let setting = self.get(key)?;
        let text = setting.written.text().filter(|text| !text.is_empty())?;
        Some((text, &setting.origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_value_means_what_its_key_asks_for() {
        let bare = |text: &str| Written::Bare(text.into());
        assert_eq!(bare("5").whole(), Some(5));
        assert_eq!(bare("5 ").whole(), None);
        assert_eq!(bare("5").text(), Some("5"));
        assert_eq!(bare("true").truth(), Some(true));
        assert_eq!(bare("yes").truth(), None);
        assert_eq!(bare("a, b,").list(), Some(vec!["a", "b"]));
        assert_eq!(bare("").list(), Some(vec![]));
    }

    #[test]
    fn a_value_of_a_file_has_one_kind() {
        assert_eq!(Written::Text("5".into()).whole(), None);
        assert_eq!(Written::Text("true".into()).truth(), None);
        assert_eq!(Written::Text("a,b".into()).list(), None);
        assert_eq!(Written::Whole(Some(5)).text(), None);
    }

    #[test]
    fn what_may_be_a_password_in_a_url_is_not_shown() {
        for text in ["redis://:hunter2@host:6379", "u:hunter2@host", "http://u:hunter2@@h"] {
            let shown = Written::Bare(text.into()).shown();
            assert!(shown.starts_with("\"***h") && !shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_long_or_wild_value_is_shown_short_and_in_one_line() {
        let shown = Written::Bare("ä\n\u{1b}".repeat(1000)).shown();
        assert!(shown.ends_with("...") && !shown.contains(['\n', '\u{1b}']), "{shown}");
        assert!(shown.chars().count() < 1000);
        assert!(Written::List(vec!["x".repeat(1000); 1000]).shown().len() < 1000);
    }
}
