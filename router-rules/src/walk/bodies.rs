//! What only the bodies of functions hold.

use super::Walker;
use crate::lex::TokenKind;
use crate::reason::Reason;

/// Behind these a statement may stand, or what is run like one.
const AHEAD_OF_STATEMENTS: &[&str] =
    &["begin", "atomic", "then", "else", "loop", "in", "query", "for", "also", "instead"];

/// Conditions by which a value is none, or a query has not as many rows as was asked.
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>
const VALUE_ERRORS: &[&str] = &[
    "array_subscript_error",
    "cardinality_violation",
    "case_not_found",
    "character_not_in_repertoire",
    "data_exception",
    "datetime_field_overflow",
    "division_by_zero",
    "interval_field_overflow",
    "invalid_datetime_format",
    "invalid_json_text",
    "invalid_parameter_value",
    "invalid_regular_expression",
    "invalid_text_representation",
    "no_data_found",
    "null_value_not_allowed",
    "numeric_value_out_of_range",
    "string_data_right_truncation",
    "too_many_rows",
    "untranslatable_character",
];

impl Walker<'_> {
    /// Words that a function body may not contain, or begin a statement with.
    pub(super) fn body_word(&mut self, word: &str) -> bool {
        let refused = match word {
            "exception" => !self.previous_is("raise") && !self.handles_values_only(),
            "insert" | "update" | "delete" | "merge" | "truncate" | "create" | "drop" | "alter"
            | "execute" | "set" | "do" => true,
            "notify" | "listen" | "unlisten" | "copy" | "lock" | "call" | "commit" | "rollback"
            | "savepoint" | "grant" | "revoke" | "reset" | "open" | "fetch" | "move" | "vacuum"
            | "analyze" | "analyse" | "refresh" | "cluster" | "reindex" | "import" | "comment"
            | "discard" | "prepare" | "deallocate" | "checkpoint" | "load" | "reassign" | "explain" => {
                self.may_begin_statement()
            }
            _ => false,
        };
        if refused {
            self.facts.refuse(Reason::WritingFunction);
        }
        refused
    }

    /// What stands here may be the first word of a statement of the body, other than an assignment. Most such words are
    /// names of columns and variables as well.
    fn may_begin_statement(&self) -> bool {
        let begins = self.at == 0
            || self.previous_is_mark(";")
            || self.previous_is_mark(">>")
            || AHEAD_OF_STATEMENTS.iter().any(|word| self.previous_is(word));
        let next = self.at + 1;
        let is_value = self.tokens.kind(next) == Some(TokenKind::Operator)
            || [":=", ".", "[", ",", ")", "::"].iter().any(|mark| self.tokens.is_mark(next, mark))
            || self.tokens.is_any(next, &["else", "end", "when"]);
        begins && !is_value
    }

    /// The handlers behind this EXCEPTION, up to the end of the body, are for errors by which a value is none: never for
    /// one that a replica alone would give.
    fn handles_values_only(&self) -> bool {
        let whens = (self.at + 1..self.tokens.len()).filter(|at| {
            self.tokens.is(*at, "when") && (*at == self.at + 1 || self.tokens.is_mark(*at - 1, ";"))
        });
        let mut handlers = whens.peekable();
        handlers.peek().is_some() && handlers.all(|when| self.is_for_values(when + 1))
    }

    /// Conditions that concern values stand here, one or several, and THEN.
    fn is_for_values(&self, mut at: usize) -> bool {
        loop {
            let name = self.tokens.identifier(at);
            if !name.is_some_and(|name| VALUE_ERRORS.contains(&&*name)) {
                return false;
            }
            if self.tokens.is(at + 1, "then") {
                return true;
            }
            if !self.tokens.is(at + 1, "or") {
                return false;
            }
            at += 2;
        }
    }
}
