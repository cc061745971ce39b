//! Statements that hold another one: COPY, EXPLAIN, DECLARE, PREPARE.

use super::{Analysed, Analysis, literal, matching_parenthesis, other, tokens_of_modification};
use crate::facts::Facts;
use crate::lex::TokenKind;
use crate::query;
use crate::reach;
use crate::reason::{PinReason, Reason};
use crate::resolve::{CATALOG_OID, Found};
use crate::statement::{Footprint, Kind, SessionEffect, Statement};
use crate::tokens::Tokens;

impl<'a> Analysis<'a> {
    /// COPY in all forms.
    pub(super) fn copy(&self, tokens: Tokens<'a>) -> Analysed {
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
                // A program may do anything.
                analysed.statement.writes = Footprint::Everything;
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
                _ if tokens.is(end + 1, "program") => Footprint::Everything,
                _ if self.is_own_plain_table(target) => Footprint::none(),
                _ if self.own(target).is_some() => Footprint::Everything,
                Some((catalog, Found::User(relation))) => catalog.written_with(relation, self),
                _ => Footprint::Everything,
            };
            statement.reads = Footprint::none();
        } else if !tokens.is(end, "to") || !tokens.is(end + 1, "stdout") {
            // To a file or program of the server.
            statement.verdict = Err(Reason::NodeFunction);
            statement.writes = Footprint::Everything;
        }
        let writes = tokens.is(end, "from");
        self.follow_copy(&facts, writes, tokens, &mut statement);
        Analysed { statement, literals_matter: false }
    }

    pub(super) fn follow_copy(
        &self,
        facts: &Facts<'_>,
        writes: bool,
        tokens: Tokens<'_>,
        statement: &mut Statement,
    ) {
        let Some(catalog) = self.catalog else { return self.doubt(statement) };
        let roots = match writes {
            true => reach::of_writing(catalog, &facts.relations, self.effort),
            false => reach::of_statement(catalog, facts, tokens.slice(0, 0), self.effort),
        };
        self.add(reach::reach(catalog, &roots, self.effort), statement);
    }

    /// EXPLAIN, which runs its statement only with ANALYZE.
    pub(super) fn explain(&self, tokens: Tokens<'a>) -> Analysed {
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
            statement.reads = statement.reads.union(&Footprint::Relations([CATALOG_OID].into()));
            if !explainable {
                statement.verdict = Err(Reason::NotReadOnly);
                statement.writes = Footprint::Everything;
            }
            return analysed;
        }
        // Nothing runs: what would be written, locked or left behind is not. A statement that it names must
        // be there all the same.
        let ddl = explained == Kind::Ddl;
        let left = std::mem::take(&mut statement.effects);
        statement.effects =
            left.iter().filter(|effect| matches!(effect, SessionEffect::Execute(_))).cloned().collect();
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
            // The planner works out what says that it never changes, and that may lie.
            if statement.verdict.is_err() {
                let harmless = self.resolver(catalog).planning().of_writes().check_beside(&facts).is_ok();
                statement.writes = if harmless { Footprint::none() } else { Footprint::Everything };
                statement.effects = left;
            }
        }
        // Plans hang on indexes and statistics.
        statement.reads = statement.reads.union(&Footprint::Relations([CATALOG_OID].into()));
        analysed
    }

    /// DECLARE … CURSOR.
    pub(super) fn declare(&self, tokens: Tokens<'a>) -> Analysed {
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
    pub(super) fn prepare(&self, tokens: Tokens<'a>) -> Analysed {
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
