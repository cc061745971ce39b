//! What sequences gave is known to one server only: the session keeps it, or is told that it knows nothing.

use crate::pool::{Lease, Pool};
use crate::server::LastUse;
use crate::session::Session;
use crate::session::ledger::{Ours, Owed};
use crate::session::work::Work;
use crate::wire::frontend;
use router_rules::{PinReason, SessionEffect, Target};
use std::sync::Arc;

impl Session {
    /// What sequences last gave is known to one server only: where that is asked for, the server that
    /// this session had last, if nobody has had it since.
    pub(super) fn try_lease(&self, pool: &Arc<Pool>, work: &Work) -> Option<Lease> {
        let allowed = self.memory.allowed_placeholders(work);
        let fits =
            |lease: &Lease| allowed.as_ref().is_none_or(|allowed| lease.placeholders.is_within(allowed));
        if uses_sequences(work)
            && let Some(lease) = self.holding.last_primary.and_then(|last| pool.try_lease_again(last))
        {
            if fits(&lease) {
                return Some(lease);
            }
            lease.give_back();
        }
        match allowed {
            Some(allowed) => pool.try_lease_within(&allowed),
            None => {
                pool.try_lease_for(self.memory.state.settings.now().plans(self.memory.plans_hold_settings()))
            }
        }
    }

    /// On any other server `lastval()` must say that it knows nothing, and not what somebody else was given.
    pub(super) fn hide_sequences(&mut self, work: &Work) {
        let Some(lease) = self.holding.lease.as_mut() else { return };
        let had_it_last = self.holding.last_primary.is_some_and(|last| {
            lease.last_use() == LastUse { process: last.process, leases: last.leases + 1 }
        });
        if uses_sequences(work) && !had_it_last {
            lease.statements.unnamed = None;
            frontend::put_query(&mut lease.connection.output, b"DISCARD SEQUENCES");
            self.exchange.ledger.push(Owed::Ours(Ours::Sequences));
        }
    }

    /// The server that it has used sequences on stays with the session, unless others wait for it and
    /// nobody has been seen to ask what sequences gave.
    pub(super) fn keeps_for_sequences(&self) -> bool {
        let Some(lease) = &self.holding.lease else { return false };
        let settled = *lease.cancel.pending.lock() == 0;
        let yields = lease.is_wanted() && !lease.asks_sequences();
        self.memory.state.pins.sequences
            && self.holding.kept.is_none()
            && self.holding.on == Target::Primary
            && !yields
            && settled
    }

    /// The server that the session keeps without being pinned to it, when it is that one's turn: still
    /// there, and still of the primary.
    pub(super) fn take_kept(&mut self, target: Target) -> Option<Lease> {
        if target != Target::Primary {
            return None;
        }
        let mut kept = self.holding.kept.take()?;
        let primary = self.weir.cluster.primary().is_some_and(|node| Arc::ptr_eq(&node, &kept.node));
        (primary && !kept.is_deposed() && kept.is_quiet()).then_some(kept)
    }
}

pub(super) fn uses_sequences(work: &Work) -> bool {
    let pins = SessionEffect::Pin(PinReason::SequenceState);
    !work.is_ordinary()
        && work.parts.iter().any(|part| part.statements.iter().any(|s| s.effects.contains(&pins)))
}

/// It asks what a sequence gave to its session.
pub(super) fn asks_sequences(work: &Work) -> bool {
    uses_sequences(work) && (work.asks_server(b"currval") || work.asks_server(b"lastval"))
}
