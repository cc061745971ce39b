//! The INI dialect of PgBouncer, its connection strings and its userlist.
//!
//! <https://www.pgbouncer.org/config.html#generic-settings>

use crate::limits::INCLUDES_MAX;
use std::path::Path;

/// Sections of names and values, in order.
#[derive(Debug, Default)]
pub(super) struct Ini {
    sections: Vec<(String, Vec<(String, String)>)>,
    /// Files to be included that could not be, and why.
    pub missing: Vec<String>,
}

impl Ini {
    /// Reads a text; `read` reads the files that it includes.
    pub fn parse(text: &str, read: &dyn Fn(&Path) -> Result<String, String>) -> Result<Self, String> {
        let mut ini = Self::default();
        ini.add(text, read, 0)?;
        Ok(ini)
    }

    fn add(
        &mut self,
        text: &str,
        read: &dyn Fn(&Path) -> Result<String, String>,
        depth: usize,
    ) -> Result<(), String> {
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with([';', '#']) {
                continue;
            }
            let include = line.strip_prefix("%include").filter(|rest| rest.starts_with(char::is_whitespace));
            if let Some(path) = include.map(str::trim) {
                self.include(path, read, depth)?;
            } else if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                self.sections.push((name.trim().to_owned(), vec![]));
            } else if let (Some((name, value)), Some((_, section))) =
                (line.split_once('='), self.sections.last_mut())
            {
                let name = name.trim().trim_matches('"').to_owned();
                section.push((name, value.trim().to_owned()));
            } else {
                return Err(format!("line {}: expected `name = value`", number + 1));
            }
        }
        Ok(())
    }

    fn include(
        &mut self,
        path: &str,
        read: &dyn Fn(&Path) -> Result<String, String>,
        depth: usize,
    ) -> Result<(), String> {
        if depth >= INCLUDES_MAX {
            return Err(format!("%include {path}: files include each other too deeply"));
        }
        match read(Path::new(path)) {
            Ok(text) => self.add(&text, read, depth + 1).map_err(|error| format!("{path}: {error}")),
            Err(error) => {
                self.missing.push(format!("%include {path}: {error}"));
                Ok(())
            }
        }
    }

    /// The sections' names, each once.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = vec![];
        for (name, _) in &self.sections {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
        }
        names
    }

    pub fn section(&self, name: &str) -> impl Iterator<Item = &(String, String)> {
        self.sections.iter().filter(move |(n, _)| n == name).flat_map(|(_, lines)| lines)
    }

    /// The last value counts.
    pub fn get(&self, section: &str, name: &str) -> Option<&str> {
        self.section(section).filter(|(n, _)| n == name).last().map(|(_, value)| value.as_str())
    }
}

/// `host=a port=1 dbname='it''s'`.
pub(super) fn connection_string(text: &str) -> Vec<(String, String)> {
    let mut pairs = vec![];
    let mut rest = text.trim_start();
    while let Some((name, after)) = rest.split_once('=') {
        let after = after.trim_start();
        let (value, end) = match after.strip_prefix('\'') {
            Some(quoted) => {
                let (value, used) = until_quote(quoted, '\'');
                (value, used.unwrap_or(quoted.len()) + 1)
            }
            None => {
                let end = after.find(char::is_whitespace).unwrap_or(after.len());
                (after[..end].to_owned(), end)
            }
        };
        pairs.push((name.trim().to_owned(), value));
        rest = after[end..].trim_start();
    }
    pairs
}

/// `"name" "secret"`, a quote doubled inside. `None`: it is not that.
pub(super) fn userlist_line(line: &str) -> Option<(String, String)> {
    let rest = line.trim().strip_prefix('"')?;
    let (name, used) = until_quote(rest, '"');
    let rest = rest[used?..].trim_start().strip_prefix('"')?;
    let (password, used) = until_quote(rest, '"');
    used.map(|_| (name, password))
}

/// The text up to the closing quote, and how many bytes that is with the quote, if there is one.
fn until_quote(text: &str, quote: char) -> (String, Option<usize>) {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            value.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            chars.next();
            value.push(quote);
        } else {
            return (value, Some(at + quote.len_utf8()));
        }
    }
    (value, None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_string_is_split_at_blanks_outside_quotes() {
        let pairs = connection_string("host=a  dbname='it''s me' port = 5 torn='x");
        let pairs: Vec<_> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert_eq!(pairs, [("host", "a"), ("dbname", "it's me"), ("port", "5"), ("torn", "x")]);
    }
}
