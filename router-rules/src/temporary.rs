//! Temporary objects of a session: what is done to them concerns nobody else.
//!
//! A name means a temporary object for certain only where the session is known to have made one, and a write
//! to it stays there only where nothing in the table leads elsewhere: a default, a trigger and a rule may. So
//! the tables that are known are those whose definition shows it, and what is not understood ends the
//! knowledge of them (see the session's memory).

use crate::analyse::Analysis;
use crate::changed::Alters;
use crate::facts::{Facts, Name};
use crate::resolve::CATALOG_OID;
use crate::statement::{Footprint, SessionEffect, Statement};
use crate::tokens::Tokens;
use crate::touches::Touches;
use crate::touches::names::{name_behind, names_from, objects, query_of, target_of};
use std::sync::Arc;

/// What a temporary object keeps to its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keeps {
    /// What is written to it: a table in whose definition nothing leads elsewhere.
    Writes,
    /// What is read of it: a view that calls nothing of anybody's.
    Reads,
    /// Perhaps nothing.
    Nothing,
}

/// A temporary object of a session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Temporary {
    /// Its name.
    pub name: Arc<str>,
    /// What it keeps to itself.
    pub keeps: Keeps,
    /// It goes with its transaction.
    pub until_commit: bool,
    /// It is made unless one of that name is there.
    pub unless_exists: bool,
}

impl<'a> Analysis<'a> {
    /// Statements behind this one in the same text see what it has made and taken away.
    pub fn pass_temporary(&mut self, statement: &Statement) {
        self.temporary = after(&self.temporary, &statement.effects);
    }

    /// A table of the session's own, which keeps what is written to it to itself.
    pub fn is_own_plain_table(&self, name: &Name<'_>) -> bool {
        self.own(name).is_some_and(|own| own.keeps == Keeps::Writes)
    }

    /// What is read of it changes nothing.
    pub fn is_own_to_read(&self, name: &Name<'_>) -> bool {
        self.own(name).is_some_and(|own| own.keeps != Keeps::Nothing)
    }

    /// What the session is known to have by this name.
    pub fn own(&self, name: &Name<'_>) -> Option<&Temporary> {
        let comes_first = match name.schema.as_deref() {
            None => !self.search_path.iter().any(|schema| schema.starts_with("pg_temp")),
            Some(schema) => schema == "pg_temp",
        };
        self.temporary.iter().find(|own| comes_first && *own.name == *name.name)
    }

    /// `SELECT … INTO TEMP name`.
    pub fn selects_into_temporary(&self, tokens: Tokens<'a>, facts: &Facts<'_>, statement: &mut Statement) {
        let into = (0..tokens.len()).find(|&at| tokens.is(at, "into"));
        let name = into.and_then(|mut at| {
            at += 1;
            while tokens.is_any(at, &["local", "global", "temp", "temporary", "table"]) {
                at += 1;
            }
            tokens.name(at)
        });
        let Some((name, _)) = name.filter(|(name, _)| name.schema.is_none()) else { return };
        statement.writes = of_catalog().union(&self.written_beside(facts));
        statement.effects.push(SessionEffect::MakesTemporary(Temporary {
            name: Arc::from(&*name.name),
            keeps: if self.domains_are_harmless() { Keeps::Writes } else { Keeps::Nothing },
            until_commit: false,
            unless_exists: false,
        }));
    }

    /// Whatever type a column has, the checks of its values write nothing.
    fn domains_are_harmless(&self) -> bool {
        self.catalog.is_some_and(|catalog| {
            let mut resolver = self.resolver(catalog).of_writes();
            catalog.rows.types.iter().all(|kind| resolver.look_into_type(kind).is_ok())
        })
    }

