//! A BEGIN that any server accepts.

use crate::lex::{self, TokenKind};
use crate::tokens::Tokens;
use std::borrow::Cow;

/// More tokens than the longest has.
const TOKENS_MAX: usize = 32;

/// A BEGIN that Postgres is sure to accept: its command tag, and the text. One with a hint is none.
///
/// <https://www.postgresql.org/docs/current/sql-begin.html>
pub fn plain_begin(sql: &[u8]) -> Option<(&'static str, &str)> {
    let begin = std::str::from_utf8(sql).ok()?;
    let list = lex::tokenize(sql, true, TOKENS_MAX).ok()?;
    // To PostgreSQL before 16 a vertical tab is no blank.
    if memchr::memmem::find(sql, b"pgweir").is_some() || memchr::memchr(0x0b, sql).is_some() {
        return None;
    }
    let mut tokens = Tokens { sql: begin, list: &list };
    if tokens.len() > 0 && tokens.is_mark(tokens.len() - 1, ";") {
        tokens = tokens.slice(0, tokens.len() - 1);
    }
    let word = |at| match tokens.kind(at) {
        Some(TokenKind::Word) => tokens.identifier(at),
        None => None,
        _ => Some(Cow::Borrowed(tokens.text(at))),
    };
    let mut words = (0..tokens.len()).filter_map(word).peekable();
    let command = match &*words.next()? {
        "begin" => {
            words.next_if(|w| matches!(&**w, "work" | "transaction"));
            "BEGIN"
        }
        "start" if words.next()? == "transaction" => "START TRANSACTION",
        _ => return None,
    };
    let mut comma = false;
    while let Some(word) = words.next() {
        match &*word {
            "isolation" if words.next()? == "level" => {
                match (&*words.next()?, words.peek().map(|word| &**word)) {
                    ("serializable", _) => {}
                    ("repeatable", Some("read")) | ("read", Some("committed" | "uncommitted")) => {
                        words.next();
                    }
                    _ => return None,
                }
            }
            "read" if matches!(&*words.next()?, "only" | "write") => {}
            "deferrable" => {}
            "not" if words.next()? == "deferrable" => {}
            _ => return None,
        }
        comma = words.next_if(|word| word == ",").is_some();
    }
    (!comma).then_some((command, begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_postgres_accepts_is_a_plain_begin() {
        for good in [
            "BEGIN",
            "begin;",
            "BEGIN WORK",
            "START TRANSACTION READ ONLY",
            "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY, NOT DEFERRABLE",
            "begin transaction isolation level read committed read write",
            "/* app='x' */ BEGIN -- here",
        ] {
            assert!(plain_begin(good.as_bytes()).is_some(), "{good}");
        }
        for bad in [
            "START",
            "BEGIN READ",
            "BEGIN ISOLATION LEVEL CHAOS",
            "BEGIN x",
            "BEGIN READ ONLY,",
            "BEGIN;;",
            "\"BEGIN\"",
            "BEGIN /* pgweir: primary */",
            "BEGIN;\x0b",
        ] {
            assert!(plain_begin(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
