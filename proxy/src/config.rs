//! The configuration in force: validated, every default filled in.
//!
//! Two tiers: what is written ([`reader`] over TOML, by the table [`keys`]) and what is valid (the plain
//! structs here, made by [`valid`]). A file with mistakes gives all of them and no configuration.

pub mod entries;
pub mod environment;
pub mod files;
pub mod keys;
mod nodes;
pub mod own_directory;
pub mod reader;
pub mod reference;
pub mod reload;
pub mod sources;
pub mod times;
mod valid;
pub mod value;

pub(crate) use nodes::node_address;
pub use reader::{Mistake, Place};

use router_rules::Policy;
use router_rules::rules::Network;
pub use sources::Standbys;
use sources::{Find, Source};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole, valid configuration.
#[derive(Debug)]
pub struct Config {
    /// `[listen]`
    pub listen: Listen,
    /// `[http]`
    pub http: Http,
    /// `[cluster]`
    pub cluster: Cluster,
    /// `[fleet]`
    pub fleet: Fleet,
    /// `[pool]`
    pub pool: Pool,
    /// `[runtime]`
    pub runtime: Runtime,
    /// `[routing]` and `[[rule]]`, shared with every decision.
    pub policy: Arc<Policy>,
    /// `[routing]` beyond the policy.
    pub routing: Routing,
    /// `[limits]`: clients and time-outs.
    pub limits: Limits,
    /// `[[user]]`: empty means: users log in as they do on Postgres.
    pub users: Vec<User>,
    /// `[auth]`.
    pub auth: Auth,
    /// `[console]`.
    pub console: Console,
    /// `[traces]`: `None`: there are none.
    pub traces: Option<Traces>,
    /// `[log]`.
    pub log: Log,
    /// Every key with its value, for people.
    pub entries: Vec<entries::Entry>,
}

/// Where clients connect.
#[derive(Debug, Clone, PartialEq)]
pub struct Listen {
    /// TCP addresses.
    pub addresses: Vec<SocketAddr>,
    /// Directories in which to make `.s.PGSQL.<port>` sockets.
    pub unix_directories: Vec<PathBuf>,
    /// Certificate, key and client CA for TLS with clients.
    pub tls: Option<ListenTls>,
    /// Open an address although another process listens there.
    pub share_address: bool,
    /// Expect a PROXY protocol v2 header on TCP connections.
    pub proxy_protocol: bool,
    /// Only from these; empty: from everybody.
    pub proxy_protocol_from: Vec<Network>,
}

impl Listen {
    /// A connection from this address begins with a PROXY header, which is believed.
    pub fn hears_proxy(&self, address: std::net::IpAddr) -> bool {
        let from = &self.proxy_protocol_from;
        self.proxy_protocol && (from.is_empty() || from.iter().any(|network| network.contains(address)))
    }
}

/// TLS with clients.
#[derive(Debug, Clone, PartialEq)]
pub struct ListenTls {
    /// `true`: refuse TCP clients that do not ask for TLS.
    pub required: bool,
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
    /// `true`: none is configured, and both are one file that pgweir makes for itself.
    pub is_made: bool,
    /// PEM of the CAs that sign client certificates.
    pub client_ca: Option<PathBuf>,
    /// PEM of the lists of those that were revoked.
    pub client_crl: Option<PathBuf>,
    /// `true`: no TCP client gets in without a certificate, nor without TLS.
    pub requires_certificate: bool,
}

impl ListenTls {
    /// TCP clients have to ask for TLS.
    pub fn is_required(&self) -> bool {
        self.required || self.requires_certificate
    }
}

/// The HTTP address.
#[derive(Debug, Clone, PartialEq)]
pub struct Http {
    /// `None`: no HTTP.
    pub address: Option<SocketAddr>,
    /// Bearer token, if one is asked for.
    pub token: Option<Secret>,
    /// Names by which it may be called while there is no token.
    pub hosts: Vec<String>,
    /// TLS with browsers and scrapers.
    pub tls: Option<HttpTls>,
}

/// TLS on the HTTP address.
#[derive(Debug, Clone, PartialEq)]
pub struct HttpTls {
    /// PEM chain.
    pub certificate: PathBuf,
    /// PEM key.
    pub key: PathBuf,
}

