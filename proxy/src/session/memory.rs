//! What a session remembers between its statements. No I/O, no clock.

use crate::clients::welcomes::Defaults;
use crate::cluster::SessionFreshness;
use crate::cluster::underway::Write;
use crate::node::Node;
use crate::server::Reported;
use crate::server::placeholders::Placeholders;
use crate::server::settings::Track;
use crate::session::begin::begin_with;
use crate::session::doubts::Doubts;
use crate::session::moving::Moving;
use crate::session::names::{ClientStatements, SqlNames};
use crate::session::temporary::OwnTemporary;
use crate::session::wishes::Wishes;
use crate::wire::backend::Status;
use bytes::Bytes;
use router_rules::statement::{Footprint, Isolation, Statement};
use router_rules::{
    Alters, Classified, PinReason, Reason, Scope, SessionEffect, Target, TransactionModes, TransactionStep,
};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// One session's memory.
#[derive(Debug)]
pub struct Memory {
    /// Its settings, through transactions and savepoints.
    pub settings: Track,
    /// The placeholders that it has ever set.
    pub placeholders: Placeholders,
    /// What the client was last told by ParameterStatus.
    pub told: Told,
    /// `search_path` and isolation where the session has not set them.
    pub defaults: Arc<Defaults>,
    /// What a SQL text means for this session.
    pub scope: Arc<Scope>,
    /// The settings that `scope` was made of.
    pub scope_settings: u64,
    /// How often catalogs had changed when `scope` was looked at last, and when that was.
    pub scope_changes: u64,
    /// See `scope_changes`.
    pub scope_asked: Instant,
    /// The client's prepared statements.
    pub statements: ClientStatements,
    /// The names that it has given by SQL's PREPARE, on the server that it keeps.
    pub sql_names: SqlNames,
    /// The transaction block, if any.
    pub block: Block,
    /// What a move of the block to another node has to take along, and what forbids it.
    pub(crate) moving: Moving,
    /// As the server last said, or as we said in its stead.
    pub status: Status,
    /// Why the session keeps its server.
    pub pins: Vec<PinReason>,
    /// It has named a sequence, and may ask what that gave it.
    pub sequences: bool,
    /// The process id of its server that it asked for last, and when.
    pub process_asked: Option<(i32, Instant)>,
    /// What it ran while no catalog said what that leaves behind.
    pub doubts: Doubts,
    /// Something happened that may have ended what a pin is for.
    pub maybe_unpinned: bool,
    /// Something happened that may have changed what it listens to.
    pub maybe_listens: bool,
    /// What it wrote and read.
    pub freshness: SessionFreshness,
    /// What the transaction under way may have written.
    pub written: Footprint,
    /// It has done nothing but proved reads, which leave nothing behind.
    pub only_reads: bool,
    /// What it may have seen, for monotonic reads.
    pub seen: Footprint,
    /// What the transaction under way changed of the schema.
    pub altered: Alters,
    /// Its temporary objects, as far as they are known.
    pub(crate) temporary: OwnTemporary,
    /// An error came since the last time the server was ready.
    pub failed: bool,
    /// What `SET pgweir.…` asked for.
    pub wishes: Wishes,
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
}

impl Told {
    /// Of a client that has just logged in.
    pub fn at_start(reported: Arc<Reported>) -> Self {
        Self { at_start: reported, since: vec![] }
    }

    /// The value that it knows.
    pub fn get(&self, name: &str) -> Option<&str> {
        let since = self.since.iter().find(|(of, _)| &**of == name).map(|(_, value)| &**value);
        since.or_else(|| self.at_start.get(name).map(String::as_str))
    }

