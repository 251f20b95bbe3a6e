//! Secrets that stand in files of their own, as containers get them.

use std::path::{Path, PathBuf};

use crate::file;
use crate::raw::{Raw, Written};
use crate::{ConfigError, ConfigErrors, Origin};

/// Largest such file.
const SECRET_BYTES_MAX: u64 = 4096;

/// The key that names a file, and the key its content becomes.
const SECRET_FILES: [(&str, &str); 2] =
    [("admin.token_file", "admin.token"), ("redis.password_file", "redis.password")];

/// Reads the files that are named and puts their content in the place of the secrets. Returns the keys whose secret is
/// not known for want of a file, so that nobody complains a second time.
pub(crate) fn read_all(raw: &mut Raw, errors: &mut ConfigErrors) -> Vec<&'static str> {
    let mut failed = Vec::new();
    for (file_key, key) in SECRET_FILES {
        let Some((path, file_origin)) = raw.text(file_key) else {
            continue;
        };
        if let Some((_, origin)) = raw.text(key) {
            let (origin, other_origin) = (origin.clone(), file_origin.clone());
            errors.push(ConfigError::Conflict { key, origin, other: file_key, other_origin });
            continue;
        }
        let path = PathBuf::from(path);
        match read(&path) {
            Ok(secret) => raw.lay(key, Written::Text(secret), Origin::SecretFile(path)),
            Err(reason) => {
                let named_by = format!("{file_key}, {file_origin}");
                errors.push(ConfigError::Unreadable { path, named_by, reason });
                failed.push(key);
            }
        }
    }
    failed
}

/// Without the line break that editors and `echo` leave at the end. An empty file is an error: it would mean "no secret".
fn read(path: &Path) -> Result<String, String> {
    let mut text = file::read(path, SECRET_BYTES_MAX).map_err(|error| error.to_string())?;
    text.truncate(text.trim_end_matches(['\r', '\n']).len());
    if text.is_empty() { Err("empty".to_owned()) } else { Ok(text) }
}