/// The Postgres cluster.
#[derive(Debug, Clone, PartialEq)]
pub struct Cluster {
    /// The nodes that are written down; roles are discovered. What watches the cluster adds those that are found.
    pub nodes: Vec<Node>,
    /// Where others are found.
    pub sources: Vec<Source>,
    /// How they are looked for.
    pub find: Find,
    /// The role with which pgweir probes, reads catalogs and looks up verifiers.
    pub user: String,
    /// Its password.
    pub password: Option<Secret>,
    /// The database that probing and auth_query use.
    pub database: String,
    /// How to look up a user's verifier; `None`: try `pgweir.user_lookup`, then `pg_authid`.
    pub auth_query: Option<String>,
    /// TLS towards the nodes.
    pub tls: ServerTls,
    /// Our own availability zone: replicas in it are preferred.
    pub zone: Option<String>,
    /// Pause between two probes of a node while nothing happens.
    pub probe_interval: Duration,
    /// Pause between two probes while a read waits or a write is recent.
    pub probe_interval_fast: Duration,
    /// A probe that takes longer has failed.
    pub probe_timeout: Duration,
    /// How long writes wait for a primary before they get 57P03.
    pub primary_wait: Duration,
    /// What `proxy` promises where there are several pgweirs.
    pub fleet: Promises,
    /// What becomes of sessions that have seen writes which a failover has lost.
    pub lost_writes: LostWrites,
    /// What becomes of sessions that listen.
    pub lost_listeners: LostListeners,
    /// Whether the outcome of a COMMIT whose answer was lost is asked of the next primary.
    pub commit_outcome: bool,
    /// Settings that shape results, and that a replica may have other than the primary.
    pub settings_may_differ: Vec<String>,
}

/// What the level `proxy` promises where several pgweirs front one cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Promises {
    /// Every commit that any of them has acknowledged.
    Exact,
    /// Every commit that this one has.
    Alone,
}

/// What becomes of sessions that have seen writes which a failover has lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LostWrites {
    /// They get a warning.
    #[default]
    Warn,
    /// They end.
    End,
}

/// What becomes of a session that listens, and whose server is lost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum LostListeners {
    /// It listens on the next primary, and gets a warning.
    #[default]
    ListenAgain,
    /// It ends.
    End,
}

/// One node.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// `host:port` as written, or a socket directory with `:port`: the node's name everywhere.
    pub address: String,
    /// Share of reads relative to the others; 0: none.
    pub weight: u32,
    /// Availability zone.
    pub zone: Option<String>,
    /// Named groups it belongs to ("analytics"). A node in a group serves only reads sent to that group.
    pub groups: Vec<String>,
    /// The source that tells it; `None`: it is written down.
    pub source: Option<Arc<str>>,
}

impl Cluster {
    /// What is said of nodes that are written down, and of those that sources tell.
    pub fn kinds_of_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().chain(self.sources.iter().map(|source| &source.like))
    }
}

/// How the servers are spoken to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ServerTls {
    /// As libpq's sslmode.
    pub mode: SslMode,
    /// PEM of the CAs that sign the servers' certificates (verify-ca, verify-full).
    pub ca: Option<PathBuf>,
    /// Our client certificate.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// What they may ask for at a log-in (`cluster.require_auth`).
    pub auth: ServerAuth,
}

/// What a server asks for as a proof of who we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proof {
    /// Nothing (it trusts us, or knows us by certificate or process).
    None,
    /// The password in clear.
    Password,
    /// A digest of it that can be played back by whoever stores it.
    Md5,
    /// An exchange that gives nothing away.
    ScramSha256,
}

impl Proof {
    /// As libpq's `require_auth` names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Proof::None => "none",
            Proof::Password => "password",
            Proof::Md5 => "md5",
            Proof::ScramSha256 => "scram-sha-256",
        }
    }

    /// What an authentication request with this code asks for, if it begins something.
    pub const fn of_request(code: u32) -> Option<Self> {
        match code {
            0 => Some(Proof::None),
            3 => Some(Proof::Password),
            5 => Some(Proof::Md5),
            10 => Some(Proof::ScramSha256),
            _ => None,
        }
    }
}

/// The proofs that servers are given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerAuth(pub Vec<Proof>);

impl Default for ServerAuth {
    /// All but the password itself.
    fn default() -> Self {
        Self(vec![Proof::ScramSha256, Proof::Md5, Proof::None])
    }
}

impl ServerAuth {
    /// A server may ask for this.
    pub fn allows(&self, proof: Proof) -> bool {
        self.0.contains(&proof)
    }

    /// What is said where it does and may not.
    pub fn refusal(&self, proof: Proof) -> String {
        let what = match proof {
            Proof::None => "lets us in without a proof",
            Proof::Password => "asks for the password in clear",
            Proof::Md5 => "asks for an md5 digest of the password",
            Proof::ScramSha256 => "asks for SCRAM",
        };
        format!("the server {what}, which cluster.require_auth does not allow (\"{}\")", proof.as_str())
    }
}

