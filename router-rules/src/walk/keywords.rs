//! Words of the grammar: what each says of the names that follow, and when it is a name itself.

use super::{Clause, Frame, Paren, Text, Walker};
use crate::facts::{Call, Facts, Form, Name, Operation};
use crate::lex::TokenKind;
use crate::reason::Reason;
use crate::words::{FROM_ENDS, NOT_CALLED, NOT_CALLED_PLPGSQL, is_grammar_word, is_reserved};
use std::borrow::Cow;

impl<'a> Walker<'a> {
    /// Handles the keyword at `self.at`; false when the word is a name like any other.
    pub(super) fn keyword(&mut self) -> bool {
        let at = self.at;
        let text = self.tokens.text(at);
        let mut buffer = [0u8; 16];
        if text.len() > buffer.len() || !text.is_ascii() {
            return false;
        }
        let lower = &mut buffer[..text.len()];
        lower.copy_from_slice(text.as_bytes());
        lower.make_ascii_lowercase();
        let Ok(word) = std::str::from_utf8(lower) else { return false };
        let labelled = self.previous_is("as")
            && self.frame().clause != Clause::With
            && !self.tokens.is_mark(at + 1, "(");
        if matches!(word, "delete" | "merge") && self.modifies(word) {
            self.frame().uses_relations = true;
        }
        if self.text != Text::Sql && self.body_word(word) {
            self.at += 1;
            return true;
        }
        // A relation may be called by any word that is not reserved.
        if self.frame().expects_table
            && !is_reserved(word)
            && !(word == "rows" && self.tokens.is(at + 1, "from"))
        {
            return false;
        }
        match word {
            _ if labelled => {}
            "group" => self.groups = true,
            "having" | "window" | "order" | "limit" | "offset" | "fetch" => self.groups = false,
            _ => {}
        }
        match word {
            _ if labelled && word != "select" && word != "with" && word != "values" => {
                // `AS any_word`: a label; only a data type may matter.
                if self.casts()
                    && let Some((name, _)) = self.tokens.name(at)
                {
                    self.mention_type(name);
                }
                self.facts.words.push(Cow::Owned(word.to_string()));
                self.at += 1;
                return true;
            }
            "select" => {
                let frame = self.frame();
                if let Paren::Call(index) = frame.paren {
                    // `json_array(SELECT …)`.
                    self.facts.calls[index].args = None;
                }
                let frame = self.frame();
                frame.paren = Paren::Query;
                frame.clause = Clause::Other;
                frame.expects_table = false;
            }
            "values" if self.tokens.is_mark(at + 1, "(") => {
                self.frame().clause = Clause::Other;
                self.frame().expects_table = false;
            }
            "with" if self.starts_with_clause() => self.frame().clause = Clause::With,
            "recursive" if self.previous_is("with") => {}
            "table" => self.frame().expects_table = true,
            "from" => {
                let distinct_from =
                    self.previous_is("distinct") && at > 1 && self.tokens.is_any(at - 2, &["is", "not"]);
                let body = self.text != Text::Sql;
                let frame = self.frame();
                if !distinct_from && frame.paren == Paren::Query {
                    frame.clause = Clause::From;
                    frame.expects_table = true;
                } else if !distinct_from && body {
                    frame.expects_table = true;
                }
            }
            "join" if self.tokens.is_mark(at + 1, "(") && !self.is_grammar_here(word) => return false,
            "join" => self.frame().expects_table = true,
            "using" if std::mem::take(&mut self.frame().uses_relations) => {
                let frame = self.frame();
                frame.clause = Clause::From;
                frame.expects_table = true;
            }
            "lateral" | "only" => {}
            "rows" if self.tokens.is(at + 1, "from") && self.tokens.is_mark(at + 2, "(") => {
                self.frame().expects_table = false;
                self.at += 2;
                self.open(None);
                self.frame().paren = Paren::Other;
                self.at += 1;
                return true;
            }
            "into" => {
                if self.text != Text::PlpgsqlBody {
                    self.facts.refuse(Reason::Write);
                } else {
                    self.frame().expects_table = false;
                }
            }
            "for" => {
                if self.tokens.is_any(at + 1, &["update", "no", "share", "key"]) {
                    self.facts.refuse(Reason::Locks);
                }
                self.end_from();
            }
            "insert" | "update" | "delete" | "merge" => {
                if !self.modifies(word) {
                    return false;
                }
                self.facts.refuse(Reason::Write);
            }
            "operator" if self.tokens.is_mark(at + 1, "(") => return self.qualified_operator(),
            "uescape" => self.facts.refuse(Reason::NotParsed),
            // A word of the grammar, and a look into the catalog.
            "current_schema" => self.facts.words.push(Cow::Borrowed("current_schema")),
            _ if FROM_ENDS.contains(&word) => {
                // `agg(a, b ORDER BY c, d)`: what follows is no argument.
                if let Some(Frame { paren: Paren::Call(index), .. }) = self.frames.last() {
                    self.facts.calls[*index].args = None;
                }
                implied_operator(word, &mut self.facts);
                self.end_from();
            }
            _ if self.tokens.is_mark(at + 1, "(") => {
                let modifying = self.is_write() && matches!(word, "set" | "conflict" | "insert");
                let field = word == "second" && self.qualifies_interval();
                let grammar = NOT_CALLED.contains(&word) && self.is_grammar_here(word);
                if grammar
                    || modifying
                    || field
                    || (self.text != Text::Sql && NOT_CALLED_PLPGSQL.contains(&word))
                {
                    if !is_reserved(word) {
                        self.maybe_called(Name { schema: None, name: Cow::Owned(word.to_string()) });
                    }
                    if matches!(word, "cast" | "treat") {
                        let index = self.facts.calls.len();
                        self.facts.calls.push(Call {
                            name: Name { schema: None, name: Cow::Borrowed("cast") },
                            args: None,
                            shown: vec![],
                            literal: None,
                            second: None,
                            form: Form::Call,
                        });
                        self.at += 1;
                        self.open(Some(index));
                        self.at += 1;
                        return true;
                    }
                } else {
                    return false;
                }
            }
            _ => {
                if !is_grammar_word(word) {
                    return false;
                }
                if self.tokens.is_mark(at + 1, ".") {
                    return false;
                }
                implied_operator(word, &mut self.facts);
                if self.frame().clause == Clause::With && self.declares_cte(at) {
                    return false;
                }
            }
        }
        if self.tokens.is_mark(at + 1, "(") {
            implied_operator(word, &mut self.facts);
        }
        self.at += 1;
        true
    }

