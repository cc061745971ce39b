//! (Statement, session, policy) → where it may run, and why.

use crate::classify::Classified;
use crate::hint::Consistency;
use crate::reason::{Reason, Target};
use crate::rules::Rules;
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
    /// For a replica: only nodes of this group.
    pub group: Option<String>,
    /// A rule refuses it: the message for the client (SQLSTATE 42501).
    pub refuse: Option<String>,
    /// A rule wants it logged.
    pub log: bool,
}

/// Decides. Rules first, then hints, then the verdict; nothing ever sends a proven write to a replica.
pub fn decide(classified: &Classified, session: &SessionView<'_>, policy: &Policy) -> Decision {
    let (target, reason) = match classified.verdict {
        Ok(_) if session.serializable => (Target::Primary, Reason::Serializable),
        Ok(reason) => (Target::Replica, reason),
        Err(reason) => (Target::Primary, reason),
    };
    Decision {
        target,
        reason,
        consistency: session.consistency.unwrap_or(policy.consistency),
        max_lag: session.max_lag.or(policy.max_lag),
        max_lag_bytes: policy.max_lag_bytes,
        group: None,
        refuse: None,
        log: false,
    }
}
