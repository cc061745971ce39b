//! The tokens of one statement, and questions about them.

use crate::facts::Name;
use crate::lex::{self, Token, TokenKind};
use std::borrow::Cow;

/// The tokens of one statement and the text that they stand in.
#[derive(Clone, Copy)]
pub(crate) struct Tokens<'a> {
    pub sql: &'a str,
    pub list: &'a [Token],
}

impl<'a> Tokens<'a> {
    /// The text of token `at`; empty behind the end.
    pub fn text(&self, at: usize) -> &'a str {
        self.list.get(at).map_or("", |t| &self.sql[t.start as usize..t.end as usize])
    }

    /// The kind of token `at`.
    pub fn kind(&self, at: usize) -> Option<TokenKind> {
        self.list.get(at).map(|t| t.kind)
    }

    /// True when token `at` is the unquoted word `word` (given in lower case).
    pub fn is(&self, at: usize, word: &str) -> bool {
        self.kind(at) == Some(TokenKind::Word) && self.text(at).eq_ignore_ascii_case(word)
    }

    /// True when what stands at `at` names this, quoted or not.
    pub fn names(&self, at: usize, name: &str) -> bool {
        self.identifier(at).is_some_and(|identifier| identifier == name)
    }

    /// True when token `at` is one of `words`.
    pub fn is_any(&self, at: usize, words: &[&str]) -> bool {
        words.iter().any(|word| self.is(at, word))
    }

    /// True when token `at` is that punctuation or operator.
    pub fn is_mark(&self, at: usize, mark: &str) -> bool {
        matches!(self.kind(at), Some(TokenKind::Punctuation | TokenKind::Operator)) && self.text(at) == mark
    }

    /// The identifier at `at`, folded; `None` when no identifier stands there.
    pub fn identifier(&self, at: usize) -> Option<Cow<'a, str>> {
        match self.kind(at)? {
            kind @ (TokenKind::Word | TokenKind::Quoted) => Some(lex::identifier(self.text(at), kind)),
            _ => None,
        }
    }

    /// The value of the plain literal at `at`.
    pub fn literal(&self, at: usize) -> Option<String> {
        lex::literal(self.text(at), self.kind(at)?)
    }

    /// How many tokens.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// It names something by `U&"…"`, which may be any name at all.
    pub fn hides_names(&self) -> bool {
        (0..self.len()).any(|at| self.kind(at) == Some(TokenKind::Unicode) && self.text(at).ends_with('"'))
    }

    /// It has names beyond ASCII.
    pub fn names_are_beyond_ascii(&self) -> bool {
        let is_name =
            |at| matches!(self.kind(at), Some(TokenKind::Word | TokenKind::Quoted | TokenKind::Unicode));
        !self.sql.is_ascii() && (0..self.len()).any(|at| is_name(at) && !self.text(at).is_ascii())
    }

    /// A part of the tokens.
    pub fn slice(&self, from: usize, to: usize) -> Tokens<'a> {
        let to = to.min(self.list.len());
        Tokens { sql: self.sql, list: &self.list[from.min(to)..to] }
    }

    /// The possibly qualified name that starts at `at`, and the index behind it.
    pub fn name(&self, at: usize) -> Option<(Name<'a>, usize)> {
        let mut name = Name { schema: None, name: self.identifier(at)? };
        let mut end = at + 1;
        while self.is_mark(end, ".") {
            let Some(next) = self.identifier(end + 1) else { break };
            name = Name { schema: Some(name.name), name: next };
            end += 2;
        }
        Some((name, end))
    }
}
