//! SQL bytes → tokens, by the same rules as PostgreSQL's own scanner.
//!
//! See <https://www.postgresql.org/docs/current/sql-syntax-lexical.html>. One pass, no recursion,
//! no copy: a token is a range of the text. Comments and blanks yield nothing. What Postgres's
//! scanner would refuse (an unterminated quote or comment) is an error here, too.

use std::borrow::Cow;

/// One token: what it is and where it stands in the text (bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An unquoted identifier or keyword.
    Word,
    /// A `"quoted"` identifier.
    Quoted,
    /// A `'…'` or `N'…'` literal without escapes.
    String,
    /// An `E'…'` literal.
    EscapeString,
    /// A `$tag$…$tag$` literal.
    Dollar,
    /// A `B'…'` or `X'…'` literal.
    Bits,
    /// A `U&'…'` literal or `U&"…"` identifier, whose meaning may hang on a later UESCAPE.
    Unicode,
    /// A number.
    Number,
    /// `$1`.
    Parameter,
    /// An operator of one or more characters.
    Operator,
    /// `(` `)` `[` `]` `,` `;` `.` `:`, or the two-character `::` and `:=`.
    Punctuation,
}

/// Why a text has no tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LexError {
    /// A quote, dollar quote or comment has no end.
    Unterminated,
    /// A byte that starts no token (a NUL, a stray backslash).
    Stray,
    /// More than `tokens_max` tokens.
    TooMany,
}

/// The tokens of `sql`.
///
/// With `conforming` false (`standard_conforming_strings = off`) a backslash escapes in plain
/// literals, too.
pub fn tokenize(sql: &[u8], conforming: bool, tokens_max: usize) -> Result<Vec<Token>, LexError> {
    let mut lexer = Lexer::new(sql, conforming);
    let mut tokens = Vec::with_capacity((sql.len() / 5).min(tokens_max));
    while let Some(token) = lexer.next_token()? {
        if tokens.len() >= tokens_max {
            return Err(LexError::TooMany);
        }
        tokens.push(token);
    }
    Ok(tokens)
}

/// Walks over a text token by token.
pub struct Lexer<'a> {
    sql: &'a [u8],
    at: usize,
    conforming: bool,
    /// Up to here all is `+` and `-`, each an operator of its own.
    signs_end: usize,
}

impl<'a> Lexer<'a> {
    /// A lexer at the start of `sql`.
    pub fn new(sql: &'a [u8], conforming: bool) -> Self {
        Self { sql, at: 0, conforming, signs_end: 0 }
    }

    /// The next token; `None` at the end.
    pub fn next_token(&mut self) -> Result<Option<Token>, LexError> {
        self.skip_blanks()?;
        let start = self.at;
        let Some(&byte) = self.sql.get(start) else { return Ok(None) };
        let kind = match byte {
            b'\'' => self.string(start, TokenKind::String)?,
            b'"' => {
                self.quoted(start + 1, b'"', false)?;
                TokenKind::Quoted
            }
            b'$' => self.dollar(start)?,
            b'0'..=b'9' => self.number(),
            b'.' if self.peek(1).is_some_and(|b| b.is_ascii_digit()) => self.number(),
            b'(' | b')' | b'[' | b']' | b',' | b';' | b'.' => {
                self.at += 1;
                // PL/pgSQL's `1..10`.
                if byte == b'.' && self.peek(0) == Some(b'.') {
                    self.at += 1;
                }
                TokenKind::Punctuation
            }
            b':' => {
                self.at += if matches!(self.peek(1), Some(b':' | b'=')) { 2 } else { 1 };
                TokenKind::Punctuation
            }
            b if is_identifier_start(b) => self.word(start, b)?,
            b if is_operator(b) => self.operator(start)?,
            _ => return Err(LexError::Stray),
        };
        Ok(Some(Token { kind, start: start as u32, end: self.at as u32 }))
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.sql.get(self.at + ahead).copied()
    }

    fn skip_blanks(&mut self) -> Result<(), LexError> {
        loop {
            match self.peek(0) {
                Some(b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c) => self.at += 1,
                Some(b'-') if self.peek(1) == Some(b'-') => {
                    let rest = &self.sql[self.at..];
                    self.at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                }
                Some(b'/') if self.peek(1) == Some(b'*') => self.at = comment_end(self.sql, self.at)?,
                _ => return Ok(()),
            }
        }
    }

