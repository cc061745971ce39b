//! What all sessions share.

use crate::auth::Directory;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::observe::Metrics;
use crate::pool::Pools;
use crate::session::registry::Registry;
use arc_swap::ArcSwap;
use router_rules::Classifier;
use std::sync::Arc;

/// One running pgweir: passed by reference to everything that needs a part of it.
pub struct Weir {
    /// The configuration in force; replaced as a whole by a reload.
    pub config: ArcSwap<Config>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// SQL → what it would do.
    pub classifier: Classifier,
    /// The nodes, their roles, lag and freshness, and the catalogs.
    pub cluster: Arc<Cluster>,
    /// Who may log in, and with what secret.
    pub directory: Directory,
    /// Server connections.
    pub pools: Pools,
    /// The clients that are connected.
    pub registry: Registry,
}
