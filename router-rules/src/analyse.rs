//! The tokens of one statement → what it would do.
//!
//! Postgres's statements are told apart by their first word. Those that a replica may run (SELECT
//! in all its spellings, COPY … TO STDOUT, EXPLAIN) are read name by name; of all others only the
//! session effects, the transaction step and the footprint matter.

use crate::catalog::Catalog;
use crate::changed::Alters;
use crate::effort::Effort;
use crate::facts::{Call, Facts, Name};
use crate::lex::TokenKind;
use crate::reach::{self, Left, Reach};
use crate::reason::{PinReason, Reason};
use crate::resolve::{Found, Resolver};
use crate::settings;
use crate::statement::{Footprint, Kind, SessionEffect, Statement, Temporary, TransactionStep};
use crate::tokens::Tokens;
use crate::touches::Touches;
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
            statement.writes = self.call_writes(facts);
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
        statement.relations = resolver.relations;
        statement.tells_begin = resolver.tells_begin;
        statement.functions = resolver.functions;
        if statement.verdict.is_err() {
            statement.writes = self.call_writes(facts);
            // A write through a view or foreign table is a write to anything.
            if matches!(
                statement.verdict,
                Err(Reason::WritingView | Reason::ForeignTable | Reason::WritingOperator)
            ) {
                statement.writes = Footprint::Everything;
            }
        }
        statement
    }

    /// What the calls in a statement may write: nothing, as long as only built-ins that change no
    /// relation and functions proved read-only are called.
    pub fn call_writes(&self, facts: &Facts<'_>) -> Footprint {
        let calls: HashSet<&Call<'_>> = facts.calls.iter().filter(|call| call.certain()).collect();
        let harmless = calls.into_iter().all(|call| {
            let builtin = matches!(call.name.schema.as_deref(), None | Some("pg_catalog"))
                && builtins::writes_nothing(&call.name.name);
            let user = self.catalog.is_none_or(|c| c.functions(&call.name.name).next().is_some());
            (builtin && !user) || (self.catalog.is_some() && self.call_is_harmless(call))
        });
        if harmless { Footprint::none() } else { Footprint::Everything }
    }

    fn call_is_harmless(&self, call: &Call<'_>) -> bool {
        let Some(catalog) = self.catalog else { return false };
        let facts = Facts { calls: vec![call.clone()], ..Facts::default() };
        self.resolver(catalog).check(&facts).is_ok()
    }

    /// INSERT, UPDATE, DELETE, MERGE.
    fn modification(&self, tokens: Tokens<'a>) -> Analysed {
        let facts = query::facts(tokens, self.thorough, self.effort);
        let mut statement = self.checked(main_verb(tokens), &facts);
        statement.verdict = Err(Reason::Write);
        self.targets(tokens, &facts, &mut statement);
        self.follow(&facts, tokens, &mut statement);
        Analysed { statement, literals_matter: facts.literals_matter }
    }

    /// What the data-modifying parts of a statement write, triggers and cascades included.
    fn targets(&self, tokens: Tokens<'a>, facts: &Facts<'_>, statement: &mut Statement) {
        let mut unknown = vec![];
        statement.writes = self.written(tokens, facts, &mut unknown);
        statement.unknown |= !unknown.is_empty();
        statement.relations.extend(unknown);
    }

    fn written(&self, tokens: Tokens<'a>, facts: &Facts<'_>, unknown: &mut Vec<Arc<str>>) -> Footprint {
        let Some(catalog) = self.catalog else {
            unknown.extend(
                tokens_of_modification(tokens)
                    .into_iter()
                    .filter_map(|at| Some(tokens.name(at)?.0.written())),
            );
            return Footprint::Everything;
        };
        let resolver = self.resolver(catalog);
        let written = self.call_writes(facts);
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

    /// COPY in all forms.
    fn copy(&self, tokens: Tokens<'a>) -> Analysed {
        let mut at = 1;
        if tokens.is(at, "binary") {
            at += 1;
        }
        if tokens.is_mark(at, "(") {
            let close = matching_parenthesis(tokens, at);
            let to_client = tokens.is(close + 1, "to") && tokens.is(close + 2, "stdout");
            let mut analysed = self.statement(tokens.slice(at + 1, close));
            analysed.statement.kind = Kind::Copy;
            if !to_client {
                let reason = Reason::Write;
                analysed.statement.verdict = analysed.statement.verdict.and(Err(reason));
            }
            return analysed;
        }
        let Some((name, mut end)) = tokens.name(at) else { return literal(other("copy", tokens)) };
        if tokens.is_mark(end, "(") {
            end = matching_parenthesis(tokens, end) + 1;
        }
        let facts = Facts { relations: vec![name], ..Facts::default() };
        let mut statement = self.checked(Kind::Copy, &facts);
        if tokens.is(end, "from") {
            statement.verdict = Err(Reason::Write);
            let target = &facts.relations[0];
            let resolver = self.catalog.map(|c| (c, self.resolver(c)));
            statement.writes = match resolver.as_ref().map(|(c, r)| (*c, r.find_relation(target))) {
                _ if self.is_own_plain_table(target) => Footprint::none(),
                Some((catalog, Found::User(relation))) => catalog.written_with(relation, self),
                _ => Footprint::Everything,
            };
            statement.reads = Footprint::none();
        } else if !tokens.is(end, "to") || !tokens.is(end + 1, "stdout") {
            // To a file or program of the server.
            statement.verdict = Err(Reason::NodeFunction);
        }
        let writes = tokens.is(end, "from");
        self.follow_copy(&facts, writes, tokens, &mut statement);
        Analysed { statement, literals_matter: false }
    }

    fn follow_copy(&self, facts: &Facts<'_>, writes: bool, tokens: Tokens<'_>, statement: &mut Statement) {
        let Some(catalog) = self.catalog else { return self.doubt(statement) };
        let roots = match writes {
            true => reach::of_writing(catalog, &facts.relations, self.effort),
            false => reach::of_statement(catalog, facts, tokens.slice(0, 0), self.effort),
        };
        self.add(reach::reach(catalog, &roots, self.effort), statement);
    }

    /// EXPLAIN, which runs its statement only with ANALYZE.
    fn explain(&self, tokens: Tokens<'a>) -> Analysed {
        let (analyze, from) = explain_options(tokens);
        let inner = tokens.slice(from, tokens.len());
        let mut analysed = self.statement(inner);
        // `ANALYZE 0` is not `ANALYZE 1`.
        let literal = |at| !matches!(tokens.kind(at), Some(TokenKind::Word | TokenKind::Punctuation));
        analysed.literals_matter |= (1..from.min(tokens.len())).any(literal);
        let statement = &mut analysed.statement;
        let explained = statement.kind;
        statement.kind = Kind::Explain;
        let explainable =
            matches!(explained, Kind::Select | Kind::Insert | Kind::Update | Kind::Delete | Kind::Merge);
        if analyze {
            if !explainable {
                statement.verdict = Err(Reason::NotReadOnly);
                statement.writes = Footprint::Everything;
            }
            return analysed;
        }
        // Nothing runs: what would be written, locked or left behind is not. A statement that it names must
        // be there all the same.
        let ddl = explained == Kind::Ddl;
        statement.effects.retain(|effect| matches!(effect, SessionEffect::Execute(_)));
        statement.transaction = None;
        statement.writes = Footprint::none();
        if ddl || !explainable {
            statement.verdict = Err(Reason::NotReadOnly);
            statement.writes = Footprint::Everything;
            return analysed;
        }
        if let Some(catalog) = self.catalog {
            let mut facts = query::facts(inner, self.thorough, self.effort);
            if matches!(facts.refusal, Some(Reason::Write | Reason::Locks)) {
                facts.refusal = None;
            }
            let into =
                (0..inner.len()).any(|at| inner.is(at, "into")) && tokens_of_modification(inner).is_empty();
            if into {
                facts.refuse(Reason::Write);
            }
            for at in tokens_of_modification(inner) {
                facts.relations.extend(inner.name(at).map(|(name, _)| name));
            }
            let mut resolver = self.resolver(catalog).planning();
            statement.verdict = resolver.check(&facts).map(|()| Reason::ReadOnly);
            statement.reads = resolver.footprint();
        }
        analysed
    }

    /// DECLARE … CURSOR.
    fn declare(&self, tokens: Tokens<'a>) -> Analysed {
        let Some(at) = (0..tokens.len()).find(|&at| tokens.is(at, "for")) else {
            return literal(Statement::new(Kind::Cursor, Err(Reason::Cursor)));
        };
        let hold = (0..at).any(|at| tokens.is(at, "hold") && tokens.is(at.wrapping_sub(1), "with"));
        let mut analysed = self.statement(tokens.slice(at + 1, tokens.len()));
        let statement = &mut analysed.statement;
        statement.kind = Kind::Cursor;
        if hold {
            statement.verdict = Err(Reason::Cursor);
            statement.effects.push(SessionEffect::Pin(PinReason::HoldCursor));
        }
        analysed
    }

    /// PREPARE name AS ….
    fn prepare(&self, tokens: Tokens<'a>) -> Analysed {
        let mut statement = Statement::new(Kind::Prepare, Err(Reason::Session));
        if let Some(name) = tokens.identifier(1) {
            statement.effects.push(SessionEffect::Prepare(name.into_owned()));
        }
        statement.effects.push(SessionEffect::Pin(PinReason::SqlPrepare));
        // Nobody looks at what EXECUTE runs: what that leaves behind counts from here on.
        let body = (2..tokens.len()).find(|&at| tokens.is(at, "as")).map(|at| at + 1);
        let inner = body.map(|at| self.statement(tokens.slice(at, tokens.len())).statement);
        let left = inner.map(|inner| {
            (statement.relations, statement.functions) = (inner.relations, inner.functions);
            statement.unknown = inner.unknown;
            inner.effects
        });
        for effect in left.unwrap_or_default() {
            statement.effects.push(match effect {
                SessionEffect::Pin(_) | SessionEffect::MayUnpin => effect,
                _ => SessionEffect::Pin(PinReason::Unfollowable),
            });
        }
        literal(statement)
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
                    statement.effects.push(SessionEffect::Pin(PinReason::Unfollowable));
                }
            }
            return literal(statement);
        }
        let facts = walk::walk(tokens.slice(1, tokens.len()), Text::Sql, self.effort);
        statement.functions =
            facts.calls.iter().filter(|c| c.certain()).map(|c| Arc::from(&*c.name.name)).collect();
        self.follow(&facts, tokens, &mut statement);
        Analysed { statement, literals_matter: true }
    }

    /// `search_path` puts the temporary schema first, so that CREATE makes temporary objects.
    fn creates_in_temp_schema(&self) -> bool {
        self.search_path.first().is_some_and(|s| s.starts_with("pg_temp"))
    }
}

