//! The servers' side of a session: what it holds, and what it held last.

use crate::node::Node;
use crate::pool::{Lease, Pool};
use crate::server::LastUse;
use router_rules::Target;
use std::sync::Arc;

/// The servers that a session holds.
pub(crate) struct Holding {
    /// The server that works for it now, if any.
    pub(crate) lease: Option<Lease>,
    /// What kind of node that server is on.
    pub(crate) on: Target,
    /// A server of the primary that knows what sequences gave this session, while it needs none.
    pub(crate) kept: Option<Lease>,
    /// The server is held between two requests, since the next one has come already.
    pub(crate) lingers: bool,
    /// Requests that followed each other on it.
    pub(crate) in_a_row: u32,
    /// The server of the primary that it had last.
    pub(crate) last_primary: Option<LastUse>,
    /// Pools used before.
    pub(crate) pools: Vec<(Arc<Node>, Arc<Pool>)>,
}

impl Default for Holding {
    fn default() -> Self {
        Self {
            lease: None,
            on: Target::Primary,
            kept: None,
            lingers: false,
            in_a_row: 0,
            last_primary: None,
            pools: vec![],
        }
    }
}

impl Holding {
    /// The node of the server at hand, for logs.
    pub(crate) fn node_name(&self) -> &str {
        self.lease.as_ref().map_or("none", |lease| lease.node.name.as_str())
    }
}
