//! Who may log in: the users of the configuration, or those of the cluster.
//!
//! With users in the configuration, these are the ones, each by the password given there; a user
//! listed without a password is looked up in the cluster. Without any (or with an `auth_query` besides),
//! everybody whom the cluster knows may log in, by the verifier that the cluster keeps.
//!
//! An account that was looked up is good for a short while, [`VERIFIER_FRESH_LOOKUPS`] times as long as the
//! look-up took and [`VERIFIER_FRESH_MAX`] at most: so soon does a changed password count, and so little does a
//! storm of log-ins cost the cluster. While the cluster does not answer, it is good for [`VERIFIER_STALE_MAX`]. Users that do not exist have an account too, which no password fits,
//! so that nobody can tell by looking at the exchange.

use super::lookup::{Found, Lookup, LookupError, truncated};
use super::scram::{self, DEFAULT_ITERATIONS, Keys, SALT_BYTES, Verifier};
use super::{Credentials, Nodes, Shown, md5};
use crate::config::{Config, Secret};
use crate::limits::{
    ACCOUNTS_MAX, DERIVATIONS_MAX, VERIFIER_FRESH_LOOKUPS, VERIFIER_FRESH_MAX, VERIFIER_STALE_MAX,
};
use crate::wire::{Refusal, sqlstate};
use arc_swap::ArcSwap;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime};

/// Who may log in.
pub struct Directory {
    configured: ArcSwap<Configured>,
    lookup: ArcSwap<Lookup>,
    found: quick_cache::sync::Cache<String, Arc<Slot>>,
    /// Makes the salts of users that do not exist, always the same for one name.
    mock_secret: scram::Key,
    /// As in the first real verifier that was seen.
    mock_iterations: OnceLock<u32>,
    /// Derivations of keys from clear-text passwords that may run at once: each keeps a core busy.
    pub(super) derivations: tokio::sync::Semaphore,
}

/// The configuration's users.
struct Configured {
    accounts: HashMap<String, Arc<Account>>,
    /// Users that are not in `accounts` are looked up.
    is_open: bool,
    /// Users without a password in the configuration: these are looked up, too.
    looked_up: Vec<String>,
}

/// What is known of one user.
pub struct Account {
    /// For SCRAM (and to check a clear-text password).
    pub verifier: Option<Verifier>,
    /// For md5: `md5` and 32 digits.
    pub md5: Option<Secret>,
    /// The password stops to count at this time.
    valid_until: Option<SystemTime>,
    /// Why nobody can log in, though it looks as if.
    absent: Option<&'static str>,
    /// For log-ins to servers: what was configured, or learnt from the last log-in of a client.
    pub credentials: Arc<Credentials>,
}

impl Account {
    fn new(verifier: Option<Verifier>, md5: Option<Secret>, shown: Shown) -> Self {
        let credentials = Arc::new(Credentials::new(shown));
        Self { verifier, md5, valid_until: None, absent: None, credentials }
    }

    /// The user was known before: all its sessions get at servers by the newest that is known.
    fn succeeding(mut self, previous: Option<&Arc<Account>>) -> Self {
        if let Some(previous) = previous {
            let shown = self.credentials.0.load_full();
            if !matches!(*shown, Shown::Nothing) {
                previous.credentials.0.store(shown);
            }
            self.credentials = previous.credentials.clone();
        }
        self
    }

    /// Why this account lets nobody in, if it does not. For the log only.
    pub fn refusal_reason(&self) -> Option<&'static str> {
        match self.valid_until {
            Some(end) if end <= SystemTime::now() => Some("the password has expired"),
            _ => self.absent,
        }
    }

    /// Is this the password that was configured?
    fn has_password(&self, password: &Secret) -> bool {
        matches!(&**self.credentials.0.load(), Shown::Password(known) if known.password == *password)
    }

    /// The same secret as before?
    fn is_like(&self, other: &Account) -> bool {
        (&self.verifier, &self.md5, self.valid_until, self.absent)
            == (&other.verifier, &other.md5, other.valid_until, other.absent)
    }
}

/// One user's place in the cache. Its lock makes all that ask at once wait for one look-up.
#[derive(Default)]
struct Slot {
    read: tokio::sync::Mutex<Read>,
}

impl Slot {
    /// Ask again next time.
    fn expire(&self) {
        // Somebody who holds the lock is reading it right now.
        if let Ok(mut read) = self.read.try_lock() {
            read.fresh = Duration::ZERO;
        }
    }
}