    /// It is told another one.
    pub fn set(&mut self, name: &str, value: &str) {
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

/// A transaction block.
#[derive(Debug, Clone, Default)]
pub enum Block {
    /// None.
    #[default]
    None,
    /// The client was told that it is in one; no server has heard of it yet.
    Deferred {
        /// The client's Query with BEGIN, to be sent ahead of the first statement.
        begin: Bytes,
        /// What it asked for.
        modes: TransactionModes,
    },
    /// On a server.
    Open {
        /// Where.
        on: Target,
        /// What it asked for.
        modes: TransactionModes,
        /// The BEGIN, in case it may go on elsewhere.
        begin: Bytes,
    },
    /// Lost with its server, which the client has not been told yet.
    Lost {
        /// How.
        says: Box<str>,
    },
    /// Lost, and the client knows: it has to end it. No server has heard of it.
    Aborted,
}

impl Memory {
    /// True when the session must keep its server.
    pub fn is_pinned(&self) -> bool {
        !self.pins.is_empty()
    }

    /// Pinned by nothing but a wish to know the server's process: nothing is lost when it ends.
    pub fn is_pinned_for_process_only(&self) -> bool {
        self.pins == [PinReason::ServerProcess]
    }

    /// Pinned by nothing that is known to be there: others who wait for a server may have it, once it has
    /// said what is left on it.
    pub fn is_pinned_softly(&self) -> bool {
        let soft = |pin: &PinReason| matches!(pin, PinReason::ServerProcess | PinReason::MayHaveChanged);
        self.is_pinned() && self.pins.iter().all(soft)
    }

    /// Pinned only until the catalog has been read.
    pub fn is_pinned_by_doubt_only(&self) -> bool {
        self.pins == [PinReason::NoCatalog]
    }

    /// Pins it.
    pub fn pin(&mut self, reason: PinReason) {
        if !self.pins.contains(&reason) {
            self.pins.push(reason);
        }
    }

    /// The transaction about to begin is SERIALIZABLE unless it says otherwise.
    pub fn default_serializable(&self) -> bool {
        let isolation = self.settings.now().value("default_transaction_isolation");
        isolation.unwrap_or(&self.defaults.isolation).eq_ignore_ascii_case("serializable")
    }

    /// The transaction about to begin is READ ONLY unless it says otherwise.
    pub fn default_read_only(&self) -> bool {
        match self.settings.now().value("default_transaction_read_only") {
            Some(value) => matches!(value.to_ascii_lowercase().as_str(), "on" | "true" | "yes" | "1"),
            None => self.defaults.read_only,
        }
    }

    /// In a block that may run on a replica: READ ONLY and not SERIALIZABLE.
    pub fn in_read_only_block(&self) -> bool {
        let modes = match &self.block {
            Block::None | Block::Lost { .. } | Block::Aborted => return false,
            Block::Deferred { modes, .. } | Block::Open { modes, .. } => modes,
        };
        let serializable = match modes.isolation {
            Some(isolation) => isolation == Isolation::Serializable,
            None => self.default_serializable(),
        };
        modes.read_only.unwrap_or_else(|| self.default_read_only()) && !serializable
    }

    /// A block on a replica whose next statement may as well see a later snapshot elsewhere.
    pub fn may_move(&self) -> bool {
        let Block::Open { on: Target::Replica, modes, .. } = &self.block else { return false };
        !self.moving.is_tied() && (self.takes_snapshots(modes) || !self.moving.has_read())
    }

    /// A block, on whatever node, that can go on elsewhere when that is lost.
    pub fn may_begin_again(&self) -> bool {
        match &self.block {
            Block::Open { on: Target::Primary, modes, .. } => {
                self.only_reads && !self.moving.is_tied() && self.takes_snapshots(modes)
            }
            _ => self.may_move(),
        }
    }

    /// In a block that was not declared READ ONLY and has not needed the primary so far.
    pub fn in_movable_block(&self) -> bool {
        match &self.block {
            Block::Deferred { modes, .. } => self.begins_movable(modes),
            Block::Open { on: Target::Replica, modes, begin } => {
                !begin.is_empty() && !self.moving.is_tied() && self.begins_movable(modes)
            }
            Block::None | Block::Open { .. } | Block::Lost { .. } | Block::Aborted => false,
        }
    }

    /// A block with these modes may read from a replica until its first write.
    pub fn begins_movable(&self, modes: &TransactionModes) -> bool {
        !modes.read_only.unwrap_or_else(|| self.default_read_only()) && self.takes_snapshots(modes)
    }

    /// A request is about to be sent.
    pub fn before_request(&mut self) {
        self.temporary.before_request();
        self.moving.before_request(!matches!(self.block, Block::None));
    }

    /// The request did not happen: it runs again elsewhere. A block that it began is forgotten; one that
    /// was there before begins again.
    pub fn take_back_request(&mut self) {
        if !self.moving.take_back_request() {
            (self.block, self.status) = (Block::None, Status::Idle);
        } else if let Block::Open { on: Target::Replica, modes, begin } = &self.block
            && !begin.is_empty()
        {
            self.block = Block::Deferred { begin: begin.clone(), modes: *modes };
            self.status = Status::Transaction;
        }
    }

    /// Each statement of a block with these modes takes a snapshot of its own.
    fn takes_snapshots(&self, modes: &TransactionModes) -> bool {
        match modes.isolation {
            Some(isolation) => !keeps_its_snapshot(isolation.as_str()),
            None => ["transaction_isolation", "default_transaction_isolation"]
                .map(|name| self.settings.now().value(name))
                .into_iter()
                .flatten()
                .chain([self.defaults.isolation.as_str()])
                .all(|isolation| !keeps_its_snapshot(isolation)),
        }
    }

    /// A statement succeeded: what it does to the transaction. `command` is the server's command tag.
    pub fn on_step(&mut self, step: &TransactionStep, command: &[u8], server: &mut Track) {
        if matches!(self.block, Block::Open { on: Target::Replica, .. }) {
            self.moving.on_step(step);
        }
        let tracks = [&mut self.settings, server];
        match step {
            TransactionStep::Begin(modes) => {
                // A second BEGIN is a warning, not a beginning. What stands before one in the same text or
                // batch belongs to the block.
                if matches!(self.block, Block::None) {
                    self.block = Block::Open { on: Target::Primary, modes: *modes, begin: Bytes::new() };
                }
            }
            TransactionStep::Commit { .. } | TransactionStep::PrepareTransaction
                if command != b"ROLLBACK" =>
            {
                tracks.into_iter().for_each(Track::on_commit);
            }
            TransactionStep::Commit { .. }
            | TransactionStep::PrepareTransaction
            | TransactionStep::Rollback { .. } => {
                tracks.into_iter().for_each(Track::on_rollback);
                self.written = Footprint::none();
                self.altered = Alters::Nothing;
                self.temporary.on_rollback();
                self.maybe_unpinned = true;
            }
            TransactionStep::Savepoint(name) => tracks.into_iter().for_each(|t| t.on_savepoint(name)),
            TransactionStep::Release(name) => tracks.into_iter().for_each(|t| t.on_release(name)),
            TransactionStep::RollbackTo(name) => {
                tracks.into_iter().for_each(|t| t.on_rollback_to(name));
                self.temporary.on_rollback();
            }
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
                self.pin(PinReason::SqlPrepare);
            }
            _ => {}
        }
    }

    /// A statement with this effect succeeded.
    pub fn on_effect(&mut self, effect: &SessionEffect) {
        self.settings.on_effect(effect);
        self.placeholders.add_of_effect(effect);
        self.temporary.on_effect(effect);
        if matches!(self.block, Block::Open { on: Target::Replica, .. }) {
            self.moving.on_effect(effect);
        }
        match effect {
            SessionEffect::Set { name, value, local: false, .. } if name.starts_with("pgweir.") => {
                // Checked before it was sent.
                let _ = self.wishes.set(name, value.as_deref());
                if name == "pgweir.min_lsn" {
                    let _ = self.freshness.set_min_lsn(value.as_deref().unwrap_or(""));
                }
            }
            SessionEffect::Reset { name, .. } if name.starts_with("pgweir.") => {
                let _ = self.wishes.set(name, None);
                if name == "pgweir.min_lsn" {
                    let _ = self.freshness.set_min_lsn("");
                }
            }
            SessionEffect::SetTransaction(asked) => {
                if let Block::Open { modes, begin, .. } = &mut self.block {
                    modes.read_only = asked.read_only.or(modes.read_only);
                    modes.isolation = asked.isolation.or(modes.isolation);
                    modes.deferrable = asked.deferrable.or(modes.deferrable);
                    if !begin.is_empty() {
                        *begin = begin_with(modes);
                    }
                }
            }
            SessionEffect::ResetAll => {
                self.wishes = Wishes::default();
                let _ = self.freshness.set_min_lsn("");
            }
            SessionEffect::DiscardAll => {
                self.wishes = Wishes::default();
                let _ = self.freshness.set_min_lsn("");
                self.sequences = false;
                self.pins.retain(|p| matches!(p, PinReason::SessionMode | PinReason::Replication));
            }
            SessionEffect::DeallocateAll | SessionEffect::Deallocate(_) => self.maybe_unpinned = true,
            SessionEffect::DiscardSome | SessionEffect::MayUnpin => self.maybe_unpinned = true,
            _ => {}
        }
    }

    /// A Parse now may see what the same Parse of another session would not: objects of its own, or
    /// settings that cannot be followed.
    pub fn sees_its_own(&self) -> bool {
        self.altered.changes_meanings()
            || self.pins.iter().any(|pin| matches!(pin, PinReason::TemporaryTable | PinReason::Unfollowable))
    }

    /// Nothing keeps the session on its server any more: no name that SQL has given there either.
    pub fn unpin(&mut self) {
        self.pins.clear();
        self.temporary = OwnTemporary::default();
        self.sql_names.clear();
    }

    /// A statement is about to be sent: what it pins, it pins even if it fails half-way.
    pub fn on_sent(&mut self, classified: &Classified, sql: &[u8]) {
        self.moving.on_sent(classified, sql);
        self.temporary.on_sent(classified);
        self.written = self.written.union(&classified.writes);
        self.seen = self.seen.union(&classified.reads);
        self.only_reads &= classified.verdict.is_ok() && (classified.plain || only_begins(classified));
        if classified.verdict.is_err() {
            // What it reads is known for certain only as far as what it writes is.
            self.seen = self.seen.union(&classified.writes);
        }
        for statement in &classified.statements {
            self.altered = self.altered.union(&statement.alters);
            for effect in &statement.effects {
                match effect {
                    // The server is kept, but reads may go elsewhere.
                    SessionEffect::Pin(PinReason::SequenceState) if statement.is_doubtful() => {
                        // It keeps its server anyway, until it is known whether it does.
                    }
                    SessionEffect::Pin(PinReason::SequenceState) => self.sequences = true,
                    SessionEffect::Pin(reason) => {
                        self.maybe_listens |= *reason == PinReason::Listen;
                        self.pin(*reason);
                    }
                    // UNLISTEN among others.
                    SessionEffect::MayUnpin => self.maybe_listens = true,
                    _ => {}
                }
            }
        }
    }
}

fn only_begins(classified: &Classified) -> bool {
    let begins = |s: &Statement| matches!(s.transaction, Some(TransactionStep::Begin(_)));
    matches!(classified.statements.as_slice(), [statement] if begins(statement) && statement.effects.is_empty())
}

/// At this isolation level all statements of a transaction see one snapshot. What is not known does.
fn keeps_its_snapshot(isolation: &str) -> bool {
    !["read committed", "read uncommitted"].iter().any(|level| isolation.eq_ignore_ascii_case(level))
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

    #[test]
    fn wishes_know_their_values() {
        assert!(Wishes::check("pgweir.consistency", "global").is_ok());
        assert!(Wishes::check("pgweir.consistency", "strong").unwrap_err().contains("eventual"));
        assert!(Wishes::check("pgweir.max_lag", "5s").is_ok());
        assert!(Wishes::check("pgweir.tracing", "on").unwrap_err().contains("unrecognized"));
    }

    #[test]
    fn a_wish_is_taken_back_by_reset() {
        let mut wishes = Wishes::default();
        wishes.set("pgweir.trace", Some("on")).unwrap();
        assert!(wishes.trace);
        wishes.set("pgweir.trace", None).unwrap();
        assert!(!wishes.trace);
    }
}
