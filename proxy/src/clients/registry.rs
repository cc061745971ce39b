//! The clients that are connected: for the console, for cancel requests, for limits.

use crate::bell::Bell;
use crate::config::Config;
use crate::rows::ClientRow;
pub use crate::rows::Doing;
use crate::server::CancelTarget;
use crate::wire::{Refusal, sqlstate};
use parking_lot::Mutex;
use router_rules::PinReason;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};
use subtle::ConstantTimeEq;

/// Our own process ids begin above what a kernel gives to processes, so that they do not meet those
/// of servers that are handed out in pool mode `session`.
const PROCESS_MIN: i32 = 1 << 22;

/// For so long a notification from a server is taken to be of the client that sent one there last: it is
/// on its way for a few milliseconds, and others may use the server then.
const NOTIFIER_KNOWN_FOR: Duration = Duration::from_secs(1);
/// More servers than this have not sent notifications within that time.
const NOTIFIERS_MAX: usize = 1_000;

/// What a client may cancel with.
#[derive(Debug)]
pub enum Key {
    /// A process id of ours with this secret.
    Secret(Vec<u8>),
    /// The server's own, where one server is one client's.
    OfServer(i32, Vec<u8>),
}

/// What others may know of one client, and how they reach it.
#[derive(Debug)]
pub struct Card {
    /// The process id that we handed out.
    pub process: i32,
    /// The secret that we handed out; longer with protocol 3.2.
    pub secret: Vec<u8>,
    /// The user.
    pub user: String,
    /// The database.
    pub database: String,
    /// Where it comes from; `None`: a Unix socket.
    pub address: Option<SocketAddr>,
    /// It speaks TLS.
    pub tls: bool,
    /// When it connected.
    pub connected: SystemTime,
    /// Which database that is, whatever it is called later; 0 until that is known.
    pub database_oid: AtomicU32,
    since: Instant,
    /// Microseconds from `since`, when its last request came; 0: none has.
    requested: AtomicU64,
    /// `application_name`.
    pub application_name: Mutex<String>,
    /// The server that runs its statement now.
    running_on: Mutex<Option<Arc<CancelTarget>>>,
    doing: AtomicU8,
    pin: AtomicU8,
    /// Statements so far.
    pub statements: AtomicU64,
    /// Rung for each of the following.
    pub bell: Arc<Bell>,
    /// It was told to end, when it is idle.
    pub killed: AtomicBool,
    /// It was told to end at once, transaction or not.
    pub killed_now: AtomicBool,
    /// It keeps a server on which nothing of it runs.
    pub rests: AtomicBool,
    /// A cancel request came while it had no server.
    pub cancelled: AtomicBool,
}

impl Card {
    /// What it is doing.
    pub fn doing(&self) -> Doing {
        let word = usize::from(self.doing.load(Ordering::Relaxed));
        Doing::ALL.get(word).copied().unwrap_or(Doing::Active)
    }

    /// It does something else now.
    pub fn set_doing(&self, doing: Doing) {
        self.doing.store(doing as u8, Ordering::Relaxed);
    }

    /// A request of it came at `now`.
    pub fn set_requested(&self, now: Instant) {
        self.requested.store(self.micros_until(now).max(1), Ordering::Relaxed);
    }

