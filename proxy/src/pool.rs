//! Which server connections there are, and who has them.
//!
//! One [`Pool`] per node, database and user. The bookkeeping is a small struct behind a
//! synchronous lock that is never held across an await. A server that comes back goes straight to
//! the session that has waited longest; without waiters it rests on top of the idle stack, where
//! the next session finds it warm. The pools of one node share its [`Budget`].

mod budget;
mod lease;
mod opening;
mod pools;
mod rows;
mod tenure;
mod waiting;

pub use lease::{Lease, LeaseError};
pub use opening::{Opening, open_within};
pub use pools::Pools;
pub use tenure::Tenant;

use crate::auth::{Credentials, Identity, LoginError};
use crate::config::Config;
use crate::node::Node;
use crate::server::placeholders::Allowed;
use crate::server::{Card, LastUse, Server};
use budget::Budget;
use parking_lot::Mutex;
use pools::limit_of;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::Notify;
use waiting::Waiter;

/// What a pool is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    /// The node's name.
    pub node: String,
    /// The database.
    pub database: String,
    /// The user.
    pub user: String,
    /// Who and what these names meant.
    pub identity: Identity,
}

/// Connections to one node for one database and user.
#[derive(Debug)]
pub struct Pool {
    /// What it is for.
    pub key: Key,
    node: Arc<Node>,
    state: Mutex<State>,
    limit: AtomicUsize,
    /// Servers beyond the limit, for who has waited for long.
    reserve: AtomicUsize,
    /// As many as Postgres gives to this role in this database.
    granted: AtomicUsize,
    /// Set while Postgres lets no new session of this identity in: since when.
    closed_to_new: Mutex<Option<SystemTime>>,
    budget: Arc<Budget>,
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
    /// When a session had a server last.
    used: Option<Instant>,
    /// Servers opened before this are closed when they come back (RECONNECT, password change).
    stale_before: Option<Instant>,
    credentials: Option<Arc<Credentials>>,
}

impl Pool {
    fn new(key: Key, node: Arc<Node>, budget: Arc<Budget>, config: &Config) -> Self {
        Self {
            state: Mutex::default(),
            limit: AtomicUsize::new(limit_of(&key.user, config)),
            reserve: AtomicUsize::new(config.pool.server_connections_reserve),
            granted: AtomicUsize::new(usize::MAX),
            closed_to_new: Mutex::default(),
            budget,
            key,
            node,
            waiting: AtomicUsize::new(0),
            wanted: Notify::new(),
            asks_sequences: AtomicBool::new(false),
            leased: AtomicUsize::new(0),
            opening: AtomicUsize::new(0),
            servers: Mutex::default(),
        }
    }

    /// A server that is idle right now, without waiting.
    pub fn try_lease(self: &Arc<Self>) -> Option<Lease> {
        self.try_lease_best(|_| Some(0))
    }

    /// The same for a session with these [plans](router_rules::session::Settings::plans): one that need not throw its
    /// own away, where there is one.
    pub fn try_lease_for(self: &Arc<Self>, plans: u64) -> Option<Lease> {
        self.try_lease_best(|server| Some(usize::from(!server.planned.is_strange_to(Some(plans)))))
    }

    /// The same for a session that may read placeholders: one with none but those that are allowed.
    pub fn try_lease_within(self: &Arc<Self>, allowed: &Allowed<'_>) -> Option<Lease> {
        // The one that knows most of them: who knows none finds one later, too.
        self.try_lease_best(|server| {
            server.placeholders.is_within(allowed).then_some(server.placeholders.len())
        })
    }

    /// The best of those that are idle; `None`: not this one.
    fn try_lease_best(self: &Arc<Self>, worth: impl Fn(&Server) -> Option<usize>) -> Option<Lease> {
        loop {
            let mut server = {
                let mut state = self.state.lock();
                if !state.waiters.is_empty() {
                    return None;
                }
                let here = crate::server::event_loop();
                // One of this event loop if there is one, else the warmest.
                let idle = state.idle.iter().enumerate();
                let best =
                    idle.filter_map(|(at, server)| Some((worth(server)?, server.thread == here, at))).max();
                let (_, _, at) = best?;
                state.idle.remove(at)
            };
            if server.is_watched() && server.is_quiet() {
                return Some(self.lease_of(server));
            }
            self.closed();
        }
    }

    /// Where no more can be opened, closes an idle server that a session cannot use, so that it may open one.
    fn spare_beyond(self: &Arc<Self>, allowed: &Allowed<'_>) {
        let server = {
            let mut state = self.state.lock();
            if state.open < self.limit() && self.budget.take() {
                return self.budget.untake();
            }
            let at = state.idle.iter().position(|server| !server.placeholders.is_within(allowed));
            at.map(|at| state.idle.remove(at))
        };
        if server.is_some() {
            drop(server);
            self.closed();
        }
    }

    /// This very server, if it is idle and nobody has used it since.
    pub fn try_lease_again(self: &Arc<Self>, last: LastUse) -> Option<Lease> {
        self.try_lease_where(|server| server.last_use() == last)
    }

    /// The server of this process, if it is idle.
    fn try_lease_server(self: &Arc<Self>, process: i32) -> Option<Lease> {
        self.try_lease_where(|server| server.cancel.process == process)
    }

