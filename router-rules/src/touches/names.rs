//! Which names stand where in DDL and maintenance.

use crate::analyse::matching_parenthesis;
use crate::tokens::Tokens;
use foldhash::HashSet;
use std::sync::Arc;

/// The last part of the name at `at`, behind IF NOT EXISTS, IF EXISTS, ONLY.
pub(crate) fn name_behind(tokens: Tokens<'_>, mut at: usize) -> Option<Arc<str>> {
    while tokens.is_any(at, &["if", "not", "exists", "only", "concurrently"]) {
        at += 1;
    }
    tokens.name(at).map(|(name, _)| Arc::from(&*name.name))
}

/// Names separated by commas, and where they end.
pub(crate) fn names_from(tokens: Tokens<'_>, mut at: usize) -> Option<(Vec<Arc<str>>, usize)> {
    let mut names = vec![];
    loop {
        let (name, end) = tokens.name(at)?;
        names.push(Arc::from(&*name.name));
        if !tokens.is_mark(end, ",") {
            return Some((names, end));
        }
        at = end + 1;
    }
}

/// The new name of what is renamed.
pub(crate) fn renamed_to(tokens: Tokens<'_>) -> Option<Arc<str>> {
    let at =
        (2..tokens.len()).find(|&at| tokens.is(at, "to") && (2..at).any(|at| tokens.is(at, "rename")))?;
    tokens.identifier(at + 1).map(|name| Arc::from(&*name))
}

/// Where the query begins that fills what is created.
pub(crate) fn query_of(tokens: Tokens<'_>) -> Option<usize> {
    let begins = |at| tokens.is_any(at, &["select", "with", "values", "table"]) || tokens.is_mark(at, "(");
    (3..tokens.len()).find(|&at| tokens.is(at - 1, "as") && begins(at))
}

/// The relation that a trigger, rule, policy or index is of.
pub(crate) fn target_of(tokens: Tokens<'_>) -> Option<Arc<str>> {
    let is_rule = (1..4).any(|at| tokens.is(at, "rule")) && tokens.is(0, "create");
    let word = if is_rule { "to" } else { "on" };
    let at = (2..tokens.len()).find(|&at| tokens.is(at, word))?;
    name_behind(tokens, at + 1)
}

/// Relations that a definition refers to.
pub(crate) fn related(tokens: Tokens<'_>) -> Vec<Arc<str>> {
    let leads = |at: &usize| tokens.is_any(*at, &["references", "inherit", "partition", "of"]);
    let lists = |at: &usize| tokens.is(*at, "inherits") && tokens.is_mark(at + 1, "(");
    let single = (2..tokens.len()).filter(leads).filter_map(|at| name_behind(tokens, at + 1));
    let listed =
        (2..tokens.len()).filter(lists).filter_map(|at| names_from(tokens, at + 2)).flat_map(|n| n.0);
    single.chain(listed).filter(|name| !matches!(&**name, "by" | "of" | "for")).collect()
}

/// Names of functions separated by commas, each with or without its arguments.
pub(crate) fn routines_from(tokens: Tokens<'_>, mut at: usize) -> Option<Vec<Arc<str>>> {
    let mut names = vec![];
    loop {
        at += if tokens.is(at, "if") { 2 } else { 0 };
        let (name, end) = tokens.name(at)?;
        names.push(Arc::from(&*name.name));
        let end = if tokens.is_mark(end, "(") { matching_parenthesis(tokens, end) + 1 } else { end };
        if !tokens.is_mark(end, ",") {
            return Some(names);
        }
        at = end + 1;
    }
}

/// What a statement names that works on whole relations.
pub(crate) fn objects(tokens: Tokens<'_>) -> Vec<Arc<str>> {
    const OPTIONS: [&str; 19] = [
        "full",
        "freeze",
        "verbose",
        "analyze",
        "analyse",
        "table",
        "only",
        "index",
        "schema",
        "database",
        "system",
        "concurrently",
        "using",
        "restart",
        "continue",
        "identity",
        "cascade",
        "restrict",
        "view",
    ];
    let mut names = vec![];
    let mut at = 1;
    while at < tokens.len() {
        if tokens.is_mark(at, "(") {
            at = matching_parenthesis(tokens, at) + 1;
        } else if let Some((name, end)) = tokens.name(at).filter(|_| !tokens.is_any(at, &OPTIONS)) {
            names.push(Arc::from(&*name.name));
            at = end;
        } else {
            at += 1;
        }
    }
    names
}

pub(crate) fn words(tokens: Tokens<'_>) -> Vec<Arc<str>> {
    let mut seen: HashSet<Arc<str>> = HashSet::default();
    (0..tokens.len())
        .filter_map(|at| tokens.identifier(at))
        .map(|word| Arc::from(&*word))
        .filter(|word: &Arc<str>| seen.insert(word.clone()))
        .collect()
}