/// What the last look-up gave.
#[derive(Default)]
struct Read {
    /// The cluster that was asked.
    system: Option<u64>,
    account: Option<(Arc<Account>, Instant)>,
    /// How long that counts without asking again.
    fresh: Duration,
    failure: Option<(Refusal, Instant)>,
}

impl Directory {
    /// Derives every configured user's verifier and keys, once.
    pub fn new(config: &Config) -> Self {
        Self {
            configured: ArcSwap::from_pointee(Configured::new(config, &HashMap::new())),
            lookup: ArcSwap::from_pointee(Lookup::new(config)),
            found: quick_cache::sync::Cache::new(ACCOUNTS_MAX),
            mock_secret: scram::random(),
            mock_iterations: OnceLock::new(),
            derivations: tokio::sync::Semaphore::new(DERIVATIONS_MAX),
        }
    }

    /// A reload.
    pub fn apply(&self, config: &Config) {
        let previous = self.configured.load_full();
        self.configured.store(Arc::new(Configured::new(config, &previous.accounts)));
        self.lookup.store(Arc::new(Lookup::new(config)));
        self.forget_all();
    }

    /// What is known of this user may be out of date (a password was refused): read it again when it is
    /// asked for next.
    pub fn forget(&self, user: &str) {
        if let Some(slot) = self.found.get(truncated(user)) {
            slot.expire();
        }
    }

    /// Its password is in the configuration.
    pub fn is_configured(&self, user: &str) -> bool {
        self.configured.load().accounts.contains_key(user)
    }

    /// How the cluster is asked.
    pub(super) fn lookup(&self) -> Arc<Lookup> {
        self.lookup.load_full()
    }

    /// Everything that was looked up may have changed just now.
    pub fn forget_all(&self) {
        self.found.iter().for_each(|(_, slot)| slot.expire());
    }

    /// What is known of this user. One that does not exist has an account that no password fits.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn account(
        &self,
        user: &str,
        nodes: &dyn Nodes,
        config: &Config,
    ) -> Result<Arc<Account>, Refusal> {
        let configured = self.configured.load_full();
        if let Some(account) = configured.accounts.get(user) {
            return Ok(account.clone());
        }
        if !configured.is_open && !configured.looked_up.iter().any(|name| name == user) {
            return Ok(Arc::new(self.absent(user, "not a configured user", true)));
        }
        // Postgres cuts long names, and so nobody can fill the memory with them.
        let user = truncated(user);
        let slot = self.found.get_or_insert_with(user, || Ok::<_, std::convert::Infallible>(Arc::default()));
        let Ok(slot) = slot;
        self.read(&slot, user, nodes, config).await
    }

    async fn read(
        &self,
        slot: &Slot,
        user: &str,
        nodes: &dyn Nodes,
        config: &Config,
    ) -> Result<Arc<Account>, Refusal> {
        let mut read = slot.read.lock().await;
        let system = nodes.system();
        if read.system != system {
            *read = Read { system, ..Read::default() };
        }
        if let Some((account, at)) = &read.account
            && at.elapsed() < read.fresh
        {
            return Ok(account.clone());
        }
        let previous = read.account.as_ref().map(|(account, _)| account.clone());
        let stale = read.account.as_ref().filter(|(_, at)| at.elapsed() < VERIFIER_STALE_MAX);
        let stale = stale.map(|(account, _)| account.clone());
        if let Some((refusal, at)) = &read.failure
            && at.elapsed() < VERIFIER_FRESH_MAX
        {
            return stale.ok_or_else(|| refusal.clone());
        }
        let started = Instant::now();
        match self.lookup.load_full().find(user, nodes, config).await {
            Ok(found) => {
                let fresh = self.account_of(user, found);
                let account = match previous {
                    Some(known) if known.is_like(&fresh) => known,
                    previous => Arc::new(fresh.succeeding(previous.as_ref())),
                };
                let fresh = (started.elapsed() * VERIFIER_FRESH_LOOKUPS).min(VERIFIER_FRESH_MAX);
                *read = Read { system, account: Some((account.clone(), started)), fresh, failure: None };
                Ok(account)
            }
            // As of one that does not exist.
            Err(LookupError::Name(_)) => Ok(Arc::new(self.account_of(user, None))),
            Err(error) => {
                crate::limited!(warn, user, %error, "cannot look a user's password up");
                let refusal = refusal(&error);
                read.failure = Some((refusal.clone(), Instant::now()));
                stale.ok_or(refusal)
            }
        }
    }

    fn account_of(&self, user: &str, found: Option<Found>) -> Account {
        let Some(Found { secret, valid_until }) = found else {
            return self.absent(user, "the role does not exist", false);
        };
        let mut account = match secret {
            None => self.absent(user, "the role has no password", false),
            Some(secret) => match stored(secret) {
                Some(account) => account,
                None => self.absent(user, "the stored password is of no known form", false),
            },
        };
        if account.absent.is_none()
            && let Some(verifier) = &account.verifier
        {
            let _ = self.mock_iterations.set(verifier.iterations);
        }
        account.valid_until = valid_until;
        account
    }

    fn absent(&self, user: &str, reason: &'static str, with_md5: bool) -> Account {
        let md5 = with_md5.then(|| Secret(md5::stored(&scram::nonce(), user)));
        let account = Account::new(Some(self.mock(user)), md5, Shown::Nothing);
        Account { absent: Some(reason), ..account }
    }

    /// A verifier for a user that has none: always the same salt, and no password fits.
    pub fn mock(&self, user: &str) -> Verifier {
        let salt = scram::hmac(&self.mock_secret, user.as_bytes())[..SALT_BYTES].to_vec();
        let iterations = self.mock_iterations.get().copied().unwrap_or(DEFAULT_ITERATIONS);
        Verifier::that_never_fits(salt, iterations)
    }
}

