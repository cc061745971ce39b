//! The tokens of one statement → what it would do.
//!
//! Postgres's statements are told apart by their first word. Those that a replica may run (SELECT
//! in all its spellings, COPY … TO STDOUT, EXPLAIN) are read name by name; of all others only the
//! session effects, the transaction step and the footprint matter.

mod by_first_word;
mod modification;
mod wrapped;

pub(crate) use modification::tokens_of_modification;

use by_first_word::{other, runs_expressions, session_statement};
use modification::main_verb;

use crate::catalog::{Catalog, Unknown};
use crate::changed::Alters;
use crate::effort::Effort;
use crate::facts::{Call, Facts, Name};
use crate::reach::{self, Left, Reach};
use crate::reason::{PinReason, Reason};
use crate::resolve::{Found, Resolver};
use crate::statement::{Footprint, Kind, SessionEffect, Statement};
use crate::temporary::Temporary;
use crate::tokens::Tokens;
use crate::touches::Touches;
use crate::touches::names::query_of;
use crate::walk::{self, Text};
use crate::{builtins, doubts, effects, query};
use foldhash::HashSet;
use std::sync::Arc;

/// What a statement is looked at with.
pub(crate) struct Analysis<'a> {
    pub catalog: Option<&'a Catalog>,
    pub search_path: &'a [String],
    pub role: &'a str,
    /// Let the parser read queries, too.
    pub thorough: bool,
    /// What looking at it may cost.
    pub effort: &'a Effort,
    /// The temporary objects that the session is known to have by now.
    pub temporary: Vec<Temporary>,
}

/// A statement, and whether its classification would differ with other literals.
pub(crate) struct Analysed {
    pub statement: Statement,
    pub literals_matter: bool,
}

/// What it takes to look at the shortest statement.
const STATEMENT_STEPS: usize = 100;

/// Statements with more tokens than this are not looked into.
pub(crate) const STATEMENT_TOKENS_MAX: usize = 250_000;

impl<'a> Analysis<'a> {
    /// What the statement `tokens` would do.
    pub fn statement(&self, tokens: Tokens<'a>) -> Analysed {
        let mut analysed = match self.with_certainty(tokens) {
            Some(analysed) => analysed,
            None => self.in_doubt(tokens),
        };
        if tokens.hides_names() {
            analysed.statement.is_unclear(Reason::NotParsed);
        }
        analysed
    }

    /// Unless it comes by a name of which the catalog does not know any more what it means.
    fn with_certainty(&self, tokens: Tokens<'a>) -> Option<Analysed> {
        if self.catalog.is_some_and(|catalog| catalog.doubts().mentioned_in(tokens)) {
            return None;
        }
        let analysed = self.of_any_kind(tokens);
        (!self.effort.take_doubt()).then_some(analysed)
    }

    /// As if there were no catalog; what it changes itself stands in its text.
    fn in_doubt(&self, tokens: Tokens<'a>) -> Analysed {
        let blind = Analysis { catalog: None, temporary: self.temporary.clone(), ..*self };
        let mut analysed = blind.of_any_kind(tokens);
        if let (Some(catalog), Alters::Anything) = (self.catalog, &analysed.statement.alters) {
            let first = tokens.text(0).to_ascii_lowercase();
            let touches = self.touches(&first, tokens, catalog);
            analysed.statement.alters = touches.map_or(Alters::Anything, |touches| touches.alters);
            self.effort.take_doubt();
        }
        analysed
    }

    fn of_any_kind(&self, tokens: Tokens<'a>) -> Analysed {
        if tokens.len() > STATEMENT_TOKENS_MAX {
            return self.too_large(tokens);
        }
        let (Ok(_level), Ok(())) = (self.effort.deeper(), self.effort.take(STATEMENT_STEPS + tokens.len()))
        else {
            return literal(Statement::unknown(Kind::Other, Reason::TooComplex));
        };
        let mut word = [0u8; 16];
        let first = tokens.text(0);
        let first = match word.get_mut(..first.len()) {
            Some(buffer) => {
                buffer.copy_from_slice(first.as_bytes());
                buffer.make_ascii_lowercase();
                std::str::from_utf8(buffer).unwrap_or("")
            }
            None => "",
        };
        match first {
            "(" | "select" | "values" | "table" | "with" => self.query(tokens),
            "insert" | "update" | "delete" | "merge" => self.modification(tokens),
            "copy" => self.copy(tokens),
            "explain" => self.explain(tokens),
            "declare" => self.declare(tokens),
            "call" | "do" => self.call(tokens),
            "prepare" if !tokens.is(1, "transaction") => self.prepare(tokens),
            "lock" => literal(self.lock(tokens)),
            _ => literal(session_statement(first, tokens).unwrap_or_else(|| self.utility(first, tokens))),
        }
    }

