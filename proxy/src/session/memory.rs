//! What a session remembers between its statements. No I/O, no clock.
//!
//! What decides where its statements may run is its [`SessionState`], the model that `pgweir route` has, too.
//! Here it is joined by what only a live session has: what the client was told, the names that it has given, what
//! it has written and read.

use crate::cluster::SessionFreshness;
use crate::cluster::underway::Write;
use crate::node::Node;
use crate::server::Reported;
use crate::server::placeholders::Placeholders;
use crate::session::doubts::{Doubts, Strangers};
use crate::session::names::{ClientStatements, SqlNames};
use crate::wire::backend::Status;
use router_rules::catalog::Catalog;
use router_rules::session::SessionState;
use router_rules::{PinReason, Reason, Scope, SessionEffect, Target};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One session's memory.
#[derive(Debug)]
pub struct Memory {
    /// What its statements have made of it: settings, transaction, pins, wishes.
    pub state: SessionState,
    /// The placeholders that it has ever set.
    pub placeholders: Placeholders,
    /// What the client was last told by ParameterStatus.
    pub told: Told,
    /// What a SQL text means for this session.
    pub scope: Arc<Scope>,
    /// The settings that `scope` was made of.
    pub scope_settings: u64,
    /// How often the client had been told something when it was made.
    pub scope_told: Option<u32>,
    /// How often catalogs had changed when `scope` was looked at last, and when that was.
    pub scope_changes: u64,
    /// The catalog is not asked for again before that.
    pub scope_until: Instant,
    /// The client's prepared statements.
    pub statements: ClientStatements,
    /// The names that it has given by SQL's PREPARE, on the server that it keeps.
    pub sql_names: SqlNames,
    /// As the server last said, or as we said in its stead.
    pub status: Status,
    /// The process id of its server that it asked for last, and when.
    pub process_asked: Option<(i32, Instant)>,
    /// What it ran while no catalog said what that leaves behind.
    pub doubts: Doubts,
    /// What has named things that the catalog does not show.
    pub strangers: Strangers,
    /// What it wrote and read.
    pub freshness: SessionFreshness,
    /// An error came since the last time the server was ready.
    pub failed: bool,
    /// `SHOW pgweir.last_route`.
    pub last_route: Option<Route>,
    /// A NOTIFY was sent in the transaction under way.
    pub notifies: bool,
    /// What it has written, while the primary works on it.
    pub(crate) writing: Option<Box<Write>>,
    /// When the first statement of the transaction under way came.
    pub began: Option<Instant>,
    /// How often acknowledged writes had been lost when it last looked.
    pub losses: u64,
}

/// The settings that a client was told of: those that all who start alike are told, which they share,
/// and what has changed for this one since.
#[derive(Debug)]
pub struct Told {
    at_start: Arc<Reported>,
    since: Vec<(Box<str>, Box<str>)>,
    changes: u32,
}

impl Told {
    /// Of a client that has just logged in.
    pub fn at_start(reported: Arc<Reported>) -> Self {
        Self { at_start: reported, since: vec![], changes: 0 }
    }

    /// Grows whenever it is told another value.
    pub fn changes(&self) -> u32 {
        self.changes
    }

    /// The value that it knows.
    pub fn get(&self, name: &str) -> Option<&str> {
        let since = self.since.iter().find(|(of, _)| &**of == name).map(|(_, value)| &**value);
        since.or_else(|| self.at_start.get(name).map(String::as_str))
    }

    /// It is told another one.
    pub fn set(&mut self, name: &str, value: &str) {
        self.changes = self.changes.wrapping_add(1);
        self.since.retain(|(of, _)| &**of != name);
        if self.at_start.get(name).is_none_or(|at_start| at_start != value) {
            self.since.push((name.into(), value.into()));
        }
    }
}

