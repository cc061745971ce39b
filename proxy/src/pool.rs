//! Which server connections there are, and who has them.
//!
//! One [`Pool`] per node, database and user. The bookkeeping is a small struct behind a
//! synchronous lock that is never held across an await. A server that comes back goes straight to
//! the session that has waited longest; without waiters it rests on top of the idle stack, where
//! the next session finds it warm.

use crate::auth::{Credentials, LoginError};
use crate::cluster::{Node, Outstanding};
use crate::config::Config;
use crate::net::tls::Connector;
use crate::observe::picture::{PoolRow, ServerRow};
use crate::server::{Server, Target};
use crate::wire::{ErrorFields, Refusal, sqlstate};
use parking_lot::{Mutex, RwLock};
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::{Notify, oneshot};

/// After a failed connection attempt, others fail with it for this long instead of trying themselves.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// What a pool is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The node's name.
    pub node: String,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
}

/// Connections to one node for one database and user.
#[derive(Debug)]
pub struct Pool {
    /// What it is for.
    pub key: Key,
    node: Arc<Node>,
    state: Mutex<State>,
    limit: AtomicUsize,
    /// Sessions that wait for a server of it.
    waiting: AtomicUsize,
    /// Signalled when a session begins to wait: who keeps a server without need may let it go.
    wanted: Notify,
    /// A session of it has asked for what a sequence gave it last.
    asks_sequences: AtomicBool,
    /// Servers that sessions have.
    leased: AtomicUsize,
    /// Servers being opened.
    opening: AtomicUsize,
    /// Every server that there is, for the console.
    servers: Mutex<Vec<Weak<Card>>>,
}

#[derive(Debug, Default)]
struct State {
    #[expect(clippy::vec_box, reason = "a server changes hands without being copied")]
    idle: Vec<Box<Server>>,
    /// All that exist: idle, leased, being opened.
    open: usize,
    waiters: VecDeque<Waiter>,
    last_failure: Option<(Instant, Arc<LoginError>)>,
    /// Servers opened before this are closed when they come back (RECONNECT, password change).
    stale_before: Option<Instant>,
    credentials: Option<Arc<Credentials>>,
}

/// A server, and how often it had been leased: tells whether it was somebody else's meanwhile.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastUse {
    /// The server's process id.
    pub process: i32,
    /// Its leases so far.
    pub leases: u64,
}

/// A session that waits.
#[derive(Debug)]
struct Waiter {
    grant: oneshot::Sender<Grant>,
    since: Instant,
}

/// Counts a session among those that wait, for as long as it does: until granted, cancelled or gone.
struct Waiting<'a>(&'a Pool);