    /// A word, or a literal that starts with a letter.
    fn word(&mut self, start: usize, first: u8) -> Result<TokenKind, LexError> {
        match (first, self.peek(1)) {
            (b'e' | b'E', Some(b'\'')) => {
                self.at += 1;
                return self.string(start + 1, TokenKind::EscapeString);
            }
            (b'n' | b'N', Some(b'\'')) => {
                self.at += 1;
                return self.string(start + 1, TokenKind::String);
            }
            (b'b' | b'B' | b'x' | b'X', Some(b'\'')) => {
                self.quoted(start + 2, b'\'', false)?;
                self.continuation(false)?;
                return Ok(TokenKind::Bits);
            }
            (b'u' | b'U', Some(b'&')) if matches!(self.peek(2), Some(b'\'' | b'"')) => {
                let quote = self.sql[start + 2];
                self.quoted(start + 3, quote, false)?;
                if quote == b'\'' {
                    self.continuation(false)?;
                }
                return Ok(TokenKind::Unicode);
            }
            _ => {}
        }
        self.at = word_end(self.sql, self.at);
        Ok(TokenKind::Word)
    }

    fn string(&mut self, quote_at: usize, kind: TokenKind) -> Result<TokenKind, LexError> {
        let escapes = kind == TokenKind::EscapeString || !self.conforming;
        self.quoted(quote_at + 1, b'\'', escapes)?;
        self.continuation(escapes)?;
        Ok(kind)
    }

    /// Moves behind the closing quote of a literal or identifier whose content starts at `from`.
    fn quoted(&mut self, from: usize, quote: u8, escapes: bool) -> Result<(), LexError> {
        let mut at = from;
        loop {
            let rest = self.sql.get(at..).ok_or(LexError::Unterminated)?;
            let found =
                if escapes { memchr::memchr2(quote, b'\\', rest) } else { memchr::memchr(quote, rest) };
            at += found.ok_or(LexError::Unterminated)?;
            let escaped = self.sql[at] == b'\\' && escapes;
            if escaped || self.sql.get(at + 1) == Some(&quote) {
                at += 2;
            } else {
                self.at = at + 1;
                return Ok(());
            }
        }
    }

    /// `'a' <newline> 'b'` is one literal: blanks with a newline between, `--` comments allowed.
    fn continuation(&mut self, escapes: bool) -> Result<(), LexError> {
        loop {
            let mut at = self.at;
            let mut newline = false;
            loop {
                match self.sql.get(at) {
                    Some(b'\n' | b'\r') => newline = true,
                    Some(b' ' | b'\t' | 0x0b | 0x0c) => {}
                    Some(b'-') if self.sql.get(at + 1) == Some(&b'-') => {
                        let rest = &self.sql[at..];
                        at += memchr::memchr2(b'\n', b'\r', rest).unwrap_or(rest.len());
                        continue;
                    }
                    _ => break,
                }
                at += 1;
            }
            if !newline || self.sql.get(at) != Some(&b'\'') {
                return Ok(());
            }
            self.quoted(at + 1, b'\'', escapes)?;
        }
    }

    fn dollar(&mut self, start: usize) -> Result<TokenKind, LexError> {
        if self.peek(1).is_some_and(|b| b.is_ascii_digit()) {
            self.at += 1;
            while self.peek(0).is_some_and(|b| b.is_ascii_digit()) {
                self.at += 1;
            }
            return Ok(TokenKind::Parameter);
        }
        let tag_end = dollar_tag_end(self.sql, start).ok_or(LexError::Stray)?;
        let tag = &self.sql[start..tag_end];
        let body = &self.sql[tag_end..];
        let end = memchr::memmem::find(body, tag).ok_or(LexError::Unterminated)?;
        self.at = tag_end + end + tag.len();
        Ok(TokenKind::Dollar)
    }

    fn number(&mut self) -> TokenKind {
        // 0x1F, 1_000 (PostgreSQL 16); 1.5e-3. `1..10` is two numbers.
        if self.peek(0) == Some(b'0') && matches!(self.peek(1), Some(b'x' | b'X' | b'o' | b'O' | b'b' | b'B'))
        {
            self.at += 2;
            while self.peek(0).is_some_and(|b| b.is_ascii_hexdigit() || b == b'_') {
                self.at += 1;
            }
            return TokenKind::Number;
        }
        self.digits();
        if self.peek(0) == Some(b'.') && self.peek(1) != Some(b'.') {
            self.at += 1;
            self.digits();
        }
        if matches!(self.peek(0), Some(b'e' | b'E')) {
            let sign = usize::from(matches!(self.peek(1), Some(b'+' | b'-')));
            if self.peek(1 + sign).is_some_and(|b| b.is_ascii_digit()) {
                self.at += 1 + sign;
                self.digits();
            }
        }
        TokenKind::Number
    }

    fn digits(&mut self) {
        while self.peek(0).is_some_and(|b| b.is_ascii_digit() || b == b'_') {
            self.at += 1;
        }
    }

