//! The picture of the cluster: who is primary, who is how far behind, who may answer a read.

pub mod catalog;
pub mod watermark;

use crate::config::Config;
use crate::observe::Metrics;
use router_rules::statement::Footprint;
use router_rules::{Catalog, Decision, Reason};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
pub use watermark::SessionFreshness;

/// One node, for as long as it is in the configuration.
#[derive(Debug)]
pub struct Node {
    /// `host:port` as configured: its name in config, metrics, logs and console.
    pub name: String,
    outstanding: AtomicUsize,
}

impl Node {
    /// Statements (or transactions) that it is working on for us.
    pub fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Counts one more until the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> Outstanding {
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Outstanding(self.clone())
    }
}

/// One piece of work that a node is doing.
#[derive(Debug)]
pub struct Outstanding(Arc<Node>);

impl Drop for Outstanding {
    fn drop(&mut self) {
        self.0.outstanding.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What a session asks: where may this run now?
#[derive(Debug)]
pub struct Wish<'a> {
    /// The database.
    pub database: &'a str,
    /// What was decided (target replica, with its freshness bounds).
    pub decision: &'a Decision,
    /// The relations that it reads.
    pub reads: &'a Footprint,
    /// What the session wrote and read.
    pub session: &'a SessionFreshness,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Placement {
    /// The node.
    pub node: Arc<Node>,
    /// The decision's own reason, or why it had to be the primary.
    pub reason: Reason,
    /// How long the read waited for a replica to catch up.
    pub waited: Duration,
    /// How old the node's state was at most (zero for the primary).
    pub lag: Duration,
}

/// The cluster, watched.
#[derive(Debug)]
pub struct Cluster {}

impl Cluster {
    /// Starts watching (probers, catalog refresh) on the current runtime.
    pub fn start(_config: &Config, _metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {})
    }

    /// A reload: nodes come and go, intervals change.
    pub fn apply(&self, _config: &Config) {}

    /// The primary, if there is exactly one that is up.
    pub fn primary(&self) -> Option<Arc<Node>> {
        None
    }

    /// Any node that answers, the primary first.
    pub fn any_node(&self) -> Option<Arc<Node>> {
        None
    }

    /// Waits for a primary, at most `limit`.
    pub async fn wait_for_primary(&self, _limit: Duration) -> Option<Arc<Node>> {
        None
    }

    /// Where a read may run, when that can be said without waiting. `None`: call [`Cluster::place`].
    pub fn try_place(&self, _wish: &Wish<'_>) -> Option<Placement> {
        None
    }

    /// Where a read may run; waits at most `freshness_wait` for a replica, then it is the primary.
    /// `None` when no node at all is up.
    pub async fn place(&self, _wish: &Wish<'_>) -> Option<Placement> {
        None
    }

    /// A write of `footprint` was acknowledged by the primary just now (or may have been):
    /// raises the watermarks of the database's tables and of the session.
    pub fn wrote(&self, _database: &str, _footprint: &Footprint, _session: &mut SessionFreshness) {}

    /// A read on `node` ended just now.
    pub fn read(&self, _node: &Arc<Node>, _session: &mut SessionFreshness) {}

    /// A connection to this node failed or ended: probe it now rather than later.
    pub fn suspect(&self, _node: &Arc<Node>) {}

    /// The snapshot of a database's catalog; `None` until it has been read (asking starts that).
    pub fn catalog(&self, _database: &str) -> Option<Arc<Catalog>> {
        None
    }

    /// DDL passed through in this database: read its catalog again at once.
    pub fn schema_changed(&self, _database: &str) {}
}
