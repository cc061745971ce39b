//! What becomes of a pool whose role or database is no longer what it was.
//!
//! On Postgres a session outlives its role's right to log in, and even the role. Here it outlives them as long
//! as it finds servers: those of its pool stay open, for the sessions that were there before, until the last
//! of them has left. No new session gets at them.

use super::Pool;
use crate::auth::Identity;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

/// Whose servers are wanted.
#[derive(Debug, Clone, Copy)]
pub struct Tenant<'a> {
    /// The database.
    pub database: &'a str,
    /// The user.
    pub user: &'a str,
    /// Who and what these names mean.
    pub identity: Identity,
    /// How many servers Postgres gives to them; `None`: as many as it has.
    pub servers_max: Option<usize>,
}

impl Pool {
    /// Whether Postgres lets new sessions of this identity in, and how many servers it gives them.
    pub fn stand(&self, lets_in: bool, servers_max: Option<usize>) {
        self.granted.store(servers_max.unwrap_or(usize::MAX), Ordering::Relaxed);
        let mut closed = self.closed_to_new.lock();
        if lets_in {
            *closed = None;
        } else {
            closed.get_or_insert_with(SystemTime::now);
        }
    }

    pub(super) fn is_closed_to_new(&self) -> bool {
        self.closed_to_new.lock().is_some()
    }

    /// Closes what is idle of a pool whose last session has left: `is_alive` tells whether one is there that
    /// came before a certain time.
    pub(super) fn end_tenure(self: &Arc<Self>, is_alive: impl Fn(&Pool, SystemTime) -> bool) {
        let Some(since) = *self.closed_to_new.lock() else { return };
        if !is_alive(self, since) {
            self.close_idle();
        }
    }
}
