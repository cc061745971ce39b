//! What people are shown of a pool and its servers.

use super::Pool;
use crate::config::Config;
use crate::rows::{Held, PoolRow, ServerRow};
use std::sync::Weak;
use std::sync::atomic::Ordering;
use std::time::Duration;

impl Pool {
    pub(super) fn server_rows(&self) -> Vec<ServerRow> {
        let stale_before = self.state.lock().stale_before;
        let mut servers = self.servers.lock();
        servers.retain(|card| card.strong_count() > 0);
        servers
            .iter()
            .filter_map(Weak::upgrade)
            .map(|card| ServerRow {
                node: self.key.node.clone(),
                database: self.key.database.clone(),
                user: self.key.user.clone(),
                state: if card.leased.load(Ordering::Relaxed) { Held::Active } else { Held::Idle },
                process: card.process,
                opened: card.opened,
                used: card.used(),
                tls: card.tls,
                stale: stale_before.is_some_and(|t| card.since < t),
                statements: card.statements.load(Ordering::Relaxed),
            })
            .collect()
    }

    pub(super) fn row(&self, config: &Config) -> PoolRow {
        let state = self.state.lock();
        let (idle, open) = (state.idle.len(), state.open);
        let (active, opening) = (self.leased.load(Ordering::Relaxed), self.opening.load(Ordering::Relaxed));
        PoolRow {
            node: self.key.node.clone(),
            database: self.key.database.clone(),
            user: self.key.user.clone(),
            active: active.min(open),
            waiting: self.waiting.load(Ordering::Relaxed),
            idle,
            opening,
            longest_wait: state.waiters.front().map_or(Duration::ZERO, |w| w.since.elapsed()),
            limit: self.limit(),
            mode: config.pool_mode(&self.key.user),
        }
    }
}
