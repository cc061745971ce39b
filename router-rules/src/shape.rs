//! The shape of a text: a hash of it with its literals left out, in one pass.
//!
//! An ORM that writes `WHERE id = 42` into the text makes a new text of every query; their shape
//! is the same. Numbers keep their class (does it fit an integer, a bigint, is it a fraction),
//! because overloads are told apart by it; strings keep only the kind of quote. Comments count as
//! text, so that a hint in one is part of the shape.

use crate::lex::{comment_end, dollar_tag_end, is_identifier_start, word_end};
use crate::shown::integer_type;
use std::hash::{BuildHasher, Hasher};

/// Stands for a literal in the stripped text.
const STRING: u8 = 0x01;
const ESCAPE_STRING: u8 = 0x02;
const INTEGER: u8 = 0x03;
const BIGINT: u8 = 0x04;
const FRACTION: u8 = 0x05;
const DOLLAR: u8 = 0x06;
/// A text that shares its shape with no other begins with this.
const WHOLE: u8 = 0x07;

/// A longer shape is not looked for: its text is its shape.
pub(crate) const STRIPPED_BYTES_MAX: usize = 64 * 1024;

/// Integers of up to so many digits are `integer` for certain.
const INTEGER_DIGITS: usize = 9;

/// What a byte begins, where a token may begin.
#[derive(Clone, Copy)]
enum First {
    Other,
    Word,
    Digit,
    Quote,
    DoubleQuote,
    Dollar,
    Dash,
    Slash,
    Mark,
}

/// The same for each byte: this is looked up for every token of every text.
static FIRST: [First; 256] = {
    let mut first = [First::Other; 256];
    let mut byte = 0;
    while byte < 256 {
        first[byte] = match byte as u8 {
            b'\'' => First::Quote,
            b'"' => First::DoubleQuote,
            b'0'..=b'9' => First::Digit,
            b'$' => First::Dollar,
            b'-' => First::Dash,
            b'/' => First::Slash,
            b if is_identifier_start(b) => First::Word,
            STRING..=WHOLE => First::Mark,
            _ => First::Other,
        };
        byte += 1;
    }
    first
};

/// The hash that names a shape in logs.
pub(crate) fn hash(stripped: &[u8]) -> u64 {
    let mut hasher = foldhash::fast::FixedState::with_seed(0).build_hasher();
    hasher.write(stripped);
    hasher.finish()
}

/// Writes `sql` without its literals to `out`.
///
/// Two texts that strip to the same have the same tokens but for the values of their literals. What has
/// an unterminated quote, or one of the marks in its text, shares its shape with no other.
pub(crate) fn strip(sql: &[u8], conforming: bool, out: &mut Vec<u8>) {
    out.clear();
    out.reserve(sql.len());
    let is_long = sql.len() > STRIPPED_BYTES_MAX;
    let mut at = 0;
    // Where the text that is kept as it is began.
    let mut kept = 0;
    // Where the last word began: `E` before a quote is a prefix only as a word of its own.
    let mut word = usize::MAX;
    while let Some(&byte) = sql.get(at) {
        // No shape that is kept is longer.
        if is_long && out.len() + (at - kept) > STRIPPED_BYTES_MAX {
            return whole(sql, out);
        }
        let (end, mark) = match FIRST[usize::from(byte)] {
            First::Word => {
                word = at;
                at = word_end(sql, at + 1);
                continue;
            }
            First::Other => {
                at += 1;
                continue;
            }
            First::Digit => number_end(sql, at),
            First::Quote => {
                let prefixed = word.checked_add(1) == Some(at) && matches!(sql[word], b'e' | b'E');
                let escapes = !conforming || prefixed;
                let Some(end) = quote_end(sql, at, escapes) else { return whole(sql, out) };
                if escapes && may_continue(sql, end) {
                    // `E'a' <newline> 'b'`: the second part has escapes, too. Rare.
                    return whole(sql, out);
                }
                (end, if escapes { ESCAPE_STRING } else { STRING })
            }
            First::Dollar => match dollar_tag_end(sql, at) {
                Some(tag_end) => {
                    let tag = &sql[at..tag_end];
                    let Some(i) = memchr::memmem::find(&sql[tag_end..], tag) else { return whole(sql, out) };
                    (tag_end + i + tag.len(), DOLLAR)
                }
                None => {
                    // A parameter: `$1` is not `$2`.
                    at += 1;
                    while sql.get(at).is_some_and(u8::is_ascii_digit) {
                        at += 1;
                    }
                    continue;
                }
            },
            First::DoubleQuote => {
                let Some(end) = quote_end(sql, at, false) else { return whole(sql, out) };
                at = end;
                continue;
            }
            First::Dash if sql.get(at + 1) == Some(&b'-') => {
                at += memchr::memchr2(b'\n', b'\r', &sql[at..]).unwrap_or(sql.len() - at);
                continue;
            }
            First::Slash if sql.get(at + 1) == Some(&b'*') => {
                at = comment_end(sql, at).unwrap_or(sql.len());
                continue;
            }
            First::Dash | First::Slash => {
                at += 1;
                continue;
            }
            First::Mark => return whole(sql, out),
        };
        out.extend_from_slice(&sql[kept..at]);
        out.push(mark);
        at = end;
        kept = end;
    }
    out.extend_from_slice(&sql[kept..]);
}