impl Statement {
    /// A statement that touches nothing.
    pub(crate) fn new(kind: Kind, verdict: Result<Reason, Reason>) -> Self {
        Statement {
            kind,
            verdict,
            reads: Footprint::none(),
            writes: Footprint::none(),
            transaction: None,
            effects: vec![],
            relations: vec![],
            functions: vec![],
            tells_begin: false,
            unknown: false,
            draws: false,
            replaces: false,
            alters: Alters::Nothing,
        }
    }
}

impl Statement {
    /// A statement of which nothing is known: it may read and write anything, and leave anything behind.
    pub(crate) fn unknown(kind: Kind, reason: Reason) -> Self {
        let mut statement = Self::new(kind, Err(reason));
        statement.reads = Footprint::Everything;
        statement.is_unclear(reason);
        statement
    }
}

/// Not to be shared by shape: what it does stands in its words and literals.
fn literal(statement: Statement) -> Analysed {
    Analysed { statement, literals_matter: true }
}

/// The statements that work on the session or its transaction; `None` for all others.
fn session_statement(first: &str, tokens: Tokens<'_>) -> Option<Statement> {
    let effect = |kind, reason, effects: Vec<SessionEffect>| {
        let mut statement = Statement::new(kind, Err(reason));
        statement.effects = effects;
        Some(statement)
    };
    let name = |at: usize| tokens.identifier(at).map(|n| n.into_owned()).unwrap_or_default();
    let not_understood = || vec![SessionEffect::Pin(PinReason::Unfollowable)];
    use SessionEffect::{MayUnpin, Pin};
    match first {
        "set" => effect(Kind::Set, Reason::Session, settings::set(tokens).unwrap_or_else(not_understood)),
        "reset" => effect(
            Kind::Set,
            Reason::Session,
            settings::reset(tokens).map_or_else(not_understood, |e| vec![e]),
        ),
        "show" => effect(Kind::Show, Reason::Show, vec![]),
        "discard" if tokens.is(1, "all") => {
            effect(Kind::Set, Reason::Session, vec![SessionEffect::DiscardAll])
        }
        "discard" => effect(Kind::Set, Reason::Session, vec![SessionEffect::DiscardSome, MayUnpin]),
        "execute" => {
            let mut statement = Statement::new(Kind::Prepare, Err(Reason::Session));
            statement.effects = vec![SessionEffect::Execute(name(1))];
            statement.reads = Footprint::Everything;
            statement.writes = Footprint::Everything;
            Some(statement)
        }
        "deallocate" => {
            let at = 1 + usize::from(tokens.is(1, "prepare"));
            let what = if tokens.is(at, "all") {
                SessionEffect::DeallocateAll
            } else {
                SessionEffect::Deallocate(name(at))
            };
            effect(Kind::Prepare, Reason::Session, vec![what, MayUnpin])
        }
        "listen" => effect(Kind::Notify, Reason::Notify, vec![Pin(PinReason::Listen)]),
        "unlisten" => effect(Kind::Notify, Reason::Notify, vec![MayUnpin]),
        "notify" => effect(Kind::Notify, Reason::Notify, vec![]),
        "load" => effect(Kind::Other, Reason::Session, vec![Pin(PinReason::Load)]),
        "fetch" | "move" => effect(Kind::Cursor, Reason::Cursor, vec![]),
        "close" => effect(Kind::Cursor, Reason::Cursor, vec![MayUnpin]),
        _ => transaction_statement(first, tokens),
    }
}

