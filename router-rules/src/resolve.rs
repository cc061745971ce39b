//! What the names in a statement mean under a catalog, a `search_path` and a role, and whether a
//! hot standby may run what they lead to.
//!
//! Views are expanded, functions' bodies looked into, and so are operators, casts, domains,
//! aggregates and row-level-security policies: whatever the statement would run is followed to its
//! end, or to the first thing that is not proved harmless. Where overloads could be meant that
//! differ, all of them must be harmless.

pub(crate) mod extensions;
mod functions;
mod relations;
mod types;

pub(crate) use relations::Found;

use crate::catalog::{Catalog, Function, Unknown};
use crate::effort::Effort;
use crate::facts::Facts;
use crate::lex;
use crate::reason::Reason;
use crate::statement::Footprint;
use crate::tokens::Tokens;
use crate::walk::{self, Text};
use foldhash::HashSet;
use std::borrow::Cow;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// Tokens of a view or a function body that are looked into; longer ones are not proved.
const BODY_TOKENS_MAX: usize = 20_000;

/// Keeps what was found for planning apart from what was found for running.
const PLANNING: u64 = 0x9e37_79b9_7f4a_7c15;

/// Keeps what was found for a write apart from what was found for a standby.
const WRITES: u64 = 0xbf58_476d_1ce4_e5b9;

/// The OID that stands for the system catalogs in a [`Footprint`] (that of `pg_class`).
pub const CATALOG_OID: u32 = 1259;

/// What looking into something brought to light.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Proved read-only, or why not.
    pub verdict: Result<(), Reason>,
    /// Relations that it reads; `None` when that is not known.
    pub reads: Option<Vec<u32>>,
    /// It tells when its transaction began, or which snapshot it sees.
    pub tells_begin: bool,
}

/// The part of a scope that names are resolved in.
pub(crate) struct Resolver<'a> {
    catalog: &'a Catalog,
    /// The schemas in which the names of the text at hand are looked up.
    path: Vec<Cow<'a, str>>,
    /// The `search_path` in force, `$user` kept: function bodies that set none of their own run
    /// under it, however they are reached.
    session_path: &'a [String],
    role: &'a str,
    /// Of the two fields above, for the memo.
    path_hash: u64,
    /// What looking into all this may cost.
    effort: &'a Effort,
    /// Nothing runs, it is only planned: EXPLAIN without ANALYZE. The planner evaluates IMMUTABLE
    /// and STABLE functions, but no VOLATILE ones.
    planning: bool,
    /// It runs on the primary: what counts is whether it changes a relation.
    of_writes: bool,
    /// Types that were looked into, by schema and name.
    types_seen: HashSet<(&'a str, &'a str)>,
    /// OIDs read so far; `None` once that is not known.
    pub reads: Option<Vec<u32>>,
    /// Something on the way tells when the transaction began, or which snapshot it sees.
    pub tells_begin: bool,
    /// Something that it was asked about is not known, and may lead anywhere.
    pub meets_unknown: bool,
    /// Something that it was asked about is not there at all, as far as the catalog goes.
    pub meets_stranger: bool,
    /// Names for rules.
    pub relations: Vec<Arc<str>>,
    /// Names for rules.
    pub functions: Vec<Arc<str>>,
}

impl<'a> Resolver<'a> {
    /// A resolver for a session's `search_path` and role.
    pub fn new(catalog: &'a Catalog, search_path: &'a [String], role: &'a str, effort: &'a Effort) -> Self {
        let path = search_path
            .iter()
            .map(|s| if s == "$user" { Cow::Borrowed(role) } else { Cow::Borrowed(s.as_str()) })
            .collect();
        Resolver {
            catalog,
            path,
            session_path: search_path,
            role,
            path_hash: foldhash::fast::FixedState::with_seed(7).hash_one((search_path, role)),
            effort,
            planning: false,
            of_writes: false,
            types_seen: HashSet::default(),
            reads: Some(vec![]),
            tells_begin: false,
            meets_unknown: false,
            meets_stranger: false,
            relations: vec![],
            functions: vec![],
        }
    }

    /// The same for a statement that is planned and not run.
    pub fn planning(mut self) -> Self {
        self.planning = true;
        // Outcomes differ from those of running: keep them apart in the memo.
        self.path_hash ^= PLANNING;
        self
    }

