//! Console commands cut into words, numbers and quoted texts.

use crate::wire::{Refusal, sqlstate};

/// One token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Token {
    /// Bare, as written: `SHOW`, `10.0.0.1:5432`.
    Word(String),
    /// Between single or double quotes.
    Quoted(String),
}

impl Token {
    /// Its text.
    pub fn text(&self) -> &str {
        let (Token::Word(text) | Token::Quoted(text)) = self;
        text
    }

    /// A bare word, whatever its case.
    pub fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(text) if text.eq_ignore_ascii_case(word))
    }
}

/// Splits a text into statements at semicolons, and those into tokens. Comments are left out.
pub(super) fn statements(text: &str) -> Result<Vec<Vec<Token>>, Refusal> {
    let mut statements = vec![vec![]];
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if rest.starts_with("--") {
            rest = rest.split_once('\n').map_or("", |(_, after)| after);
        } else if rest.starts_with("/*") {
            rest = after_comment(rest).ok_or_else(|| syntax("unterminated /* comment"))?;
        } else if c.is_whitespace() {
            rest = &rest[c.len_utf8()..];
        } else if c == ';' {
            rest = &rest[1..];
            statements.push(vec![]);
        } else {
            let (token, after) = token(rest)?;
            rest = after;
            if let Some(statement) = statements.last_mut() {
                statement.push(token);
            }
        }
    }
    statements.retain(|s| !s.is_empty());
    Ok(statements)
}

fn syntax(message: &'static str) -> Refusal {
    Refusal::new(sqlstate::SYNTAX_ERROR, message)
}

fn token(rest: &str) -> Result<(Token, &str), Refusal> {
    let quote = match rest.chars().next() {
        Some(quote @ ('\'' | '"')) => quote,
        // A comma or an equals sign stands alone; everything up to a blank is one word otherwise.
        Some(sign @ (',' | '=' | '(' | ')')) => return Ok((Token::Word(sign.to_string()), &rest[1..])),
        _ => {
            let ends = |c: char| c.is_whitespace() || ";,='\"()".contains(c);
            let end = rest.find(ends).unwrap_or(rest.len());
            return Ok((Token::Word(rest[..end].to_owned()), &rest[end..]));
        }
    };
    let mut text = String::new();
    let mut body = &rest[1..];
    loop {
        let Some((before, after)) = body.split_once(quote) else {
            return Err(syntax("unterminated quoted string"));
        };
        text.push_str(before);
        match after.strip_prefix(quote) {
            Some(more) => {
                text.push(quote);
                body = more;
            }
            None => return Ok((Token::Quoted(text), after)),
        }
    }
}

/// What follows a comment, which may hold others.
fn after_comment(text: &str) -> Option<&str> {
    let mut depth = 0;
    let mut rest = text;
    loop {
        if let Some(inner) = rest.strip_prefix("/*") {
            depth += 1;
            rest = inner;
        } else if let Some(after) = rest.strip_prefix("*/") {
            depth -= 1;
            rest = after;
            if depth == 0 {
                return Some(rest);
            }
        } else {
            rest = &rest[rest.chars().next()?.len_utf8()..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<Vec<String>> {
        let statements = statements(text).unwrap();
        statements.iter().map(|s| s.iter().map(|t| t.text().to_owned()).collect()).collect()
    }

    #[test]
    fn comments_quotes_and_semicolons_are_seen_for_what_they_are() {
        assert_eq!(
            words("show /* a ; /* nested */ ' */ pools -- ;x\n; ROUTE 'select ''a;b'' -- c' \"my db\";;"),
            [vec!["show", "pools"], vec!["ROUTE", "select 'a;b' -- c", "my db"]]
        );
        assert_eq!(words("drain 10.0.0.1:5432"), [["drain", "10.0.0.1:5432"]]);
        assert_eq!(words("SET a=b"), [["SET", "a", "=", "b"]]);
        assert_eq!(words(" ;; -- nothing"), Vec::<Vec<String>>::new());
        assert_eq!(words("é'ü'"), [["é", "ü"]]);
    }

    #[test]
    fn what_does_not_end_is_a_syntax_error() {
        for text in ["show 'x", "show \"x", "/* show", "/* /* */ show"] {
            assert_eq!(statements(text).unwrap_err().sqlstate, "42601", "{text}");
        }
    }
}
