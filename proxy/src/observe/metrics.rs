//! Every metric, each a kept handle.

use parking_lot::RwLock;
use prometheus::{Histogram, IntCounter, IntCounterVec, Registry};
use router_rules::{Reason, Target};
use std::collections::HashMap;
use std::sync::Arc;

/// Counters of one database, looked up once per session.
pub struct DatabaseMetrics {
    statements: Vec<IntCounter>,
}

impl DatabaseMetrics {
    /// One more statement ran on `target` because of `reason`.
    pub fn statement(&self, target: Target, reason: Reason) {
        self.statements[target as usize * Reason::ALL.len() + reason as usize].inc();
    }
}

/// All metrics of one pgweir.
pub struct Metrics {
    /// What `/metrics` prints.
    pub registry: Registry,
    statements_total: IntCounterVec,
    databases: RwLock<HashMap<String, Arc<DatabaseMetrics>>>,
    /// Time a client waited for a server.
    pub lease_wait_seconds: Histogram,
    /// Statements run again on the primary after a replica's refusal, by cause.
    pub reroutes_total: IntCounterVec,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// When a name is registered twice: a mistake in this file.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new_custom(Some("pgweir".into()), None)?;
        let statements_total = IntCounterVec::new(
            prometheus::opts!("statements_total", "Statements by where they ran and why"),
            &["database", "target", "reason"],
        )?;
        let lease_wait_seconds = Histogram::with_opts(prometheus::histogram_opts!(
            "lease_wait_seconds",
            "Time a client waited for a server connection"
        ))?;
        let reroutes_total = IntCounterVec::new(
            prometheus::opts!("reroutes_total", "Statements run again on the primary, by cause"),
            &["cause"],
        )?;
        registry.register(Box::new(statements_total.clone()))?;
        registry.register(Box::new(lease_wait_seconds.clone()))?;
        registry.register(Box::new(reroutes_total.clone()))?;
        Ok(Self {
            registry,
            statements_total,
            databases: RwLock::default(),
            lease_wait_seconds,
            reroutes_total,
        })
    }

    /// The handles of one database (which exists on the cluster: the label is bounded by it).
    pub fn database(&self, name: &str) -> Arc<DatabaseMetrics> {
        if let Some(known) = self.databases.read().get(name) {
            return known.clone();
        }
        let statements = Target::ALL
            .iter()
            .flat_map(|t| Reason::ALL.iter().map(move |r| (t, r)))
            .map(|(t, r)| self.statements_total.with_label_values(&[name, t.as_str(), r.as_str()]))
            .collect();
        let made = Arc::new(DatabaseMetrics { statements });
        self.databases.write().entry(name.to_owned()).or_insert(made).clone()
    }
}