    fn micros_until(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.since).as_micros()).unwrap_or(u64::MAX)
    }

    /// How long its request has been waiting, at `now`; zero while it does not.
    fn waiting(&self, now: Instant) -> Duration {
        match self.doing() {
            Doing::Waiting | Doing::WaitingFreshness => {
                let since = self.requested.load(Ordering::Relaxed);
                Duration::from_micros(self.micros_until(now).saturating_sub(since))
            }
            _ => Duration::ZERO,
        }
    }

    /// Why it keeps its server, if it does.
    pub fn pin(&self) -> Option<PinReason> {
        let word = self.pin.load(Ordering::Relaxed);
        PinReason::ALL.get(usize::from(word).checked_sub(1)?).copied()
    }

    /// It is pinned, or not any longer.
    pub fn set_pin(&self, reason: Option<PinReason>) {
        self.pin.store(reason.map_or(0, |r| r as u8 + 1), Ordering::Relaxed);
    }

    /// It has got a server, or given it back.
    pub fn set_running_on(&self, target: Option<Arc<CancelTarget>>) {
        *self.running_on.lock() = target;
    }

    /// Waits until a cancel request has come (which is taken as heard then), or it is told to end at
    /// once. Cancel-safe.
    pub async fn called_off(&self) {
        let came =
            || self.cancelled.swap(false, Ordering::Relaxed) || self.killed_now.load(Ordering::Relaxed);
        self.bell.until(came).await;
    }

    fn row(&self) -> ClientRow {
        let server = self.running_on.lock().as_ref().map(|t| (t.process, t.address.clone()));
        ClientRow {
            process: self.process,
            user: self.user.clone(),
            database: self.database.clone(),
            application_name: self.application_name.lock().clone(),
            address: self.address,
            state: self.doing(),
            connected: self.connected,
            requested: match self.requested.load(Ordering::Relaxed) {
                0 => None,
                micros => self.connected.checked_add(Duration::from_micros(micros)),
            },
            waiting: self.waiting(Instant::now()),
            ends: self.killed.load(Ordering::Relaxed) || self.killed_now.load(Ordering::Relaxed),
            statements: self.statements.load(Ordering::Relaxed),
            pin: self.pin(),
            server,
            tls: self.tls,
        }
    }

    /// The server that runs its statement; the cancel on its way is counted there
    /// *before* the session could give the server back.
    pub fn start_cancel(&self) -> Option<Arc<CancelTarget>> {
        let running_on = self.running_on.lock();
        let target = running_on.clone()?;
        *target.pending.lock() += 1;
        Some(target)
    }
}

/// Every client.
#[derive(Debug, Default)]
pub struct Registry {
    by_process: Mutex<HashMap<i32, Arc<Card>, foldhash::fast::RandomState>>,
    next_process: AtomicI32,
    /// Servers' process ids, and which client sent a NOTIFY there last.
    notifiers: Mutex<HashMap<i32, (i32, Instant), foldhash::fast::RandomState>>,
}

/// A client's entry; ends with it.
#[derive(Debug)]
pub struct Registered<'a> {
    registry: &'a Registry,
    /// The card.
    pub card: Arc<Card>,
}

impl Drop for Registered<'_> {
    fn drop(&mut self) {
        self.registry.by_process.lock().remove(&self.card.process);
    }
}

