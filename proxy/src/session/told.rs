//! What a server says of its own accord: settings that it reports, and notifications.

use crate::session::Session;
use crate::session::ledger::Fate;
use crate::wire::backend;

impl Session {
    /// A setting that the server reports: the client hears of it when it is news to it.
    pub(super) fn on_parameter(&mut self, body: &[u8]) -> Fate {
        let Some((name, value)) = backend::parameter_status(body) else { return Fate::Swallow };
        let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
        let (is_ours, is_lost) = (self.exchange.ledger.is_ours(), self.has_lost_settings());
        if let Some(lease) = self.holding.lease.as_mut() {
            lease.reported.insert(name.to_string(), value.to_string());
            if !is_ours && !is_lost {
                lease.settings.on_reported(&name, &value);
                self.memory.state.settings.on_reported(&name, &value);
            }
        }
        if is_lost || self.exchange.ledger.is_restoring() {
            // Of what a RESET has done the client hears once its settings are back.
            return Fate::Swallow;
        }
        if name == "application_name" {
            value.as_ref().clone_into(&mut self.client.card.application_name.lock());
        }
        // The client talks to the primary, as far as it is concerned.
        if name == "in_hot_standby" || self.memory.told.get(&name) == Some(&*value) {
            return Fate::Swallow;
        }
        self.memory.told.set(&name, &value);
        Fate::Pass
    }

    /// A notification tells who sent it: clients of ours are named as they were named to themselves.
    pub(super) fn name_notifier(&self, body: &mut [u8]) {
        let Some(process) = body.first_chunk_mut::<4>() else { return };
        let server = i32::from_be_bytes(*process);
        let own = self.holding.lease.as_ref().is_some_and(|lease| lease.cancel.process == server);
        let client =
            if own { Some(self.knows_itself_as(server)) } else { self.weir.registry.notifier(server) };
        match client {
            Some(client) => *process = client.to_be_bytes(),
            // Who sent it may have written anything, and not through us.
            None => self.weir.cluster.told_of_anything(&self.client.who.database, &self.memory.freshness),
        }
    }

    /// The process id that the session was told at log-in, or, since it asked for that, its server's.
    pub(super) fn knows_itself_as(&self, server: i32) -> i32 {
        match self.memory.process_asked {
            Some((asked, _)) if asked == server => server,
            _ => self.client.card.process,
        }
    }
}
