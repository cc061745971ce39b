//! The cluster's metrics, each a kept handle.

mod sources;

pub use sources::Sources;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    histogram_opts, opts,
};

/// Of the cluster.
#[derive(Debug)]
pub struct ClusterMetrics {
    node_up: IntGaugeVec,
    node_is_primary: IntGaugeVec,
    node_is_stranded: IntGaugeVec,
    node_is_several: IntGaugeVec,
    node_differs: IntGaugeVec,
    replica_lag_bytes: IntGaugeVec,
    replica_lag_seconds: GaugeVec,
    node_statement_seconds: HistogramVec,
    /// Another node, or another timeline, became the primary.
    pub failovers_total: IntCounter,
    /// Writes acknowledged by a former primary and not proved to be on its successor.
    pub lost_writes_total: IntCounter,
    /// Nodes that said they were primary beside the one in force.
    pub rival_primaries_total: IntCounter,
    /// For how long no replica can show what was just committed.
    pub flush_delay_seconds: Gauge,
    /// Other pgweirs of this cluster that the primary shows.
    pub siblings: IntGauge,
    /// Databases in use whose catalog cannot be read, or not proved to be current.
    pub catalogs_unread: IntGauge,
    /// Where nodes are found.
    pub sources: Sources,
    /// Reads that found no fresh replica at once.
    pub waits: Waits,
}

/// Reads that found no fresh replica at once.
#[derive(Debug)]
pub struct Waits {
    /// A replica caught up in time.
    pub caught_up: IntCounter,
    /// None did.
    pub timed_out: IntCounter,
    /// While it waited, it turned out that none would.
    pub given_up: IntCounter,
    /// Not waited: going by its lag, no replica would have caught up in time.
    pub hopeless: IntCounter,
    /// How long they waited.
    pub seconds: Histogram,
}

/// One node's gauges.
#[derive(Debug, Clone)]
pub struct NodeMetrics {
    /// 1: it answers.
    pub up: IntGauge,
    /// 1: it is the primary in force.
    pub is_primary: IntGauge,
    /// 1: its address leads to several servers.
    pub is_several: IntGauge,
    /// 1: it is configured otherwise than the primary.
    pub differs: IntGauge,
    /// 1: it is a replica on an older timeline than the cluster's.
    pub is_stranded: IntGauge,
    /// How far it is behind.
    pub lag_bytes: IntGauge,
    /// How long something has been missing on it.
    pub lag_seconds: Gauge,
}

/// A node's statements, coarser than those of all: there is one such histogram per node.
const STATEMENT_BUCKETS: &[f64] = &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0];

/// Half a millisecond to ten seconds: what a read may wait. Finer where a replica that shows commits
/// 50 ms late, as an asynchronous one in another region does, lets reads wait.
const WAIT_BUCKETS: &[f64] = &[
    0.0005, 0.001, 0.002, 0.003, 0.005, 0.006, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.0525, 0.055, 0.06, 0.075,
    0.1, 0.25, 0.5, 1.0, 2.5, 10.0,
];