impl<'a> Waiting<'a> {
    fn of(pool: &'a Pool) -> Self {
        pool.waiting.fetch_add(1, Ordering::SeqCst);
        Waiting(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// What a waiter is given.
#[derive(Debug)]
enum Grant {
    Server(Box<Server>),
    /// A place was freed: open one yourself.
    Place,
}

/// Why a session got no server.
#[derive(Debug, thiserror::Error)]
pub enum LeaseError {
    /// The pool was full for too long.
    #[error(transparent)]
    TooLong(Refusal),
    /// The node does not let us in, or is not there.
    #[error(transparent)]
    Login(Arc<LoginError>),
}

/// A server, for as long as a session needs it. Dropped, it is closed; given back, it is shared.
#[derive(Debug)]
pub struct Lease {
    server: Option<Box<Server>>,
    pool: Arc<Pool>,
    _outstanding: Outstanding,
}

impl std::ops::Deref for Lease {
    type Target = Server;
    fn deref(&self) -> &Server {
        self.server.as_ref().expect("a lease has its server until it is given back")
    }
}

impl std::ops::DerefMut for Lease {
    fn deref_mut(&mut self) -> &mut Server {
        self.server.as_mut().expect("a lease has its server until it is given back")
    }
}

impl Lease {
    /// The session is done with the server, which owes nothing and is outside a transaction.
    pub fn give_back(mut self) {
        if let Some(server) = self.server.take() {
            self.pool.leased.fetch_sub(1, Ordering::Relaxed);
            self.pool.take_back(server);
        }
    }
}

impl Lease {
    /// Somebody waits for a server of this pool.
    pub fn is_wanted(&self) -> bool {
        self.pool.waiting.load(Ordering::SeqCst) > 0
    }

    /// Resolves when somebody waits for a server of this pool.
    pub fn wanted(&self) -> impl Future<Output = ()> + Send + use<> {
        let pool = self.pool.clone();
        async move {
            let told = pool.wanted.notified();
            if pool.waiting.load(Ordering::SeqCst) == 0 {
                told.await;
            }
        }
    }

    /// A session has asked for what a sequence gave it last: those of this user and database rely on it.
    pub fn set_asks_sequences(&self) {
        self.pool.asks_sequences.store(true, Ordering::Relaxed);
    }

    /// Whether sessions of this user and database ask for what sequences gave them.
    pub fn asks_sequences(&self) -> bool {
        self.pool.asks_sequences.load(Ordering::Relaxed)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.server.take().is_some() {
            self.pool.leased.fetch_sub(1, Ordering::Relaxed);
            self.pool.closed();
        }
    }
}

/// What opening a server needs beside the pool's key.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// The user's.
    pub credentials: &'a Arc<Credentials>,
    /// Towards the node.
    pub tls: &'a Connector,
    /// Time-outs and limits.
    pub config: &'a Config,
}

impl Pool {
    fn new(key: Key, node: Arc<Node>, limit: usize) -> Self {
        Self {
            key,
            node,
            state: Mutex::default(),
            limit: AtomicUsize::new(limit),
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            asks_sequences: AtomicBool::new(false),
            leased: AtomicUsize::new(0),
            opening: AtomicUsize::new(0),
            servers: Mutex::default(),
        }
    }

    /// The node it leads to.
    pub fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// A server that is idle right now, without waiting.
    pub fn try_lease(self: &Arc<Self>) -> Option<Lease> {
        loop {
            let mut server = {
                let mut state = self.state.lock();
                if !state.waiters.is_empty() {
                    return None;
                }
                let here = crate::server::event_loop();
                // One of this event loop if there is one near the top, else the warmest.
                let at =
                    state.idle.iter().rposition(|s| s.thread == here).or(state.idle.len().checked_sub(1))?;
                state.idle.remove(at)
            };
            if server.is_quiet() {
                return Some(self.lease_of(server));
            }
            self.closed();
        }
    }

    /// This very server, if it is idle and nobody has used it since.
    pub fn try_lease_again(self: &Arc<Self>, last: LastUse) -> Option<Lease> {
        let mut server = {
            let mut state = self.state.lock();
            let at = state.idle.iter().position(|s| s.last_use() == last)?;
            state.idle.remove(at)
        };
        if server.is_quiet() {
            return Some(self.lease_of(server));
        }
        self.closed();
        None
    }

    /// A server: an idle one, a new one while the limit allows it, else the next that comes back.
    ///
    /// # Errors
    /// See [`LeaseError`]. Cancel-safe: a server granted to a session that is gone goes to the next.
    pub async fn lease(self: &Arc<Self>, opening: Opening<'_>) -> Result<Lease, LeaseError> {
        if let Some(lease) = self.try_lease() {
            return Ok(lease);
        }
        let mut grant = {
            let mut state = self.state.lock();
            if state.open < self.limit.load(Ordering::Relaxed) {
                state.open += 1;
                Ok(Grant::Place)
            } else {
                let (sender, receiver) = oneshot::channel();
                state.waiters.push_back(Waiter { grant: sender, since: Instant::now() });
                Err(receiver)
            }
        };
        if let Err(receiver) = &mut grant {
            let _waiting = Waiting::of(self);
            self.wanted.notify_waiters();
            let waited = tokio::time::timeout(opening.config.pool.lease_wait, receiver).await;
            grant = match waited {
                Ok(Ok(granted)) => Ok(granted),
                _ => return Err(LeaseError::TooLong(self.too_long(opening.config))),
            };
        }
        match grant {
            Ok(Grant::Server(server)) => Ok(self.lease_of(server)),
            _ => self.open(opening).await,
        }
    }

    fn too_long(&self, config: &Config) -> Refusal {
        Refusal::new(
            sqlstate::TOO_MANY_CONNECTIONS,
            format!(
                "no server connection of node {} became free within {} (pool.lease_wait)",
                self.key.node,
                humantime::format_duration(config.pool.lease_wait)
            ),
        )
        .with_hint(format!(
            "All {} server connections for database \"{}\" and user \"{}\" are in use: end transactions sooner or raise pool.server_connections_max.",
            self.limit.load(Ordering::Relaxed),
            self.key.database,
            self.key.user
        ))
    }

    fn lease_of(self: &Arc<Self>, mut server: Box<Server>) -> Lease {
        server.leases += 1;
        server.come_here();
        if server.connection.output.capacity() == 0 {
            server.connection.output = crate::net::spare::take();
        }
        self.leased.fetch_add(1, Ordering::Relaxed);
        server.card.leased.store(true, Ordering::Relaxed);
        Lease { server: Some(server), pool: self.clone(), _outstanding: self.node.begin() }
    }

    /// Opens a server in a place that is already counted.
    async fn open(self: &Arc<Self>, opening: Opening<'_>) -> Result<Lease, LeaseError> {
        let place = Place::of(self);
        let shared = self.state.lock().last_failure.clone();
        if let Some((at, error)) = shared
            && at.elapsed() < RETRY_AFTER
        {
            return Err(LeaseError::Login(error));
        }
        let target = Target {
            node: self.node.clone(),
            database: self.key.database.clone(),
            user: self.key.user.clone(),
            replication: None,
            settings: vec![],
        };
        match open_within(&target, opening).await {
            Ok(server) => {
                place.taken_up();
                let mut state = self.state.lock();
                state.last_failure = None;
                state.credentials = Some(opening.credentials.clone());
                drop(state);
                self.servers.lock().push(Arc::downgrade(&server.card));
                Ok(self.lease_of(Box::new(server)))
            }
            Err(error) => {
                let error = Arc::new(error);
                self.state.lock().last_failure = Some((Instant::now(), error.clone()));
                Err(LeaseError::Login(error))
            }
        }
    }

    /// A server is gone: its place goes to whoever waits.
    fn closed(&self) {
        let mut state = self.state.lock();
        while let Some(waiter) = state.waiters.pop_front() {
            if waiter.grant.send(Grant::Place).is_ok() {
                return;
            }
        }
        state.open -= 1;
    }

    /// A server comes back.
    fn take_back(&self, mut server: Box<Server>) {
        server.idle_since = Instant::now();
        server.card.leased.store(false, Ordering::Relaxed);
        server.card.statements.store(server.statements.len(), Ordering::Relaxed);
        let mut state = self.state.lock();
        let stale = state.stale_before.is_some_and(|t| server.opened < t);
        let too_many = state.open > self.limit.load(Ordering::Relaxed);
        if stale || too_many {
            drop(state);
            return self.closed();
        }
        while let Some(waiter) = state.waiters.pop_front() {
            match waiter.grant.send(Grant::Server(server)) {
                Ok(()) => return,
                Err(Grant::Server(back)) => server = back,
                Err(Grant::Place) => return,
            }
        }
        state.idle.push(server);
    }

    /// Closes what is idle for too long, too old or dead.
    pub fn sweep(&self, config: &Config) {
        let now = Instant::now();
        let mut gone = vec![];
        {
            let mut state = self.state.lock();
            let min = config.pool.server_connections_min;
            let mut at = 0;
            while at < state.idle.len() {
                let keep_few = state.open - gone.len() <= min;
                let stale_before = state.stale_before;
                let server = &mut state.idle[at];
                let too_idle = !keep_few && now.duration_since(server.idle_since) > config.pool.server_idle;
                let too_old =
                    now.duration_since(server.opened) > lifetime(server, config.pool.server_lifetime);
                let stale = stale_before.is_some_and(|t| server.opened < t);
                if too_idle || too_old || stale || !server.is_quiet() {
                    gone.push(state.idle.remove(at));
                } else {
                    at += 1;
                }
            }
        }
        for server in gone {
            drop(server);
            self.closed();
        }
    }

    /// Every server is replaced as it comes back; idle ones at once.
    pub fn reconnect(&self, config: &Config) {
        self.state.lock().stale_before = Some(Instant::now());
        self.sweep(config);
    }

    /// Closes what is idle now.
    pub fn close_idle(&self) {
        let idle = std::mem::take(&mut self.state.lock().idle);
        for server in idle {
            drop(server);
            self.closed();
        }
    }

    /// How many servers are idle and how many exist.
    pub fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.idle.len(), state.open)
    }

