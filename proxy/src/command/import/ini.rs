//! The INI dialect of PgBouncer, its connection strings and its userlist.
//!
//! <https://www.pgbouncer.org/config.html#generic-settings>

/// Sections of names and values, in order.
#[derive(Debug, Default)]
pub(super) struct Ini(Vec<(String, Vec<(String, String)>)>);

impl Ini {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut ini = Self::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with([';', '#', '%']) {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                ini.0.push((name.trim().to_owned(), vec![]));
            } else if let (Some((name, value)), Some((_, section))) = (line.split_once('='), ini.0.last_mut())
            {
                let name = name.trim().trim_matches('"').to_owned();
                section.push((name, value.trim().to_owned()));
            } else {
                return Err(format!("line {}: expected `name = value`", number + 1));
            }
        }
        Ok(ini)
    }

    pub fn section(&self, name: &str) -> impl Iterator<Item = &(String, String)> {
        self.0.iter().filter(move |(n, _)| n == name).flat_map(|(_, lines)| lines)
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
                (value, used + 1)
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

/// `"name" "secret"`, a quote doubled inside.
pub(super) fn userlist_line(line: &str) -> Option<(String, String)> {
    let rest = line.trim().strip_prefix('"')?;
    let (name, used) = until_quote(rest, '"');
    let rest = rest[used..].trim_start().strip_prefix('"')?;
    Some((name, until_quote(rest, '"').0))
}

/// The text up to the closing quote, and how many bytes that is with the quote.
fn until_quote(text: &str, quote: char) -> (String, usize) {
    let mut value = String::new();
    let mut chars = text.char_indices().peekable();
    while let Some((at, c)) = chars.next() {
        if c != quote {
            value.push(c);
        } else if chars.peek().is_some_and(|(_, next)| *next == quote) {
            chars.next();
            value.push(quote);
        } else {
            return (value, at + quote.len_utf8());
        }
    }
    (value, text.len())
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
