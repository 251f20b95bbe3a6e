//! The layers, lowest first, and what each may say.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::file::{self, CONFIG_BYTES_MAX, Entry};
use crate::keys::{Keys, PREFIX};
use crate::raw::{Raw, Written, cut};
use crate::{ConfigError, ConfigErrors, DEFAULT_TOML, Origin, Overrides, Source};

/// Names the configuration file; not a setting itself.
const CONFIG_VARIABLE: &str = "ADTRACK_CONFIG";

/// Variables that were there before us, and the keys they set. A later one is laid over an earlier one of the same key:
/// first AWS's, the general before the special, then those of the system this one replaces.
const FOREIGN_VARIABLES: [(&str, &str); 8] = [
    ("AWS_ENDPOINT_URL", "kinesis.endpoint"),
    ("AWS_ENDPOINT_URL_KINESIS", "kinesis.endpoint"),
    ("AWS_DEFAULT_REGION", "kinesis.region"),
    ("AWS_REGION", "kinesis.region"),
    ("REGION", "kinesis.region"),
    ("EVENT_STREAM", "kinesis.stream"),
    ("REDIS_PORT", "redis.port"),
    ("REDIS_HOST", "redis.host"),
];

/// Defaults of the system this one replaces.
const REFERENCE_DEFAULTS: [(&str, &str); 3] =
    [("redis.host", "localhost"), ("kinesis.stream", "reactive-system-event-stream"), ("kinesis.region", "eu-west-1")];

/// Lays all layers on top of one another and returns what holds. What is wrong with a name or a file goes to `errors`;
/// values are not judged here.
pub(crate) fn gather(flags: &Overrides, source: &dyn Source, errors: &mut ConfigErrors) -> Raw {
    let mut raw = Raw::default();
    let keys = lay_default(&mut raw, errors);
    let variables = sorted(source);
    if let Some((path, named_by)) = config_file(flags, &variables) {
        lay_file(&mut raw, &keys, &path, &named_by, errors);
    }
    lay_foreign_variables(&mut raw, &variables);
    lay_own_variables(&mut raw, &keys, &variables, errors);
    lay_flags(&mut raw, &keys, flags, errors);
    lay_reference_defaults(&mut raw);
    raw
}

fn lay_default(raw: &mut Raw, errors: &mut ConfigErrors) -> Keys {
    let entries = match file::entries(DEFAULT_TOML) {
        Ok(entries) => entries,
        Err(error) => {
            let path = PathBuf::from("default.toml");
            errors.push(ConfigError::Syntax { path, line: error.line, message: error.message });
            Vec::new()
        }
    };
    let names = entries.iter().map(|entry| entry.key.clone()).collect();
    for entry in entries {
        raw.lay(&entry.key, entry.written, Origin::Default);
    }
    Keys::new(names)
}

/// The file to read and the flag or variable that names it.
fn config_file(flags: &Overrides, variables: &[(String, OsString)]) -> Option<(PathBuf, String)> {
    if let Some(path) = &flags.config_file {
        return Some((path.clone(), "--config".to_owned()));
    }
    let (name, value) = variables.iter().find(|(name, _)| name == CONFIG_VARIABLE)?;
    (!value.is_empty()).then(|| (PathBuf::from(value), name.clone()))
}

fn lay_file(raw: &mut Raw, keys: &Keys, path: &Path, named_by: &str, errors: &mut ConfigErrors) {
    let text = match file::read(path, CONFIG_BYTES_MAX) {
        Ok(text) => text,
        Err(error) => {
            let (path, named_by) = (path.to_owned(), named_by.to_owned());
            return errors.push(ConfigError::Unreadable { path, named_by, reason: error.to_string() });
        }
    };
    let entries = match file::entries(&text) {
        Ok(entries) => entries,
        Err(error) => {
            let path = path.to_owned();
            return errors.push(ConfigError::Syntax { path, line: error.line, message: error.message });
        }
    };
    for Entry { key, written, line } in entries {
        let origin = Origin::File { path: path.to_owned(), line };
        let empty_section = matches!(written, Written::Section) && keys.has_section(&key);
        if keys.contains(&key) {
            raw.lay(&key, written, origin);
        } else if !empty_section {
            errors.push_with(|| unknown_key(&key, origin, keys));
        }
    }
}