    /// The limit in force.
    pub fn limit(&self) -> usize {
        self.limit.load(Ordering::Relaxed)
    }

    /// Brings the number of idle servers up to `count` in total, as far as limit and node allow.
    ///
    /// # Errors
    /// The first failed log-in.
    pub async fn warm(
        self: &Arc<Self>,
        count: usize,
        tls: &Connector,
        config: &Config,
    ) -> Result<(), LeaseError> {
        loop {
            let credentials = {
                let mut state = self.state.lock();
                if state.open >= count.min(self.limit()) {
                    return Ok(());
                }
                let Some(credentials) = state.credentials.clone() else { return Ok(()) };
                state.open += 1;
                credentials
            };
            self.open(Opening { credentials: &credentials, tls, config }).await?.give_back();
        }
    }
}

/// What the console knows of a server, wherever it is.
#[derive(Debug)]
pub struct Card {
    process: i32,
    opened: SystemTime,
    tls: bool,
    leased: AtomicBool,
    statements: AtomicUsize,
}

impl Card {
    /// Of a server that has just logged in.
    pub fn new(process: i32, tls: bool) -> Self {
        Self {
            process,
            opened: SystemTime::now(),
            tls,
            leased: AtomicBool::new(false),
            statements: AtomicUsize::new(0),
        }
    }
}

