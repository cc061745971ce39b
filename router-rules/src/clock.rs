//! Literals that mean the moment at which they are read.
//!
//! `'now'` and its kin become a time when a statement is parsed, not when it runs: what one Parse has made of
//! them is not what another makes.
//!
//! <https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-DATETIME-SPECIAL-VALUES>

use crate::lex::{self, TokenKind};

/// The words that mean a moment, inside any literal.
const WORDS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];
/// A text with more tokens than this is taken to mean one.
const TOKENS_MAX: usize = 100_000;

/// True when a literal of `sql` may mean the moment of its Parse. `conforming`: see
/// [`Scope::standard_conforming_strings`](crate::Scope).
pub fn reads_clock(sql: &[u8], conforming: bool) -> bool {
    if !has_literal(sql) {
        return false;
    }
    if !has_word(sql) && memchr::memchr(b'\\', sql).is_none() {
        return false;
    }
    let Ok(tokens) = lex::tokenize(sql, conforming, TOKENS_MAX) else { return true };
    tokens.iter().any(|token| {
        let text = &sql[token.start as usize..token.end as usize];
        match token.kind {
            TokenKind::Dollar => has_word(text),
            TokenKind::String => has_word(text) || (!conforming && hides_letters(text)),
            TokenKind::EscapeString | TokenKind::Unicode => has_word(text) || hides_letters(text),
            _ => false,
        }
    })
}

/// There may be a quoted text in it: a quote, or a dollar that begins no parameter.
fn has_literal(sql: &[u8]) -> bool {
    let begins_quote = |at: usize| !sql.get(at + 1).is_some_and(u8::is_ascii_digit);
    memchr::memchr(b'\'', sql).is_some() || memchr::memchr_iter(b'$', sql).any(begins_quote)
}

/// One of the words stands in it by itself.
fn has_word(text: &[u8]) -> bool {
    let is_letter = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let is_word = |at: usize, word: &[u8]| {
        text.get(at..at + word.len()).is_some_and(|here| here.eq_ignore_ascii_case(word))
            && !is_letter(text.get(at + word.len()))
    };
    let begins = |at: usize| at == 0 || !is_letter(text.get(at - 1));
    text.iter().enumerate().any(|(at, byte)| {
        matches!(byte | 0x20, b'n' | b't' | b'y') && begins(at) && WORDS.iter().any(|word| is_word(at, word))
    })
}

/// A letter may be written by its number: `\156ow`, `\x6eow`, `\u006eow`.
fn hides_letters(text: &[u8]) -> bool {
    let mut at = 0;
    while let Some(next) = memchr::memchr(b'\\', &text[at..]) {
        match text.get(at + next + 1) {
            Some(b'x' | b'u' | b'U' | b'+' | b'0'..=b'9') => return true,
            _ => at += next + 2,
        }
        if at >= text.len() {
            break;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_found_in_any_literal_and_nowhere_else() {
        for sql in [
            "SELECT 'now'::timestamptz",
            "SELECT date 'TODAY'",
            "SELECT 'today 12:00'::timestamp",
            "SELECT '12:00 tomorrow'::timestamp",
            "SELECT '[yesterday,tomorrow)'::daterange",
            "SELECT $$now$$::time",
            r"SELECT E'\x6eow'::timestamptz",
            r"SELECT E'\156ow'::timestamptz",
            "SELECT * FROM t WHERE at > 'now'",
        ] {
            assert!(reads_clock(sql.as_bytes(), true), "{sql}");
        }
        for sql in [
            "SELECT now()",
            "SELECT now() FROM t WHERE name = 'it is known'",
            "SELECT today FROM t WHERE a = 'x'",
            r"SELECT E'a\nb'",
            r"SELECT E'\\x6eow'",
            "SELECT $1",
            "",
        ] {
            assert!(!reads_clock(sql.as_bytes(), true), "{sql}");
        }
        assert!(reads_clock(br"SELECT '\x6eow'::timestamptz", false));
    }
}