    /// Looks names up under this analysis' scope.
    pub fn resolver<'c>(&'c self, catalog: &'c Catalog) -> Resolver<'c> {
        Resolver::new(catalog, self.search_path, self.role, self.effort)
    }

    /// A statement of which only the beginning is looked at. A long list of literals that is inserted leaves
    /// behind what its table does.
    fn too_large(&self, tokens: Tokens<'a>) -> Analysed {
        let mut analysed = self.of_any_kind(tokens.slice(0, 64));
        let statement = &mut analysed.statement;
        statement.verdict = Err(Reason::TooLarge);
        statement.reads = Footprint::Everything;
        let calls = |at| tokens.is_mark(at + 1, "(") && tokens.identifier(at).is_some();
        let lists_literals = || {
            let values = (0..tokens.len().min(64)).find(|&at| tokens.is(at, "values"));
            self.effort.take(tokens.len() / 2).is_ok()
                && values.is_some_and(|values| {
                    !(values + 1..tokens.len()).any(|at| {
                        calls(at)
                            || tokens.is_any(at, &["select", "with", "table"])
                            || tokens.is_mark(at, "::")
                    })
                })
        };
        if statement.kind != Kind::Insert || !lists_literals() {
            statement.is_unclear(Reason::TooLarge);
        }
        analysed.literals_matter = true;
        analysed
    }

    /// SELECT, VALUES, TABLE, and WITH, which may also modify.
    fn query(&self, tokens: Tokens<'a>) -> Analysed {
        let facts = query::facts(tokens, self.thorough, self.effort);
        let modifies = facts.refusal == Some(Reason::Write) && !tokens_of_modification(tokens).is_empty();
        let into = facts.refusal == Some(Reason::Write) && !modifies;
        let kind = if modifies { main_verb(tokens) } else { Kind::Select };
        let mut statement = self.checked(kind, &facts);
        if modifies {
            self.targets(tokens, &facts, &mut statement);
        } else if into {
            statement.verdict = Err(Reason::Write);
            statement.writes = Footprint::Everything;
            if (0..tokens.len()).any(|at| {
                tokens.is(at, "into") && tokens.is_any(at + 1, &["temp", "temporary", "local", "global"])
            }) || self.creates_in_temp_schema()
            {
                statement.effects.push(SessionEffect::Pin(PinReason::TemporaryTable));
                self.selects_into_temporary(tokens, &facts, &mut statement);
            }
            if let Some(catalog) = self.catalog {
                self.add(reach::reach(catalog, &[reach::Node::Ddl], self.effort), &mut statement);
            }
        }
        self.follow(&facts, tokens, &mut statement);
        Analysed { statement, literals_matter: facts.literals_matter }
    }

    /// What the statement reaches beyond what it says: relations and functions for rules, and what all of
    /// that leaves behind in the session.
    fn follow(&self, facts: &Facts<'_>, tokens: Tokens<'_>, statement: &mut Statement) {
        effects::of_builtins(facts, tokens, &mut statement.effects);
        statement.unknown |= facts.calls.iter().any(|call| reach::runs_text(&call.name.name));
        let Some(catalog) = self.catalog else {
            if !doubts::is_harmless(facts, tokens) {
                self.doubt(statement);
            }
            return;
        };
        let roots = reach::of_statement(catalog, facts, tokens, self.effort);
        self.add(reach::reach(catalog, &roots, self.effort), statement);
    }

    /// Without a catalog nobody knows what it reaches.
    fn doubt(&self, statement: &mut Statement) {
        statement.unknown = true;
        statement.writes = Footprint::Everything;
        effects::push(&mut statement.effects, SessionEffect::Pin(PinReason::NoCatalog));
        effects::push(&mut statement.effects, SessionEffect::Pin(PinReason::SequenceState));
    }

