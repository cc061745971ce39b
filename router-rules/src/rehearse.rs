//! Where the texts of one session would go, one after the other, without a server.
//!
//! A session's memory in small: settings that decide how names resolve, the transaction, pins. It
//! serves `pgweir route` and the tests; the proxy itself keeps a richer session.

use crate::catalog::Catalog;
use crate::classify::{Classified, Classifier, Scope};
use crate::decide::{Policy, SessionView, decide};
use crate::reason::{Reason, Target};
use crate::statement::{Isolation, Kind, SessionEffect, Statement, TransactionModes, TransactionStep};
use std::sync::Arc;

/// A session that is only thought of.
#[derive(Debug)]
pub struct Rehearsal<'a> {
    classifier: &'a Classifier,
    policy: &'a Policy,
    scope: Scope,
    user: String,
    database: String,
    transaction: Option<TransactionModes>,
    default_serializable: bool,
    default_read_only: bool,
    route: Option<Target>,
    pinned: bool,
}

/// The step that decides for a whole sequence: the first one for the primary, where steps that work
/// on the session alone count only when there are no others.
pub fn worst(steps: &[Step]) -> Option<&Step> {
    let all_neutral = steps.iter().all(|s| s.neutral);
    let mut counted = steps.iter().filter(|s| all_neutral || !s.neutral);
    counted.clone().find(|s| s.target == Target::Primary).or_else(|| counted.next())
}

/// Where one text would go.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where to.
    pub target: Target,
    /// Why.
    pub reason: Reason,
    /// It works on the session alone (SET, BEGIN, …), so that its target says little.
    pub neutral: bool,
    /// What the text would do.
    pub classified: Arc<Classified>,
}

impl<'a> Rehearsal<'a> {
    /// A new session of `user` in `database`.
    pub fn new(
        classifier: &'a Classifier,
        policy: &'a Policy,
        catalog: Option<Arc<Catalog>>,
        user: &str,
        database: &str,
    ) -> Self {
        let search_path = vec!["$user".to_string(), "public".to_string()];
        Self {
            classifier,
            policy,
            scope: Scope::new(catalog, search_path, user.to_string(), true),
            user: user.to_string(),
            database: database.to_string(),
            transaction: None,
            default_serializable: false,
            default_read_only: false,
            route: None,
            pinned: false,
        }
    }

    /// Runs one text in thought.
    pub fn step(&mut self, sql: &str) -> Step {
        let classified = self.classifier.classify(sql.as_bytes(), &self.scope);
        let was_pinned = self.pinned;
        let neutral = classified.statements.iter().all(works_on_session_only);
        let begins = self.transaction.is_none()
            && classified.statements.iter().any(|s| matches!(s.transaction, Some(TransactionStep::Begin(_))));
        let before = self.transaction;
        for statement in &classified.statements {
            self.remember(statement);
        }
        let transaction = if begins { self.transaction } else { before };
        let (target, reason) = self.decide(&classified, sql, transaction, was_pinned);
        Step { target, reason, neutral, classified }
    }

    fn decide(
        &self,
        classified: &Classified,
        sql: &str,
        transaction: Option<TransactionModes>,
        pinned: bool,
    ) -> (Target, Reason) {
        if pinned {
            return (Target::Primary, Reason::Pinned);
        }
        let read_only = transaction.is_some_and(|t| t.read_only.unwrap_or(self.default_read_only));
        let serializable = match transaction.and_then(|t| t.isolation) {
            Some(isolation) => isolation == Isolation::Serializable,
            None => self.default_serializable,
        };
        if transaction.is_some() && !read_only {
            return (Target::Primary, Reason::Transaction);
        }
        let view = SessionView {
            user: &self.user,
            database: &self.database,
            application_name: "",
            client_address: None,
            route: self.route,
            consistency: None,
            transactions: None,
            max_lag: None,
            read_only_transaction: read_only,
            serializable,
            sql: sql.as_bytes(),
        };
        let decision = decide(classified, &view, self.policy);
        (decision.target, decision.reason)
    }

    fn remember(&mut self, statement: &Statement) {
        match &statement.transaction {
            Some(TransactionStep::Begin(modes)) => {
                self.transaction.get_or_insert(*modes);
            }
            Some(TransactionStep::Commit { chain } | TransactionStep::Rollback { chain }) if !chain => {
                self.transaction = None
            }
            Some(TransactionStep::PrepareTransaction) => self.transaction = None,
            _ => {}
        }
        for effect in &statement.effects {
            self.effect(effect);
        }
    }

