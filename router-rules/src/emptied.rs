//! The database that a statement needs to be empty of others.

use crate::lex;
use crate::tokens::Tokens;

/// A statement with more tokens is not looked into.
const TOKENS_MAX: usize = 1_000;
/// What CREATE DATABASE copies where it names nothing.
const COPIED_BY_DEFAULT: &str = "template1";

/// The database that nobody may be in while this statement runs: it is dropped, renamed, moved or copied.
///
/// <https://www.postgresql.org/docs/current/sql-createdatabase.html>
pub fn emptied_database(sql: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(sql);
    let list = lex::tokenize(text.as_bytes(), true, TOKENS_MAX).ok()?;
    let tokens = Tokens { sql: &text, list: &list };
    if !tokens.is(1, "database") {
        return None;
    }
    let at = match () {
        () if tokens.is(0, "alter") => 2,
        () if tokens.is(0, "drop") => {
            if tokens.is(2, "if") {
                4
            } else {
                2
            }
        }
        () if tokens.is(0, "create") => {
            let Some(at) = (3..tokens.len()).find(|at| tokens.is(*at, "template")) else {
                return Some(COPIED_BY_DEFAULT.to_owned());
            };
            let at = if tokens.is_mark(at + 1, "=") { at + 2 } else { at + 1 };
            if tokens.is(at, "default") {
                return Some(COPIED_BY_DEFAULT.to_owned());
            }
            if let Some(name) = tokens.literal(at) {
                return Some(name);
            }
            at
        }
        () => return None,
    };
    tokens.identifier(at).map(|name| name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_database_that_must_be_empty_is_found() {
        let of = |sql: &str| emptied_database(sql.as_bytes());
        assert_eq!(of("DROP DATABASE test_app").as_deref(), Some("test_app"));
        assert_eq!(
            of("/* app:rake */ -- x\n drop database if exists \"Test\"\"App\";").as_deref(),
            Some("Test\"App")
        );
        assert_eq!(of("ALTER DATABASE a RENAME TO b").as_deref(), Some("a"));
        assert_eq!(of("CREATE DATABASE x WITH OWNER a TEMPLATE=Y").as_deref(), Some("y"));
        assert_eq!(of("CREATE DATABASE x TEMPLATE 'Y'").as_deref(), Some("Y"));
        assert_eq!(of("CREATE DATABASE x").as_deref(), Some("template1"));
        assert_eq!(of("CREATE DATABASE template").as_deref(), Some("template1"));
        assert_eq!(of("DROP TABLE x"), None);
    }
}
