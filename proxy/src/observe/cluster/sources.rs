//! What sources of nodes have told, as metrics.

use prometheus::{IntCounterVec, IntGaugeVec, Registry, opts};

/// Of every source.
#[derive(Debug)]
pub struct Sources {
    up: IntGaugeVec,
    nodes: IntGaugeVec,
    failures_total: IntCounterVec,
}

impl Sources {
    /// Registers all of them.
    ///
    /// # Errors
    /// When a name is registered twice.
    pub fn register(registry: &Registry) -> prometheus::Result<Self> {
        let up =
            IntGaugeVec::new(opts!("source_up", "1 when the source of nodes has answered"), &["source"])?;
        let nodes = IntGaugeVec::new(opts!("source_nodes", "Nodes that the source tells"), &["source"])?;
        let failures_total = IntCounterVec::new(
            opts!("source_failures_total", "Looks at the source that failed and changed nothing"),
            &["source"],
        )?;
        registry.register(Box::new(up.clone()))?;
        registry.register(Box::new(nodes.clone()))?;
        registry.register(Box::new(failures_total.clone()))?;
        Ok(Self { up, nodes, failures_total })
    }

    /// A source has been asked, and tells so many nodes.
    pub fn heard(&self, source: &str, answers: bool, nodes: usize) {
        self.up.with_label_values(&[source]).set(i64::from(answers));
        self.nodes.with_label_values(&[source]).set(i64::try_from(nodes).unwrap_or(i64::MAX));
        self.failures_total.with_label_values(&[source]).inc_by(u64::from(!answers));
    }

    /// A source is no longer configured.
    pub fn forget(&self, source: &str) {
        // An error says that it was not there.
        let _ = self.up.remove_label_values(&[source]);
        let _ = self.nodes.remove_label_values(&[source]);
        let _ = self.failures_total.remove_label_values(&[source]);
    }
}
