//! Which servers an address has led to: one, unless it is the name of a load balancer, say.
//!
//! A server is known by the start of its postmaster, to the microsecond. One that is restarted comes back
//! with another start, and an address that moves leads to another server: both for good. But where an
//! address leads to one *again* that it had led to just before another, both run, and it leads to either. Who led to it
//! long ago has moved back.

use crate::node::moment::Moment;
use std::time::Duration;

/// Servers remembered for an address: as many as stand behind a load balancer as a rule.
const SERVERS_MAX: usize = 8;
/// An address that has led to one server only for so long leads to one: fifteen looks in a row. Writes that wait for a
/// primary (`cluster.primary_wait`) wait longer by default.
const SETTLED_AFTER: Duration = Duration::from_secs(30);
/// A server that an address led to last so long ago has nothing to do with where it leads now.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);
/// While an address leads to several servers it is looked at again this often.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The servers that new connections to an address have reached, the latest last.
#[derive(Debug, Default)]
pub(super) struct Servers {
    reached: Vec<Reached>,
    /// When it last led to another one than just before, if it is known to lead to several.
    changed: Option<Moment>,
}

/// A server, and until when the address led to it.
#[derive(Debug)]
struct Reached {
    started: i64,
    until: Moment,
}

impl Servers {
    /// A connection has reached this one.
    pub fn reached(&mut self, started: i64, now: Moment) {
        if let Some(last) = self.reached.last_mut() {
            last.until = now;
        }
        if self.reached.last().is_some_and(|last| last.started == started) {
            if self.changed.is_some_and(|changed| now.since(changed) > SETTLED_AFTER) {
                self.reached.drain(..self.reached.len() - 1);
                self.changed = None;
            }
            return;
        }
        self.reached.retain(|known| now.since(known.until) <= FORGOTTEN_AFTER);
        let before = self.reached.len();
        self.reached.retain(|known| known.started != started);
        if self.reached.len() < before || self.changed.is_some() {
            self.changed = Some(now);
        }
        if self.reached.len() == SERVERS_MAX {
            self.reached.remove(0);
        }
        self.reached.push(Reached { started, until: now });
    }

    /// It leads to several.
    pub fn is_several(&self) -> bool {
        self.changed.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(reached: &[i64]) -> Servers {
        let mut servers = Servers::default();
        reached.iter().for_each(|started| servers.reached(*started, Moment(1)));
        servers
    }

    #[test]
    fn a_server_that_restarts_or_moves_away_is_one_server() {
        assert!(!after(&[1]).is_several());
        assert!(!after(&[1, 1, 2, 2, 3]).is_several());
        assert!(!after(&(0..100).collect::<Vec<_>>()).is_several());
    }

    #[test]
    fn an_address_that_leads_back_to_a_server_leads_to_several_until_it_has_long_led_to_one() {
        let mut servers = after(&[1, 2, 1]);
        assert!(servers.is_several());
        let settled = Moment(1).plus(SETTLED_AFTER);
        servers.reached(1, settled);
        assert!(servers.is_several());
        servers.reached(1, settled.plus(Duration::from_secs(1)));
        assert!(!servers.is_several());
        servers.reached(2, settled.plus(Duration::from_secs(2)));
        assert!(!servers.is_several());
    }

    #[test]
    fn an_address_that_moves_back_after_long_has_moved() {
        let mut servers = after(&[1, 2]);
        servers.reached(1, Moment(1).plus(FORGOTTEN_AFTER + Duration::from_secs(1)));
        assert!(!servers.is_several());
    }
}
