//! Names in a statement: calls, relations, types, columns.

use super::{Clause, Frame, Paren, Text, Walker};
use crate::facts::{Call, Form, Name};
use crate::lex::TokenKind;
use crate::words::is_grammar_word;

impl<'a> Walker<'a> {
    pub(super) fn mention_type(&mut self, name: Name<'a>) {
        self.facts.types.push(name);
    }

    /// A name before a parenthesis that is probably no call.
    pub(super) fn maybe_called(&mut self, name: Name<'a>) {
        self.facts.calls.push(Call {
            name,
            args: None,
            shown: vec![],
            literal: None,
            second: None,
            form: Form::Maybe,
        });
    }

    pub(super) fn column(&mut self, name: Name<'a>) {
        self.facts.words.push(name.name.clone());
        self.facts.calls.push(Call {
            name,
            args: Some(1),
            shown: vec![None],
            literal: None,
            second: None,
            form: Form::Column,
        });
    }

    pub(super) fn name_or_keyword(&mut self) {
        let word = self.tokens.list[self.at].kind == TokenKind::Word;
        if word && !self.previous_is_mark(".") && self.keyword() {
            return;
        }
        let start = self.at;
        let Some((name, end)) = self.tokens.name(start) else {
            self.at += 1;
            return;
        };
        self.facts.words.extend(name.schema.clone());
        self.facts.words.push(name.name.clone());
        self.at = end;
        if self.tokens.is_mark(end, "(") {
            self.name_before_parenthesis(name, start);
        } else if self.frame().expects_table {
            self.frame().expects_table = false;
            if self.stands_behind_only(start) {
                self.facts.only.push(self.facts.relations.len());
            }
            self.facts.relations.push(name);
            self.relation_end = end;
        } else if name.schema.is_some() {
            self.column(Name { schema: None, name: name.name });
        } else if matches!(
            self.tokens.kind(end),
            Some(TokenKind::String | TokenKind::EscapeString | TokenKind::Dollar)
        ) && self.text == Text::Sql
        {
            // `type 'literal'`; words of the grammar before a literal (`AND 'x'`) are types, too, and known.
            if !is_grammar_word(&name.name) {
                self.mention_type(name);
            }
        } else if self.frame().clause == Clause::With && self.declares_cte(start) {
            self.facts.ctes.insert(name.name);
        } else if self.frame().paren == Paren::Columns && start > 0 && !self.previous_was_separator(start) {
            self.mention_type(name);
        }
    }

    /// True inside `CAST(… AS …)` and its like, where a type follows AS.
    pub(super) fn casts(&self) -> bool {
        match self.frames.last() {
            Some(Frame { paren: Paren::Call(index), .. }) => {
                matches!(&*self.facts.calls[*index].name.name, "cast" | "treat" | "xmlserialize")
            }
            _ => false,
        }
    }

    pub(super) fn previous_was_separator(&self, at: usize) -> bool {
        self.tokens.is_mark(at - 1, ",") || self.tokens.is_mark(at - 1, "(")
    }

    /// `ONLY t` or `ONLY (t)`, but not `ONLY t*`.
    pub(super) fn stands_behind_only(&self, start: usize) -> bool {
        let before = |n: usize, word: &str| start >= n && self.tokens.is(start - n, word);
        (before(1, "only") || (before(2, "only") && self.tokens.is_mark(start - 1, "(")))
            && !self.tokens.is_mark(self.at, "*")
    }

    /// True for the name that INSERT INTO or MERGE INTO writes to.
    pub(super) fn follows_into(&self, start: usize) -> bool {
        start > 1 && self.tokens.is(start - 1, "into") && self.tokens.is_any(start - 2, &["insert", "merge"])
    }

    pub(super) fn declares_cte(&self, start: usize) -> bool {
        start > 0
            && (self.tokens.is_any(start - 1, &["with", "recursive"]) || self.tokens.is_mark(start - 1, ","))
    }

    /// `name(`: a call, unless it is plainly something else.
    pub(super) fn name_before_parenthesis(&mut self, name: Name<'a>, start: usize) {
        let lists_columns = match start.checked_sub(1) {
            _ if self.frame().clause == Clause::With && self.declares_cte(start) => {
                self.facts.ctes.insert(name.name.clone());
                true
            }
            Some(before) if self.tokens.is(before, "as") => true,
            // `INSERT INTO t (a, b)`.
            Some(_) if self.modifies && self.follows_into(start) => true,
            // `t a(b, c)`: two names in a row cannot be a call.
            // Only a FROM clause has such aliases.
            Some(before) if self.text == Text::Sql && name.schema.is_none() => {
                let in_from = self.frames.last().is_some_and(|f| {
                    (f.clause == Clause::From || f.paren == Paren::From) && !f.expects_table
                });
                in_from && self.ends_operand(before)
            }
            _ => false,
        };
        if lists_columns {
            self.maybe_called(name.clone());
            let cast = self.casts();
            if cast {
                self.mention_type(name);
            }
            self.open(None);
            self.frame().paren = if cast { Paren::Other } else { Paren::Columns };
            self.at += 1;
            return;
        }
        if self.tokens.is(start.wrapping_sub(1), "tablesample")
            && matches!(&*name.name, "bernoulli" | "system" | "system_rows" | "system_time")
        {
            self.open(None);
            self.at += 1;
            return;
        }
        let index = self.facts.calls.len();
        self.facts.calls.push(Call {
            name,
            args: Some(0),
            shown: vec![],
            literal: None,
            second: None,
            form: Form::Call,
        });
        self.open(Some(index));
        self.at += 1;
    }

    /// True when a table or operand can end with token `at`, so that a name behind it is an alias.
    pub(super) fn ends_operand(&self, at: usize) -> bool {
        match self.tokens.kind(at) {
            Some(TokenKind::Quoted) => true,
            Some(TokenKind::Punctuation) => {
                self.tokens.text(at) == ")" && at != self.operator_end && at != self.distinct_on_end
            }
            // `FROM t* a(b)`.
            Some(TokenKind::Operator) => self.tokens.text(at) == "*" && at == self.relation_end,
            Some(TokenKind::Word) => {
                let before_dot = at > 0 && self.tokens.is_mark(at - 1, ".");
                before_dot
                    || self.tokens.is(at, "ordinality")
                    || !is_grammar_word(&self.tokens.text(at).to_ascii_lowercase())
            }
            _ => false,
        }
    }

    /// True when a value or a table can end with token `at`.
    pub(super) fn ends_value(&self, at: usize) -> bool {
        const VALUES: &[&str] = &[
            "true",
            "false",
            "null",
            "end",
            "user",
            "current_user",
            "session_user",
            "current_role",
            "current_catalog",
            "current_schema",
            "current_date",
            "current_time",
            "current_timestamp",
            "localtime",
            "localtimestamp",
            "unknown",
            "isnull",
            "notnull",
            "document",
            "normalized",
            "group",
        ];
        match self.tokens.kind(at) {
            Some(TokenKind::Word) => self.tokens.is_any(at, VALUES) || self.ends_operand(at),
            Some(TokenKind::Operator) => self.ends_operand(at),
            Some(TokenKind::Punctuation) => self.tokens.text(at) == "]" || self.ends_operand(at),
            Some(_) => true,
            None => false,
        }
    }
}