/// Transaction control; `None` for all else.
fn transaction_statement(first: &str, tokens: Tokens<'_>) -> Option<Statement> {
    let noise = 1 + usize::from(tokens.is_any(1, &["work", "transaction"]));
    let chain = tokens.is(noise, "and") && tokens.is(noise + 1, "chain");
    let name = |at: usize| tokens.identifier(at).map(|n| n.into_owned()).unwrap_or_default();
    let step = match first {
        "begin" => TransactionStep::Begin(settings::modes(tokens, 1)),
        "start" if tokens.is(1, "transaction") => TransactionStep::Begin(settings::modes(tokens, 2)),
        "commit" | "rollback" if tokens.is(1, "prepared") => {
            let mut statement = Statement::new(Kind::Transaction, Err(Reason::Transaction));
            statement.writes = Footprint::Everything;
            return Some(statement);
        }
        "commit" | "end" => TransactionStep::Commit { chain },
        "rollback" if tokens.is(noise, "to") => {
            TransactionStep::RollbackTo(name(noise + 1 + usize::from(tokens.is(noise + 1, "savepoint"))))
        }
        "rollback" | "abort" => TransactionStep::Rollback { chain },
        "savepoint" => TransactionStep::Savepoint(name(1)),
        "release" => TransactionStep::Release(name(1 + usize::from(tokens.is(1, "savepoint")))),
        "prepare" => TransactionStep::PrepareTransaction,
        _ => return None,
    };
    let mut statement = Statement::new(Kind::Transaction, Err(Reason::Transaction));
    statement.transaction = Some(step);
    Some(statement)
}

