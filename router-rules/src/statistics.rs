//! Views of statistics of which only names are read.
//!
//! `pg_stat_all_tables` and its like list the tables or indexes of the catalog beside counters that each
//! node keeps for itself. Tools ask them for names and OIDs (as a short way to `pg_class` and its
//! schema), and those read the same everywhere.

use crate::facts::Facts;
use crate::tokens::Tokens;
use foldhash::HashSet;

/// The columns that come from the catalog.
const NAMES: [&str; 5] = ["relid", "indexrelid", "schemaname", "relname", "indexrelname"];

/// Counters begin with one of these.
const COUNTERS: [&str; 12] = [
    "seq_",
    "idx_",
    "n_",
    "last_",
    "vacuum_",
    "autovacuum_",
    "analyze_",
    "autoanalyze_",
    "heap_",
    "toast_",
    "tidx_",
    "total_",
];

/// True for a view that lists tables or indexes beside their counters.
pub(crate) fn lists_relations(view: &str) -> bool {
    let rest = view.strip_prefix("pg_stat_").or_else(|| view.strip_prefix("pg_statio_"));
    matches!(
        rest,
        Some("all_tables" | "user_tables" | "sys_tables" | "all_indexes" | "user_indexes" | "sys_indexes")
    )
}

/// True when the statement reads no more than names of such views, beside something else: each column of
/// theirs is one of [`NAMES`], no column anywhere is called like a counter, and no row is taken as a whole.
pub(crate) fn only_names_are_read(tokens: Tokens<'_>, facts: &Facts<'_>) -> bool {
    // On its own, such a view is asked for what it is there for.
    let joined = facts.relations.iter().any(|relation| !lists_relations(&relation.name));
    if !joined || !facts.relations.iter().any(|relation| lists_relations(&relation.name)) {
        return false;
    }
    let mut views: HashSet<String> = HashSet::default();
    for at in 0..tokens.len() {
        let Some(word) = tokens.identifier(at) else { continue };
        if lists_relations(&word) {
            let alias = at + 1 + usize::from(tokens.is(at + 1, "as"));
            views.extend(tokens.identifier(alias).map(|alias| alias.into_owned()));
            views.insert(word.into_owned());
        }
    }
    (0..tokens.len()).all(|at| {
        if tokens.is_mark(at, "*") {
            return tokens.is_mark(at.wrapping_sub(1), "(") && tokens.is_mark(at + 1, ")");
        }
        let Some(word) = tokens.identifier(at) else { return true };
        if tokens.is(at, "natural") || COUNTERS.iter().any(|prefix| word.starts_with(prefix)) {
            return false;
        }
        if !views.contains(&*word) {
            return true;
        }
        match tokens.is_mark(at + 1, ".") {
            true => tokens.identifier(at + 2).is_some_and(|column| NAMES.contains(&&*column)),
            // Where it is named as a relation, or its alias is given.
            false => stands_in_from(tokens, at),
        }
    })
}

/// True for the name of a view in FROM, and for the alias behind it.
fn stands_in_from(tokens: Tokens<'_>, at: usize) -> bool {
    let Some(before) = at.checked_sub(1) else { return false };
    let is_view = |at: usize| tokens.identifier(at).is_some_and(|word| lists_relations(&word));
    if is_view(at) {
        return tokens.is_any(before, &["from", "join"])
            || (tokens.is_mark(before, ".") && tokens.is(before.wrapping_sub(1), "pg_catalog"));
    }
    is_view(before) || (tokens.is(before, "as") && is_view(before.wrapping_sub(1)))
}