/// <https://www.postgresql.org/docs/current/libpq-ssl.html#LIBPQ-SSL-SSLMODE-STATEMENTS>
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SslMode {
    /// Never.
    #[default]
    Disable,
    /// When the server offers it.
    Prefer,
    /// Always, whoever the server is.
    Require,
    /// Signed by a known CA.
    VerifyCa,
    /// And named as we called it.
    VerifyFull,
}

/// The pgweirs on other machines, which are told of cancel requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Fleet {
    /// Where they are heard; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// Where they hear, as `host:port`.
    pub peers: Vec<String>,
    /// What all of them know.
    pub secret: Option<Secret>,
}

/// Server connections.
#[derive(Debug, Clone, PartialEq)]
pub struct Pool {
    /// Per node, database and user.
    pub server_connections_max: usize,
    /// Beyond that, for clients that have waited for `reserve_after`.
    pub server_connections_reserve: usize,
    /// How long a client waits before it may use the reserve.
    pub reserve_after: Duration,
    /// Kept open per node, database and user once used.
    pub server_connections_min: usize,
    /// When pools are filled up to their limit.
    pub warm_at: Vec<times::WeeklyTime>,
    /// All of one node together; 0: no bound of ours.
    pub node_connections_max: usize,
    /// That is the bound of all pgweirs of the cluster together.
    pub node_connections_shared: bool,
    /// Sharing mode.
    pub mode: PoolMode,
    /// How long a client waits for a server before it gets 53300.
    pub lease_wait: Duration,
    /// After this long a waiting client gets a NOTICE.
    pub lease_wait_notice: Duration,
    /// An idle server is closed after this long.
    pub server_idle: Duration,
    /// A server is closed at this age (with some jitter), between transactions.
    pub server_lifetime: Duration,
    /// How long connecting and logging in to a node may take.
    pub server_connect: Duration,
    /// Prepared statements kept per server connection (LRU).
    pub server_statements_max: usize,
}

/// How servers are shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolMode {
    /// One server for one transaction.
    #[default]
    Transaction,
    /// One server for one client.
    Session,
}

impl PoolMode {
    /// The word in configuration and console.
    pub const fn as_str(self) -> &'static str {
        match self {
            PoolMode::Transaction => "transaction",
            PoolMode::Session => "session",
        }
    }
}

/// Threads.
#[derive(Debug, Clone, PartialEq)]
pub struct Runtime {
    /// One event loop each.
    pub threads: usize,
    /// Reload when the file changes.
    pub watch_config: bool,
    /// Where the processes of this machine meet, and what must outlive them lies.
    pub directory: PathBuf,
}

/// Routing beyond what the pure policy holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Routing {
    /// How long a read waits for a fresh enough replica before the primary answers it.
    pub freshness_wait: Duration,
    /// Whether a read waits at all.
    pub when_late: WhenLate,
    /// `false`: everything goes to the primary.
    pub split: bool,
    /// Bytes of memory for remembered classifications.
    pub cache_bytes_max: usize,
}

/// What a read does that no replica can serve yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenLate {
    /// It waits: the primary is spared.
    Wait,
    /// It goes to the primary: nobody waits.
    Primary,
    /// Whichever is likely to answer sooner.
    Balance,
}

/// Clients and time-outs; `None`: no limit.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Clients at once.
    pub clients_max: usize,
    /// Connections at once that have not logged in.
    pub logins_max: usize,
    /// Clients at once of one user.
    pub user_clients_max: Option<usize>,
    /// Clients at once of one database.
    pub database_clients_max: Option<usize>,
    /// From accept to the end of authentication.
    pub login: Duration,
    /// Between two statements outside a transaction.
    pub client_idle: Option<Duration>,
    /// Between two statements inside a transaction.
    pub transaction_idle: Option<Duration>,
    /// One statement.
    pub query: Option<Duration>,
    /// One transaction.
    pub transaction: Option<Duration>,
    /// How long SIGTERM waits for transactions to end.
    pub drain: Duration,
}

/// A configured user.
#[derive(Debug, Clone, PartialEq)]
pub struct User {
    /// Its name, also towards the servers.
    pub name: String,
    /// Its secret: verifier towards clients and keys towards servers are derived once.
    pub password: Option<Secret>,
    /// Overrides `[pool] mode`.
    pub mode: Option<PoolMode>,
    /// Overrides `[pool] server_connections_max`.
    pub server_connections_max: Option<usize>,
}

