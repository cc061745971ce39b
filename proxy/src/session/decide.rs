//! Step three: where may it run. The rules are [`SessionState`]'s; here the session says what it has at hand.
//!
//! [`SessionState`]: router_rules::SessionState

use crate::session::Session;
use crate::session::receive::{Kind, Request, frames};
use crate::session::work::Work;
use crate::wire::frontend::{self, tag};
use router_rules::Decision;
use router_rules::session::{Asked, Held, Who};

impl Session {
    /// Decides for the whole request: one node runs all of it.
    pub(super) fn decide(&self, request: &Request, work: &Work) -> Decision {
        let asked = Asked {
            parts: &work.parts,
            texts: &work.texts,
            verdict: work.verdict,
            // Asked of what may move, which an ordinary read outside of a block never does.
            opens_portal: (self.memory.state.block.is_there() || !work.is_ordinary())
                && opens_portal(request),
            goes_on: matches!(request.kind, Kind::Batch(end) if end.goes_on()),
        };
        let held = Held {
            lease: self.holding.lease.as_ref().map(|_| self.holding.on),
            keeps: self.holding.kept.is_some(),
            in_batch: self.exchange.is_open(),
        };
        let who = &self.client.who;
        let who = Who { user: &who.user, database: &who.database, address: who.address };
        let has_primary = || self.weir.cluster.primary().is_some();
        let split = self.config.routing.split;
        let decided = self.memory.state.decide(who, &asked, held, &self.config.policy, split, has_primary);
        for (rule, part) in decided.logged {
            self.weir.ruled.log(&rule, &work.parts[part], &decided.decision, who);
        }
        decided.decision
    }
}

/// It leaves a portal behind that has a name, or may have rows left.
pub(super) fn opens_portal(request: &Request) -> bool {
    matches!(request.kind, Kind::Batch(_))
        && frames(&request.frames).any(|(kind, body)| match kind {
            tag::BIND => frontend::bind(body).is_none_or(|bind| !bind.portal.is_empty()),
            tag::EXECUTE => frontend::execute_rows_max(body) != Some(0),
            _ => false,
        })
}
