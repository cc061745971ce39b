//! RESET goes back to what the client started with, and the server to what the server started with.
//!
//! A shared server knows nothing of its client's start-up packet: RESET, SET … TO DEFAULT and DISCARD ALL bring
//! it to its own defaults. Before the client hears that it is ready, the server is brought to the client's; what
//! it reports meanwhile is told as the client would have heard it.

use crate::session::Session;
use crate::session::ledger::{Ours, Owed};
use crate::wire::backend::{self, Status};
use crate::wire::frontend;

impl Session {
    /// What is in force on the server is not what the session wants.
    pub(super) fn has_lost_settings(&self) -> bool {
        let Some(lease) = &self.holding.lease else { return false };
        !lease.settings.in_force().is_as_on_servers(self.memory.state.settings.in_force())
    }

    /// The server is ready. True when the client is not to hear of it yet: settings are brought first.
    pub(super) fn restore_settings(&mut self) -> bool {
        if self.memory.status == Status::Failed
            || !self.exchange.ledger.is_empty()
            || !self.has_lost_settings()
        {
            return false;
        }
        let Some(lease) = self.holding.lease.as_mut() else { return false };
        let queries = lease.settings.change_to(&self.memory.state.settings);
        lease.settings.follow(&self.memory.state.settings);
        if self.memory.status == Status::Idle {
            lease.settings.on_commit();
        }
        lease.statements.unnamed = None;
        for sql in &queries {
            frontend::put_query(&mut lease.connection.output, sql.as_bytes());
            self.exchange.ledger.push(Owed::Ours(Ours::Restore));
        }
        !queries.is_empty()
    }

    /// The settings are there: the client hears of those that are others now, and that the server is ready.
    pub(super) fn tell_restored(&mut self) {
        let Some(lease) = &self.holding.lease else { return };
        let mut reported: Vec<_> =
            lease.reported.iter().filter(|(name, _)| *name != "in_hot_standby").collect();
        reported.sort_by_key(|(name, _)| name.to_ascii_lowercase());
        for (name, value) in reported {
            if self.memory.told.get(name) != Some(value.as_str()) {
                self.memory.told.set(name, value);
                backend::put_parameter_status(&mut self.client.socket.output, name, value);
                if name == "application_name" {
                    value.clone_into(&mut self.client.card.application_name.lock());
                }
            }
        }
        backend::put_ready(&mut self.client.socket.output, self.memory.status);
    }
}
