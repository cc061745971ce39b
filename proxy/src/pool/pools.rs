//! All pools, made as they are needed.

use super::budget::Budget;
use super::{Key, Pool, Tenant};
use crate::config::Config;
use crate::node::Node;
use crate::rows::{PoolRow, ServerRow};
use parking_lot::RwLock;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// Where pools are filled at certain times, those that were used within this time are.
const EXPECTED_FOR: Duration = Duration::from_secs(7 * 86_400);

/// All pools.
#[derive(Debug, Default)]
pub struct Pools {
    all: RwLock<HashMap<Key, Arc<Pool>, foldhash::fast::RandomState>>,
    /// Other pgweirs of the cluster, when this was last heard.
    siblings: AtomicUsize,
}

impl Pools {
    /// The pool of this node for a database and user, made on first use.
    pub fn get(&self, node: &Arc<Node>, tenant: Tenant<'_>, config: &Config) -> Arc<Pool> {
        let key = Key {
            node: node.name.clone(),
            database: tenant.database.to_owned(),
            user: tenant.user.to_owned(),
            identity: tenant.identity,
        };
        if let Some(pool) = self.all.read().get(&key)
            && Arc::ptr_eq(&pool.node, node)
        {
            return pool.clone();
        }
        let mut all = self.all.write();
        if let Some(made) = all.get(&key)
            && Arc::ptr_eq(&made.node, node)
        {
            return made.clone();
        }
        let of_node = all.values().find(|pool| Arc::ptr_eq(&pool.node, node));
        let budget = of_node.map_or_else(Arc::default, |pool| pool.budget.clone());
        budget.set_max(self.node_max(config));
        let pool = Arc::new(Pool::new(key.clone(), node.clone(), budget, config));
        pool.stand(true, tenant.servers_max);
        pool.budget.join(&pool);
        all.insert(key, pool.clone());
        pool
    }

    /// Every pool.
    pub fn all(&self) -> Vec<Arc<Pool>> {
        self.all.read().values().cloned().collect()
    }

    /// A reload: limits change, and who waits may have a server now.
    pub fn apply(&self, config: &Config) {
        let all = self.all();
        for pool in &all {
            pool.limit.store(limit_of(&pool.key.user, config), Ordering::Relaxed);
            pool.reserve.store(config.pool.server_connections_reserve, Ordering::Relaxed);
            pool.budget.set_max(self.node_max(config));
        }
        for pool in all {
            pool.fill();
        }
    }

    /// So many other pgweirs open connections to the same nodes.
    pub fn set_siblings(&self, siblings: usize, config: &Config) {
        if self.siblings.swap(siblings, Ordering::Relaxed) != siblings && config.pool.node_connections_shared
        {
            self.apply(config);
        }
    }

    /// All connections of one node, by the configuration; 0: no bound.
    fn node_max(&self, config: &Config) -> usize {
        let siblings =
            if config.pool.node_connections_shared { self.siblings.load(Ordering::Relaxed) } else { 0 };
        match config.pool.node_connections_max {
            0 => 0,
            max => (max / (1 + siblings)).max(1),
        }
    }

    /// What the console and the status page show of the pools.
    pub fn rows(&self, config: &Config) -> Vec<PoolRow> {
        let mut rows: Vec<_> = self.all().iter().map(|pool| pool.row(config)).collect();
        rows.sort_by(|a, b| (&a.node, &a.database, &a.user).cmp(&(&b.node, &b.database, &b.user)));
        rows
    }

    /// What the console shows of the server connections.
    pub fn server_rows(&self) -> Vec<ServerRow> {
        self.all().iter().flat_map(|pool| pool.server_rows()).collect()
    }

    /// Closes what nobody needs; forgets pools that have no server left. `is_alive` tells whether a session of
    /// a pool is there that came before a certain time.
    pub fn sweep(&self, config: &Config, is_alive: impl Fn(&Pool, SystemTime) -> bool) {
        let mut tidied: Vec<Arc<Budget>> = vec![];
        for pool in self.all() {
            pool.sweep(config);
            pool.end_tenure(&is_alive);
            if !tidied.iter().any(|budget| Arc::ptr_eq(budget, &pool.budget)) {
                pool.budget.tidy();
                tidied.push(pool.budget.clone());
            }
        }
        let is_expected = |pool: &Pool| {
            let used = pool.state.lock().used;
            !config.pool.warm_at.is_empty() && used.is_some_and(|used| used.elapsed() < EXPECTED_FOR)
        };
        self.all
            .write()
            .retain(|_, pool| Arc::strong_count(pool) > 1 || pool.counts().1 > 0 || is_expected(pool));
    }
}

pub(super) fn limit_of(user: &str, config: &Config) -> usize {
    let own = config.users.iter().find(|u| u.name == user).and_then(|u| u.server_connections_max);
    own.unwrap_or(config.pool.server_connections_max).max(1)
}
