//! Where one statement ends and the next begins.

use crate::lex::{Token, TokenKind};
use crate::tokens::Tokens;

/// The statements of a text, as ranges of its tokens; empty ones are left out.
///
/// A semicolon separates, except within parentheses (`CREATE RULE … DO (a; b)`) and within
/// `BEGIN ATOMIC … END`.
pub(crate) fn split<'a>(sql: &'a str, tokens: &'a [Token]) -> Vec<Tokens<'a>> {
    let whole = Tokens { sql, list: tokens };
    let mut statements = vec![];
    let mut from = 0;
    let mut depth = 0usize;
    let mut atomic = 0usize;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenKind::Punctuation => match whole.text(at) {
                "(" => depth += 1,
                ")" => depth = depth.saturating_sub(1),
                ";" if depth == 0 && atomic == 0 => {
                    if at > from {
                        statements.push(whole.slice(from, at));
                    }
                    from = at + 1;
                }
                _ => {}
            },
            TokenKind::Word if whole.is(from, "create") => {
                let begins = at > 0 && whole.is(at, "atomic") && whole.is(at - 1, "begin");
                if begins || (atomic > 0 && whole.is(at, "case")) {
                    atomic += 1;
                } else if atomic > 0 && whole.is(at, "end") {
                    atomic -= 1;
                }
            }
            _ => {}
        }
    }
    if tokens.len() > from {
        statements.push(whole.slice(from, tokens.len()));
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lex;

    fn count(sql: &str) -> usize {
        split(sql, &lex::tokenize(sql.as_bytes(), true, 1000).unwrap()).len()
    }

    #[test]
    fn semicolons_in_quotes_parentheses_and_atomic_bodies_do_not_split() {
        assert_eq!(count("select ';'; select $$;$$;; -- ;\n select 1"), 3);
        assert_eq!(
            count("create rule r as on insert to t do (insert into a values (1); delete from b); select 1"),
            2
        );
        assert_eq!(
            count(
                "create function f() returns int begin atomic select case when true then 1 end; select 2; end; select 1"
            ),
            2
        );
        assert_eq!(count(" ; ; "), 0);
    }
}
