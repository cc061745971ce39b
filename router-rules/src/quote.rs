//! Text, names and truth as SQL and settings spell them.

use crate::lex::cut_name;

/// A text literal, whatever `standard_conforming_strings` says.
pub fn quote_text(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// A name; of a setting such as `app.tenant` each part is quoted.
pub fn quote_name(name: &str) -> String {
    let parts: Vec<_> = name.split('.').map(quote_identifier).collect();
    parts.join(".")
}

/// One identifier, dots included.
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A boolean as Postgres reads a setting: `on`, `off`, `1`, `0`, and `true`, `false`, `yes` and `no` cut short.
///
/// <https://www.postgresql.org/docs/current/config-setting.html#CONFIG-SETTING-NAMES-VALUES>
pub fn parse_bool(value: &str) -> Option<bool> {
    let value = value.to_ascii_lowercase();
    let begins = |word: &str, letters: usize| value.len() >= letters && word.starts_with(&*value);
    if begins("true", 1) || begins("yes", 1) || value == "on" || value == "1" {
        return Some(true);
    }
    (begins("false", 1) || begins("no", 1) || begins("off", 2) || value == "0").then_some(false)
}

/// True where the value is one that means on.
pub fn is_on(value: &str) -> bool {
    parse_bool(value) == Some(true)
}

/// A list of names as `search_path` holds it: `"$user", public`. Split at commas, unquoted, folded, cut to the
/// length of a name.
pub fn split_names(list: &str) -> Vec<String> {
    let mut names = vec![];
    let mut name = String::new();
    let mut quoted = false;
    let mut chars = list.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                name.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => names.push(std::mem::take(&mut name)),
            c if c.is_whitespace() && !quoted => {}
            c if quoted => name.push(c),
            c => name.extend(c.to_lowercase()),
        }
    }
    names.push(name);
    names.retain(|name| !name.is_empty());
    names.into_iter().map(|name| cut_name(&name).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_path_is_split_as_postgres_reads_it() {
        assert_eq!(split_names("\"$user\", public"), ["$user", "public"]);
        assert_eq!(split_names("A, \"B c\"\"d,\" ,e"), ["a", "B c\"d,", "e"]);
        assert!(split_names("").is_empty());
        assert!(split_names("\"\"").is_empty());
    }

    #[test]
    fn truth_is_read_as_postgres_reads_it() {
        for on in ["on", "TRUE", "t", "tru", "yes", "y", "1"] {
            assert!(is_on(on), "{on}");
        }
        for off in ["off", "of", "F", "no", "n", "0"] {
            assert_eq!(parse_bool(off), Some(false), "{off}");
        }
        for neither in ["", "o", "2", "onn", "maybe"] {
            assert_eq!(parse_bool(neither), None, "{neither}");
        }
    }
}
