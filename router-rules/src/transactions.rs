//! Transactions that begin on a replica: which statements may run there, and what a move takes along.
//!
//! With `until_first_write` a READ COMMITTED transaction runs on a replica until a statement needs the
//! primary. The transaction then begins again there, unseen: at that isolation level every statement
//! takes a snapshot of its own, so what has been read keeps its meaning. Three things would show the
//! move, and keep a statement on the primary: the time at which the transaction began, an object that
//! lives in the old transaction (a cursor, a portal with rows left), and a change of the session that
//! cannot be made again. Savepoints and settings can: [`Replay`] remembers them.

use crate::classify::Classified;
use crate::quote::{quote_identifier, quote_name, quote_text};
use crate::statement::{Kind, SessionEffect, Statement, TransactionStep};
use std::sync::Arc;

/// Where transactions run that were not declared READ ONLY: `routing.transactions`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transactions {
    /// On the primary from start to end.
    #[default]
    Primary,
    /// On a replica up to the first statement that needs the primary.
    UntilFirstWrite,
}

impl Transactions {
    /// The word used in the configuration and in settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Transactions::Primary => "primary",
            Transactions::UntilFirstWrite => "until_first_write",
        }
    }
}

impl std::str::FromStr for Transactions {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        match word.to_ascii_lowercase().as_str() {
            "primary" => Ok(Transactions::Primary),
            "until_first_write" => Ok(Transactions::UntilFirstWrite),
            _ => Err(()),
        }
    }
}

/// Steps that are remembered at most; a transaction with more of them stays where it is or moves early.
const STEPS_MAX: usize = 64;

/// What has to be done again, in order, when a transaction begins again on another node.
///
/// ROLLBACK TO and RELEASE leave no step: they take back or merge those before them.
#[derive(Debug, Clone, Default)]
pub struct Replay {
    steps: Vec<Step>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Savepoint(String),
    Effect(SessionEffect),
}

impl Replay {
    /// The transaction has ended.
    pub fn clear(&mut self) {
        self.steps.clear();
    }

    /// Nothing has to be done again.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// May this statement run ahead of a move? Only if what it leaves behind can be made again.
    pub fn can_take(&self, statement: &Statement) -> bool {
        let effects = statement.effects.iter().all(|effect| sql_of(effect).is_some());
        effects && self.steps.len() + statement.effects.len() < STEPS_MAX
    }

    /// A step of transaction control succeeded.
    pub fn on_step(&mut self, step: &TransactionStep) {
        let place = |steps: &[Step], name: &str| {
            steps.iter().rposition(|step| matches!(step, Step::Savepoint(of) if of == name))
        };
        match step {
            TransactionStep::Savepoint(name) => self.steps.push(Step::Savepoint(name.clone())),
            TransactionStep::RollbackTo(name) => {
                if let Some(at) = place(&self.steps, name) {
                    self.steps.truncate(at + 1);
                }
            }
            TransactionStep::Release(name) => {
                if let Some(at) = place(&self.steps, name) {
                    let kept = self.steps.split_off(at);
                    self.steps.extend(kept.into_iter().filter(|step| matches!(step, Step::Effect(_))));
                }
            }
            TransactionStep::Begin(_) => {}
            TransactionStep::Commit { .. }
            | TransactionStep::Rollback { .. }
            | TransactionStep::PrepareTransaction => self.clear(),
        }
    }

    /// A statement with this effect succeeded.
    pub fn on_effect(&mut self, effect: &SessionEffect) {
        if sql_of(effect).is_some() {
            self.steps.push(Step::Effect(effect.clone()));
        }
    }

    /// The SQL of each step, with what it does to a server's settings.
    pub fn steps(&self) -> impl Iterator<Item = (String, Redo<'_>)> {
        self.steps.iter().filter_map(|step| match step {
            Step::Savepoint(name) => {
                Some((format!("SAVEPOINT {}", quote_identifier(name)), Redo::Savepoint(name)))
            }
            Step::Effect(effect) => Some((sql_of(effect)?.to_string(), Redo::Effect(effect))),
        })
    }
}