impl Pool {
    fn server_rows(&self) -> Vec<ServerRow> {
        let mut servers = self.servers.lock();
        servers.retain(|card| card.strong_count() > 0);
        servers
            .iter()
            .filter_map(Weak::upgrade)
            .map(|card| ServerRow {
                node: self.key.node.clone(),
                database: self.key.database.clone(),
                user: self.key.user.clone(),
                state: if card.leased.load(Ordering::Relaxed) { "active" } else { "idle" },
                process: card.process,
                opened: card.opened,
                used: card.opened,
                client: None,
                tls: card.tls,
                stale: false,
                statements: card.statements.load(Ordering::Relaxed),
            })
            .collect()
    }

    fn row(&self, config: &Config) -> PoolRow {
        let state = self.state.lock();
        let (idle, open) = (state.idle.len(), state.open);
        let (active, opening) = (self.leased.load(Ordering::Relaxed), self.opening.load(Ordering::Relaxed));
        PoolRow {
            node: self.key.node.clone(),
            database: self.key.database.clone(),
            user: self.key.user.clone(),
            active: active.min(open),
            waiting: self.waiting.load(Ordering::Relaxed),
            idle,
            opening,
            longest_wait: state.waiters.front().map_or(Duration::ZERO, |w| w.since.elapsed()),
            limit: self.limit(),
            mode: match config.pool.mode {
                crate::config::PoolMode::Transaction => "transaction",
                crate::config::PoolMode::Session => "session",
            },
        }
    }
}