    /// What `CREATE TEMP …` makes, if it is an object with a name.
    pub fn made_temporary(&self, tokens: Tokens<'a>) -> Option<Temporary> {
        let mut at = if tokens.is(1, "or") { 3 } else { 1 };
        while tokens.is_any(at, &["local", "global", "temp", "temporary", "unlogged", "recursive"]) {
            at += 1;
        }
        let is_table = tokens.is(at, "table");
        if !is_table && !tokens.is_any(at, &["view", "sequence"]) {
            return None;
        }
        let name = name_behind(tokens, at + 1)?;
        let has = |words: &[&str]| (at..tokens.len()).any(|at| tokens.is_any(at, words));
        let inherits = has(&["inherits", "including", "partition", "execute"]) || tokens.is(at + 2, "of");
        let filled = query_of(tokens).is_some();
        // Its columns may be of any type that those are of.
        let takes_types = filled || has(&["like"]);
        let keeps_writes = || {
            is_table
                && !inherits
                && self.catalog.is_some_and(|catalog| filled || self.are_harmless(tokens, catalog))
                && (!takes_types || self.domains_are_harmless())
        };
        let keeps = match () {
            () if keeps_writes() => Keeps::Writes,
            () if tokens.is(at, "view") && self.only_reads(tokens) => Keeps::Reads,
            () => Keeps::Nothing,
        };
        let until_commit = has(&["commit"]) && has(&["drop"]);
        Some(Temporary { name, keeps, until_commit, unless_exists: tokens.is(at + 1, "if") })
    }

    /// The query of a view reads tables and calls nothing but built-ins: nobody can make anything else of it.
    fn only_reads(&self, tokens: Tokens<'a>) -> bool {
        let Some(at) = query_of(tokens) else { return false };
        let facts = crate::query::facts(tokens.slice(at, tokens.len()), self.thorough, self.effort);
        facts.refusal.is_none()
            && crate::analyse::calls_write(&facts).is_none()
            && self.written_beside(&facts).is_none()
    }

