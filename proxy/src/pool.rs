//! Which server connections there are, and who has them.
//!
//! One [`Pool`] per node, database and user. The bookkeeping is a small struct behind a
//! synchronous lock that is never held across an await. A server that comes back goes straight to
//! the session that has waited longest; without waiters it rests on top of the idle stack, where
//! the next session finds it warm. The pools of one node share its [`Budget`].

mod budget;
mod lease;
mod pools;
mod rows;

pub use lease::{LastUse, Lease, LeaseError};
pub use pools::Pools;
pub use rows::Card;

use crate::auth::{Credentials, Full, LoginError};
use crate::cluster::Node;
use crate::config::Config;
use crate::net::tls::Connector;
use crate::server::{Server, Target};
use crate::wire::{Refusal, sqlstate};
use budget::Budget;
use parking_lot::Mutex;
use pools::limit_of;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// After a failed connection attempt, others fail with it for this long instead of trying themselves.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// A node that was full is tried again after this long.
const FULL_PAUSE: Duration = Duration::from_millis(50);

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
    /// Servers beyond the limit, for who has waited for long.
    reserve: AtomicUsize,
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
        pool.budget.count_waiting(true);
        Waiting(pool)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
        self.0.budget.count_waiting(false);
    }
}

/// What a waiter is given. Should it be gone by then, the place goes to the next.
#[derive(Debug)]
enum Grant {
    Server(Lease),
    /// A place was freed: open one yourself.
    Place(Place),
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
    fn new(key: Key, node: Arc<Node>, budget: Arc<Budget>, config: &Config) -> Self {
        Self {
            state: Mutex::default(),
            limit: AtomicUsize::new(limit_of(&key.user, config)),
            reserve: AtomicUsize::new(config.pool.server_connections_reserve),
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
        let deadline = tokio::time::Instant::now() + opening.config.pool.lease_wait;
        loop {
            let grant = match self.place_or_wait() {
                Ok(place) => Grant::Place(place),
                Err(turn) => {
                    let _waiting = Waiting::of(self);
                    self.wanted.notify_waiters();
                    self.budget.make_room(self);
                    match tokio::time::timeout_at(deadline, self.wait(turn, opening.config)).await {
                        Ok(Some(granted)) => granted,
                        _ => return Err(LeaseError::TooLong(self.too_long(opening.config))),
                    }
                }
            };
            let place = match grant {
                Grant::Server(mut lease) => {
                    // It was the giver's event loop that watched it.
                    lease.come_here();
                    return Ok(lease);
                }
                Grant::Place(place) => place,
            };
            match self.open(place, opening).await {
                // What is idle elsewhere makes room; a server that is closed takes a moment to be gone.
                Err(LeaseError::Login(error))
                    if tokio::time::Instant::now() < deadline
                        && error.full().is_some_and(|full| self.makes_room(full)) =>
                {
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                opened => return opened,
            }
        }
    }

    /// After the node has let no more in: whether another attempt may go better.
    fn makes_room(self: &Arc<Self>, full: Full) -> bool {
        match full {
            Full::Node => self.budget.learn_full(),
            Full::Share => self.budget.spare_of_share(self),
        }
    }

    /// A place for another server, or a place in the queue.
    fn place_or_wait(self: &Arc<Self>) -> Result<Place, oneshot::Receiver<Grant>> {
        let mut state = self.state.lock();
        if state.open < self.limit() && self.budget.take() {
            state.open += 1;
            return Ok(Place::of(self));
        }
        let (sender, receiver) = oneshot::channel();
        state.waiters.push_back(Waiter { grant: sender, since: Instant::now() });
        Err(receiver)
    }

    /// Waits for its turn; after a while the reserve may be used. `None`: the pool is gone.
    async fn wait(self: &Arc<Self>, mut turn: oneshot::Receiver<Grant>, config: &Config) -> Option<Grant> {
        if self.reserve.load(Ordering::Relaxed) > 0 {
            match tokio::time::timeout(config.pool.reserve_after, &mut turn).await {
                Ok(granted) => return granted.ok(),
                Err(_) => {
                    if let Some(place) = self.reserved_place() {
                        // Its turn may have come meanwhile: then the place is for the next.
                        turn.close();
                        return Some(turn.try_recv().unwrap_or(Grant::Place(place)));
                    }
                }
            }
        }
        turn.await.ok()
    }

    fn reserved_place(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state.lock();
        let max = self.limit() + self.reserve.load(Ordering::Relaxed);
        if state.open >= max || !self.budget.take() {
            return None;
        }
        state.open += 1;
        Some(Place::of(self))
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
        .with_hint(self.what_is_short())
    }

    fn what_is_short(&self) -> String {
        let open = self.state.lock().open;
        let Key { node, database, user } = &self.key;
        if open < self.limit() {
            let max = self.budget.max();
            let raise = if self.budget.is_full() {
                "the node's max_connections"
            } else {
                "pool.node_connections_max"
            };
            return format!(
                "All {max} server connections of node {node} are in use, {open} of them for database \"{database}\" and user \"{user}\": end transactions sooner or raise {raise}."
            );
        }
        format!(
            "All {open} server connections for database \"{database}\" and user \"{user}\" are in use: end transactions sooner or raise pool.server_connections_max."
        )
    }

    fn lease_of(self: &Arc<Self>, mut server: Box<Server>) -> Lease {
        server.leases += 1;
        server.come_here();
        if server.connection.output.capacity() == 0 {
            server.connection.output = crate::net::spare::take();
        }
        server.card.leased.store(true, Ordering::Relaxed);
        Lease::of(self, server)
    }

    /// Opens a server in a place that is already counted.
    async fn open(self: &Arc<Self>, place: Place, opening: Opening<'_>) -> Result<Lease, LeaseError> {
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
                if error.full().is_none() {
                    self.state.lock().last_failure = Some((Instant::now(), error.clone()));
                }
                Err(LeaseError::Login(error))
            }
        }
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

    /// Gives a place that is counted already to who has waited longest.
    fn grant_place(self: &Arc<Self>, state: &mut State) -> bool {
        while let Some(waiter) = state.next_waiter() {
            match waiter.grant.send(Grant::Place(Place::of(self))) {
                // It has just gone. (Dropped, the place would be given up under the lock held here.)
                Err(Grant::Place(place)) => place.taken_up(),
                _ => return true,
            }
        }
        false
    }

    /// Lets those that wait open servers, as far as the limits allow it now.
    fn fill(self: &Arc<Self>) {
        loop {
            let mut state = self.state.lock();
            if state.open >= self.limit() || !state.has_waiters() || !self.budget.take() {
                return;
            }
            if !self.grant_place(&mut state) {
                return self.budget.untake();
            }
            state.open += 1;
        }
    }

    /// Since when the first in the queue waits.
    fn first_waits_since(&self) -> Option<Instant> {
        let mut state = self.state.lock();
        if state.has_waiters() { state.waiters.front().map(|waiter| waiter.since) } else { None }
    }

    /// Since when the first in the queue waits, if that is for want of the node's budget only.
    fn starves_since(&self) -> Option<Instant> {
        let since = self.first_waits_since();
        since.filter(|_| self.state.lock().open < self.limit())
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
    fn take_back(self: &Arc<Self>, mut server: Box<Server>) {
        server.idle_since = Instant::now();
        server.card.leased.store(false, Ordering::Relaxed);
        server.card.statements.store(server.statements.len(), Ordering::Relaxed);
        if self.budget.is_owed_to_another(self) {
            drop(server);
            return self.closed_for_another();
        }
        let mut state = self.state.lock();
        state.used = Some(server.idle_since);
        let stale = state.stale_before.is_some_and(|t| server.opened < t);
        let beyond = state.open.saturating_sub(self.limit());
        let too_many = beyond > self.reserve.load(Ordering::Relaxed) || (beyond > 0 && !state.has_waiters());
        if stale || too_many {
            drop(state);
            drop(server);
            return self.closed();
        }
        while let Some(waiter) = state.next_waiter() {
            match waiter.grant.send(Grant::Server(self.lease_of(server))) {
                Err(Grant::Server(lease)) => match lease.into_server() {
                    Some(back) => server = back,
                    None => return,
                },
                _ => return,
            }
        }
        state.idle.push(server);
    }

    /// A server was closed so that another pool of the node may have its place.
    fn closed_for_another(self: &Arc<Self>) {
        self.state.lock().open -= 1;
        self.budget.give_back();
    }

    /// Closes what is idle for too long, too old or dead.
    pub fn sweep(self: &Arc<Self>, config: &Config) {
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
            let (credentials, used) = {
                let mut state = self.state.lock();
                if state.open >= count.min(self.limit()) {
                    return Ok(());
                }
                let Some(credentials) = state.credentials.clone() else { return Ok(()) };
                if !self.budget.take() {
                    return Ok(());
                }
                state.open += 1;
                (credentials, state.used)
            };
            let place = Place::of(self);
            self.open(place, Opening { credentials: &credentials, tls, config }).await?.give_back();
            self.state.lock().used = used;
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
#[derive(Debug)]
struct Place {
    pool: Arc<Pool>,
    taken: bool,
}

impl Place {
    fn of(pool: &Arc<Pool>) -> Self {
        pool.opening.fetch_add(1, Ordering::Relaxed);
        Self { pool: pool.clone(), taken: false }
    }

    fn taken_up(mut self) {
        self.taken = true;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.pool.opening.fetch_sub(1, Ordering::Relaxed);
        if !self.taken {
            self.pool.closed();
        }
    }
}

impl State {
    /// Who has waited longest and still does.
    fn next_waiter(&mut self) -> Option<Waiter> {
        while let Some(waiter) = self.waiters.pop_front() {
            if !waiter.grant.is_closed() {
                return Some(waiter);
            }
        }
        None
    }

    /// Somebody waits.
    fn has_waiters(&mut self) -> bool {
        while self.waiters.front().is_some_and(|waiter| waiter.grant.is_closed()) {
            self.waiters.pop_front();
        }
        !self.waiters.is_empty()
    }
}

/// Lifetimes end up to a tenth apart, so that servers opened together are not closed together.
fn lifetime(server: &Server, configured: Duration) -> Duration {
    let spread = (server.cancel.process.unsigned_abs() % 100) as f64 / 1000.0;
    configured.mul_f64(1.0 - spread)
}