    fn try_lease_where(self: &Arc<Self>, is_wanted: impl Fn(&Server) -> bool) -> Option<Lease> {
        let mut server = {
            let mut state = self.state.lock();
            let at = state.idle.iter().position(|server| is_wanted(server))?;
            state.idle.remove(at)
        };
        if server.is_watched() && server.is_quiet() {
            return Some(self.lease_of(server));
        }
        self.closed();
        None
    }

    /// The server of this process is still there, idle or not.
    fn has_server(&self, process: i32) -> bool {
        self.servers.lock().iter().filter_map(Weak::upgrade).any(|card| card.process == process)
    }

    fn lease_of(self: &Arc<Self>, mut server: Box<Server>) -> Lease {
        server.leases += 1;
        server.statements.are_leased();
        server.come_here();
        if server.connection.output.capacity() == 0 {
            server.connection.output = crate::net::spare::take();
        }
        server.card.leased.store(true, Ordering::Relaxed);
        Lease::of(self, server)
    }

    /// A server is gone: its place goes to whoever waits, here or in another pool of the node.
    fn closed(self: &Arc<Self>) {
        let mut state = self.state.lock();
        if state.open <= self.limit() && self.grant_place(&mut state) {
            return;
        }
        state.open -= 1;
        drop(state);
        self.budget.give_back();
    }

    /// Closes one server that is idle, for another pool of the node. False when there is none.
    fn spare_one(self: &Arc<Self>) -> bool {
        // The one that has been idle for longest.
        let server = {
            let mut state = self.state.lock();
            if state.idle.is_empty() { None } else { Some(state.idle.remove(0)) }
        };
        let spared = server.is_some();
        if spared {
            drop(server);
            self.closed();
        }
        spared
    }

    /// A server comes back.
    fn take_back(self: &Arc<Self>, mut server: Box<Server>, now: Instant) {
        server.idle_since = now;
        server.card.leased.store(false, Ordering::Relaxed);
        server.card.set_used(server.idle_since);
        server.card.statements.store(server.statements.len(), Ordering::Relaxed);
        server.statements.end_ahead();
        let exceeds = self.budget.is_exceeded() && !self.is_closed_to_new();
        if exceeds || self.budget.is_owed_to_another(self) {
            drop(server);
            return self.leave_place();
        }
        let mut state = self.state.lock();
        state.used = Some(server.idle_since);
        let stale = state.stale_before.is_some_and(|t| server.opened < t) || !server.is_watched();
        let beyond = state.open.saturating_sub(self.limit());
        // Those that are there are all that its sessions will ever have.
        let beyond = if self.is_closed_to_new() { 0 } else { beyond };
        let too_many = beyond > self.reserve.load(Ordering::Relaxed) || (beyond > 0 && !state.has_waiters());
        if stale || too_many {
            drop(state);
            drop(server);
            return self.closed();
        }
        if let Some(unwanted) = self.grant_server(&mut state, server) {
            state.idle.push(unwanted);
        }
    }

    /// A server was closed so that another pool of the node, or nobody, has its place.
    fn leave_place(self: &Arc<Self>) {
        self.state.lock().open -= 1;
        self.budget.give_back();
    }

    /// Closes what is idle for too long, too old or dead.
    pub fn sweep(self: &Arc<Self>, config: &Config) {
        let now = Instant::now();
        let mut gone = vec![];
        {
            let mut state = self.state.lock();
            let min = if self.is_closed_to_new() { usize::MAX } else { config.pool.server_connections_min };
            let mut at = 0;
            while at < state.idle.len() {
                let keep_few = state.open - gone.len() <= min;
                let stale_before = state.stale_before;
                let server = &mut state.idle[at];
                let too_idle = !keep_few && now.duration_since(server.idle_since) > config.pool.server_idle;
                let too_old = min < usize::MAX
                    && now.duration_since(server.opened) > lifetime(server, config.pool.server_lifetime);
                let stale = stale_before.is_some_and(|t| server.opened < t) || !server.is_watched();
                if too_idle || too_old || stale || self.is_abandoned() || !server.is_quiet() {
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

    /// Its node is not in the list of nodes any more: nothing is kept there.
    pub fn is_abandoned(&self) -> bool {
        self.node.has_left()
    }

    /// Every server is replaced as it comes back; idle ones at once.
    pub fn reconnect(self: &Arc<Self>, config: &Config) {
        self.state.lock().stale_before = Some(Instant::now());
        self.sweep(config);
    }

    /// Closes what is idle now.
    pub fn close_idle(self: &Arc<Self>) {
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
        if self.is_closed_to_new() {
            // With one open nobody tries to open another; without any, the attempt says why there is none.
            return 1;
        }
        let granted = self.granted.load(Ordering::Relaxed).max(1);
        self.limit.load(Ordering::Relaxed).min(granted)
    }
}

/// Lifetimes end up to a tenth apart, so that servers opened together are not closed together.
fn lifetime(server: &Server, configured: Duration) -> Duration {
    let spread = (server.cancel.process.unsigned_abs() % 100) as f64 / 1000.0;
    configured.mul_f64(1.0 - spread)
}