    /// What a statement touches that works on temporary objects only.
    pub fn touches_own(&self, first: &str, tokens: Tokens<'a>) -> Option<Touches> {
        let catalog = self.catalog?;
        if !catalog.rows.event_triggers.is_empty() {
            return None;
        }
        let only_own =
            |names: &[Name<'_>]| !names.is_empty() && names.iter().all(|name| self.own(name).is_some());
        let named = |at: usize| tokens.name(at).map(|(name, _)| name);
        let writes = match first {
            "create" if is_temporary(tokens) => match query_of(tokens).filter(|_| makes_table(tokens)) {
                Some(at) => {
                    let facts =
                        crate::query::facts(tokens.slice(at, tokens.len()), self.thorough, self.effort);
                    self.written_beside(&facts)
                }
                None if (2..tokens.len()).any(|at| tokens.is(at, "execute")) => return None,
                None => Footprint::none(),
            },
            "create" if tokens.is_any(1, &["index", "unique"]) => {
                let target =
                    (2..tokens.len()).find(|&at| tokens.is(at, "on")).and_then(|at| named(at + 1))?;
                only_own(&[target]).then_some(())?;
                self.are_harmless(tokens, catalog).then(Footprint::none)?
            }
            "alter" => self.alters_own_harmlessly(tokens).then(Footprint::none)?,
            "drop" if tokens.is_any(1, &["table", "view", "sequence"]) => {
                let at = if tokens.is(2, "if") { 4 } else { 2 };
                let names = own_names(tokens, at);
                let is_own =
                    |name: &Name<'_>| name.schema.as_deref() == Some("pg_temp") || self.own(name).is_some();
                (!names.is_empty() && names.iter().all(is_own)).then(Footprint::none)?
            }
            "analyze" | "analyse" | "vacuum" | "truncate" => {
                let names: Vec<Name<'_>> = objects(tokens)
                    .iter()
                    .map(|name| Name { schema: None, name: name.to_string().into() })
                    .collect();
                let plain = names.iter().all(|name| self.is_own_plain_table(name));
                (only_own(&names) && plain).then(Footprint::none)?
            }
            _ => return None,
        };
        Some(Touches { alters: Alters::Nothing, writes: of_catalog().union(&writes) })
    }

    /// A plain table of its own gets or loses columns, and remains one.
    fn alters_own_harmlessly(&self, tokens: Tokens<'a>) -> bool {
        const LEADS_ELSEWHERE: [&str; 8] =
            ["rename", "schema", "inherit", "attach", "detach", "trigger", "rule", "generated"];
        let at = if tokens.is(2, "if") { 4 } else { 2 };
        let target = tokens.name(at + usize::from(tokens.is(at, "only")));
        tokens.is(1, "table")
            && target.is_some_and(|(name, _)| self.is_own_plain_table(&name))
            && !(at..tokens.len()).any(|at| tokens.is_any(at, &LEADS_ELSEWHERE))
            && self.catalog.is_some_and(|catalog| self.are_harmless(tokens, catalog))
    }

    /// What a statement makes, takes away or changes of temporary objects.
    pub fn temporary_effects(&self, first: &str, tokens: Tokens<'a>) -> Option<SessionEffect> {
        match first {
            "create" if is_temporary(tokens) => {
                self.made_temporary(tokens).map(SessionEffect::MakesTemporary)
            }
            // A trigger or a rule leads anywhere.
            "create" if (1..5).any(|at| tokens.is_any(at, &["trigger", "rule"])) => {
                let own = self.temporary.iter().find(|own| Some(&own.name) == target_of(tokens).as_ref())?;
                Some(SessionEffect::MakesTemporary(Temporary { keeps: Keeps::Nothing, ..own.clone() }))
            }
            "alter" => {
                let words = (1..tokens.len()).filter_map(|at| tokens.identifier(at));
                let own = words.filter(|word| self.temporary.iter().any(|own| *own.name == **word));
                let names: Vec<Arc<str>> = own.map(|word| Arc::from(&*word)).collect();
                let changes = !names.is_empty() && !self.alters_own_harmlessly(tokens);
                changes.then(|| SessionEffect::DropsTemporary(names.into()))
            }
            "drop" => {
                let (names, _) = (1..5).find_map(|at| {
                    let behind = tokens.is_any(at - 1, &["table", "view", "sequence", "exists"]);
                    names_from(tokens, at).filter(|_| behind && !tokens.is(at, "if"))
                })?;
                Some(SessionEffect::DropsTemporary(names.into()))
            }
            _ => None,
        }
    }
}

/// The temporary objects that are known behind a statement with these effects.
pub fn after(known: &[Temporary], effects: &[SessionEffect]) -> Vec<Temporary> {
    let mut known = known.to_vec();
    let is_there = |known: &[Temporary], made: &Temporary| known.iter().any(|own| own.name == made.name);
    for effect in effects {
        match effect {
            SessionEffect::MakesTemporary(made) if made.unless_exists && is_there(&known, made) => {}
            SessionEffect::MakesTemporary(made) => {
                known.retain(|own| own.name != made.name);
                known.push(made.clone());
            }
            SessionEffect::DropsTemporary(names) => known.retain(|own| !names.contains(&own.name)),
            _ => {}
        }
    }
    known
}

fn of_catalog() -> Footprint {
    Footprint::Relations([CATALOG_OID].into())
}

fn own_names<'a>(tokens: Tokens<'a>, mut at: usize) -> Vec<Name<'a>> {
    let mut names = vec![];
    while let Some((name, end)) = tokens.name(at) {
        names.push(name);
        if !tokens.is_mark(end, ",") {
            break;
        }
        at = end + 1;
    }
    names
}

fn makes_table(tokens: Tokens<'_>) -> bool {
    (1..6).any(|at| tokens.is(at, "table"))
}

/// `CREATE TEMP …`, or of something in `pg_temp`.
fn is_temporary(tokens: Tokens<'_>) -> bool {
    const KINDS: [&str; 6] = ["table", "view", "sequence", "function", "procedure", "type"];
    let mut at = if tokens.is(1, "or") { 3 } else { 1 };
    while tokens.is_any(at, &["local", "global", "unlogged", "recursive"]) {
        at += 1;
    }
    if tokens.is_any(at, &["temp", "temporary"]) {
        return true;
    }
    let name = if tokens.is(at + 1, "if") { at + 4 } else { at + 1 };
    let schema = tokens.name(name).and_then(|(name, _)| name.schema);
    tokens.is_any(at, &KINDS) && schema.as_deref() == Some("pg_temp")
}
