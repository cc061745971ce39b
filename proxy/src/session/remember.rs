//! Step six: what do we know now.

use crate::server::prepared::shape;
use crate::session::Session;
use crate::session::failure::Failure;
use crate::session::ledger::{Described, News, Ours};
use crate::session::outcome::Trace;
use crate::wire::backend::Status;
use crate::wire::{ErrorFields, Refusal};
use router_rules::session::Block;
use router_rules::statement::Footprint;
use router_rules::{Alters, SessionEffect, TransactionStep};
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Session {
    /// A reply told us something.
    pub(super) fn remember(&mut self, news: News, command: &[u8], body: &[u8]) -> Result<(), Failure> {
        self.exchange.on_news(&news);
        match news {
            News::None | News::CopyIn { .. } | News::CopyBoth | News::Error => {}
            News::LentFailed | News::ErrorInstead(_) => {}
            News::Parameters => {
                self.turn.parameters = body.into();
            }
            News::Result { of: Some(described), ours } => self.on_described(&described, ours, body),
            News::Result { of: None, .. } => {}
            News::Complete { of, index, by_query } => {
                let statement = &of.statements[index];
                for effect in &statement.effects {
                    if by_query {
                        self.give_and_take_names(effect);
                    }
                    self.on_effect(effect);
                }
                if let Some(step) = &statement.transaction {
                    self.on_step(step, command);
                }
            }
            News::OursFailed(Ours::Settings | Ours::Restore) => {
                let fields = ErrorFields::parse(body);
                let refusal = Refusal {
                    sqlstate: fields.sqlstate.into(),
                    message: format!(
                        "the session's settings cannot be brought to another server: {}",
                        fields.message
                    )
                    .into(),
                    detail: None,
                    hint: None,
                };
                return Err(Failure::Fatal(refusal));
            }
            News::OursFailed(Ours::Begin) => {
                let fields = ErrorFields::parse(body);
                // A server that says farewell has run nothing. Otherwise what is behind it runs outside of a transaction.
                if !fields.is_fatal() {
                    return Err(Failure::Fatal(Refusal::of_server(fields)));
                }
            }
            News::OursFailed(Ours::Trace) => self.trace_failed(body),
            News::OursRow(Ours::Trace) => self.answers.trace = Trace::read(body),
            News::OursFailed(_) => {}
            News::OursRow(ours @ (Ours::Unpin | Ours::Right | Ours::Changed | Ours::Channels)) => {
                let utf8 = self.memory.told.get("client_encoding") == Some("UTF8");
                self.answers.on_row(ours, body, utf8);
            }
            News::OursRow(_) => {}
            News::Ready { status, ours } => self.on_ready(status, ours),
        }
        Ok(())
    }

    /// The server has told what a statement looks like, to the client or to us.
    fn on_described(&mut self, described: &Described, ours: bool, result: &[u8]) {
        let Described { prepared, named } = described;
        let shape = shape(&self.turn.parameters, result);
        if prepared.has_fixed_shape() {
            prepared.known.learn_shape(shape);
            if !ours {
                prepared.known.rely();
            }
        }
        if let Some(lease) = self.holding.lease.as_mut() {
            lease.statements.set_shape(prepared.key, *named, shape);
        }
    }

    pub(super) fn on_effect(&mut self, effect: &SessionEffect) {
        if let SessionEffect::SetUnknown { name } = effect {
            self.answers.unknown_settings.push(name.clone());
        }
        self.memory.on_effect(effect);
        let Some(lease) = self.holding.lease.as_mut() else { return };
        lease.settings.on_effect(effect);
        if matches!(effect, SessionEffect::SetUnknownLocally { .. }) {
            lease.settings.share_unknown(&self.memory.state.settings);
        }
    }

    pub(super) fn on_step(&mut self, step: &TransactionStep, command: &[u8]) {
        use TransactionStep::{Commit, PrepareTransaction, Rollback};
        if matches!(step, Commit { .. } | PrepareTransaction | Rollback { .. }) {
            // Where another begins at once, that has another id.
            self.answers.trace = Trace::None;
        }
        let mut none = Default::default();
        let server = self.holding.lease.as_mut().map_or(&mut none, |lease| &mut lease.settings);
        self.memory.state.on_step(step, command, self.holding.on, server);
        if matches!(step, TransactionStep::Commit { .. }) && command != b"ROLLBACK" {
            self.wrote();
        }
    }

    pub(super) fn on_ready(&mut self, status: Status, ours: Option<Ours>) {
        if let Some(lease) = self.holding.lease.as_mut() {
            lease.status = status;
        }
        match ours {
            Some(_) => return,
            None => self.memory.status = status,
        }
        self.exchange.copy_in = false;
        if status == Status::Idle {
            self.end_of_transaction();
        } else if !self.memory.state.block.is_there() {
            self.memory.state.block = Block::unknown(self.holding.on);
        }
        self.memory.failed = false;
        self.memory.writing = None;
        (self.answers.failed_ahead, self.answers.lent_failed) = (None, None);
    }

    fn end_of_transaction(&mut self) {
        let implicit_and_failed = self.memory.failed && !self.memory.state.block.is_open();
        let Some(lease) = self.holding.lease.as_mut() else { return };
        self.answers.trace = Trace::None;
        self.memory.state.end_of_transaction(implicit_and_failed, &mut lease.settings);
        self.memory.notifies = false;
        self.exchange.portals.clear();
        self.wrote();
        let seen = std::mem::replace(&mut self.memory.state.seen, Footprint::none());
        if let Some(lease) = self.holding.lease.as_ref() {
            let now = *self.turn.ended.insert(Instant::now());
            self.weir.cluster.read_of(&lease.node, &seen, &mut self.memory.freshness, now);
        }
    }

    /// What was written is acknowledged (or may be there although nobody said so).
    fn wrote(&mut self) {
        if !self.memory.state.written.is_none() {
            let written = std::mem::replace(&mut self.memory.state.written, Footprint::none());
            self.weir.cluster.wrote(&self.client.who.database, &written, &mut self.memory.freshness);
        }
        let altered = std::mem::take(&mut self.memory.state.altered);
        if altered.changes_meanings() {
            self.weir.schema_changes.fetch_add(1, Ordering::Relaxed);
            self.weir.cluster.changed_meanings(&mut self.memory.freshness);
        }
        if altered == Alters::Anything {
            // A role or a right, perhaps.
            self.weir.census.changed();
            self.weir.directory.forget_all();
        }
        if altered != Alters::Nothing {
            self.weir.cluster.schema_changed(&self.client.who.database, &altered);
        }
    }

    /// The connection ends and nobody knows whether the last commit came to pass: as if it had.
    pub(super) fn memory_of_writes_in_doubt(&mut self) {
        let written = std::mem::replace(&mut self.memory.state.written, Footprint::none());
        self.weir.cluster.may_have_written(&self.client.who.database, &written);
        self.wrote();
    }
}