fn lay_foreign_variables(raw: &mut Raw, variables: &[(String, OsString)]) {
    for (name, key) in FOREIGN_VARIABLES {
        let found = variables.iter().find(|(each, value)| each == name && !value.is_empty());
        if let Some((name, value)) = found {
            raw.lay(key, bare(value), Origin::Variable(name.clone()));
        }
    }
}

fn lay_own_variables(raw: &mut Raw, keys: &Keys, variables: &[(String, OsString)], errors: &mut ConfigErrors) {
    for (name, value) in variables.iter().filter(|(name, _)| name.starts_with(PREFIX)) {
        if let Some(key) = keys.of_variable(name) {
            raw.lay(key, bare(value), Origin::Variable(name.clone()));
        } else if name != CONFIG_VARIABLE && !is_service_link(name, value) {
            errors.push_with(|| ConfigError::UnknownVariable {
                name: shown_name(name),
                nearest: keys.nearest_variable(name),
            });
        }
    }
}

fn lay_flags(raw: &mut Raw, keys: &Keys, flags: &Overrides, errors: &mut ConfigErrors) {
    for each in &flags.settings {
        let origin = Origin::Flag(each.flag.clone());
        if keys.contains(&each.key) {
            raw.lay(&each.key, Written::Bare(each.value.clone()), origin);
        } else {
            errors.push_with(|| unknown_key(&each.key, origin, keys));
        }
    }
}

/// The lowest layer but one, laid last: only now it is known whether it is asked for, and it goes under what was written.
fn lay_reference_defaults(raw: &mut Raw) {
    if raw.text("compat").is_none_or(|(compat, _)| compat != "reference") {
        return;
    }
    for (key, value) in REFERENCE_DEFAULTS {
        if raw.get(key).is_some_and(|setting| setting.origin == Origin::Default) {
            raw.lay(key, Written::Bare(value.to_owned()), Origin::Compat);
        }
    }
}

/// The variables whose names are text, in the order of their names, so that the same errors come in the same order.
fn sorted(source: &dyn Source) -> Vec<(String, OsString)> {
    let variables = source.variables().into_iter();
    let mut named: Vec<_> = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect();
    named.sort();
    named
}

/// What is not UTF-8 is no value of any setting: it is left for the check to refuse.
fn bare(value: &OsString) -> Written {
    value.to_str().map_or(Written::Foreign("bytes that are not UTF-8"), |text| Written::Bare(text.to_owned()))
}

/// Kubernetes describes each service of the namespace to every pod; of a service named `adtrack` it makes
/// `ADTRACK_SERVICE_HOST`, `ADTRACK_PORT=tcp://...`, `ADTRACK_PORT_8080_TCP_ADDR` and so on.
fn is_service_link(name: &str, value: &OsString) -> bool {
    let is_url = value.to_str().is_some_and(|value| value.contains("://"));
    let words: Vec<&str> = name.split('_').collect();
    words.windows(2).any(|pair| matches!(pair, ["SERVICE", "HOST" | "PORT"]))
        || name.ends_with("_PORT") && is_url
        || words
            .windows(3)
            .any(|three| matches!(three, ["PORT", number, "TCP" | "UDP" | "SCTP"] if number.parse::<u16>().is_ok()))
}

fn unknown_key(key: &str, origin: Origin, keys: &Keys) -> ConfigError {
    let nearest = keys.nearest(key).to_owned();
    ConfigError::UnknownKey { key: shown_name(key), origin, nearest }
}

/// Short and in one line, whatever it holds.
fn shown_name(name: &str) -> String {
    cut(name).escape_debug().to_string()
}