    fn add(&self, reach: Reach, statement: &mut Statement) {
        statement.unknown |= reach.unknown;
        statement.draws |= reach.left.has(Left::DRAWS);
        reach.effects().for_each(|effect| effects::push(&mut statement.effects, effect));
        for (names, more) in
            [(&mut statement.relations, reach.relations), (&mut statement.functions, reach.functions)]
        {
            if names.is_empty() {
                *names = more;
            } else {
                let known: HashSet<Arc<str>> = names.iter().cloned().collect();
                names.extend(more.into_iter().filter(|name| !known.contains(name)));
            }
        }
    }

    /// LOCK, which runs nothing, but not for everybody.
    fn lock(&self, tokens: Tokens<'a>) -> Statement {
        let mut statement = Statement::new(Kind::Maintenance, Err(Reason::Locks));
        match self.catalog {
            Some(catalog) => statement.relations = reach::names_mentioned(catalog, tokens, self.effort),
            None => statement.unknown = true,
        }
        statement
    }

    /// What changes the schema, or works on whole relations.
    fn utility(&self, first: &str, tokens: Tokens<'a>) -> Statement {
        let mut statement = other(first, tokens);
        statement.effects.extend(self.temporary_effects(first, tokens));
        let Some(catalog) = self.catalog else {
            self.doubt(&mut statement);
            return statement;
        };
        statement.relations = reach::names_mentioned(catalog, tokens, self.effort);
        let touches = self.touches_own(first, tokens).or_else(|| self.touches(first, tokens, catalog));
        if let Some(Touches { alters, writes }) = touches {
            (statement.alters, statement.writes) = (alters, writes);
        }
        if !runs_expressions(first, tokens) {
            self.add(reach::reach(catalog, &[reach::Node::Ddl], self.effort), &mut statement);
            return statement;
        }
        let facts = walk::walk(tokens, Text::Sql, self.effort);
        effects::of_builtins(&facts, tokens, &mut statement.effects);
        if let Some(at) = query_of(tokens).filter(|_| first == "create") {
            let facts = query::facts(tokens.slice(at, tokens.len()), self.thorough, self.effort);
            let mut resolver = self.resolver(catalog);
            let _ = resolver.check(&facts);
            if self.meets_strangers(&facts, &resolver) {
                effects::push(&mut statement.effects, SessionEffect::Pin(PinReason::UnknownNames));
            }
        }
        let roots = reach::of_utility(catalog, &facts, tokens, self.effort);
        self.add(reach::reach(catalog, &roots, self.effort), &mut statement);
        statement
    }

    /// The statement that a query's facts make.
    fn checked(&self, kind: Kind, facts: &Facts<'_>) -> Statement {
        let mut statement = Statement::new(kind, Err(Reason::NoCatalog));
        let Some(catalog) = self.catalog else {
            statement.verdict = Err(facts.refusal.unwrap_or(Reason::NoCatalog));
            statement.reads = Footprint::Everything;
            statement.writes = self.written_beside(facts);
            statement.functions =
                facts.calls.iter().filter(|c| c.certain()).map(|c| Arc::from(&*c.name.name)).collect();
            statement.relations = facts.relations.iter().map(Name::written).collect();
            return statement;
        };
        let mut resolver = self.resolver(catalog);
        let verdict = resolver.check(facts);
        statement.verdict = verdict.map(|()| Reason::ReadOnly);
        statement.reads = resolver.footprint();
        statement.unknown = resolver.meets_unknown;
        if self.meets_strangers(facts, &resolver) {
            statement.effects.push(SessionEffect::Pin(PinReason::UnknownNames));
        }
        statement.relations = resolver.relations;
        statement.tells_begin = resolver.tells_begin;
        statement.functions = resolver.functions;
        if statement.verdict.is_err() && facts.refusal != Some(Reason::Write) {
            statement.writes = self.written_beside(facts);
        }
        statement
    }

