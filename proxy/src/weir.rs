//! What all sessions share.

use crate::auth::{Census, Directory};
use crate::clients::registry::Registry;
use crate::clients::welcomes::Welcomes;
use crate::cluster::Cluster;
use crate::config::Config;
use crate::gate::Gate;
use crate::net::room::Room;
use crate::net::tls::{Acceptor, Connector};
use crate::observe::picture::State;
use crate::observe::ruled::Ruled;
use crate::observe::traces::Traces;
use crate::observe::{Metrics, Picture};
use crate::order::Order;
use crate::peers::Peers;
use crate::peers::machines::Machines;
use crate::pool::Pools;
use arc_swap::{ArcSwap, ArcSwapOption};
use router_rules::Classifier;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Semaphore;

/// One running pgweir: passed by reference to everything that needs a part of it.
pub struct Weir {
    /// The configuration in force; replaced as a whole by a reload.
    pub config: ArcSwap<Config>,
    /// Every metric.
    pub metrics: Arc<Metrics>,
    /// SQL → what it would do.
    pub classifier: Classifier,
    /// The log lines that rules ask for.
    pub ruled: Ruled,
    /// The nodes, their roles, lag and freshness, and the catalogs.
    pub cluster: Arc<Cluster>,
    /// Who may log in, and with what secret.
    pub directory: Directory,
    /// What they are and may do on Postgres now.
    pub census: Census,
    /// Server connections.
    pub pools: Pools,
    /// Those that have connected and not logged in yet.
    pub anteroom: Room,
    /// The clients that are connected.
    pub registry: Registry,
    /// PAUSE and RESUME.
    pub gate: Gate,
    /// How many consoles may be open at once.
    pub consoles: Semaphore,
    /// What is asked of the main task.
    pub orders: tokio::sync::mpsc::UnboundedSender<Order>,
    /// What servers report to a user with certain start-up settings.
    pub welcomes: Welcomes,
    /// TLS with clients, if configured.
    pub acceptor: ArcSwapOption<Acceptor>,
    /// TLS with the nodes.
    pub connector: Connector,
    /// Seeds the keys of prepared statements.
    pub statement_seed: foldhash::quality::RandomState,
    /// Counts the changes of any database's schema that went through us.
    pub schema_changes: AtomicU64,
    /// SIGTERM came: no new clients, and those that are there leave between transactions.
    pub draining: AtomicBool,
    /// The other pgweir processes of this machine.
    pub peers: Peers,
    /// The pgweirs on other machines.
    pub machines: Machines,
    /// Spans of statements, if they go anywhere.
    pub traces: Traces,
    /// How many cancel requests may be under way at once.
    pub cancels: Semaphore,
}

impl Weir {
    /// All that there is to see, now.
    pub fn picture(&self) -> Picture {
        let config = self.config.load();
        let draining = self.draining.load(Ordering::Relaxed);
        Picture {
            state: match (draining, self.gate.is_closed()) {
                (true, _) => State::Draining,
                (_, true) => State::Paused,
                _ => State::Running,
            },
            uptime: self.metrics.started.elapsed().unwrap_or_default(),
            nodes: self.cluster.snapshot(),
            sources: self.cluster.sources(),
            siblings: self.cluster.siblings(),
            clients: self.registry.rows(),
            servers: self.pools.server_rows(),
            pools: self.pools.rows(&config),
            totals: self.metrics.totals(),
            events: self.cluster.events.recent(),
            paused: self.gate.closed_databases(),
            limits: config.most(),
        }
    }
}
