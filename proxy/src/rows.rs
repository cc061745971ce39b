//! What there is to see, as plain rows: for the console, the status page and the gauges.

pub mod nodes;

pub use nodes::{Event, Events, NodeStatus, SourceStatus};

use crate::config::PoolMode;
use router_rules::{PinReason, words};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

words! {
    /// What a client is doing.
    Doing {
        LoggingIn = "logging_in": "Authenticating.",
        Idle = "idle": "Between statements, outside a transaction.",
        Active = "active": "A statement is under way, or a transaction open.",
        Waiting = "waiting": "Waiting for a server.",
        WaitingFreshness = "waiting_freshness": "Waiting for a replica to be fresh enough.",
    }
}

words! {
    /// Whether a client has a server connection.
    Held {
        Active = "active": "A client has it.",
        Idle = "idle": "It rests in its pool.",
    }
}

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
    /// Where it comes from; `None`: a Unix socket.
    pub address: Option<SocketAddr>,
    /// What it is doing.
    pub state: Doing,
    /// When it connected.
    pub connected: SystemTime,
    /// When its last request came, if one has.
    pub requested: Option<SystemTime>,
    /// How long it has been waiting for a server.
    pub waiting: Duration,
    /// It has been told to end.
    pub ends: bool,
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
    /// Who has it.
    pub state: Held,
    /// The server's process id.
    pub process: i32,
    /// When it was opened.
    pub opened: SystemTime,
    /// When a client had it last, if one has given it back.
    pub used: Option<SystemTime>,
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
    /// When its servers change hands.
    pub mode: PoolMode,
}

/// Another pgweir, as the primary shows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sibling {
    /// Its number, new for each process.
    pub number: u32,
    /// The server process of its prober on the primary.
    pub process: i32,
    /// Where it connects from; `None`: a Unix socket, or hidden from our role.
    pub address: Option<String>,
    /// Since when it has been connected, in seconds of the epoch.
    pub since: Option<i64>,
    /// It claims to be alone: it has not seen us yet.
    pub claims: bool,
}