/// One step of a [`Replay`], for whoever follows a server's settings.
#[derive(Debug, PartialEq, Eq)]
pub enum Redo<'a> {
    /// A savepoint of this name is set again.
    Savepoint(&'a str),
    /// A statement with this effect runs again.
    Effect(&'a SessionEffect),
}

/// The SQL that brings an effect about inside another transaction; `None` if nothing certainly does.
fn sql_of(effect: &SessionEffect) -> Option<Arc<str>> {
    match effect {
        SessionEffect::Set { replay, local: false, .. } => Some(replay.clone()),
        SessionEffect::Set { name, value: Some(value), local: true, .. } => {
            let (name, value) = (quote_text(name), quote_text(value));
            Some(format!("SELECT pg_catalog.set_config({name},{value},true)").into())
        }
        SessionEffect::Reset { name, local: false } => Some(format!("RESET {}", quote_name(name)).into()),
        _ => None,
    }
}

impl Classified {
    /// May it run on a replica inside a transaction that can still move to the primary?
    pub fn may_run_before_a_move(&self, replay: &Replay) -> bool {
        self.statements.iter().all(|statement| {
            let harmless = match statement.kind {
                Kind::Transaction => matches!(
                    statement.transaction,
                    Some(
                        TransactionStep::Savepoint(_)
                            | TransactionStep::Release(_)
                            | TransactionStep::RollbackTo(_)
                            | TransactionStep::Commit { chain: false }
                            | TransactionStep::Rollback { chain: false }
                    )
                ),
                Kind::Set => statement.writes.is_none() && !statement.effects.is_empty(),
                Kind::Empty => true,
                // It lives in the transaction that opened it.
                Kind::Cursor => false,
                _ => (statement.verdict.is_ok() || statement.only_sets()) && !statement.tells_begin,
            };
            harmless && !statement.asks_for_writes() && replay.can_take(statement)
        })
    }

    /// Does any of it tell the client when its transaction began, or which snapshot it sees?
    pub fn tells_begin(&self) -> bool {
        self.statements.iter().any(|statement| statement.tells_begin)
    }
}

/// Does the text hold one of the literals that date and time types read as the moment at which the
/// transaction began? Errs towards yes: a word in quotes, in a comment or in a longer literal counts.
///
/// <https://www.postgresql.org/docs/current/datatype-datetime.html#DATATYPE-DATETIME-SPECIAL-VALUES>
pub fn names_the_clock(sql: &[u8]) -> bool {
    const WORDS: [&[u8]; 4] = [b"now", b"today", b"tomorrow", b"yesterday"];
    if memchr::memchr2(b'\'', b'$', sql).is_none() {
        return false;
    }
    let begins = |at: usize| at == 0 || !sql[at - 1].is_ascii_alphabetic();
    let ends = |at: usize| sql.get(at).is_none_or(|byte| !byte.is_ascii_alphabetic());
    let is = |at: usize, word: &[u8]| {
        sql[at..].get(..word.len()).is_some_and(|part| part.eq_ignore_ascii_case(word))
            && ends(at + word.len())
    };
    memchr::memchr3_iter(b'n', b't', b'y', &sql.to_ascii_lowercase())
        .any(|at| begins(at) && WORDS.iter().any(|word| is(at, word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(name: &str, value: &str, local: bool) -> SessionEffect {
        let replay = format!("SET \"{name}\" = '{value}'").into();
        SessionEffect::Set { name: name.into(), value: Some(value.into()), replay, local }
    }

    fn sql(replay: &Replay) -> Vec<String> {
        replay.steps().map(|(sql, _)| sql).collect()
    }

    #[test]
    fn savepoints_and_settings_are_made_again_in_their_order() {
        let mut replay = Replay::default();
        replay.on_effect(&set("app.tenant", "it's", true));
        replay.on_step(&TransactionStep::Savepoint("a\"b".into()));
        replay.on_effect(&set("work_mem", "1MB", false));
        let expected = [
            "SELECT pg_catalog.set_config('app.tenant','it''s',true)",
            "SAVEPOINT \"a\"\"b\"",
            "SET \"work_mem\" = '1MB'",
        ];
        assert_eq!(sql(&replay), expected);
    }

    #[test]
    fn what_was_taken_back_is_not_made_again() {
        let mut replay = Replay::default();
        for name in ["a", "b", "a"] {
            replay.on_step(&TransactionStep::Savepoint(name.into()));
            replay.on_effect(&set("x.y", name, true));
        }
        replay.on_step(&TransactionStep::RollbackTo("b".into()));
        assert_eq!(sql(&replay).len(), 3, "{replay:?}");
        replay.on_step(&TransactionStep::Savepoint("c".into()));
        replay.on_step(&TransactionStep::Release("a".into()));
        assert_eq!(sql(&replay), ["SELECT pg_catalog.set_config('x.y','a',true)"]);
        replay.on_step(&TransactionStep::Commit { chain: false });
        assert!(replay.is_empty());
    }

    #[test]
    fn a_local_setting_without_a_known_value_cannot_move() {
        let unknown = SessionEffect::Set { name: "x".into(), value: None, replay: "".into(), local: true };
        let mut statement = Statement::new(Kind::Set, Err(crate::Reason::Session));
        statement.effects = vec![unknown];
        assert!(!Replay::default().can_take(&statement));
        statement.effects = vec![set("x", "1", true)];
        assert!(Replay::default().can_take(&statement));
    }

    #[test]
    fn the_clock_in_a_literal_is_found() {
        for text in [
            "select 'now'::timestamptz",
            "select DATE 'Tomorrow'",
            "select date $$today$$",
            "select timestamp 'yesterday 12:00'",
        ] {
            assert!(names_the_clock(text.as_bytes()), "{text}");
        }
        for text in ["select 1", "select 'known'", "select 'nowhere', 'toda'", "select now from t"] {
            assert!(!names_the_clock(text.as_bytes()), "{text}");
        }
    }
}
