//! A server that was just leased is given what is the session's own.

use crate::pool::LeaseError;
use crate::server::placeholders;
use crate::server::planned::{DISCARD, Planned};
use crate::session::ledger::{Ours, Owed};
use crate::session::work::Planning;
use crate::session::{Session, Work};
use crate::wire::backend::Status;
use crate::wire::{Refusal, frontend};
use router_rules::Target;
use router_rules::session::context;
use router_rules::session::settings::IDENTITY;
use std::sync::Arc;

impl Session {
    /// The server is as the client left its last one: there is nothing to bring.
    pub(super) fn has_its_settings(&self) -> bool {
        self.holding.lease.as_ref().is_some_and(|lease| {
            let base = self.memory.state.settings.base();
            lease.settings.base().names().all(|name| base.contains(name))
                && lease.settings.now() == self.memory.state.settings.now()
                && !self.is_other_on_replica()
                && self.memory.placeholders.is_empty()
                && self.memory.state.moving.replay().is_empty()
        })
    }

    /// It is on a replica, where its settings are [others](router_rules::session::Settings::on_replica).
    fn is_other_on_replica(&self) -> bool {
        self.holding.on == Target::Replica && self.memory.state.default_serializable()
    }

    /// A query of ours that leaves the server as the session needs it.
    pub(super) fn put_ours(&mut self, sql: &[u8]) {
        if let Some(lease) = self.holding.lease.as_mut() {
            frontend::put_query(&mut lease.connection.output, sql);
            self.exchange.ledger.push(Owed::Ours(Ours::Settings));
        }
    }

    /// Another's plans are thrown away before the first that the session makes on its server: from there on all that
    /// the server keeps are the session's own, as on a direct connection.
    pub(super) fn discard_strange_plans(&mut self, work: &Work) {
        let Some(lease) = &self.holding.lease else { return };
        if lease.has_planned || lease.planned == Planned::Nothing || lease.status == Status::Failed {
            return;
        }
        let Some(plans) = self.plans_of(work) else { return };
        let may_ask = !self.exchange.is_open() && self.exchange.ledger.owes_only_ours();
        let Some(lease) = self.holding.lease.as_mut().filter(|lease| lease.planned.is_strange_to(plans))
        else {
            return;
        };
        if may_ask {
            lease.planned = Planned::Nothing;
            lease.statements.are_read_anew();
            lease.statements.unnamed = None;
            self.put_ours(DISCARD.as_bytes());
        }
    }

    /// What is sent may make the server keep plans, and change the settings that they are made by.
    pub(super) fn note_planning(&mut self, work: &Work) {
        let plans = self.plans_of(work);
        let reverts = self.memory.reverts_settings();
        let changed = self.turn.changes_settings && !self.turn.begins_batch;
        self.turn.changes_settings = changed || work.changes_settings(reverts);
        if let (Some(lease), Some(plans)) = (self.holding.lease.as_mut(), plans) {
            lease.has_planned = true;
            lease.planned.ran(plans);
        }
    }

    /// By what the functions are planned that it may run, if any; `Some(None)`: that is not certain.
    fn plans_of(&self, work: &Work) -> Option<Option<u64>> {
        let by_all = self.memory.plans_hold_settings();
        let changed = self.turn.changes_settings && !self.turn.begins_batch;
        if work.is_ordinary() {
            return Some((!changed).then(|| self.memory.state.settings.in_force().plans(by_all)));
        }
        let reverts = self.memory.reverts_settings();
        match work.planning(changed, reverts, |name| by_all || context::is_planned_by(name)) {
            Planning::Nothing => None,
            Planning::InForce => Some(Some(self.memory.state.settings.in_force().plans(by_all))),
            Planning::Uncertain => Some(None),
        }
    }

    /// Settings first: the server must be as the client left its last one. `None`: it was lost before it was.
    pub(super) async fn bring_settings(&mut self) -> Option<Result<(), Refusal>> {
        let others = self.is_other_on_replica();
        let lease = self.holding.lease.as_mut()?;
        // A default that has become another since the client logged in is none of its concern.
        for name in lease.settings.base().names() {
            if !self.memory.state.settings.base().contains(name) {
                // Empty is as near as a placeholder comes to being unknown.
                let known = self.memory.state.defaults.all.get(name).map(|value| &**value);
                let value = known.or(name.contains('.').then_some(""));
                value.into_iter().for_each(|value| self.memory.state.settings.keep(name, value));
            }
        }
        // What a block that has moved here set itself is set again inside of it.
        let settings = &self.memory.state.settings;
        let replays = !self.memory.state.moving.replay().is_empty();
        let wanted = if replays { settings.committed().clone() } else { settings.now().clone() };
        let wanted = if others { wanted.on_replica() } else { wanted };
        let unknown = lease.placeholders.lacks(&self.memory.placeholders, &wanted);
        if (*lease.settings.now() == wanted && unknown.is_empty())
            || lease.status != Status::Idle
            || self.exchange.is_open()
        {
            return Some(Ok(()));
        }
        let mut queries = lease.settings.now().change_to(&wanted);
        // What the session has set once is empty for it by now, not unknown.
        queries.extend(unknown.iter().map(|name| placeholders::define(name)));
        let becomes_another = IDENTITY.iter().any(|n| wanted.value(n) != lease.settings.now().value(n));
        lease.placeholders.add_all(&wanted);
        unknown.iter().for_each(|name| lease.placeholders.add(name));
        lease.settings.applied(wanted);
        lease.statements.unnamed = None;
        for sql in queries {
            if !becomes_another {
                self.put_ours(sql.as_bytes());
                continue;
            }
            // Nothing may run as the wrong one: wait for the answer.
            if let Err(error) = Box::pin(self.ask(&sql)).await {
                self.drop_lease();
                let error = LeaseError::Login(Arc::new(error));
                return if error.is_nodes_fault() { None } else { Some(Err(self.refusal_of(error))) };
            }
        }
        Some(Ok(()))
    }
}
