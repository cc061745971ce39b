//! All that there is at one moment, as plain rows: for the console, the status page and the gauges.

use super::metrics::{Gauges, Totals};
use router_rules::PinReason;
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// One client.
#[derive(Debug, Clone)]
pub struct ClientRow {
    /// The process id that it was given.
    pub process: i32,
    /// The user.
    pub user: String,
    /// The database.
    pub database: String,
    /// `application_name`.
    pub application_name: String,
    /// Where it comes from: `127.0.0.1:50000`, or `unix`.
    pub address: String,
    /// `logging_in`, `idle`, `active`, `waiting`.
    pub state: &'static str,
    /// When it connected.
    pub connected: SystemTime,
    /// When its last request came.
    pub requested: SystemTime,
    /// How long it has been waiting for a server.
    pub waiting: Duration,
    /// Statements so far.
    pub statements: u64,
    /// Why it keeps its server, if it does.
    pub pin: Option<PinReason>,
    /// The process id of the server it has, and the server's node.
    pub server: Option<(i32, String)>,
    /// It speaks TLS.
    pub tls: bool,
}

/// One server connection.
#[derive(Debug, Clone)]
pub struct ServerRow {
    /// The node's name.
    pub node: String,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// `idle`, `active`, `opening`.
    pub state: &'static str,
    /// The server's process id.
    pub process: i32,
    /// When it was opened.
    pub opened: SystemTime,
    /// When it was used last.
    pub used: SystemTime,
    /// The process id of the client that has it.
    pub client: Option<i32>,
    /// It speaks TLS.
    pub tls: bool,
    /// It will be closed when it comes back.
    pub stale: bool,
    /// Prepared statements on it.
    pub statements: usize,
}

/// One pool.
#[derive(Debug, Clone)]
pub struct PoolRow {
    /// The node's name.
    pub node: String,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// Clients that have a server of it.
    pub active: usize,
    /// Clients that wait for one.
    pub waiting: usize,
    /// Servers nobody has.
    pub idle: usize,
    /// Servers being opened.
    pub opening: usize,
    /// How long the first in the queue has waited.
    pub longest_wait: Duration,
    /// How many servers there may be.
    pub limit: usize,
    /// `transaction` or `session`.
    pub mode: &'static str,
}

/// One node.
#[derive(Debug, Clone)]
pub struct NodeRow {
    /// Its name.
    pub name: String,
    /// `primary`, `replica` or `unknown`.
    pub role: &'static str,
    /// It answers probes.
    pub up: bool,
    /// It may answer reads now, or writes if it is the primary.
    pub serving: bool,
    /// How long it has been up, or down.
    pub since: Duration,
    /// Bytes of WAL that it has not replayed.
    pub lag_bytes: u64,
    /// How long something has been missing on it.
    pub lag: Duration,
    /// It is left out for its lag.
    pub lagging: bool,
    /// Up to where it has replayed; of a primary: written.
    pub lsn: String,
    /// Its timeline.
    pub timeline: u32,
    /// Statements or transactions that it works on for us.
    pub outstanding: usize,
    /// The operator wants nothing there.
    pub drained: bool,
    /// Its groups.
    pub groups: Vec<String>,
    /// Its zone.
    pub zone: Option<String>,
    /// Its share of the reads.
    pub weight: u32,
    /// What went wrong last.
    pub error: Option<String>,
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct EventRow {
    /// When.
    pub at: SystemTime,
    /// One word.
    pub kind: &'static str,
    /// The node, or empty.
    pub node: String,
    /// A sentence.
    pub text: String,
}

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
    pub nodes: Vec<NodeRow>,
    /// The clients, by process id.
    pub clients: Vec<ClientRow>,
    /// The server connections.
    pub servers: Vec<ServerRow>,
    /// The pools, by node, database, user.
    pub pools: Vec<PoolRow>,
    /// Counters of each database.
    pub totals: Vec<Totals>,
    /// What happened lately, oldest first.
    pub events: Vec<EventRow>,
    /// Databases that are paused while others are not.
    pub paused: Vec<String>,
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
            ["logging_in", "idle", "active", "waiting"].into_iter().map(|s| (s, 0)).collect();
        let mut pinned: BTreeMap<&'static str, i64> =
            PinReason::ALL.iter().map(|reason| (reason.as_str(), 0)).collect();
        for client in &self.clients {
            *clients.entry(client.state).or_default() += 1;
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
        }
    }
}

impl From<crate::cluster::NodeStatus> for NodeRow {
    fn from(node: crate::cluster::NodeStatus) -> Self {
        let role = if node.is_primary { "primary" } else { node.role.as_str() };
        Self {
            name: node.name,
            role,
            up: node.up,
            serving: node.serving || node.is_primary,
            since: node.since,
            lag_bytes: node.lag_bytes,
            lag: node.lag,
            lagging: node.lagging,
            lsn: node.lsn,
            timeline: node.timeline,
            outstanding: node.outstanding,
            drained: node.drained,
            groups: node.groups,
            zone: node.zone,
            weight: node.weight,
            error: node.error,
        }
    }
}

impl From<crate::cluster::Event> for EventRow {
    fn from(event: crate::cluster::Event) -> Self {
        Self { at: event.at, kind: event.kind, node: event.node, text: event.text }
    }
}