/// The whole text is its shape.
fn whole(sql: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.push(WHOLE);
    out.extend_from_slice(sql);
}

/// Another literal, or a comment before one, may follow what ends at `at`.
fn may_continue(sql: &[u8], at: usize) -> bool {
    let next = sql[at.min(sql.len())..].iter().find(|b| !b.is_ascii_whitespace() && **b != 0x0b);
    matches!(next, Some(b'\'' | b'-'))
}

/// One past the closing quote of the literal or identifier that opens at `at`, if it is closed.
fn quote_end(sql: &[u8], at: usize, escapes: bool) -> Option<usize> {
    let quote = sql[at];
    let mut at = at + 1;
    while at < sql.len() {
        let rest = &sql[at..];
        let found = if escapes { memchr::memchr2(quote, b'\\', rest) } else { memchr::memchr(quote, rest) };
        at += found?;
        let escaped = sql[at] == b'\\' && escapes;
        if escaped || sql.get(at + 1) == Some(&quote) {
            at += 2;
        } else {
            return Some(at + 1);
        }
    }
    None
}

/// The end and the class of the number at `at`.
fn number_end(sql: &[u8], at: usize) -> (usize, u8) {
    let mut end = at;
    while sql.get(end).is_some_and(u8::is_ascii_digit) {
        end += 1;
    }
    let digits = end - at;
    let goes_on = sql.get(end).is_some_and(|next| matches!(next, b'.' | b'_') || is_identifier_start(*next));
    let is_fraction = at > 0 && sql[at - 1] == b'.';
    if goes_on || is_fraction {
        return (end, FRACTION);
    }
    if digits <= INTEGER_DIGITS {
        return (end, INTEGER);
    }
    let mark = match integer_type(&sql[at..end]) {
        "integer" => INTEGER,
        "bigint" => BIGINT,
        _ => FRACTION,
    };
    (end, mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(sql: &str) -> u64 {
        let mut out = vec![];
        strip(sql.as_bytes(), true, &mut out);
        hash(&out)
    }

    #[test]
    fn literals_do_not_matter_and_all_else_does() {
        assert_eq!(
            of("select * from t where id = 42 and n = 'a''b'"),
            of("select * from t where id = 7 and n = ''")
        );
        assert_ne!(of("select * from t1"), of("select * from t2"));
        assert_ne!(of("select $1"), of("select $2"));
        assert_ne!(of("select \"a\""), of("select \"b\""));
        assert_ne!(of("select 'a'"), of("select E'a'"));
        assert_ne!(of("/* pgweir: primary */ select 1"), of("/* pgweir: replica */ select 1"));
    }

    #[test]
    fn what_is_not_closed_or_holds_a_mark_shares_its_shape_with_nothing() {
        assert_ne!(of("SELECT 'a'"), of("SELECT 'a"));
        assert_ne!(of("SELECT 'a"), of("SELECT 'b"));
        assert_ne!(of("SELECT $$a$$"), of("SELECT $$a"));
        assert_ne!(of("SELECT 'a'"), of("SELECT \u{1}"));
    }

    #[test]
    fn numbers_keep_their_class() {
        assert_ne!(of("select 1"), of("select 1.5"));
        assert_ne!(of("select 1"), of("select 10000000000"));
        assert_eq!(of("select 1"), of("select 2147483647"));
        assert_eq!(of("select 2147483648"), of("select 9223372036854775807"));
        assert_eq!(of("select 9223372036854775808"), of("select 99999999999999999999"));
        assert_eq!(of("select 00000000000000000001"), of("select 1"));
        assert_eq!(of("select 1.5"), of("select 2.25"));
    }

    #[test]
    fn quotes_hide_what_looks_like_sql() {
        assert_eq!(of("select '; delete from t --'"), of("select ''"));
        assert_ne!(of("select E'\\'; delete'"), of("select E''; delete"));
        // Before PostgreSQL 15 this was a number and an E'' literal.
        assert_ne!(of("select 1e'\\', f(), '"), of("select 1e'x', f(), ''"));
        assert_ne!(of("select E'a'\n'\\'; delete from t --'"), of("select E'a'\n'x'; delete from t --'"));
        assert_eq!(of("select $a$ ' $a$"), of("select $b$ x $b$"));
    }
}
