//! What `Config::load` promises, by subject. No test reads the real environment.

#![allow(clippy::unwrap_used, reason = "tests")]

mod defaults;
mod layers;
mod messages;
mod names;
mod rules;
mod secrets;
mod values;
mod wild;

use std::collections::BTreeMap;
use std::io::Write;

use adtrack_config::{Config, ConfigErrors, DEFAULT_TOML, Overrides};
use tempfile::NamedTempFile;

/// Loads with these variables only.
fn load(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let environment: BTreeMap<&str, &str> = variables.iter().copied().collect();
    Config::load(&Overrides::default(), &environment)
}

/// Loads with a file of this text and these variables.
fn load_file(text: &str, variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let environment: BTreeMap<&str, &str> = variables.iter().copied().collect();
    let file = file(text);
    let flags = Overrides::new(Some(file.path().to_owned()));
    Config::load(&flags, &environment)
}

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

/// The messages of a configuration that must be refused, one a line.
fn refused(result: Result<Config, ConfigErrors>) -> String {
    result.map(|_| "it was accepted").unwrap_err().to_string()
}

/// Key, value and comment of every setting, read from the text of `default.toml` line by line.
fn listed() -> Vec<(String, String, String)> {
    let (mut section, mut comment, mut listed) = (String::new(), String::new(), Vec::new());
    for line in DEFAULT_TOML.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        } else if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
        } else if let Some((key, value)) = line.split_once(" = ") {
            listed.push((format!("{section}{key}"), value.to_owned(), std::mem::take(&mut comment)));
        }
    }
    listed
}

fn variable(key: &str) -> String {
    format!("ADTRACK_{}", key.replace('.', "_").to_uppercase())
}

/// Value and origin of a key, as described.
fn described(config: &Config, key: &str) -> (String, String) {
    let found = config.describe().iter().find(|each| each.key == key).unwrap();
    (found.value.clone(), found.origin.to_string())
}
