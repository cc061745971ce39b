//! Secrets, certificates and keys: where they are read from, and who else may read them.

use super::Surroundings;
use crate::config::Secret;
use crate::config::reader::Section;
use std::path::{Path, PathBuf};

/// The value of `name`, or the content of the file `<name>_file`, or the environment variable.
pub(super) fn secret(
    section: &Section<'_, '_>,
    name: &str,
    variable: &str,
    around: &Surroundings<'_>,
) -> Option<Secret> {
    let file_key = format!("{name}_file");
    if section.written(name).is_some() && section.written(&file_key).is_some() {
        section.mistake_in(&file_key, format!("`{name}` and `{file_key}`: only one of them"));
    }
    if let Some(value) = section.read_optional::<Secret>(name) {
        if around.is_exposed {
            let what = "a secret in a file that every user of this machine may read: chmod o-r, or use";
            section.warning_in(name, format!("{what} `{file_key}`"));
        }
        return Some(value);
    }
    if let Some(path) = section.read_optional::<PathBuf>(&file_key) {
        let path = around.directory.join(path);
        warn_if_exposed(section, &file_key, &path);
        return match crate::config::files::read_secret(&path) {
            Ok(value) => Some(Secret(value)),
            Err(message) => {
                section.mistake_in(&file_key, format!("`{file_key}`: {}: {message}", path.display()));
                None
            }
        };
    }
    (around.environment)(variable).filter(|value| !value.is_empty()).map(Secret)
}

/// Both, where the section is there; each one missing is a mistake.
pub(super) fn certificate_and_key(
    section: &Section<'_, '_>,
    around: &Surroundings<'_>,
) -> Option<(PathBuf, PathBuf)> {
    if section.is_there() && section.written("certificate").is_none() && section.written("key").is_none() {
        section.mistake("`certificate` and `key` are missing");
    }
    certificate_and_key_if_any(section, around)
}

pub(super) fn certificate_and_key_if_any(
    section: &Section<'_, '_>,
    around: &Surroundings<'_>,
) -> Option<(PathBuf, PathBuf)> {
    match (section.written("certificate").is_some(), section.written("key").is_some()) {
        (true, false) => section.mistake_in("certificate", "`certificate` needs its `key`"),
        (false, true) => section.mistake_in("key", "`key` needs its `certificate`"),
        _ => {}
    }
    Some((pem(section, "certificate", around)?, pem(section, "key", around)?))
}

/// A path to a PEM file that holds what it should.
pub(super) fn pem(section: &Section<'_, '_>, name: &str, around: &Surroundings<'_>) -> Option<PathBuf> {
    let path = around.directory.join(section.read_optional::<PathBuf>(name)?);
    if let Err(message) = crate::config::files::check_pem(&path, name == "key") {
        section.mistake_in(name, format!("`{name}`: {}: {message}", path.display()));
    }
    if name == "key" {
        warn_if_exposed(section, name, &path);
    }
    Some(path)
}

/// A file with a secret is its owner's, or its group's.
fn warn_if_exposed(section: &Section<'_, '_>, name: &str, path: &Path) {
    if crate::config::files::is_exposed(path) {
        let what = "every user of this machine may read it: chmod o-r";
        section.warning_in(name, format!("`{name}`: {}: {what}", path.display()));
    }
}
