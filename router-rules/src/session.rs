//! What a session of Postgres is, as far as that decides where its next statement may run and what it means.
//!
//! Pure: no I/O, no clock. Live sessions, `pgweir route`, the console's ROUTE, the audit and the tests of the
//! corpus all ask this one model, so that they cannot disagree.

pub mod block;
pub mod context;
mod decide;
mod defaults;
mod lasting;
mod moving;
mod own_temporary;
pub mod pins;
pub mod settings;
mod track;
pub mod wishes;

use block::begin_on_replica;
pub use block::{Block, begin_with};
pub use decide::{Asked, Decided, Held, Who};
pub use defaults::Defaults;
pub use moving::Moving;
pub use own_temporary::OwnTemporary;
pub use pins::{Pin, Pins};
pub use settings::Settings;
pub use track::Track;
pub use wishes::Wishes;

use crate::catalog::Catalog;
use crate::changed::Alters;
use crate::classify::{Classified, Scope};
use crate::encoding::Encoding;
use crate::lex::cut_name;
use crate::quote::{is_on, split_names};
use crate::reason::{PinReason, Target};
use crate::session::lasting::Lasting;
use crate::statement::{Footprint, Isolation, SessionEffect, Statement, TransactionModes, TransactionStep};
use std::sync::Arc;

/// One session.
#[derive(Debug)]
pub struct SessionState {
    /// Its settings, through transactions and savepoints.
    pub settings: Track,
    /// What holds where the session sets nothing.
    pub defaults: Arc<Defaults>,
    /// The transaction block, if any.
    pub block: Block,
    /// What a move of the block to another node has to take along, and what forbids it.
    pub moving: Moving,
    /// Why the session keeps its server.
    pub pins: Pins,
    /// Its temporary objects, as far as they are known.
    pub temporary: OwnTemporary,
    /// What `SET pgweir.…` asked for.
    pub wishes: Wishes,
    /// What the transaction under way may have written.
    pub written: Footprint,
    /// What the session may have seen, for monotonic reads.
    pub seen: Footprint,
    /// What the transaction under way changed of the schema.
    pub altered: Alters,
    /// What of it outlives a failure.
    lasting: Lasting,
    /// Only the server knows along which path names are looked up from here on, or as whom.
    hides_meanings: bool,
    /// It has done nothing but proved reads, which leave nothing behind.
    pub only_reads: bool,
}

impl SessionState {
    /// A session that starts with these settings.
    pub fn new(settings: Settings, defaults: Arc<Defaults>, wishes: Wishes) -> Self {
        Self {
            settings: Track::starting_with(settings),
            defaults,
            block: Block::None,
            moving: Moving::default(),
            pins: Pins::default(),
            temporary: OwnTemporary::default(),
            wishes,
            written: Footprint::none(),
            seen: Footprint::none(),
            altered: Alters::Nothing,
            lasting: Lasting::Nothing,
            hides_meanings: false,
            only_reads: true,
        }
    }

    /// The transaction about to begin is SERIALIZABLE unless it says otherwise.
    pub fn default_serializable(&self) -> bool {
        let isolation = self.settings.now().value("default_transaction_isolation");
        isolation.unwrap_or(&self.defaults.isolation).eq_ignore_ascii_case("serializable")
    }

    /// The transaction about to begin is READ ONLY unless it says otherwise.
    pub fn default_read_only(&self) -> bool {
        self.settings.now().value("default_transaction_read_only").map_or(self.defaults.read_only, is_on)
    }