impl fmt::Debug for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Directory({} configured)", self.configured.load().accounts.len())
    }
}

impl Configured {
    fn new(config: &Config, previous: &HashMap<String, Arc<Account>>) -> Self {
        let mut accounts = HashMap::new();
        let mut looked_up = vec![];
        let mut add = |name: &String, password| {
            let account = match previous.get(name) {
                // Deriving keys takes milliseconds.
                Some(known) if known.has_password(password) => known.clone(),
                known => Arc::new(configured(name, password).succeeding(known)),
            };
            accounts.insert(name.clone(), account);
        };
        if let Some(password) = &config.cluster.password {
            add(&config.cluster.user, password);
        }
        for user in &config.users {
            match &user.password {
                Some(password) => add(&user.name, password),
                None => looked_up.push(user.name.clone()),
            }
        }
        let is_open = config.users.is_empty() || config.cluster.auth_query.is_some();
        Self { accounts, is_open, looked_up }
    }
}

/// A secret in one of the forms in which Postgres stores it.
fn stored(secret: Secret) -> Option<Account> {
    if let Some(verifier) = Verifier::parse(&secret.0) {
        Some(Account::new(Some(verifier), None, Shown::Nothing))
    } else if md5::is_stored(&secret.0) {
        Some(Account::new(None, Some(secret.clone()), Shown::Md5(secret)))
    } else {
        None
    }
}

/// A password in the configuration, or one of the stored forms.
fn configured(user: &str, password: &Secret) -> Account {
    stored(password.clone()).unwrap_or_else(|| {
        let salt: [u8; SALT_BYTES] = scram::random();
        let verifier = Keys::derive(&password.0, &salt, DEFAULT_ITERATIONS).verifier();
        let md5 = Secret(md5::stored(&password.0, user));
        Account::new(Some(verifier), Some(md5), Shown::password(password.clone()))
    })
}

pub(super) fn refusal(error: &LookupError) -> Refusal {
    match error {
        LookupError::Unreachable(_) => {
            Refusal::new(sqlstate::CANNOT_CONNECT_NOW, "pgweir cannot reach any node of the cluster")
        }
        LookupError::NotAllowed => Refusal::new(
            sqlstate::INVALID_AUTHORIZATION,
            "pgweir may not read the users' passwords from the cluster",
        )
        .with_hint(
            "Create the function pgweir.user_lookup and grant it to pgweir's role, \
             or list users with their passwords in [[user]] sections of pgweir.toml.",
        ),
        LookupError::Query(_) | LookupError::Name(_) => Refusal::new(
            sqlstate::INVALID_AUTHORIZATION,
            "pgweir cannot read the users' passwords from the cluster",
        )
        .with_hint("The log of pgweir says why."),
    }
}