    /// The same for what runs on the primary: harmless is what changes no relation, whatever a standby may run.
    pub fn of_writes(mut self) -> Self {
        self.of_writes = true;
        self.path_hash ^= WRITES;
        self
    }

    /// A resolver for something that this one has come to.
    fn inner(&self, session_path: &'a [String], role: &'a str) -> Self {
        let mut inner = Self::new(self.catalog, session_path, role, self.effort);
        inner.planning = self.planning;
        if self.planning {
            inner.path_hash ^= PLANNING;
        }
        if self.of_writes { inner.of_writes() } else { inner }
    }

    /// Everything that the facts name must be harmless.
    pub fn check(&mut self, facts: &Facts<'_>) -> Result<(), Reason> {
        let refusal = facts.refusal.filter(|reason| !self.of_writes || *reason != Reason::Locks);
        self.check_names(facts, refusal.map_or(Ok(()), Err))
    }

    /// Beside what its own text says that it writes, nothing is written by what the facts name.
    pub fn check_beside(&mut self, facts: &Facts<'_>) -> Result<(), Reason> {
        self.check_names(facts, facts.unclear.map_or(Ok(()), Err))
    }

    fn check_names(&mut self, facts: &Facts<'_>, mut verdict: Result<(), Reason>) -> Result<(), Reason> {
        self.note(verdict);
        if facts.words.iter().any(|word| word == "current_schema") {
            self.reads_relation(CATALOG_OID);
        }
        // Go on after a refusal: the reads and the names are wanted all the same.
        let alone = |at: &usize| facts.only.binary_search(at).is_ok();
        let relations = facts.relations.iter().enumerate().map(|(at, name)| (name, alone(&at)));
        for (name, only) in each_once(relations, facts.relations.len()) {
            let outcome = self.relation(name, facts, only);
            self.note(outcome);
            verdict = verdict.and(outcome);
        }
        for call in each_once(facts.calls.iter(), facts.calls.len()) {
            let outcome = self.call(call, facts);
            self.note(outcome);
            verdict = verdict.and(outcome);
        }
        for operation in each_once(facts.operators.iter(), facts.operators.len()) {
            let outcome = self.operation(operation);
            self.note(outcome);
            verdict = verdict.and(outcome);
        }
        for name in each_once(facts.types.iter(), facts.types.len()) {
            let outcome = self.named_type(name);
            self.note(outcome);
            verdict = verdict.and(outcome);
        }
        verdict
            .and_then(|()| self.mentioned_types(facts))
            .and_then(|()| self.comparisons(facts))
            .and_then(|()| self.casts(facts))
    }

    /// What is not known may lead anywhere.
    fn note(&mut self, outcome: Result<(), Reason>) {
        self.meets_unknown |= matches!(
            outcome,
            Err(Reason::UnknownRelation
                | Reason::UnknownFunction
                | Reason::NotParsed
                | Reason::TooLarge
                | Reason::TooComplex)
        );
    }

    /// What the facts read, as a footprint.
    pub fn footprint(&self) -> Footprint {
        match &self.reads {
            Some(oids) => {
                let mut oids = oids.clone();
                oids.sort_unstable();
                oids.dedup();
                Footprint::Relations(oids.into())
            }
            None => Footprint::Everything,
        }
    }

    fn reads_relation(&mut self, oid: u32) {
        match &mut self.reads {
            Some(reads) if oid != 0 => reads.push(oid),
            // Without an OID there is no watermark to compare with.
            _ => self.reads = None,
        }
    }

    fn visible(&self, schema: &str, wanted: Option<&str>) -> bool {
        match wanted {
            Some("pg_temp") => schema.starts_with("pg_temp"),
            None if self.catalog.unknown() == Unknown::Sketch => true,
            Some(wanted) => schema == wanted,
            None => schema == "pg_catalog" || self.path.iter().any(|s| s == schema),
        }
    }

    /// Looks into an expression or query that the catalog holds, every name in it qualified.
    fn expression(&mut self, sql: &str, text: Text) -> Result<(), Reason> {
        let mut inner = self.inner(self.session_path, self.role);
        inner.path.clear();
        self.look_with(inner, sql, text)
    }

