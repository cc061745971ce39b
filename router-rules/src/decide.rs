//! (Statement, session, policy) → where it may run, and why.

use crate::classify::Classified;
use crate::hint::Consistency;
use crate::reason::{Reason, Target};
use crate::rules::{Act, Rules};
use crate::transactions::Transactions;
use std::net::IpAddr;
use std::time::Duration;

/// What the operator configured: defaults and rules.
#[derive(Debug, Default)]
pub struct Policy {
    /// The consistency level where nobody says otherwise.
    pub consistency: Consistency,
    /// How old a read may be where nobody says otherwise, by time.
    pub max_lag: Option<Duration>,
    /// How far behind a replica may be, in bytes of WAL.
    pub max_lag_bytes: Option<u64>,
    /// Where transactions run.
    pub transactions: Transactions,
    /// The rules, first match wins.
    pub rules: Rules,
}

/// What the decision needs to know of the session.
#[derive(Debug)]
pub struct SessionView<'a> {
    /// The user that logged in.
    pub user: &'a str,
    /// The database.
    pub database: &'a str,
    /// `application_name`.
    pub application_name: &'a str,
    /// Where the client comes from; `None` on a Unix socket.
    pub client_address: Option<IpAddr>,
    /// `SET pgweir.route`: `primary` or `replica`.
    pub route: Option<Target>,
    /// `SET pgweir.consistency`.
    pub consistency: Option<Consistency>,
    /// `SET pgweir.max_lag`.
    pub max_lag: Option<Duration>,
    /// `SET pgweir.transactions`.
    pub transactions: Option<Transactions>,
    /// Inside a transaction that was declared READ ONLY (and not SERIALIZABLE).
    pub read_only_transaction: bool,
    /// `default_transaction_isolation` is serializable: nothing may go to a replica.
    pub serializable: bool,
    /// The text as the client sent it (of a prepared statement: as it was prepared), for rules by
    /// regular expression.
    pub sql: &'a [u8],
}

/// Where a statement may run.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The primary, or any fresh enough replica.
    pub target: Target,
    /// Why.
    pub reason: Reason,
    /// For a replica: how fresh it must be.
    pub consistency: Consistency,
    /// For a replica: how old at most, by time.
    pub max_lag: Option<Duration>,
    /// For a replica: how far behind at most, in bytes of WAL.
    pub max_lag_bytes: Option<u64>,
    /// Whether a transaction may begin on a replica with this statement, or go on there.
    pub transactions: Transactions,
    /// For a replica: only nodes of this group.
    pub group: Option<String>,
    /// A rule refuses it: the message for the client (SQLSTATE 42501).
    pub refuse: Option<String>,
    /// A rule wants it logged: the rule's name.
    pub log: Option<String>,
}

impl Decision {
    /// For something that no client has asked for: on the primary.
    pub fn of_ours(reason: Reason, policy: &Policy) -> Self {
        Self {
            target: Target::Primary,
            reason,
            consistency: policy.consistency,
            max_lag: policy.max_lag,
            max_lag_bytes: policy.max_lag_bytes,
            transactions: Transactions::Primary,
            group: None,
            refuse: None,
            log: None,
        }
    }
}

/// Decides. Rules first, then hints and the session's own wish, then the verdict; nothing ever
/// sends to a replica what is not proved read-only.
pub fn decide(classified: &Classified, session: &SessionView<'_>, policy: &Policy) -> Decision {
    let hint = classified.hint.as_ref();
    let (target, reason) = proved(classified, session);
    let mut decision = Decision {
        target,
        reason,
        consistency: hint.and_then(|h| h.consistency).or(session.consistency).unwrap_or(policy.consistency),
        max_lag: hint.and_then(|h| h.max_lag).or(session.max_lag).or(policy.max_lag),
        max_lag_bytes: policy.max_lag_bytes,
        transactions: session.transactions.unwrap_or(policy.transactions),
        group: hint.and_then(|h| h.group.clone()),
        refuse: None,
        log: None,
    };
    let wish = hint.and_then(|h| h.target).or(session.route);
    if wish == Some(Target::Primary) && decision.target == Target::Replica {
        decision.target = Target::Primary;
        decision.reason = Reason::Hint;
    }
    if let Some(rule) = policy.rules.first_match(classified, session) {
        apply(&rule.act, &mut decision);
        decision.log = rule.act.log.then(|| rule.name.clone());
    }
    decision
}