    /// A run of operator characters, cut before a comment, and without a trailing `+` or `-`
    /// unless one of ``~!@#%^&|`?`` is in it.
    fn operator(&mut self, start: usize) -> Result<TokenKind, LexError> {
        if start < self.signs_end {
            self.at = start + 1;
            return Ok(TokenKind::Operator);
        }
        let mut end = start;
        while self.sql.get(end).copied().is_some_and(is_operator) {
            if end - start > OPERATOR_RUN_MAX {
                return Err(LexError::Stray);
            }
            let next = self.sql.get(end + 1);
            if (self.sql[end] == b'-' && next == Some(&b'-'))
                || (self.sql[end] == b'/' && next == Some(&b'*'))
            {
                break;
            }
            end += 1;
        }
        let run = &self.sql[start..end];
        if run.len() > 1 && !run.iter().any(|b| b"~!@#%^&|`?".contains(b)) {
            // What is cut off is read again, sign by sign.
            self.signs_end = end;
            while end - start > 1 && matches!(self.sql[end - 1], b'+' | b'-') {
                end -= 1;
            }
        }
        self.at = end.max(start + 1);
        Ok(TokenKind::Operator)
    }
}

/// The end of the dollar-quote tag (`$$` or `$tag$`) that starts at `at`.
pub(crate) fn dollar_tag_end(sql: &[u8], at: usize) -> Option<usize> {
    let mut end = at + 1;
    while let Some(&byte) = sql.get(end) {
        match byte {
            b'$' => return Some(end + 1),
            b if is_identifier_start(b) || (end > at + 1 && b.is_ascii_digit()) => end += 1,
            _ => return None,
        }
    }
    None
}

/// The end of the (nested) comment that starts at `at`.
pub(crate) fn comment_end(sql: &[u8], at: usize) -> Result<usize, LexError> {
    let mut depth = 1usize;
    let mut at = at + 2;
    while depth > 0 {
        let rest = sql.get(at..).ok_or(LexError::Unterminated)?;
        at += memchr::memchr2(b'*', b'/', rest).ok_or(LexError::Unterminated)?;
        match (sql[at], sql.get(at + 1)) {
            (b'*', Some(b'/')) => {
                depth -= 1;
                at += 2;
            }
            (b'/', Some(b'*')) => {
                depth += 1;
                at += 2;
            }
            _ => at += 1,
        }
    }
    Ok(at)
}

/// True for a byte that starts an identifier.
pub(crate) const fn is_identifier_start(byte: u8) -> bool {
    byte.is_ascii_alphabetic() || byte == b'_' || byte >= 0x80
}

/// One past the last byte at or after `at` that continues an identifier.
#[inline]
pub(crate) fn word_end(sql: &[u8], mut at: usize) -> usize {
    while sql.get(at).is_some_and(|byte| IDENTIFIER_PART[usize::from(*byte)]) {
        at += 1;
    }
    at
}

/// True for each byte that continues an identifier.
static IDENTIFIER_PART: [bool; 256] = {
    let mut parts = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        let b = byte as u8;
        parts[byte] = is_identifier_start(b) || b.is_ascii_digit() || b == b'$';
        byte += 1;
    }
    parts
};

const fn is_operator(byte: u8) -> bool {
    matches!(
        byte,
        b'+' | b'-'
            | b'*'
            | b'/'
            | b'<'
            | b'>'
            | b'='
            | b'~'
            | b'!'
            | b'@'
            | b'#'
            | b'%'
            | b'^'
            | b'&'
            | b'|'
            | b'`'
            | b'?'
    )
}

/// Longer runs of operator characters are not read; an operator has at most 63.
const OPERATOR_RUN_MAX: usize = 512;

/// Identifiers are cut to this many bytes (NAMEDATALEN - 1).
const IDENTIFIER_BYTES_MAX: usize = 63;

/// The name that an identifier means: unquoted ones in lower case (ASCII, as Postgres folds in
/// multi-byte encodings), quoted ones as written, both cut to 63 bytes.
pub fn identifier<'a>(text: &'a str, kind: TokenKind) -> Cow<'a, str> {
    let name: Cow<'a, str> = match kind {
        TokenKind::Quoted => {
            let inner = text.get(1..text.len().saturating_sub(1)).unwrap_or("");
            if inner.contains("\"\"") {
                Cow::Owned(inner.replace("\"\"", "\""))
            } else {
                Cow::Borrowed(inner)
            }
        }
        _ if text.bytes().any(|b| b.is_ascii_uppercase()) => Cow::Owned(text.to_ascii_lowercase()),
        _ => Cow::Borrowed(text),
    };
    match name {
        Cow::Borrowed(name) => Cow::Borrowed(cut_name(name)),
        Cow::Owned(name) if name.len() > IDENTIFIER_BYTES_MAX => Cow::Owned(cut_name(&name).to_owned()),
        name => name,
    }
}