    /// Looks into the body of a function, whose names mean what they mean to whoever calls it, but
    /// for what its own SET and SECURITY DEFINER say.
    fn body(&mut self, function: &'a Function, sql: &str, text: Text) -> Result<(), Reason> {
        let path = function.search_path.as_deref().unwrap_or(self.session_path);
        let inner = self.inner(path, function.definer.as_deref().unwrap_or(self.role));
        self.look_with(inner, sql, text)
    }

    fn look_with(&mut self, mut inner: Resolver<'a>, sql: &str, text: Text) -> Result<(), Reason> {
        let _level = self.effort.look_deeper()?;
        let tokens = lex::tokenize(sql.as_bytes(), true, BODY_TOKENS_MAX).map_err(|_| Reason::NotParsed)?;
        let tokens = Tokens { sql, list: trimmed(&tokens, sql) };
        if self.catalog.doubts().mentioned_in(tokens) {
            return self.doubts();
        }
        let facts = walk::walk(tokens, text, self.effort);
        let verdict = inner.check(&facts);
        self.absorb(&Outcome { verdict, reads: inner.reads, tells_begin: inner.tells_begin });
        verdict
    }

    /// What this is has changed since the catalog was read.
    fn doubts(&self) -> Result<(), Reason> {
        self.effort.meet_doubt();
        Err(Reason::NoCatalog)
    }

    /// By this name something else may be meant than the catalog knows.
    fn is_in_doubt(&self, name: &str) -> bool {
        self.catalog.doubts().has(name)
    }

    fn absorb(&mut self, outcome: &Outcome) {
        self.tells_begin |= outcome.tells_begin;
        match (&mut self.reads, &outcome.reads) {
            (Some(reads), Some(more)) => reads.extend(more),
            (reads, _) => *reads = None,
        }
    }

    fn memoised(
        &mut self,
        oid: u32,
        look: impl FnOnce(&mut Resolver<'a>) -> Result<(), Reason>,
    ) -> Arc<Outcome> {
        let key = (oid, self.path_hash);
        if oid != 0
            && let Some(outcome) = self.catalog.memo.lock().ok().and_then(|memo| memo.get(&key).cloned())
        {
            return outcome;
        }
        let effort = self.effort;
        if oid != 0 && effort.leads_to_itself(key) {
            return Arc::new(Outcome { verdict: Ok(()), reads: Some(Vec::new()), tells_begin: false });
        }
        let level = effort.look_deeper();
        if let Err(reason) = level {
            return Arc::new(Outcome { verdict: Err(reason), reads: None, tells_begin: true });
        }
        let mut inner = self.inner(self.session_path, self.role);
        effort.enter(key);
        let verdict = look(&mut inner);
        let stands_alone = effort.leave();
        let outcome = Arc::new(Outcome { verdict, reads: inner.reads, tells_begin: inner.tells_begin });
        // What was cut off is not worth remembering: from elsewhere it may be within reach.
        if oid != 0 && stands_alone && effort.is_certain() && verdict != Err(Reason::TooLarge) {
            self.catalog.remember(key, outcome.clone());
        }
        outcome
    }
}

/// More than so many are worth the trouble of finding out which are equal.
const FEW: usize = 8;

/// What is mentioned often is looked up once.
fn each_once<T: Copy + Eq + Hash>(all: impl Iterator<Item = T>, count: usize) -> impl Iterator<Item = T> {
    let mut seen: HashSet<T> = HashSet::default();
    all.filter(move |one| count <= FEW || seen.insert(*one))
}

/// A reason found further down is told by the thing that led there, except where it says more.
fn through(by: Reason) -> impl Fn(Reason) -> Reason {
    move |inner| match inner {
        Reason::Sequence
        | Reason::AdvisoryLock
        | Reason::LargeObject
        | Reason::UnloggedRelation
        | Reason::TemporaryRelation
        | Reason::ForeignTable
        | Reason::NodeFunction
        | Reason::NodeRelation
        | Reason::Notify
        | Reason::Session
        | Reason::Locks => inner,
        _ => by,
    }
}

/// Without semicolons at the end.
fn trimmed<'t>(tokens: &'t [lex::Token], sql: &str) -> &'t [lex::Token] {
    let mut end = tokens.len();
    while end > 0 && sql.as_bytes()[tokens[end - 1].start as usize] == b';' {
        end -= 1;
    }
    &tokens[..end]
}
