//! A server that was just leased is given what is the session's own.

use crate::pool::LeaseError;
use crate::server::placeholders;
use crate::server::planned::{DISCARD, Planned};
use crate::session::ledger::{Ours, Owed};
use crate::session::{Session, Work};
use crate::wire::backend::Status;
use crate::wire::{Refusal, frontend};
use router_rules::session::settings::IDENTITY;
use std::sync::Arc;

impl Session {
    /// The server is as the client left its last one: there is nothing to bring.
    pub(super) fn has_its_settings(&self, work: &Work) -> bool {
        self.holding.lease.as_ref().is_some_and(|lease| {
            let base = self.memory.state.settings.base();
            let plans = self.memory.state.settings.now().plans();
            if lease.planned.is_strange_to(plans) && work.may_plan() {
                return false;
            }
            lease.settings.base().names().all(|name| base.contains(name))
                && lease.settings.now() == self.memory.state.settings.now()
                && self.memory.placeholders.is_empty()
                && self.memory.state.moving.replay().is_empty()
        })
    }

    /// A query of ours that leaves the server as the session needs it.
    pub(super) fn put_ours(&mut self, sql: &[u8]) {
        if let Some(lease) = self.holding.lease.as_mut() {
            frontend::put_query(&mut lease.connection.output, sql);
            self.exchange.ledger.push(Owed::Ours(Ours::Settings));
        }
    }

    /// What is sent may make the server keep plans, and change the settings that they are made by.
    pub(super) fn note_planning(&mut self, work: &Work) {
        let settings = &self.memory.state.settings;
        let changes = work.changes_settings(settings.in_force() != settings.committed());
        self.turn.changes_settings = changes || (self.turn.changes_settings && !self.turn.begins_batch);
        let Some(lease) = self.holding.lease.as_mut() else { return };
        if work.may_plan() {
            // Where a text sets something first, what follows runs under that.
            let is_certain = work.parts.iter().all(|part| part.plain || part.statements.len() < 2);
            let plans = lease.settings.in_force().plans();
            lease.planned.ran(is_certain.then_some(plans));
        }
    }

    /// Settings first: the server must be as the client left its last one. `None`: it was lost before it was.
    pub(super) async fn bring_settings(&mut self, work: &Work) -> Option<Result<(), Refusal>> {
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
        let unknown = lease.placeholders.lacks(&self.memory.placeholders, &wanted);
        let is_strange = lease.planned.is_strange_to(wanted.plans()) && work.may_plan();
        if (*lease.settings.now() == wanted && unknown.is_empty() && !is_strange)
            || lease.status != Status::Idle
            || self.exchange.is_open()
        {
            return Some(Ok(()));
        }
        let mut queries = lease.settings.now().change_to(&wanted);
        // What the session has set once is empty for it by now, not unknown.
        queries.extend(unknown.iter().map(|name| placeholders::define(name)));
        if is_strange {
            queries.push(DISCARD.to_owned());
            lease.planned = Planned::Nothing;
            lease.statements.are_read_anew();
        }
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
