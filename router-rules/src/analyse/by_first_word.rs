//! Statements that are told by their first words: of the session, of its transaction, DDL and maintenance.

use crate::changed::Alters;
use crate::effects;
use crate::reason::{PinReason, Reason};
use crate::settings;
use crate::statement::{Footprint, Kind, SessionEffect, Statement, TransactionStep};
use crate::tokens::Tokens;

/// The statements that work on the session or its transaction; `None` for all others.
pub(super) fn session_statement(first: &str, tokens: Tokens<'_>) -> Option<Statement> {
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
pub(super) fn other(first: &str, tokens: Tokens<'_>) -> Statement {
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
pub(super) fn runs_expressions(first: &str, tokens: Tokens<'_>) -> bool {
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
