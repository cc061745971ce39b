//! Which servers an address has led to: one, unless it is the name of a load balancer, say.
//!
//! A server is known by the start of its postmaster, to the microsecond. One that is restarted comes back
//! with another start, and an address that moves leads to another server: both for good. But where an
//! address leads to one *again* that it had led to before another, both run, and it leads to either.

use crate::node::moment::Moment;
use std::time::Duration;

/// Servers remembered for an address: as many as stand behind a load balancer as a rule.
const SERVERS_MAX: usize = 8;
/// An address that has led to one server only for so long leads to one.
const SETTLED_AFTER: Duration = Duration::from_secs(60);
/// While an address leads to several servers it is looked at again this often.
pub(super) const LOOK_AGAIN: Duration = Duration::from_secs(2);

/// The servers that new connections to an address have reached, the latest last.
#[derive(Debug, Default)]
pub(super) struct Servers {
    reached: Vec<i64>,
    /// When it last led to another one than just before, if it is known to lead to several.
    changed: Option<Moment>,
}

impl Servers {
    /// A connection has reached this one.
    pub fn reached(&mut self, started: i64, now: Moment) {
        if self.reached.last() == Some(&started) {
            if self.changed.is_some_and(|changed| now.since(changed) > SETTLED_AFTER) {
                self.reached.drain(..self.reached.len() - 1);
                self.changed = None;
            }
            return;
        }
        let before = self.reached.len();
        self.reached.retain(|known| *known != started);
        if self.reached.len() < before || self.changed.is_some() {
            self.changed = Some(now);
        }
        if self.reached.len() == SERVERS_MAX {
            self.reached.remove(0);
        }
        self.reached.push(started);
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
        let minute = Moment(1).plus(SETTLED_AFTER);
        servers.reached(1, minute);
        assert!(servers.is_several());
        servers.reached(1, minute.plus(Duration::from_secs(1)));
        assert!(!servers.is_several());
        servers.reached(2, minute.plus(Duration::from_secs(2)));
        assert!(!servers.is_several());
    }
}
