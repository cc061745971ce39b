//! A server that was just leased is given what is the session's own.

use crate::pool::LeaseError;
use crate::server::placeholders;
use crate::session::Session;
use crate::session::ledger::{Ours, Owed};
use crate::wire::backend::Status;
use crate::wire::{Refusal, frontend};
use router_rules::session::settings::IDENTITY;
use std::sync::Arc;

impl Session {
    /// The server is as the client left its last one: there is nothing to bring.
    pub(super) fn has_its_settings(&self) -> bool {
        self.holding.lease.as_ref().is_some_and(|lease| {
            let base = self.memory.state.settings.base();
            lease.settings.base().names().all(|name| base.contains(name))
                && lease.settings.now() == self.memory.state.settings.now()
                && self.memory.placeholders.is_empty()
                && self.memory.state.moving.replay().is_empty()
        })
    }

    /// Settings first: the server must be as the client left its last one. `None`: it was lost before it was.
    pub(super) async fn bring_settings(&mut self) -> Option<Result<(), Refusal>> {
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
                let lease = self.holding.lease.as_mut()?;
                frontend::put_query(&mut lease.connection.output, sql.as_bytes());
                self.exchange.ledger.push(Owed::Ours(Ours::Settings));
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