/// DDL, maintenance, and what Postgres has no such word for.
fn other(first: &str, tokens: Tokens<'_>) -> Statement {
    let kind = match first {
        "create" | "alter" | "drop" | "grant" | "revoke" | "comment" | "security" | "import" | "reassign" => {
            Kind::Ddl
        }
        "vacuum" | "analyze" | "analyse" | "reindex" | "cluster" | "checkpoint" | "truncate" | "refresh"
        | "repack" => Kind::Maintenance,
        _ => Kind::Other,
    };
    let reason = match kind {
        Kind::Ddl | Kind::Maintenance => Reason::Ddl,
        _ => Reason::NotParsed,
    };
    let mut statement = Statement::new(kind, Err(reason));
    statement.reads = Footprint::Everything;
    statement.writes = Footprint::Everything;
    if kind == Kind::Ddl {
        statement.alters = Alters::Anything;
    }
    statement.replaces = kind == Kind::Ddl && (first != "create" || tokens.is(1, "or"));
    match first {
        "create" => {
            let temporary = (1..tokens.len().min(8))
                .any(|at| tokens.is_any(at, &["temp", "temporary"]) && !tokens.is_mark(at + 1, "."))
                || (1..tokens.len().min(12)).any(|at| {
                    tokens.identifier(at).is_some_and(|n| n.starts_with("pg_temp"))
                        && tokens.is_mark(at + 1, ".")
                });
            if temporary {
                statement.effects.push(SessionEffect::Pin(PinReason::TemporaryTable));
                let drops = (0..tokens.len()).any(|at| tokens.is(at, "commit") && tokens.is(at + 1, "drop"));
                if drops {
                    statement.effects.push(SessionEffect::MayUnpin);
                }
            }
            // CREATE TABLE … AS EXECUTE name.
            let executes = (2..tokens.len()).find(|&at| tokens.is(at - 1, "as") && tokens.is(at, "execute"));
            if let Some(name) = executes.and_then(|at| tokens.identifier(at + 1)) {
                statement.effects.push(SessionEffect::Execute(name.into_owned()));
            }
        }
        "drop" => statement.effects.push(SessionEffect::MayUnpin),
        _ if kind == Kind::Other => statement.effects.extend(effects::suspicious(tokens)),
        _ => {}
    }
    statement
}