/// How clients authenticate.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Auth {
    /// Rules in order, first match wins; empty: SCRAM (or md5 where the stored secret is md5) for all.
    pub rules: Vec<AuthRule>,
}

/// One line of HBA-like access control.
#[derive(Debug, Clone, PartialEq)]
pub struct AuthRule {
    /// How the client is connected.
    pub connection: ConnectionKind,
    /// Database names; empty: all.
    pub databases: Vec<String>,
    /// User names; empty: all.
    pub users: Vec<String>,
    /// Address with prefix length; `None`: all, Unix sockets included.
    pub address: Option<(std::net::IpAddr, u8)>,
    /// What is asked for.
    pub method: AuthMethod,
    /// What certificate must be shown beside it.
    pub client_certificate: Option<CertificateCheck>,
}

/// How a client is connected, as pg_hba.conf tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ConnectionKind {
    /// However.
    #[default]
    Any,
    /// By a Unix socket.
    Local,
    /// By TCP.
    Host,
    /// By TCP with TLS.
    HostSsl,
    /// By TCP without TLS.
    HostNoSsl,
}

/// What a client's certificate must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CertificateCheck {
    /// Signed by a CA of ours.
    Ca,
    /// And its CN is the user.
    Full,
}

/// What a client must show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// SCRAM-SHA-256, with channel binding over TLS.
    ScramSha256,
    /// md5 (for users whose stored secret is md5).
    Md5,
    /// Clear-text password (only over TLS or a Unix socket unless forced).
    Password,
    /// A client certificate whose CN is the user.
    Certificate,
    /// Nothing.
    Trust,
    /// No way in.
    Reject,
}

/// Who may use the console.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Console {
    /// May do everything. Empty: the cluster role (`[cluster] user`).
    pub admin_users: Vec<String>,
    /// May only SHOW.
    pub stats_users: Vec<String>,
}

/// Where traces go.
#[derive(Debug, Clone, PartialEq)]
pub struct Traces {
    /// Of the collector: scheme, host, port and path.
    pub url: String,
    /// Whoever may have signed its certificate; `None`: the system's authorities.
    pub ca: Option<PathBuf>,
    /// Share of the statements that get a span.
    pub ratio: f64,
}

/// Overrides `log.filter`.
pub const LOG_VARIABLE: &str = "PGWEIR_LOG";

/// What is logged, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Log {
    /// One JSON object per line rather than text.
    pub json: bool,
    /// Levels: `info,pgweir::pool=debug`.
    pub filter: String,
    /// A statement that takes longer is logged.
    pub slow_statement: Option<Duration>,
    /// A wait for a server that takes longer is logged.
    pub slow_lease: Option<Duration>,
}

impl Config {
    /// What is configured to be the most, by key; 0: no bound.
    pub fn most(&self) -> Vec<(&'static str, i64)> {
        let (limits, pool) = (&self.limits, &self.pool);
        [
            ("limits.clients_max", limits.clients_max),
            ("limits.user_clients_max", limits.user_clients_max.unwrap_or(0)),
            ("limits.database_clients_max", limits.database_clients_max.unwrap_or(0)),
            ("pool.server_connections_max", pool.server_connections_max),
            ("pool.server_connections_reserve", pool.server_connections_reserve),
            ("pool.node_connections_max", pool.node_connections_max),
        ]
        .map(|(key, most)| (key, i64::try_from(most).unwrap_or(i64::MAX)))
        .into()
    }

    /// How this user's servers are shared: the user's own mode, or that of all.
    pub fn pool_mode(&self, user: &str) -> PoolMode {
        let own = self.users.iter().find(|u| u.name == user).and_then(|u| u.mode);
        own.unwrap_or(self.pool.mode)
    }
}

#[cfg(test)]
impl Config {
    /// A configuration of these nodes and defaults, for tests: no HTTP, one thread, a free port.
    pub fn for_tests(nodes: &[&str]) -> Self {
        let nodes: Vec<_> = nodes.iter().map(|n| format!("\"{n}\"")).collect();
        let text = format!(
            "[listen]\naddress = \"127.0.0.1:0\"\n[http]\naddress = \"off\"\n[cluster]\nnodes = [{}]\n\
             password = \"pgweir\"\n[runtime]\nthreads = 1\nwatch_config = false\n",
            nodes.join(", ")
        );
        let parsed = Self::parse(&text, "test.toml");
        parsed.unwrap_or_else(|mistakes| panic!("{mistakes:?}")).0
    }
}

/// A secret: never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("…")
    }
}