/// What the operator ruled comes before what the application wishes. A rule for the primary is
/// obeyed; a rule for a replica overrules a hint, but never the proof.
fn apply(act: &Act, decision: &mut Decision) {
    match act.target {
        Some(Target::Primary) if decision.target == Target::Replica => {
            decision.target = Target::Primary;
            decision.reason = Reason::Rule;
        }
        Some(Target::Replica) if decision.target == Target::Replica || decision.reason == Reason::Hint => {
            decision.target = Target::Replica;
            decision.reason = Reason::Rule;
        }
        _ => {}
    }
    if act.group.is_some() {
        decision.group.clone_from(&act.group);
    }
    decision.consistency = act.consistency.unwrap_or(decision.consistency);
    decision.max_lag = act.max_lag.or(decision.max_lag);
    decision.max_lag_bytes = act.max_lag_bytes.or(decision.max_lag_bytes);
    decision.transactions = act.transactions.unwrap_or(decision.transactions);
    decision.refuse.clone_from(&act.refuse);
}

/// The target by proof alone, whatever anybody wishes.
fn proved(classified: &Classified, session: &SessionView<'_>) -> (Target, Reason) {
    if session.serializable {
        let reason = classified.verdict.err().unwrap_or(Reason::Serializable);
        return (Target::Primary, reason);
    }
    match classified.verdict {
        Ok(reason) if !session.read_only_transaction => (Target::Replica, reason),
        _ if session.read_only_transaction && classified.fits_read_only_transaction() => {
            (Target::Replica, Reason::ReadOnlyTransaction)
        }
        Ok(reason) => (Target::Replica, reason),
        Err(reason) => (Target::Primary, reason),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hint::Hint;
    use crate::rules::{Act, Rule, When};
    use crate::statement::{Footprint, Kind, Statement};

    fn classified(verdict: Result<Reason, Reason>, hint: Option<Hint>) -> Classified {
        Classified {
            statements: vec![Statement::new(Kind::Select, verdict)],
            verdict,
            reads: Footprint::none(),
            writes: Footprint::none(),
            hint,
            shape: 0,
            plain: true,
            single_query: true,
            steps: 0,
        }
    }

    fn session(route: Option<Target>) -> SessionView<'static> {
        SessionView {
            user: "app",
            database: "shop",
            application_name: "",
            client_address: None,
            route,
            consistency: Some(Consistency::Session),
            max_lag: None,
            transactions: None,
            read_only_transaction: false,
            serializable: false,
            sql: b"",
        }
    }

    fn policy(act: Act) -> Policy {
        let rule = Rule { name: "r".into(), when: When::default(), act };
        Policy { rules: Rules::new(vec![rule]), ..Policy::default() }
    }

    fn to(target: Target) -> Policy {
        policy(Act { target: Some(target), ..Act::default() })
    }

    #[test]
    fn a_rule_comes_before_a_hint_and_a_hint_before_the_verdict() {
        let read = classified(Ok(Reason::ReadOnly), None);
        let decide = |policy: &Policy, route| {
            let decision = decide(&read, &session(route), policy);
            (decision.target, decision.reason)
        };
        let none = Policy::default();
        assert_eq!(decide(&none, None), (Target::Replica, Reason::ReadOnly));
        assert_eq!(decide(&none, Some(Target::Primary)), (Target::Primary, Reason::Hint));
        assert_eq!(decide(&to(Target::Replica), None), (Target::Replica, Reason::Rule));
        assert_eq!(decide(&to(Target::Replica), Some(Target::Primary)), (Target::Replica, Reason::Rule));
        assert_eq!(decide(&to(Target::Primary), Some(Target::Replica)), (Target::Primary, Reason::Rule));
    }

    #[test]
    fn neither_rule_nor_hint_sends_a_write_to_a_replica() {
        let wish = Hint { target: Some(Target::Replica), ..Hint::default() };
        let write = classified(Err(Reason::Write), Some(wish));
        let decision = decide(&write, &session(Some(Target::Replica)), &to(Target::Replica));
        assert_eq!((decision.target, decision.reason), (Target::Primary, Reason::Write));
    }

    #[test]
    fn what_a_rule_does_not_say_is_as_if_there_were_none() {
        let hint = Hint { max_lag: Some(Duration::from_secs(2)), ..Hint::default() };
        let read = classified(Ok(Reason::ReadOnly), Some(hint));
        let act = Act {
            group: Some("analytics".into()),
            max_lag_bytes: Some(5),
            refuse: Some("no".into()),
            log: true,
            ..Act::default()
        };
        let decision = decide(&read, &session(None), &policy(act));
        assert_eq!(decision.group.as_deref(), Some("analytics"));
        assert_eq!((decision.max_lag, decision.max_lag_bytes), (Some(Duration::from_secs(2)), Some(5)));
        assert_eq!((decision.consistency, decision.reason), (Consistency::Session, Reason::ReadOnly));
        assert_eq!((decision.refuse.as_deref(), decision.log.as_deref()), (Some("no"), Some("r")));
    }
}
