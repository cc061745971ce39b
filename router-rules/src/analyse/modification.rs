//! INSERT, UPDATE, DELETE, MERGE: what they write, triggers and cascades included.

use super::{Analysed, Analysis};
use crate::facts::{Facts, Name};
use crate::reason::{PinReason, Reason};
use crate::resolve::Found;
use crate::statement::{Footprint, Kind, SessionEffect, Statement};
use crate::tokens::Tokens;
use crate::{effects, query};
use foldhash::HashSet;
use std::sync::Arc;

impl<'a> Analysis<'a> {
    /// INSERT, UPDATE, DELETE, MERGE.
    pub(super) fn modification(&self, tokens: Tokens<'a>) -> Analysed {
        let facts = query::facts(tokens, self.thorough, self.effort);
        let mut statement = self.checked(main_verb(tokens), &facts);
        statement.verdict = Err(Reason::Write);
        self.targets(tokens, &facts, &mut statement);
        self.follow(&facts, tokens, &mut statement);
        Analysed { statement, literals_matter: facts.literals_matter }
    }

    /// What the data-modifying parts of a statement write, triggers and cascades included.
    pub(super) fn targets(&self, tokens: Tokens<'a>, facts: &Facts<'_>, statement: &mut Statement) {
        let mut unknown = vec![];
        statement.writes = self.written(tokens, facts, &mut unknown);
        statement.unknown |= !unknown.is_empty();
        let sets = |at: usize| {
            let name = tokens.name(at).map(|(name, _)| name.name);
            name.is_some_and(|name| self.catalog.is_some_and(|catalog| catalog.may_be_settings(&name)))
        };
        if tokens_of_modification(tokens).into_iter().any(sets) {
            // An UPDATE of it is a SET.
            effects::push(&mut statement.effects, SessionEffect::Pin(PinReason::Unfollowable));
        }
        if !unknown.is_empty() && self.catalog.is_some() {
            // It may have been made a moment ago, by somebody who did not come this way.
            effects::push(&mut statement.effects, SessionEffect::Pin(PinReason::UnknownNames));
        }
        statement.relations.extend(unknown);
    }

    pub(super) fn written(
        &self,
        tokens: Tokens<'a>,
        facts: &Facts<'_>,
        unknown: &mut Vec<Arc<str>>,
    ) -> Footprint {
        let Some(catalog) = self.catalog else {
            unknown.extend(
                tokens_of_modification(tokens)
                    .into_iter()
                    .filter_map(|at| Some(tokens.name(at)?.0.written())),
            );
            return Footprint::Everything;
        };
        let resolver = self.resolver(catalog);
        let written = self.written_beside(facts);
        let targets = tokens_of_modification(tokens);
        if targets.is_empty() {
            return Footprint::Everything;
        }
        let mut names: HashSet<Option<Name<'_>>> = HashSet::default();
        let footprints = targets.into_iter().filter_map(|at| {
            let name = tokens.name(at).map(|(name, _)| name);
            if !names.insert(name.clone()) {
                return None;
            }
            if name.as_ref().is_some_and(|name| self.is_own_plain_table(name)) {
                return None;
            }
            if name.as_ref().is_some_and(|name| self.own(name).is_some()) {
                // A temporary view passes it on, to what its query names or to whatever its rules and triggers do.
                return Some(Footprint::Everything);
            }
            Some(match name.as_ref().map(|name| resolver.find_relation(name)) {
                Some(Found::User(relation)) => catalog.written_with(relation, self),
                _ => {
                    unknown.extend(name.as_ref().map(Name::written));
                    Footprint::Everything
                }
            })
        });
        written.union_all(footprints)
    }
}

/// Where the names stand that INSERT INTO, UPDATE, DELETE FROM and MERGE INTO write to.
pub(crate) fn tokens_of_modification(tokens: Tokens<'_>) -> Vec<usize> {
    let mut targets = vec![];
    for at in 0..tokens.len() {
        let mut target = match () {
            () if tokens.is_any(at, &["insert", "merge"]) && tokens.is(at + 1, "into") => at + 2,
            () if tokens.is(at, "delete") && tokens.is(at + 1, "from") => at + 2,
            () if tokens.is(at, "update") && begins_statement(tokens, at) => at + 1,
            () => continue,
        };
        if tokens.is(target, "only") {
            target += 1;
        }
        if tokens.is_mark(target, "(") {
            target += 1;
        }
        targets.push(target);
    }
    targets
}

/// UPDATE as a verb: not `FOR UPDATE`, `DO UPDATE`, `ON UPDATE`, nor a column's name.
fn begins_statement(tokens: Tokens<'_>, at: usize) -> bool {
    let before = at == 0
        || tokens.is_mark(at - 1, "(")
        || tokens.is_mark(at - 1, ")")
        || tokens.identifier(at - 1).is_some();
    let clause = at > 0
        && (tokens.is_any(
            at - 1,
            &["for", "do", "on", "key", "then", "as", "select", "by", "and", "or", "not", "from"],
        ));
    before && !clause && tokens.identifier(at + 1).is_some()
}

/// The verb of the main statement.
pub(super) fn main_verb(tokens: Tokens<'_>) -> Kind {
    let mut depth = 0usize;
    for at in 0..tokens.len() {
        if tokens.is_mark(at, "(") {
            depth += 1;
        } else if tokens.is_mark(at, ")") {
            depth = depth.saturating_sub(1);
        } else if depth == 0 {
            match () {
                () if tokens.is(at, "insert") && tokens.is(at + 1, "into") => return Kind::Insert,
                () if tokens.is(at, "merge") && tokens.is(at + 1, "into") => return Kind::Merge,
                () if tokens.is(at, "delete") && tokens.is(at + 1, "from") => return Kind::Delete,
                () if tokens.is(at, "update") && begins_statement(tokens, at) => return Kind::Update,
                () if tokens.is_any(at, &["select", "values", "table"]) => return Kind::Select,
                () => {}
            }
        }
    }
    Kind::Select
}