    /// In a block that may run on a replica: READ ONLY and not SERIALIZABLE.
    pub fn in_read_only_block(&self) -> bool {
        let Some(modes) = self.block.modes() else { return false };
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

    /// In a block on its way to the primary, or there, whose next read a replica could serve as well.
    pub fn could_read_elsewhere(&self) -> bool {
        match &self.block {
            Block::Open { on: Target::Primary, .. } => self.may_begin_again(),
            _ => self.in_movable_block(),
        }
    }

    /// In a block that was not declared READ ONLY and has not needed the primary so far.
    pub fn in_movable_block(&self) -> bool {
        match &self.block {
            Block::Deferred { modes, .. } => self.begins_movable(modes),
            Block::Open { on: Target::Replica, modes, begin: Some(_) } => {
                !self.moving.is_tied() && self.begins_movable(modes)
            }
            _ => false,
        }
    }

    /// A block with these modes may read from a replica until its first write.
    pub fn begins_movable(&self, modes: &TransactionModes) -> bool {
        !modes.read_only.unwrap_or_else(|| self.default_read_only()) && self.takes_snapshots(modes)
    }

    /// Each statement of a block with these modes takes a snapshot of its own.
    fn takes_snapshots(&self, modes: &TransactionModes) -> bool {
        match modes.isolation {
            Some(isolation) => !keeps_its_snapshot(isolation.as_str()),
            None => ["transaction_isolation", "default_transaction_isolation"]
                .map(|name| self.settings.in_force().value(name))
                .into_iter()
                .flatten()
                .chain([self.defaults.isolation.as_str()])
                .all(|isolation| !keeps_its_snapshot(isolation)),
        }
    }

    /// A Parse now may see what the same Parse of another session would not: objects of its own, or
    /// settings that cannot be followed.
    pub fn sees_its_own(&self) -> bool {
        self.altered.changes_meanings() || self.pins.hide()
    }

    /// What a text means under these settings, for a session of `user`. Its `id` is still to be worked out.
    pub fn scope(
        &self,
        catalog: Option<Arc<Catalog>>,
        settings: &Settings,
        user: &str,
        encoding: Encoding,
    ) -> Scope {
        let search_path = settings.value("search_path").unwrap_or(&self.defaults.search_path);
        let role = match settings.value("role") {
            Some(role) if !role.eq_ignore_ascii_case("none") => role,
            _ => settings.value("session_authorization").unwrap_or(user),
        };
        Scope {
            id: 0,
            catalog,
            search_path: split_names(search_path),
            role: cut_name(role).to_owned(),
            standard_conforming_strings: is_conforming(settings, true),
            encoding,
            temporary: self.temporary.known().clone(),
        }
    }

    /// A request is about to be sent.
    pub fn before_request(&mut self) {
        self.temporary.before_request();
        self.hides_meanings &= self.block.is_there();
        self.moving.before_request(self.block.is_there());
    }

    /// The request did not happen: it runs again elsewhere. A block that it began is forgotten; one that
    /// was there before begins again. True if one was.
    pub fn take_back_request(&mut self) -> bool {
        let was_there = self.moving.take_back_request();
        if !was_there {
            self.block = Block::None;
        } else if matches!(self.block, Block::Open { on: Target::Replica, .. })
            && let Some(deferred) = self.block.before_server()
        {
            self.block = deferred;
        }
        was_there
    }

    /// [Ordinary reads](Classified::is_ordinary_read) are about to be sent, which see `seen` together.
    pub fn on_sent_reads<'a, T: AsRef<[u8]> + 'a>(
        &mut self,
        reads: impl Iterator<Item = (&'a Arc<Classified>, &'a T)>,
        seen: &Footprint,
    ) {
        reads.for_each(|(classified, sql)| self.moving.on_sent(classified, sql.as_ref()));
        self.seen = if self.hides_meanings() { Footprint::Everything } else { self.seen.union(seen) };
    }

    /// Only the server knows along which path names are looked up, or as whom.
    fn hides_meanings(&self) -> bool {
        self.hides_meanings || self.pins.has(PinReason::Unfollowable) || self.pins.may_have_changed()
    }

    /// A text is about to be sent: what it pins, it pins even if it fails half-way.
    pub fn on_sent(&mut self, classified: &Classified, sql: &[u8]) {
        self.moving.on_sent(classified, sql);
        self.temporary.on_sent(classified);
        if self.hides_meanings() && classified.statements.iter().any(Statement::looks_names_up) {
            (self.written, self.seen) = (Footprint::Everything, Footprint::Everything);
        }
        self.hides_meanings |=
            classified.statements.iter().flat_map(|s| &s.effects).any(SessionEffect::hides_meanings)
                || (self.pins.has(PinReason::TemporaryTable) && lasting::may_undo(classified));
        self.written = self.written.union(&classified.writes);
        self.lasting = self.lasting.max(Lasting::of(classified, self.block.is_there()));
        self.seen = self.seen.union(&classified.reads);
        self.only_reads &= classified.verdict.is_ok() && (classified.plain || only_begins(classified));
        if classified.verdict.is_err() {
            // What it reads is known for certain only as far as what it writes is.
            self.seen = self.seen.union(&classified.writes);
        }
        for statement in &classified.statements {
            self.altered = self.altered.union(&statement.alters);
            let in_doubt = statement.is_doubtful();
            statement.effects.iter().for_each(|effect| self.pins.on_sent(effect, in_doubt));
        }
    }

    /// The client's BEGIN that no server has heard of goes to this one. What is to be sent.
    pub fn open_deferred(&mut self, on: Target) -> Option<Arc<str>> {
        let Block::Deferred { begin, modes } = &self.block else { return None };
        let (begin, modes) = (begin.clone(), *modes);
        self.block = Block::Open { on, modes, begin: Some(begin.clone()) };
        match on {
            Target::Primary => Some(begin),
            Target::Replica => Some(begin_on_replica(&modes)),
        }
    }

    /// A statement succeeded on a server of this kind: what it does to the transaction. `command` is the
    /// server's command tag, `server` its settings.
    pub fn on_step(&mut self, step: &TransactionStep, command: &[u8], on: Target, server: &mut Track) {
        if matches!(self.block, Block::Open { on: Target::Replica, .. }) {
            self.moving.on_step(step);
        }
        let tracks = [&mut self.settings, server];
        match step {
            // A second BEGIN is a warning, not a beginning. What stands before one in the same text or
            // batch belongs to the block.
            TransactionStep::Begin(modes) => match &mut self.block {
                Block::None => {
                    // Sent by the extended protocol; should the block have to go on elsewhere, this begins it.
                    let begin = (on == Target::Replica).then(|| begin_with(modes));
                    self.block = Block::Open { on, modes: *modes, begin };
                }
                Block::Open { on: where_it_is, modes, begin } => {
                    *where_it_is = on;
                    if on == Target::Replica && begin.is_none() {
                        *begin = Some(begin_with(modes));
                    }
                }
                _ => {}
            },
            TransactionStep::Commit { .. } | TransactionStep::PrepareTransaction
                if command != b"ROLLBACK" =>
            {
                tracks.into_iter().for_each(Track::on_commit);
                self.pins.on_commit();
            }
            TransactionStep::Commit { .. }
            | TransactionStep::PrepareTransaction
            | TransactionStep::Rollback { .. } => {
                tracks.into_iter().for_each(Track::on_rollback);
                self.undo();
            }
            TransactionStep::Savepoint(name) => tracks.into_iter().for_each(|t| t.on_savepoint(name)),
            TransactionStep::Release(name) => tracks.into_iter().for_each(|t| t.on_release(name)),
            TransactionStep::RollbackTo(name) => {
                tracks.into_iter().for_each(|t| t.on_rollback_to(name));
                self.temporary.on_rollback();
            }
        }
        self.wishes.follow(self.settings.in_force());
    }

    /// The server is ready, and in no transaction. `failed`: an implicit one has failed. `server` are its
    /// settings. What was written and altered stays, for whoever has to hear of it.
    pub fn end_of_transaction(&mut self, failed: bool, server: &mut Track) {
        for track in [&mut self.settings, server] {
            if failed { track.on_rollback() } else { track.on_commit() }
        }
        self.wishes.follow(self.settings.in_force());
        if failed {
            self.undo();
        } else {
            self.temporary.on_commit();
        }
        self.pins.on_commit();
        self.lasting = Lasting::Nothing;
        self.block = Block::None;
        self.moving.clear();
    }

    /// Each statement of the block under way sees what the first one saw.
    pub fn keeps_snapshot(&self) -> bool {
        self.block.modes().is_some_and(|modes| !self.takes_snapshots(modes))
    }

    /// A statement with this effect succeeded.
    pub fn on_effect(&mut self, effect: &SessionEffect) {
        self.settings.on_effect(effect);
        self.temporary.on_effect(effect);
        self.wishes.follow(self.settings.in_force());
        self.pins.on_effect(effect);
        if matches!(self.block, Block::Open { on: Target::Replica, .. }) {
            self.moving.on_effect(effect);
        }
        if let (SessionEffect::SetTransaction(asked), Block::Open { modes, begin, .. }) =
            (effect, &mut self.block)
        {
            modes.read_only = asked.read_only.or(modes.read_only);
            modes.isolation = asked.isolation.or(modes.isolation);
            modes.deferrable = asked.deferrable.or(modes.deferrable);
            if begin.is_some() {
                *begin = Some(begin_with(modes));
            }
        }
    }

    /// Nothing keeps the session on its server any more.
    pub fn unpin(&mut self) {
        self.pins.clear();
        self.temporary = OwnTemporary::default();
    }

    /// Pins it.
    pub fn pin(&mut self, reason: PinReason) {
        self.pins.add(reason);
    }
}

/// `standard_conforming_strings` under these settings; `told` where they do not say. What cannot be read is off.
pub fn is_conforming(settings: &Settings, told: bool) -> bool {
    let name = "standard_conforming_strings";
    match settings.value(name) {
        Some(value) => is_on(value),
        None => told && !settings.contains(name),
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
