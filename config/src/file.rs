//! A configuration file: reading it within bounds, and taking it apart without judging it.

use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::raw::Written;

/// Largest configuration file. One with every key and comment is under 20 KiB.
pub(crate) const CONFIG_BYTES_MAX: u64 = 1 << 20;

/// One `key = value` of a file.
pub(crate) struct Entry {
    /// With its section, such as `http.listen`.
    pub(crate) key: String,
    pub(crate) written: Written,
    /// Counted from 1.
    pub(crate) line: usize,
}

/// A text that is not TOML.
pub(crate) struct SyntaxError {
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// Reads a text file of at most `bytes_max` bytes.
pub(crate) fn read(path: &Path, bytes_max: u64) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(bytes_max + 1).read_to_string(&mut text)?;
    if text.len() as u64 > bytes_max {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {bytes_max} bytes")));
    }
    Ok(text)
}

/// Takes a TOML text apart, in the order of its lines. A key in a section in a section is one entry, its value foreign.
pub(crate) fn entries(text: &str) -> Result<Vec<Entry>, SyntaxError> {
    let lines = Lines::of(text);
    let document = DeTable::parse(text).map_err(|error| SyntaxError {
        line: lines.at(error.span()),
        message: error.message().replace(char::is_control, " "),
    })?;
    let mut entries = Vec::new();
    for (name, value) in document.get_ref() {
        match value.get_ref() {
            DeValue::Table(section) if !section.is_empty() => {
                for (key, value) in section {
                    entries.push(entry(
                        format!("{}.{}", name.get_ref(), key.get_ref()),
                        value,
                        lines.at(Some(key.span())),
                    ));
                }
            }
            _ => entries.push(entry(name.get_ref().to_string(), value, lines.at(Some(name.span())))),
        }
    }
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn entry(key: String, value: &Spanned<DeValue<'_>>, line: usize) -> Entry {
    let written = match value.get_ref() {
        DeValue::String(text) => Written::Text(text.to_string()),
        DeValue::Integer(number) => Written::Whole(i128::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Boolean(truth) => Written::Truth(*truth),
        DeValue::Array(array) => {
            let texts: Option<Vec<String>> =
                array.iter().map(|each| each.get_ref().as_str().map(str::to_owned)).collect();
            texts.map_or(Written::Foreign("a list of other things than text"), Written::List)
        }
        DeValue::Float(_) => Written::Foreign("a number with a fraction"),
        DeValue::Datetime(_) => Written::Foreign("a date or time"),
        DeValue::Table(_) => Written::Section,
    };
    Entry { key, written, line }
}

/// Where the lines of a text end.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(offset, _)| offset).collect())
    }

    /// The line on which `span` begins, counted from 1.
    fn at(&self, span: Option<Range<usize>>) -> usize {
        let start = span.map_or(0, |span| span.start);
        self.0.partition_point(|end| *end < start) + 1
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_text_is_taken_apart_into_keys_kinds_and_lines() {
        let text =
            "a = 'x'\n\n[s]\nb = 0x10\nc = true\nd = ['p', \"q\"]\ne = 1.5\nf = [1]\ng.h = 1\n[empty]\n[t]\nu.v = 2";
        let found: Vec<String> = entries(text)
            .unwrap_or_default()
            .iter()
            .map(|entry| format!("{}: {} = {}", entry.line, entry.key, entry.written.shown()))
            .collect();
        assert_eq!(
            found,
            [
                "1: a = \"x\"",
                "4: s.b = 16",
                "5: s.c = true",
                "6: s.d = [\"p\", \"q\"]",
                "7: s.e = a number with a fraction",
                "8: s.f = a list of other things than text",
                "9: s.g = a section",
                "10: empty = a section",
                "12: t.u = a section",
            ]
        );
    }

    #[test]
    fn a_text_that_is_not_toml_is_refused_with_its_line() {
        let error = entries("a = 1\n[b]\nc = = 2\n").err().unwrap();
        assert_eq!(error.line, 3);
        assert!(!error.message.is_empty() && !error.message.contains('\n'));
    }

    #[test]
    fn a_file_above_its_bound_is_not_read() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "x".repeat(10)).unwrap();
        assert_eq!(read(file.path(), 10).unwrap().len(), 10);
        assert_eq!(read(file.path(), 9).unwrap_err().to_string(), "larger than 9 bytes");
    }
}
