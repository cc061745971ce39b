//! What a query or a data-modifying statement mentions.

use crate::effort::Effort;
use crate::facts::Facts;
use crate::second;
use crate::statistics;
use crate::tokens::Tokens;
use crate::walk::{self, Text};

/// The facts of one statement; `thorough` lets the parser read it, too.
pub(crate) fn facts<'a>(tokens: Tokens<'a>, thorough: bool, effort: &Effort) -> Facts<'a> {
    let mut facts = walk::walk(tokens, Text::Sql, effort);
    // What is for the primary anyway needs no second reading.
    if thorough && facts.refusal.is_none() {
        second::consult(tokens, &mut facts);
    }
    facts.names_only = statistics::only_names_are_read(tokens, &facts);
    facts.literals_matter = facts.calls.iter().any(|call| {
        let name = &*call.name.name;
        matches!(name, "current_setting" | "set_config") || name.starts_with("crosstab")
    });
    facts
}