impl ClusterMetrics {
    /// Registers all of them.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let node_up = IntGaugeVec::new(opts!("node_up", "1 when the node answers probes"), &["node"])?;
        let node_is_primary =
            IntGaugeVec::new(opts!("node_is_primary", "1 for the primary in force"), &["node"])?;
        let node_is_stranded = IntGaugeVec::new(
            opts!("node_is_stranded", "1 for a replica on an older timeline than the cluster's"),
            &["node"],
        )?;
        let node_is_several = IntGaugeVec::new(
            opts!("node_is_several", "1 when the node's address leads to several servers: it is not used"),
            &["node"],
        )?;
        let node_differs = IntGaugeVec::new(
            opts!("node_differs", "1 for a replica that is configured otherwise than the primary"),
            &["node"],
        )?;
        let replica_lag_bytes =
            IntGaugeVec::new(opts!("replica_lag_bytes", "Bytes of log not replayed yet"), &["node"])?;
        let replica_lag_seconds = GaugeVec::new(
            opts!("replica_lag_seconds", "How long something has been missing on the replica"),
            &["node"],
        )?;
        let node_statement_seconds = HistogramVec::new(
            histogram_opts!("node_statement_seconds", "Time of statements, by the node that ran them")
                .buckets(STATEMENT_BUCKETS.to_vec()),
            &["node"],
        )?;
        registry.register(Box::new(node_statement_seconds.clone()))?;
        let failovers_total = IntCounter::new("failovers_total", "Changes of the primary")?;
        let lost_writes_total = IntCounter::new(
            "lost_writes_total",
            "Acknowledged writes not proved to have survived a change of the primary",
        )?;
        let rival_primaries_total =
            IntCounter::new("rival_primaries_total", "Nodes that claimed to be primary and were left out")?;
        let flush_delay_seconds = Gauge::new(
            "wal_flush_delay_seconds",
            "How long commits lie unflushed on the primary (synchronous_commit = off), 0: they are flushed at once",
        )?;
        let siblings = IntGauge::new("siblings", "Other pgweirs of this cluster that the primary shows")?;
        let catalogs_unread = IntGauge::new(
            "catalogs_unread",
            "Databases in use whose catalog cannot be read: all their statements go to the primary",
        )?;
        let waits = IntCounterVec::new(
            opts!("freshness_waits_total", "Reads that found no fresh replica at once"),
            &["outcome"],
        )?;
        let seconds = Histogram::with_opts(
            histogram_opts!("freshness_wait_seconds", "Time that reads waited for a fresh replica")
                .buckets(WAIT_BUCKETS.to_vec()),
        )?;
        registry.register(Box::new(node_up.clone()))?;
        registry.register(Box::new(node_is_primary.clone()))?;
        registry.register(Box::new(node_is_several.clone()))?;
        registry.register(Box::new(node_differs.clone()))?;
        registry.register(Box::new(node_is_stranded.clone()))?;
        registry.register(Box::new(replica_lag_bytes.clone()))?;
        registry.register(Box::new(replica_lag_seconds.clone()))?;
        registry.register(Box::new(failovers_total.clone()))?;
        registry.register(Box::new(lost_writes_total.clone()))?;
        registry.register(Box::new(rival_primaries_total.clone()))?;
        registry.register(Box::new(flush_delay_seconds.clone()))?;
        registry.register(Box::new(siblings.clone()))?;
        registry.register(Box::new(catalogs_unread.clone()))?;
        registry.register(Box::new(waits.clone()))?;
        registry.register(Box::new(seconds.clone()))?;
        let waits = Waits {
            caught_up: waits.with_label_values(&["caught_up"]),
            timed_out: waits.with_label_values(&["timed_out"]),
            given_up: waits.with_label_values(&["given_up"]),
            hopeless: waits.with_label_values(&["hopeless"]),
            seconds,
        };
        Ok(Self {
            node_up,
            node_is_primary,
            node_is_stranded,
            node_is_several,
            node_differs,
            replica_lag_bytes,
            replica_lag_seconds,
            node_statement_seconds,
            failovers_total,
            lost_writes_total,
            rival_primaries_total,
            flush_delay_seconds,
            siblings,
            catalogs_unread,
            sources: Sources::register(registry)?,
            waits,
        })
    }

    /// The gauges of a node.
    pub fn node(&self, name: &str) -> NodeMetrics {
        NodeMetrics {
            up: self.node_up.with_label_values(&[name]),
            is_primary: self.node_is_primary.with_label_values(&[name]),
            is_several: self.node_is_several.with_label_values(&[name]),
            differs: self.node_differs.with_label_values(&[name]),
            is_stranded: self.node_is_stranded.with_label_values(&[name]),
            lag_bytes: self.replica_lag_bytes.with_label_values(&[name]),
            lag_seconds: self.replica_lag_seconds.with_label_values(&[name]),
        }
    }

    /// What a node's statements take; kept by the node.
    pub fn node_statement_seconds(&self, name: &str) -> Histogram {
        self.node_statement_seconds.with_label_values(&[name])
    }

    /// A node is no longer configured.
    pub fn forget(&self, name: &str) {
        // An error says that it was not there.
        let _ = self.node_up.remove_label_values(&[name]);
        let _ = self.node_is_primary.remove_label_values(&[name]);
        let _ = self.node_is_several.remove_label_values(&[name]);
        let _ = self.node_differs.remove_label_values(&[name]);
        let _ = self.node_is_stranded.remove_label_values(&[name]);
        let _ = self.replica_lag_bytes.remove_label_values(&[name]);
        let _ = self.replica_lag_seconds.remove_label_values(&[name]);
        let _ = self.node_statement_seconds.remove_label_values(&[name]);
    }
}