impl Registry {
    /// A new client, if the limits allow it.
    ///
    /// # Errors
    /// The name of the limit, and 53300.
    pub fn register(
        &self,
        user: &str,
        database: &str,
        (address, tls): (Option<SocketAddr>, bool),
        key: Key,
        config: &Config,
    ) -> Result<Registered<'_>, (&'static str, Refusal)> {
        let mut all = self.by_process.lock();
        let full = |limit: &'static str, max: usize| {
            crate::limited!(warn, limit, max, user, database, "client refused");
            let refusal = Refusal::new(sqlstate::TOO_MANY_CONNECTIONS, "sorry, too many clients already");
            (limit, refusal.with_hint(format!("limits.{limit} of pgweir is {max}.")))
        };
        if all.len() >= config.limits.clients_max {
            return Err(full("clients_max", config.limits.clients_max));
        }
        if let Some(max) = config.limits.user_clients_max
            && all.values().filter(|c| c.user == user).count() >= max
        {
            return Err(full("user_clients_max", max));
        }
        if let Some(max) = config.limits.database_clients_max
            && all.values().filter(|c| c.database == database).count() >= max
        {
            return Err(full("database_clients_max", max));
        }
        let (process, secret) = match key {
            // Two nodes may each have a process with this number.
            Key::OfServer(process, secret) if !all.contains_key(&process) => (process, secret),
            Key::OfServer(_, secret) | Key::Secret(secret) => (self.free_process(&all), secret),
        };
        let card = self.card(process, secret, user, database, address, tls);
        all.insert(process, card.clone());
        Ok(Registered { registry: self, card })
    }

    fn free_process(&self, all: &HashMap<i32, Arc<Card>, foldhash::fast::RandomState>) -> i32 {
        loop {
            let process = PROCESS_MIN + (self.next_process.fetch_add(1, Ordering::Relaxed) & 0x3fff_ffff);
            if !all.contains_key(&process) {
                return process;
            }
        }
    }

    fn card(
        &self,
        process: i32,
        secret: Vec<u8>,
        user: &str,
        database: &str,
        address: Option<SocketAddr>,
        tls: bool,
    ) -> Arc<Card> {
        Arc::new(Card {
            process,
            secret,
            user: user.to_owned(),
            database: database.to_owned(),
            address,
            tls,
            connected: SystemTime::now(),
            database_oid: AtomicU32::new(0),
            since: Instant::now(),
            requested: AtomicU64::new(0),
            application_name: Mutex::default(),
            running_on: Mutex::default(),
            doing: AtomicU8::new(Doing::Idle as u8),
            pin: AtomicU8::new(0),
            statements: AtomicU64::new(0),
            bell: Arc::default(),
            killed: AtomicBool::new(false),
            killed_now: AtomicBool::new(false),
            rests: AtomicBool::new(false),
            cancelled: AtomicBool::new(false),
        })
    }

    /// A client sends a NOTIFY, or the end of a transaction with one, to the server with this process id.
    pub fn note_notifier(&self, server: i32, client: i32) {
        let now = Instant::now();
        let mut notifiers = self.notifiers.lock();
        if notifiers.len() >= NOTIFIERS_MAX {
            notifiers.retain(|_, (_, at)| now - *at < NOTIFIER_KNOWN_FOR);
        }
        if notifiers.len() < NOTIFIERS_MAX {
            notifiers.insert(server, (client, now));
        }
    }

    /// The process id, as clients know it, of who has just sent a notification from this server.
    pub fn notifier(&self, server: i32) -> Option<i32> {
        let (client, at) = *self.notifiers.lock().get(&server)?;
        (at.elapsed() < NOTIFIER_KNOWN_FOR).then_some(client)
    }

    /// The client with this process id, whatever its key.
    pub fn client(&self, process: i32) -> Option<Arc<Card>> {
        self.by_process.lock().get(&process).cloned()
    }

    /// The client with this key; `None` for a wrong key.
    pub fn find(&self, process: i32, secret: &[u8]) -> Option<Arc<Card>> {
        let card = self.by_process.lock().get(&process)?.clone();
        bool::from(card.secret.ct_eq(secret)).then_some(card)
    }

    /// All of them.
    pub fn all(&self) -> Vec<Arc<Card>> {
        self.by_process.lock().values().cloned().collect()
    }

    /// What the console and the status page show of them, by process id.
    pub fn rows(&self) -> Vec<ClientRow> {
        let mut rows: Vec<_> = self.all().iter().map(|card| card.row()).collect();
        rows.sort_by_key(|row| row.process);
        rows
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.by_process.lock().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_of_a_client_has_happened() {
        let (registry, config) = (Registry::default(), Config::for_tests(&["127.0.0.1:1"]));
        let address: SocketAddr = "[::1]:50000".parse().unwrap();
        let from = (Some(address), false);
        let client = registry.register("app", "shop", from, Key::Secret(vec![1]), &config).unwrap();
        let row = client.card.row();
        assert_eq!((row.address, row.requested, row.waiting), (Some(address), None, Duration::ZERO));
        assert!(!row.ends);
        let asked = Instant::now() + Duration::from_secs(60);
        client.card.set_requested(asked);
        client.card.set_doing(Doing::Waiting);
        client.card.killed.store(true, Ordering::Relaxed);
        let later = asked + Duration::from_secs(5);
        assert_eq!(client.card.waiting(later), Duration::from_secs(5));
        let row = client.card.row();
        assert!(row.requested.unwrap() >= row.connected + Duration::from_secs(60));
        assert!(row.ends);
        client.card.set_doing(Doing::Active);
        assert_eq!(client.card.waiting(later), Duration::ZERO);
    }
}
