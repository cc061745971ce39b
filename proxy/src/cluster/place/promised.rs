//! How fresh a replica must be for a read: nothing, where that reads nothing.

use super::Wish;
use crate::cluster::Cluster;
use crate::cluster::view::View;
use crate::config::Promises;
use crate::node::moment::Moment;
use router_rules::hint::Consistency;

impl Cluster {
    /// The moment through which a replica must be fresh for `max_lag`.
    pub(super) fn oldest_allowed(&self, view: &View, wish: &Wish<'_>, now: Moment) -> Moment {
        let present = if view.verdict.primary.is_some() { now } else { self.primary_sampled.get() };
        let max_lag = wish.decision.max_lag.filter(|_| !wish.reads.is_none());
        max_lag.map_or(Moment::NEVER, |max| present.minus(max))
    }

    /// The moment through which a replica must be fresh for the level of this read.
    pub(super) fn promise(&self, wish: &Wish<'_>, arrival: Moment) -> Moment {
        let session = || wish.session.needed_for(wish.reads);
        match wish.decision.consistency {
            _ if wish.reads.is_none() => Moment::NEVER,
            Consistency::Eventual => Moment::NEVER,
            Consistency::Session => session(),
            Consistency::Proxy => {
                session().max(self.marks_of(wish.database, wish.session).needed_for(wish.reads))
            }
            Consistency::Global => arrival,
        }
    }

    /// The same for what went through other pgweirs.
    pub(super) fn promise_of_others(&self, view: &View, wish: &Wish<'_>, arrival: Moment) -> Moment {
        match (wish.decision.consistency, view.settings.cluster.fleet) {
            (Consistency::Proxy, Promises::Exact) if !wish.reads.is_none() => self.fleet.needed_for(arrival),
            _ => Moment::NEVER,
        }
    }

    /// At least [`Cluster::promise`], found without looking at what is read.
    pub(super) fn latest_promise(&self, wish: &Wish<'_>, arrival: Moment) -> Moment {
        match wish.decision.consistency {
            _ if wish.reads.is_none() => Moment::NEVER,
            Consistency::Eventual => Moment::NEVER,
            Consistency::Session => wish.session.latest(),
            Consistency::Proxy => wish.session.latest().max(self.marks.latest.get()),
            Consistency::Global => arrival,
        }
    }
}