/// Where a statement went, and why: put into words only for who asks.
#[derive(Debug)]
pub struct Route {
    /// The node.
    pub node: Arc<Node>,
    /// What it was taken for.
    pub on: Target,
    /// Why.
    pub reason: Reason,
    /// How long it waited for a replica to catch up.
    pub waited: Duration,
    /// How far the node was behind the primary when it was last looked at.
    pub lag: Duration,
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Route { node, on, reason, waited, lag } = self;
        let ms = |time: &Duration| time.as_secs_f64() * 1000.0;
        write!(f, "pgweir: node={} role={on} reason={reason} ", node.name)?;
        write!(f, "waited_ms={:.1} lag_ms={:.1}", ms(waited), ms(lag))
    }
}

impl Memory {
    /// True when the session must keep its server.
    pub fn is_pinned(&self) -> bool {
        !self.state.pins.is_empty()
    }

    /// A request is about to be sent.
    pub fn before_request(&mut self) {
        self.state.before_request();
    }

    /// The request did not happen: it runs again elsewhere. See [`SessionState::take_back_request`].
    pub fn take_back_request(&mut self) {
        let was_there = self.state.take_back_request();
        if !was_there {
            self.status = Status::Idle;
        } else if self.state.block.is_deferred() {
            self.status = Status::Transaction;
        }
    }

    /// A statement with this effect gives or takes names.
    pub fn on_names(&mut self, effect: &SessionEffect) {
        match effect {
            SessionEffect::DiscardAll | SessionEffect::DeallocateAll => {
                self.statements.clear();
                self.sql_names.clear();
            }
            SessionEffect::Deallocate(name) => {
                let by_sql = self.sql_names.remove(name.as_bytes());
                let _ = !by_sql && self.statements.remove(name.as_bytes()).is_some();
            }
            SessionEffect::Prepare(name) => {
                self.sql_names.insert(name.as_bytes().into());
                self.state.pin(PinReason::SqlPrepare);
            }
            _ => {}
        }
    }

    /// At the end of the transaction other settings are in force.
    pub fn reverts_settings(&self) -> bool {
        self.state.settings.in_force() != self.state.settings.committed()
    }

    /// What a plan holds may be what its session has set, whatever that is.
    pub fn plans_hold_settings(&self) -> bool {
        let may = |catalog: &Catalog| catalog.plans_hold_settings() || !catalog.doubts().is_empty();
        self.scope.catalog.as_ref().is_none_or(|catalog| may(catalog))
    }

    /// A statement with this effect succeeded.
    pub fn on_effect(&mut self, effect: &SessionEffect) {
        self.state.on_effect(effect);
        self.placeholders.add_of_effect(effect);
        let position = match effect {
            SessionEffect::Set { name, value, local: false, .. } if name == "pgweir.min_lsn" => {
                value.as_deref().unwrap_or("")
            }
            SessionEffect::Reset { name, .. } if name == "pgweir.min_lsn" => "",
            SessionEffect::ResetAll | SessionEffect::DiscardAll => "",
            _ => return,
        };
        // Checked before it was sent.
        let _ = self.freshness.set_min_lsn(position);
    }

    /// Nothing keeps the session on its server any more: no name that SQL has given there either.
    pub fn unpin(&mut self) {
        self.state.unpin();
        self.sql_names.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_was_told_is_its_own_and_what_it_started_with_is_shared() {
        let start = Reported::from([("TimeZone".to_owned(), "UTC".to_owned())]);
        let start = Arc::new(start);
        let mut told = Told::at_start(start.clone());
        told.set("TimeZone", "Asia/Tokyo");
        told.set("application_name", "x");
        assert_eq!((told.get("TimeZone"), told.get("application_name")), (Some("Asia/Tokyo"), Some("x")));
        told.set("TimeZone", "UTC");
        assert_eq!((told.get("TimeZone"), told.since.len()), (Some("UTC"), 1));
        assert_eq!(start["TimeZone"], "UTC");
    }
}