/// A name as long as Postgres lets one be: 63 bytes, and no half of a character.
pub fn cut_name(name: &str) -> &str {
    let mut end = name.len().min(IDENTIFIER_BYTES_MAX);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// The value of a plain literal (`'…'`, `N'…'`, `$$…$$`, or `E'…'` with no other escapes than `\\` and `\'`); `None`
/// where others would have to be understood.
pub fn literal(text: &str, kind: TokenKind) -> Option<String> {
    match kind {
        TokenKind::Dollar => {
            let tag = dollar_tag_end(text.as_bytes(), 0)?;
            Some(text.get(tag..text.len() - tag)?.to_string())
        }
        TokenKind::String | TokenKind::EscapeString => {
            let quote = text.find('\'')?;
            let inner = text.get(quote + 1..text.len() - 1)?;
            // A literal continued on the next line has quotes between its parts.
            let bytes = inner.as_bytes();
            let mut value = String::with_capacity(inner.len());
            let mut from = 0;
            let escape = if kind == TokenKind::EscapeString { b'\\' } else { b'\'' };
            while let Some(at) = memchr::memchr2(b'\'', escape, &bytes[from..]).map(|i| i + from) {
                let next = *bytes.get(at + 1)?;
                if next != bytes[at] && (bytes[at], next) != (b'\\', b'\'') {
                    return None;
                }
                value.push_str(&inner[from..at]);
                value.push(char::from(next));
                from = at + 2;
            }
            value.push_str(&inner[from..]);
            Some(value)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        tokenize(sql.as_bytes(), true, 1000)
            .unwrap()
            .iter()
            .map(|t| &sql[t.start as usize..t.end as usize])
            .collect()
    }

    #[test]
    fn operators_end_where_postgres_ends_them() {
        assert_eq!(texts("1+-2"), ["1", "+", "-", "2"]);
        assert_eq!(texts("1+-+-+2"), ["1", "+", "-", "+", "-", "+", "2"]);
        assert_eq!(texts("1<=+-2 +*-3"), ["1", "<=", "+", "-", "2", "+*", "-", "3"]);
        assert_eq!(texts("a @-b"), ["a", "@-", "b"]);
        assert_eq!(texts("a +-- c\n b"), ["a", "+", "b"]);
        assert_eq!(texts("a */* c */ b"), ["a", "*", "b"]);
        assert_eq!(texts("a::int4"), ["a", "::", "int4"]);
    }

    #[test]
    fn literals_are_one_token_each() {
        assert_eq!(
            texts("'a''b' E'a\\'b' $x$ ' $$ $x$ \"a\"\"b\" U&'x' B'01'"),
            ["'a''b'", "E'a\\'b'", "$x$ ' $$ $x$", "\"a\"\"b\"", "U&'x'", "B'01'"]
        );
        assert_eq!(texts("'a' -- one\n 'b'").len(), 1);
        assert_eq!(texts("'a'\n -- one\n 'b'").len(), 1);
        assert_eq!(texts("'a' 'b'").len(), 2);
        assert_eq!(texts("'a' /* c */ \n 'b'").len(), 2);
        assert_eq!(texts("1..10"), ["1", "..", "10"]);
    }

    #[test]
    fn comments_nest() {
        assert_eq!(texts("a /* b /* c */ d */ e -- f"), ["a", "e"]);
        assert_eq!(tokenize(b"/* /* */", true, 10), Err(LexError::Unterminated));
        assert_eq!(tokenize(b"'abc", true, 10), Err(LexError::Unterminated));
        assert_eq!(tokenize(b"a \0", true, 10), Err(LexError::Stray));
    }

    #[test]
    fn backslashes_escape_only_where_they_do_in_postgres() {
        assert_eq!(tokenize(b"'a\\' 'b'", true, 10).unwrap().len(), 2);
        assert_eq!(tokenize(b"'a\\' 'b'", false, 10), Err(LexError::Unterminated));
    }

    #[test]
    fn identifiers_fold_and_are_cut() {
        assert_eq!(identifier("FooBar", TokenKind::Word), "foobar");
        assert_eq!(identifier("\"Foo\"\"Bar\"", TokenKind::Quoted), "Foo\"Bar");
        assert_eq!(identifier(&"x".repeat(70), TokenKind::Word).len(), 63);
    }

    #[test]
    fn literal_values_are_unquoted() {
        assert_eq!(literal("'it''s'", TokenKind::String).as_deref(), Some("it's"));
        assert_eq!(literal("$a$x$a$", TokenKind::Dollar).as_deref(), Some("x"));
        assert_eq!(literal("E'a\\n'", TokenKind::EscapeString), None);
    }
}