    /// In GROUP BY itself or in the parentheses of GROUPING SETS, not in those of a row or a call, and not
    /// in a clause behind it.
    fn lists_groups(&self) -> bool {
        self.groups
            && self.frames.last().is_some_and(|frame| match frame.paren {
                Paren::Query => true,
                Paren::Other => self.tokens.is(frame.argument_from.saturating_sub(2), "sets"),
                _ => false,
            })
    }

    /// INSERT, UPDATE, DELETE or MERGE has been met.
    fn is_write(&self) -> bool {
        self.modifies && self.facts.refusal.is_some()
    }

    /// `interval '1.234' second(2)`, `interval second(2) '1.234'`, `interval day to second(2)`.
    fn qualifies_interval(&self) -> bool {
        let behind_text = self.at.checked_sub(1).and_then(|before| self.tokens.kind(before));
        (behind_text == Some(TokenKind::String) || self.previous_is("interval") || self.previous_is("to"))
            && self.tokens.kind(self.at + 2) == Some(TokenKind::Number)
    }

    /// A word of the grammar that may also name a function: does it stand where the grammar has it?
    pub(super) fn is_grammar_here(&self, word: &str) -> bool {
        let Some(before) = self.at.checked_sub(1) else { return true };
        let follows = |words: &[&str]| self.tokens.is_any(before, words);
        match word {
            "by" => follows(&["group", "order", "partition", "first"]),
            "first" | "next" => follows(&["fetch", "nulls"]),
            "materialized" => {
                follows(&["as"]) || (follows(&["not"]) && self.tokens.is(before.wrapping_sub(1), "as"))
            }
            "sets" => follows(&["grouping"]),
            "ordinality" => follows(&["with", "for"]),
            "cube" | "rollup" => {
                let element = self.tokens.is_mark(before, ",") || self.tokens.is_mark(before, "(");
                (element || follows(&["by", "all", "distinct"])) && self.lists_groups()
            }
            "set" => self.is_write() || self.text != Text::Sql,
            "join" => {
                self.ends_value(before)
                    || follows(&["natural", "inner", "left", "right", "full", "outer", "cross"])
            }
            "like" | "ilike" | "similar" => follows(&["not"]) || self.ends_value(before),
            "escape" | "columns" | "passing" | "filter" | "over" => self.ends_value(before),
            "following" | "groups" | "is" | "isnull" | "nested" | "notnull" | "partition" | "preceding"
            | "range" | "recursive" | "rows" | "within" => false,
            _ => true,
        }
    }

