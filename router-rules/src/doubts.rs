//! What can be said of a statement while nothing is known of its database.
//!
//! Then only what is built in is known, and only where nothing else can be meant: a name of the
//! application's may be a view that calls a function, and an operator may be somebody's own on somebody's
//! own type. Without relations and types of theirs nobody's values turn up.

use crate::builtins;
use crate::facts::{Facts, Form, Name};
use crate::lex::TokenKind;
use crate::tokens::Tokens;

/// True when the statement certainly leaves nothing behind and works on nothing that it does not say, but for
/// what built-ins do.
pub(crate) fn is_harmless(facts: &Facts<'_>, tokens: Tokens<'_>) -> bool {
    let is_builtin = |name: &Name<'_>| matches!(name.schema.as_deref(), None | Some("pg_catalog"));
    let relation = |name: &Name<'_>| match name.schema.as_deref() {
        Some("information_schema") => true,
        Some("pg_catalog") => true,
        None => builtins::is_catalog_relation(&name.name) || facts.ctes.contains(&name.name),
        Some(_) => false,
    };
    // A word that no parenthesis follows may be a call where a row can be: not without a relation.
    let only_calls = facts.calls.iter().all(|call| {
        call.form != Form::Call
            || (is_builtin(&call.name)
                && (builtins::allows_function(&call.name.name)
                    || builtins::writes_nothing(&call.name.name)
                    || builtins::refusal(&call.name.name).is_some()
                    || builtins::is_type(&call.name.name)))
    });
    let unwritten = !matches!(facts.refusal, Some(crate::reason::Reason::Write));
    unwritten
        && only_calls
        && facts.relations.iter().all(relation)
        && facts
            .operators
            .iter()
            .all(|o| o.schema.as_deref().is_none_or(|s| s == "pg_catalog") && builtins::is_operator(&o.name))
        && facts
            .types
            .iter()
            .all(|name| is_builtin(name) && builtins::is_type(name.name.trim_start_matches('_')))
        && !(0..tokens.len()).any(|at| tokens.kind(at) == Some(TokenKind::Unicode))
}
