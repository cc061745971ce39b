//! All that there is at one moment, as plain rows: for the console, the status page and the gauges.

use super::metrics::{Gauges, Totals};
use crate::rows::{ClientRow, Doing, Event, NodeStatus, PoolRow, ServerRow, Sibling, SourceStatus};
use router_rules::PinReason;
use std::collections::BTreeMap;
use std::time::Duration;

/// What pgweir as a whole is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum State {
    /// Serving.
    #[default]
    Running,
    /// PAUSE: nobody gets a server.
    Paused,
    /// About to leave.
    Draining,
}

impl State {
    /// The word in console and page.
    pub const fn as_str(self) -> &'static str {
        match self {
            State::Running => "active",
            State::Paused => "paused",
            State::Draining => "draining",
        }
    }
}

/// Everything.
#[derive(Debug, Clone, Default)]
pub struct Picture {
    /// What pgweir does.
    pub state: State,
    /// Since it started.
    pub uptime: Duration,
    /// The nodes, as configured.
    pub nodes: Vec<NodeStatus>,
    /// Where nodes are found.
    pub sources: Vec<SourceStatus>,
    /// The other pgweirs of this cluster.
    pub siblings: Vec<Sibling>,
    /// The clients, by process id.
    pub clients: Vec<ClientRow>,
    /// The server connections.
    pub servers: Vec<ServerRow>,
    /// The pools, by node, database, user.
    pub pools: Vec<PoolRow>,
    /// Counters of each database.
    pub totals: Vec<Totals>,
    /// What happened lately, oldest first.
    pub events: Vec<Event>,
    /// Databases that are paused while others are not.
    pub paused: Vec<String>,
    /// What is configured to be the most, by key; 0: no bound.
    pub limits: Vec<(&'static str, i64)>,
}

impl Picture {
    /// Whether clients should be sent here.
    ///
    /// # Errors
    /// Why not.
    pub fn ready(&self) -> Result<(), &'static str> {
        match self.state {
            State::Draining => Err("draining"),
            _ if !self.nodes.iter().any(|n| n.up && n.serving) => Err("no node is usable"),
            _ => Ok(()),
        }
    }

    /// What the gauges say.
    pub fn gauges(&self) -> Gauges {
        let mut clients: BTreeMap<&'static str, i64> =
            Doing::ALL.iter().map(|doing| (doing.as_str(), 0)).collect();
        let mut pinned: BTreeMap<&'static str, i64> =
            PinReason::ALL.iter().map(|reason| (reason.as_str(), 0)).collect();
        for client in &self.clients {
            *clients.entry(client.state.as_str()).or_default() += 1;
            if let Some(pin) = client.pin {
                *pinned.entry(pin.as_str()).or_default() += 1;
            }
        }
        let mut servers: BTreeMap<(String, &'static str), i64> = BTreeMap::new();
        for node in &self.nodes {
            for state in ["active", "idle", "opening"] {
                servers.insert((node.name.clone(), state), 0);
            }
        }
        for pool in &self.pools {
            for (state, count) in [("active", pool.active), ("idle", pool.idle), ("opening", pool.opening)] {
                *servers.entry((pool.node.clone(), state)).or_default() += count as i64;
            }
        }
        Gauges {
            clients: clients.into_iter().collect(),
            servers: servers.into_iter().map(|((node, state), n)| (node, state, n)).collect(),
            pinned: pinned.into_iter().collect(),
            limits: self.limits.clone(),
        }
    }
}