    fn effect(&mut self, effect: &SessionEffect) {
        match effect {
            SessionEffect::Set { name, value, .. } => self.set(name, value.as_deref()),
            SessionEffect::Reset { name, .. } => self.set(name, None),
            SessionEffect::ResetAll | SessionEffect::DiscardAll => {
                for name in [
                    "search_path",
                    "default_transaction_isolation",
                    "default_transaction_read_only",
                    "pgweir.route",
                ] {
                    self.set(name, None);
                }
                if *effect == SessionEffect::DiscardAll {
                    self.set("role", None);
                    self.pinned = false;
                }
            }
            SessionEffect::SetTransaction(modes) => {
                if let Some(transaction) = &mut self.transaction {
                    transaction.read_only = modes.read_only.or(transaction.read_only);
                    transaction.isolation = modes.isolation.or(transaction.isolation);
                }
            }
            SessionEffect::Pin(_) => self.pinned = true,
            _ => {}
        }
    }

    fn set(&mut self, name: &str, value: Option<&str>) {
        let scope = &self.scope;
        let remake = |path: Vec<String>, role: String, conforming: bool| {
            Scope::new(scope.catalog.clone(), path, role, conforming)
        };
        match (name, value) {
            ("search_path", value) => {
                let path = split_list(value.unwrap_or("\"$user\", public"));
                self.scope = remake(path, scope.role.clone(), scope.standard_conforming_strings);
            }
            ("role" | "session_authorization", value) => {
                let role = value.filter(|v| *v != "none").unwrap_or(&self.user).to_string();
                self.scope = remake(scope.search_path.clone(), role, scope.standard_conforming_strings);
            }
            ("standard_conforming_strings", value) => {
                let on = value.is_none_or(is_on);
                self.scope = remake(scope.search_path.clone(), scope.role.clone(), on);
            }
            ("default_transaction_isolation", value) => {
                self.default_serializable = value.is_some_and(|v| v.eq_ignore_ascii_case("serializable"));
            }
            ("default_transaction_read_only", value) => self.default_read_only = value.is_some_and(is_on),
            ("transaction_isolation", Some(value)) => {
                let isolation = value.eq_ignore_ascii_case("serializable").then_some(Isolation::Serializable);
                self.effect(&SessionEffect::SetTransaction(TransactionModes {
                    isolation,
                    ..TransactionModes::default()
                }));
            }
            ("transaction_read_only", Some(value)) => {
                let read_only = Some(is_on(value));
                self.effect(&SessionEffect::SetTransaction(TransactionModes {
                    read_only,
                    ..TransactionModes::default()
                }));
            }
            ("pgweir.route", value) => {
                self.route = match value {
                    Some("primary") => Some(Target::Primary),
                    Some("replica") => Some(Target::Replica),
                    _ => None,
                };
            }
            _ => {}
        }
    }
}

/// SET, BEGIN, COMMIT and their like: they go wherever the statements beside them go.
fn works_on_session_only(statement: &Statement) -> bool {
    let followable = statement.effects.iter().all(|e| !matches!(e, SessionEffect::Pin(_)));
    followable
        && (matches!(statement.kind, Kind::Set | Kind::Empty)
            || (statement.kind == Kind::Transaction
                && statement.transaction.is_some()
                && statement.transaction != Some(TransactionStep::PrepareTransaction)))
}

/// Postgres's spellings of a boolean that mean on.
fn is_on(value: &str) -> bool {
    matches!(
        value.to_ascii_lowercase().as_str(),
        "on" | "true" | "t" | "yes" | "y" | "1" | "tr" | "tru" | "ye"
    )
}

/// A list of identifiers as `search_path` holds it: split at commas, unquoted, folded.
pub fn split_list(value: &str) -> Vec<String> {
    let mut names = vec![];
    let mut rest = value.trim_start();
    while !rest.is_empty() {
        let (name, end) = if let Some(quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            let mut chars = quoted.char_indices().peekable();
            let mut end = quoted.len();
            while let Some((at, c)) = chars.next() {
                if c != '"' {
                    name.push(c);
                } else if chars.next_if(|(_, next)| *next == '"').is_some() {
                    name.push('"');
                } else {
                    end = at + 1;
                    break;
                }
            }
            (name, end + 1)
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            (rest[..end].trim().to_ascii_lowercase(), end)
        };
        if !name.is_empty() {
            names.push(name);
        }
        rest = rest.get(end..).unwrap_or("").trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_path_is_split_as_postgres_splits_it() {
        assert_eq!(split_list("\"$user\", public"), ["$user", "public"]);
        assert_eq!(split_list("App,\"My, \"\"S\""), ["app", "My, \"S"]);
        assert_eq!(split_list("").len(), 0);
    }
}
