//! The configuration file as a file: bounded, UTF-8, with its secrets beside it.

use super::Config;
use super::environment::{self, Filled};
use super::keys::CONFIG_BYTES_MAX;
use super::reader::{Mistake, Place, Reader, Section, Warning};
use super::valid::{self, Surroundings};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A password file, a token file.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

impl Config {
    /// Reads the file at `path`, and the files and environment variables that it names.
    ///
    /// # Errors
    /// Every mistake in it, each with its place.
    pub fn load(path: &Path) -> Result<(Config, Vec<Warning>), Vec<Mistake>> {
        let file = path.display().to_string();
        let text = read_text(path).map_err(|(line, column, message)| {
            vec![Mistake { place: Place { file: file.clone(), line, column }, message }]
        })?;
        let directory = path.parent().unwrap_or(Path::new("."));
        let environment = |name: &str| std::env::var(name).ok();
        let around = Surroundings { directory, environment: &environment, is_exposed: is_exposed(path) };
        let (config, mut warnings) = parse(&text, &file, &around)?;
        if config.cluster.password.is_none() && config.cluster.tls.certificate.is_none() {
            warnings.push(Warning {
                place: Place { file: file.clone(), line: 1, column: 1 },
                message:
                    "cluster.password is not set: pgweir gets in only where the nodes ask for no password"
                        .into(),
            });
        }
        warnings.extend(environment::unknown(std::env::vars_os()));
        Ok((config, warnings))
    }

    /// Reads a text; relative paths in it start in the current directory, and the environment is not asked.
    ///
    /// # Errors
    /// Every mistake in it, each with its place.
    pub fn parse(text: &str, file_name: &str) -> Result<(Config, Vec<Warning>), Vec<Mistake>> {
        let around = Surroundings { directory: Path::new("."), environment: &|_| None, is_exposed: false };
        parse(text, file_name, &around)
    }
}

pub(super) fn parse(
    text: &str,
    file: &str,
    around: &Surroundings<'_>,
) -> Result<(Config, Vec<Warning>), Vec<Mistake>> {
    let mut reader = Reader::new(text, file);
    let overlay = environment::overlay(around.environment);
    let filled = environment::filled(DeTable::parse_recoverable(text).0.get_ref(), around.environment);
    let (mut table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let span = error.span().unwrap_or_default();
        let message = match (error.message(), text.get(span.clone())) {
            ("duplicate key", Some(key)) => format!("`{key}` is there twice: keep one"),
            (message, _) => message.to_owned(),
        };
        reader.mistake(span, message);
    }
    if !errors.is_empty() {
        // What comes after a syntax error is guesswork: further complaints would mislead.
        return Err(reader.finish().0);
    }
    environment::put_filled(table.get_mut(), &filled);
    write_out_listen_tls(table.get_mut());
    for variable in &overlay {
        reader.know(&variable.name);
        if let Err(message) = variable.put(table.get_mut(), reader.place_of_variable()) {
            reader.mistake(reader.place_of_variable(), message);
        }
    }
    filled.iter().filter_map(Filled::mistake).for_each(|(span, message)| reader.mistake(span, message));
    if !reader.is_clean() {
        return Err(reader.finish().0);
    }
    let mut config = valid::config(&Section::top(&reader, table.get_ref()), &reader, around);
    config.entries = super::entries::of(table.get_ref(), &config);
    match reader.finish() {
        (mistakes, warnings) if mistakes.is_empty() => Ok((config, warnings)),
        (mistakes, _) => Err(mistakes),
    }
}

/// `listen.tls = "auto"` is short for a section with this mode.
fn write_out_listen_tls(table: &mut DeTable<'_>) {
    let listen = table.get_mut("listen").and_then(|listen| match listen.get_mut() {
        DeValue::Table(listen) => listen.get_mut("tls"),
        _ => None,
    });
    let Some(tls) = listen else { return };
    if let DeValue::String(_) = tls.get_ref() {
        let span = tls.span();
        let mode = std::mem::replace(tls.get_mut(), DeValue::Table(DeTable::new()));
        if let DeValue::Table(section) = tls.get_mut() {
            section.insert(Spanned::new(span.clone(), "mode".into()), Spanned::new(span, mode));
        }
    }
}

/// The text, or line, column and message of what is wrong with it as a file.
fn read_text(path: &Path) -> Result<String, (usize, usize, String)> {
    let bytes = read_bounded(path, CONFIG_BYTES_MAX).map_err(|message| (1, 1, message))?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = good.iter().filter(|b| **b == b'\n').count() + 1;
        let column = good.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        (line, column, "not UTF-8".to_owned())
    })?;
    Ok(text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text))
}

/// The content of a file of at most `max` bytes. Not of a pipe with a name: to open it waits for
/// somebody to write, and during a reload everything waits. One that was handed over, as `/dev/stdin`,
/// has a writer.
fn read_bounded(path: &Path, max: u64) -> Result<Vec<u8>, String> {
    if is_pipe(path) && !path.starts_with("/dev") && !path.starts_with("/proc") {
        return Err("is a pipe".into());
    }
    let file = std::fs::File::open(path).map_err(|e| plain(&e))?;
    if file.metadata().is_ok_and(|m| m.is_dir()) {
        return Err("is a directory".into());
    }
    let mut bytes = vec![];
    file.take(max + 1).read_to_end(&mut bytes).map_err(|e| plain(&e))?;
    if bytes.len() as u64 > max {
        return Err(format!("longer than {}", super::value::put_size(max)));
    }
    Ok(bytes)
}

/// Whether what is at `path` can be read only once.
pub fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|m| m.file_type().is_fifo())
}

/// An error without the operating system's number.
fn plain(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    format!("cannot be read: {}", text.to_lowercase())
}

/// The content of a secret's file, without the line end that editors leave.
pub(super) fn read_secret(path: &Path) -> Result<String, String> {
    let bytes = read_bounded(path, SECRET_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| "not UTF-8")?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    let text = text.strip_suffix('\r').unwrap_or(text);
    if text.is_empty() {
        return Err("is empty".into());
    }
    Ok(text.to_owned())
}

/// Whether the file holds what its key says.
pub(super) fn check_pem(path: &Path, is_key: bool) -> Result<(), String> {
    let bytes = read_bounded(path, CONFIG_BYTES_MAX)?;
    if is_key {
        return PrivateKeyDer::from_pem_slice(&bytes)
            .map(drop)
            .map_err(|_| "holds no private key in PEM form".into());
    }
    match CertificateDer::pem_slice_iter(&bytes).next() {
        Some(Ok(_)) => Ok(()),
        _ => Err("holds no certificate in PEM form".into()),
    }
}

/// Every user of the machine may read the file.
pub(super) fn is_exposed(path: &Path) -> bool {
    const READ_BY_OTHERS: u32 = 0o004;
    std::fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & READ_BY_OTHERS != 0)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