/// True for DDL and maintenance that may evaluate what stands in it, or what belongs to the relations that
/// it names. The rest runs event triggers only.
fn runs_expressions(first: &str, tokens: Tokens<'_>) -> bool {
    const MAKES_ONLY: [&str; 18] = [
        "function",
        "procedure",
        "trigger",
        "event",
        "aggregate",
        "operator",
        "cast",
        "view",
        "rule",
        "policy",
        "sequence",
        "type",
        "role",
        "user",
        "database",
        "server",
        "publication",
        "subscription",
    ];
    match first {
        "create" => {
            let at = if tokens.is(1, "or") { 3 } else { 1 };
            let at = at + usize::from(tokens.is_any(at, &["constraint", "recursive", "temp", "temporary"]));
            let fills = (at..tokens.len()).any(|at| tokens.is(at, "as") || tokens.is_mark(at, "("));
            !tokens.is_any(at, &MAKES_ONLY) && fills
        }
        "alter" => tokens.is_any(1, &["table", "domain", "materialized", "foreign"]),
        "drop" | "comment" | "grant" | "revoke" | "security" | "reassign" | "checkpoint" => false,
        _ => true,
    }
}

/// Where EXPLAIN's options end, and whether ANALYZE is in effect (the last mention counts).
fn explain_options(tokens: Tokens<'_>) -> (bool, usize) {
    let mut analyze = false;
    let mut at = 1;
    let begins_query = |at| {
        tokens.is_any(at, &["select", "with", "table"])
            || tokens.is_mark(at, "(")
            || (tokens.is(at, "values") && tokens.is_mark(at + 1, "("))
    };
    if tokens.is_mark(at, "(") && !begins_query(at + 1) {
        let close = matching_parenthesis(tokens, at);
        while at < close {
            let named = tokens.identifier(at);
            if matches!(named.as_deref(), Some("analyze" | "analyse"))
                && (tokens.is_mark(at - 1, "(") || tokens.is_mark(at - 1, ","))
            {
                // Anything that is not plainly off counts as on.
                let off = tokens.is_any(at + 1, &["false", "off"]) || tokens.text(at + 1) == "0" || {
                    matches!(
                        tokens.literal(at + 1).map(|v| v.to_ascii_lowercase()).as_deref(),
                        Some("false" | "off" | "0")
                    )
                };
                analyze = !off;
            }
            at += 1;
        }
        return (analyze, close + 1);
    }
    while tokens.is_any(at, &["analyze", "analyse", "verbose"]) {
        analyze |= !tokens.is(at, "verbose");
        at += 1;
    }
    (analyze, at)
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
fn main_verb(tokens: Tokens<'_>) -> Kind {
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