/// Opens a server within the configured time.
///
/// # Errors
/// As [`Server::open`]; a time-out is an I/O error.
pub async fn open_within(target: &Target, opening: Opening<'_>) -> Result<Server, LoginError> {
    let open = Server::open(target, opening.credentials, opening.tls);
    match tokio::time::timeout(opening.config.pool.server_connect, open).await {
        Ok(result) => result,
        Err(_) => Err(LoginError::Io(std::io::ErrorKind::TimedOut.into())),
    }
}

/// A place counted for a server that is being opened; given up when that fails or is given up.
struct Place<'a> {
    pool: &'a Pool,
    taken: bool,
}

impl<'a> Place<'a> {
    fn of(pool: &'a Pool) -> Self {
        pool.opening.fetch_add(1, Ordering::Relaxed);
        Self { pool, taken: false }
    }

    fn taken_up(mut self) {
        self.taken = true;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.pool.opening.fetch_sub(1, Ordering::Relaxed);
        if !self.taken {
            self.pool.closed();
        }
    }
}

/// Lifetimes end up to a tenth apart, so that servers opened together are not closed together.
fn lifetime(server: &Server, configured: Duration) -> Duration {
    let spread = (server.cancel.process.unsigned_abs() % 100) as f64 / 1000.0;
    configured.mul_f64(1.0 - spread)
}

/// All pools.
#[derive(Debug, Default)]
pub struct Pools {
    all: RwLock<HashMap<Key, Arc<Pool>, foldhash::fast::RandomState>>,
}

impl Pools {
    /// The pool for this node, database and user, made on first use.
    pub fn get(&self, node: &Arc<Node>, database: &str, user: &str, config: &Config) -> Arc<Pool> {
        let key = Key { node: node.name.clone(), database: database.to_owned(), user: user.to_owned() };
        if let Some(pool) = self.all.read().get(&key)
            && Arc::ptr_eq(&pool.node, node)
        {
            return pool.clone();
        }
        let limit = limit_of(user, config);
        let pool = Arc::new(Pool::new(key.clone(), node.clone(), limit));
        let mut all = self.all.write();
        match all.get(&key) {
            Some(made) if Arc::ptr_eq(&made.node, node) => made.clone(),
            _ => {
                all.insert(key, pool.clone());
                pool
            }
        }
    }

    /// Every pool.
    pub fn all(&self) -> Vec<Arc<Pool>> {
        self.all.read().values().cloned().collect()
    }

    /// A reload: limits change.
    pub fn apply(&self, config: &Config) {
        for pool in self.all.read().values() {
            pool.limit.store(limit_of(&pool.key.user, config), Ordering::Relaxed);
        }
    }

    /// What the console and the status page show of the pools.
    pub fn rows(&self, config: &Config) -> Vec<PoolRow> {
        let mut rows: Vec<_> = self.all().iter().map(|pool| pool.row(config)).collect();
        rows.sort_by(|a, b| (&a.node, &a.database, &a.user).cmp(&(&b.node, &b.database, &b.user)));
        rows
    }

    /// What the console shows of the server connections.
    pub fn server_rows(&self) -> Vec<ServerRow> {
        self.all().iter().flat_map(|pool| pool.server_rows()).collect()
    }

    /// Closes what nobody needs; forgets pools that have no server left.
    pub fn sweep(&self, config: &Config) {
        for pool in self.all() {
            pool.sweep(config);
        }
        self.all.write().retain(|_, pool| Arc::strong_count(pool) > 1 || pool.counts().1 > 0);
    }
}

fn limit_of(user: &str, config: &Config) -> usize {
    let own = config.users.iter().find(|u| u.name == user).and_then(|u| u.server_connections_max);
    own.unwrap_or(config.pool.server_connections_max).max(1)
}

impl LeaseError {
    /// True when another node may do: this one is not there, or not ready.
    pub fn is_nodes_fault(&self) -> bool {
        let LeaseError::Login(error) = self else { return false };
        match &**error {
            LoginError::Io(_) => true,
            LoginError::ByServer(body) => {
                matches!(ErrorFields::parse(body).sqlstate.as_str(), "57P03" | "57P01" | "57P02")
            }
            LoginError::Refused(_) => false,
        }
    }
}