    pub(super) fn end_from(&mut self) {
        let frame = self.frame();
        if frame.clause == Clause::From {
            frame.clause = Clause::Other;
            frame.expects_table = false;
        }
    }

    /// WITH as the beginning of common table expressions, not `WITH ORDINALITY` or `WITH TIES`.
    pub(super) fn starts_with_clause(&self) -> bool {
        let clause = self.frames.last().map(|f| f.clause);
        if clause == Some(Clause::From)
            || (clause != Some(Clause::Start) && self.tokens.is(self.at + 1, "ordinality"))
        {
            return false;
        }
        let name = self.at + 1 + usize::from(self.tokens.is(self.at + 1, "recursive"));
        self.tokens.identifier(name).is_some()
            && (self.tokens.is(name + 1, "as") || self.tokens.is_mark(name + 1, "("))
    }

    /// INSERT, UPDATE, DELETE, MERGE as the beginning of a statement, not as a column's name.
    pub(super) fn modifies(&mut self, word: &str) -> bool {
        let at = self.at;
        let begins = at == 0
            || self.previous_is_mark("(")
            || self.previous_is_mark(")")
            || self.previous_is_mark(";")
            || self.frame().clause == Clause::With
            || self.text != Text::Sql;
        let continues = match word {
            "insert" | "merge" => self.tokens.is(at + 1, "into"),
            "delete" => self.tokens.is(at + 1, "from"),
            _ => self.tokens.identifier(at + 1).is_some() && !self.tokens.is_any(at + 1, FROM_ENDS),
        };
        begins && continues
    }

    /// `OPERATOR(schema.op)`.
    pub(super) fn qualified_operator(&mut self) -> bool {
        let mut at = self.at + 2;
        let mut schema = None;
        // `operator(x)` is a call like any other.
        let mut ahead = at;
        while self.tokens.identifier(ahead).is_some() && self.tokens.is_mark(ahead + 1, ".") {
            ahead += 2;
        }
        if self.tokens.kind(ahead) != Some(TokenKind::Operator) || !self.tokens.is_mark(ahead + 1, ")") {
            return false;
        }
        while let Some(part) = self.tokens.identifier(at) {
            schema = Some(part);
            at += 1;
            if self.tokens.is_mark(at, ".") {
                at += 1;
            }
        }
        let name = Cow::Borrowed(self.tokens.text(at));
        self.facts.operators.push(Operation { schema, name, left: None, right: None, implied: false });
        while at < self.tokens.len() && !self.tokens.is_mark(at, ")") {
            at += 1;
        }
        self.operator_end = at;
        self.at = at + 1;
        true
    }
}

/// Adds the operators that a word of the grammar stands for.
fn implied_operator(word: &str, facts: &mut Facts<'_>) {
    let names: &[&'static str] = match word {
        "like" => &["~~", "!~~"],
        "ilike" => &["~~*", "!~~*"],
        "similar" => &["~", "!~"],
        "between" => &[">=", "<=", "<", ">"],
        "in" | "case" | "nullif" | "distinct" | "using" | "natural" | "group" | "union" | "intersect"
        | "except" | "partition" => &["=", "<>", "<"],
        "order" | "greatest" | "least" => &["<", ">"],
        _ => return,
    };
    for name in names {
        facts.operators.push(Operation {
            schema: None,
            name: Cow::Borrowed(name),
            left: None,
            right: None,
            implied: true,
        });
    }
}