    /// It names what is not there, as far as the catalog goes, and what may have been made a moment ago, by somebody
    /// who did not come this way.
    fn meets_strangers(&self, facts: &Facts<'_>, resolver: &Resolver<'_>) -> bool {
        let is_stranger = |name: &Name<'_>| {
            matches!(resolver.find_relation(name), Found::No(Reason::UnknownRelation))
                && !(name.schema.is_none() && facts.ctes.contains(&name.name))
                && self.own(name).is_none()
        };
        let asks = self.catalog.is_some_and(|catalog| catalog.unknown() == Unknown::Primary);
        asks && (resolver.meets_stranger || facts.relations.iter().any(is_stranger))
    }

    /// What evaluating a statement may write beside its own targets: nothing, where all that it names is known to
    /// change no relation.
    pub fn written_beside(&self, facts: &Facts<'_>) -> Footprint {
        let Some(catalog) = self.catalog else { return calls_write(facts) };
        let mut resolver = self.resolver(catalog).of_writes();
        let is_own = |name: &&Name<'_>| self.own(name).is_some();
        let harmless = match facts.relations.iter().any(|name| is_own(&name)) {
            false => resolver.check_beside(facts).is_ok(),
            true => {
                let others = facts.relations.iter().filter(|name| !is_own(name)).cloned().collect();
                // Which of them stand behind ONLY is known by their places.
                let rest = Facts { relations: others, only: vec![], ..facts.clone() };
                let mut own = facts.relations.iter().filter(is_own);
                own.all(|name| self.is_own_to_read(name)) && resolver.check_beside(&rest).is_ok()
            }
        };
        if harmless { Footprint::none() } else { Footprint::Everything }
    }

    /// CALL and DO.
    fn call(&self, tokens: Tokens<'a>) -> Analysed {
        let mut statement = Statement::new(Kind::Call, Err(Reason::WritingFunction));
        statement.writes = Footprint::Everything;
        statement.reads = Footprint::Everything;
        if tokens.is(0, "do") {
            for at in 1..tokens.len() {
                if let Some(body) = tokens.literal(at) {
                    match self.catalog {
                        Some(catalog) if self.effort.take(STATEMENT_STEPS).is_ok() => {
                            self.add(reach::of_block(catalog, &body, self.effort), &mut statement);
                        }
                        _ => self.doubt(&mut statement),
                    }
                } else if !tokens.is(at, "language") && tokens.identifier(at).is_none() {
                    statement.unknown = true;
                    statement.effects.push(SessionEffect::Pin(PinReason::Unfollowable));
                }
            }
            return literal(statement);
        }
        let facts = walk::walk(tokens.slice(1, tokens.len()), Text::Sql, self.effort);
        statement.functions =
            facts.calls.iter().filter(|c| c.certain()).map(|c| Arc::from(&*c.name.name)).collect();
        let is_known = |name: &str| self.catalog.is_some_and(|c| c.functions(name).next().is_some());
        if !statement.functions.iter().any(|name| is_known(name)) {
            // It may have been made a moment ago, by somebody who did not come this way.
            self.doubt(&mut statement);
        }
        self.follow(&facts, tokens, &mut statement);
        Analysed { statement, literals_matter: true }
    }

    /// `search_path` puts the temporary schema first, so that CREATE makes temporary objects.
    fn creates_in_temp_schema(&self) -> bool {
        self.search_path.first().is_some_and(|s| s.starts_with("pg_temp"))
    }
}

/// What the calls in a statement may write while nothing is known of its database: nothing, as long as they are of
/// built-ins that change no relation.
pub(crate) fn calls_write(facts: &Facts<'_>) -> Footprint {
    let is_harmless = |call: &Call<'_>| {
        matches!(call.name.schema.as_deref(), None | Some("pg_catalog"))
            && builtins::writes_nothing(&call.name.name)
    };
    let harmless = facts.calls.iter().filter(|call| call.certain()).all(is_harmless);
    if harmless { Footprint::none() } else { Footprint::Everything }
}

/// Not to be shared by shape: what it does stands in its words and literals.
fn literal(statement: Statement) -> Analysed {
    Analysed { statement, literals_matter: true }
}

/// The parenthesis that closes the one at `open`; the end when none does.
pub(crate) fn matching_parenthesis(tokens: Tokens<'_>, open: usize) -> usize {
    let mut depth = 0usize;
    for at in open..tokens.len() {
        if tokens.is_mark(at, "(") {
            depth += 1;
        } else if tokens.is_mark(at, ")") {
            depth -= 1;
            if depth == 0 {
                return at;
            }
        }
    }
    tokens.len()
}
