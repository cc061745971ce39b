//! How users are looked up in the cluster: their stored passwords, and what they may do.
//!
//! By a parameterised query over a connection of pgweir's own role, with an empty `search_path` (nothing
//! that a user could create is ever found by it) and a time-out on every step. By default that is
//! `pgweir.user_lookup($1)`, a `SECURITY DEFINER` function which the role may execute, or else the catalog
//! `pg_authid` itself, which superusers may read. Which of the two is there is asked, not tried: a try
//! would leave an error in the server's log each time. What roles and databases are, anybody may read.

use super::Nodes;
use super::entry::NoEntry;
use super::standing::{Database, Role, Standing};
use crate::config::{self, Config, Secret};
use crate::limits::{LOOKUP_CONNECTIONS_MAX, LOOKUP_TIMEOUT, NODES_MAX};
use crate::net::dial;
use crate::net::dial::{dial, host_of};
use crate::net::tls::Connector;
use deadpool_postgres::{Connect, Manager, ManagerConfig, Object, Pool, RecyclingMethod, Runtime};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::error::Error;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::task::JoinHandle;
use tokio_postgres::Client;
use tokio_postgres::types::{FromSql, ToSql, Type};
use tokio_postgres::{Row, error::SqlState};

/// Postgres cuts names to this (`NAMEDATALEN` - 1).
const NAME_BYTES_MAX: usize = 63;

/// Between two tries for a connection to a node that is full.
const FULL_PAUSE: Duration = Duration::from_millis(20);
/// Between two looks whether it is known which nodes are the cluster's.
const KNOWN_PAUSE: Duration = Duration::from_millis(20);

const BY_FUNCTION: &str = "SELECT rolname, rolpassword, rolvaliduntil FROM pgweir.user_lookup($1)";
const BY_CATALOG: &str =
    "SELECT rolname, rolpassword, rolvaliduntil FROM pg_catalog.pg_authid WHERE rolname = $1";
/// May we call the function? May we read the catalog? The function counts only if its owner may read the
/// catalog himself: else anybody who may create a schema could hand us verifiers of his own making.
const WHICH: &str = "SELECT \
     EXISTS (SELECT FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
             WHERE n.nspname = 'pgweir' AND p.proname = 'user_lookup' AND p.prosecdef \
               AND pg_catalog.has_column_privilege(p.proowner, 'pg_catalog.pg_authid', 'rolpassword', 'SELECT') \
               AND pg_catalog.has_schema_privilege(n.oid, 'USAGE') \
               AND pg_catalog.has_function_privilege(p.oid, 'EXECUTE')), \
     pg_catalog.has_column_privilege('pg_catalog.pg_authid', 'rolpassword', 'SELECT')";

/// The standing of each of several users in a database each, in their order. Names are cut as Postgres
/// cuts them.
const STANDINGS: &str = "SELECT r.oid, r.rolcanlogin, r.rolsuper, r.rolconnlimit, r.rolvaliduntil, \
     d.oid, d.datallowconn, d.datconnlimit, pg_catalog.has_database_privilege(r.oid, d.oid, 'CONNECT') \
     FROM ROWS FROM (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) \
          WITH ORDINALITY AS asked (role, base, place) \
     LEFT JOIN pg_catalog.pg_roles r ON r.rolname = asked.role::pg_catalog.name \
     LEFT JOIN pg_catalog.pg_database d ON d.datname = asked.base::pg_catalog.name \
     ORDER BY asked.place";

/// What a node is asked.
#[derive(Clone, Copy)]
enum Question<'a> {
    /// How a user's password is stored.
    Password(&'a str),
    /// What these users are and may do in these databases.
    Standings(&'a [&'a str], &'a [&'a str]),
}

/// A role that exists.
pub struct Found {
    /// In the form in which Postgres stores it.
    pub secret: Option<Secret>,
    /// `None`: for ever.
    pub valid_until: Option<SystemTime>,
}

/// Why nothing could be found out. For the log: what a client is told is said elsewhere.
#[derive(Debug, thiserror::Error)]
pub enum LookupError {
    /// No node answered.
    #[error("no node lets pgweir in: {0}")]
    Unreachable(String),
    /// Our role may neither call the function nor read the catalog.
    #[error("neither pgweir.user_lookup nor pg_authid may be read")]
    NotAllowed,
    /// A name cannot be written in the encoding of the cluster's database: nobody has it.
    #[error("no such name: {0}")]
    Name(String),
    /// The query failed, or its answer has no sense.
    #[error("{0}")]
    Query(String),
}

/// The connections that look users up, one small pool per node that was ever asked.
pub struct Lookup {
    connector: Result<Connector, String>,
    sources: Mutex<HashMap<String, Arc<Source>>>,
}

/// One node.
struct Source {
    pool: Pool,
    /// Which query works here, once that is known.
    query: Mutex<Option<Arc<str>>>,
}

impl Lookup {
    /// Opens nothing yet.
    pub fn new(config: &Config) -> Self {
        let connector = Connector::new(&config.cluster.tls).map_err(|error| error.to_string());
        Self { connector, sources: Mutex::default() }
    }

    /// Reads one role; `None`: there is no such role.
    ///
    /// # Errors
    /// When no node gives an answer.
    pub async fn find(
        &self,
        user: &str,
        nodes: &dyn Nodes,
        config: &Config,
    ) -> Result<Option<Found>, LookupError> {
        let (rows, _) = self.rows(Question::Password(user), nodes, config).await?;
        rows.first().map(found).transpose()
    }

    /// What these users are, and may do in the databases that stand at the same place; and whether it is
    /// the primary that says so.
    ///
    /// # Errors
    /// When no node gives an answer.
    pub async fn standings(
        &self,
        users: &[&str],
        databases: &[&str],
        nodes: &dyn Nodes,
        config: &Config,
    ) -> Result<(Vec<Standing>, bool), LookupError> {
        let primary = nodes.primary_address();
        let (rows, by) = self.rows(Question::Standings(users, databases), nodes, config).await?;
        let standings = rows.iter().map(standing).collect::<Result<_, _>>()?;
        Ok((standings, primary == Some(by)))
    }

    /// The answer, and the node that gave it.
    async fn rows(
        &self,
        question: Question<'_>,
        nodes: &dyn Nodes,
        config: &Config,
    ) -> Result<(Vec<Row>, String), LookupError> {
        let mut last = LookupError::Unreachable("no node is known".into());
        for address in candidates(nodes, config.cluster.primary_wait).await {
            let source = self.source(&address, config)?;
            let outcome = tokio::time::timeout(LOOKUP_TIMEOUT, source.rows(question, config)).await;
            match outcome.unwrap_or_else(|_| Err(LookupError::Unreachable(format!("{address}: time-out")))) {
                Err(error @ LookupError::Unreachable(_)) => last = error,
                answer => return Ok((answer?, address)),
            }
        }
        Err(last)
    }

    fn source(&self, address: &str, config: &Config) -> Result<Arc<Source>, LookupError> {
        let connector = self.connector.as_ref().map_err(|error| LookupError::Query(error.clone()))?;
        let mut sources = self.sources.lock();
        if let Some(source) = sources.get(address) {
            return Ok(source.clone());
        }
        let source = Arc::new(Source::new(address, &config.cluster, connector)?);
        if sources.len() >= NODES_MAX {
            // Nodes that are found come and go; connections to those that are asked are made again.
            sources.clear();
        }
        sources.insert(address.to_owned(), source.clone());
        Ok(source)
    }
}

/// Whom to ask, as soon as that is known; nobody when it does not become known in time, as where a statement waits
/// for a primary.
async fn candidates(nodes: &dyn Nodes, limit: Duration) -> Vec<String> {
    let known = async {
        loop {
            match nodes.best_first() {
                Some(addresses) => return addresses,
                None => tokio::time::sleep(KNOWN_PAUSE).await,
            }
        }
    };
    tokio::time::timeout(limit, known).await.unwrap_or_default()
}

impl Source {
    fn new(address: &str, cluster: &config::Cluster, connector: &Connector) -> Result<Self, LookupError> {
        let config = own_connection(address, cluster)
            .ok_or_else(|| LookupError::Query(format!("{address}: not an address")))?;
        let how = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let own = Own { address: address.to_owned(), connector: connector.clone() };
        let pool = Pool::builder(Manager::from_connect(config, own, how))
            .max_size(LOOKUP_CONNECTIONS_MAX)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(LOOKUP_TIMEOUT))
            .create_timeout(Some(LOOKUP_TIMEOUT))
            .build()
            .map_err(|error| LookupError::Query(error.to_string()))?;
        Ok(Self { pool, query: Mutex::new(None) })
    }

    async fn rows(&self, question: Question<'_>, config: &Config) -> Result<Vec<Row>, LookupError> {
        let server = self.connection(config).await?;
        // A connection that is dropped in the middle of a query must not go back to the pool.
        let mut lent = Lent(Some(server));
        let Some(server) = &lent.0 else { return Err(LookupError::Query("no connection".into())) };
        let answer = self.ask(server, question, config).await;
        if let Err(error) = &answer {
            tracing::debug!(error = describe(error), "look-up failed");
            *self.query.lock() = None;
        }
        let answer = answer?;
        // Complete: it may be used again.
        drop(lent.0.take());
        Ok(answer)
    }

    /// A connection of our own. On a node that is full there is none to be opened, but one of ours comes back
    /// in a moment, or room is made.
    async fn connection(&self, config: &Config) -> Result<Object, LookupError> {
        let began = Instant::now();
        loop {
            match self.pool.get().await {
                Ok(server) => return Ok(server),
                Err(error) if is_full(&error) && began.elapsed() < LOOKUP_TIMEOUT / 2 => {
                    tokio::time::sleep(FULL_PAUSE).await;
                }
                Err(error) => return Err(LookupError::Unreachable(self.kept_out(&error, config))),
            }
        }
    }

    /// Why there is no connection, in Postgres's words where it has said something.
    fn kept_out(&self, error: &deadpool_postgres::PoolError, config: &Config) -> String {
        use deadpool_postgres::PoolError;
        match error {
            PoolError::Backend(error) => NoEntry::of(error, config.cluster.password.is_some()).to_string(),
            PoolError::Timeout(_) => {
                format!("no connection within {}", humantime::format_duration(LOOKUP_TIMEOUT))
            }
            other => other.to_string(),
        }
    }

    async fn ask(
        &self,
        server: &Object,
        question: Question<'_>,
        config: &Config,
    ) -> Result<Vec<Row>, LookupError> {
        let (query, parameters): (Arc<str>, Vec<&(dyn ToSql + Sync)>) = match &question {
            Question::Password(user) => (self.query(server, config).await?, vec![user]),
            Question::Standings(users, databases) => (STANDINGS.into(), vec![users, databases]),
        };
        let statement = server.prepare_cached(&query).await.map_err(failed)?;
        server.query(&statement, &parameters).await.map_err(failed)
    }

    async fn query(&self, server: &Object, config: &Config) -> Result<Arc<str>, LookupError> {
        if let Some(query) = &config.cluster.auth_query {
            return Ok(query.as_str().into());
        }
        if let Some(query) = &*self.query.lock() {
            return Ok(query.clone());
        }
        let Some((_, query)) = way(server).await.map_err(failed)? else {
            return Err(LookupError::NotAllowed);
        };
        let query: Arc<str> = query.into();
        *self.query.lock() = Some(query.clone());
        Ok(query)
    }
}

/// The node has no connection left.
fn is_full(error: &deadpool_postgres::PoolError) -> bool {
    use deadpool_postgres::PoolError;
    matches!(error, PoolError::Backend(error) if error.code() == Some(&SqlState::TOO_MANY_CONNECTIONS))
}

/// The way to verifiers that is open to the role of this connection: its name and its query.
///
/// # Errors
/// The connection's.
pub async fn way(
    client: &tokio_postgres::Client,
) -> Result<Option<(&'static str, &'static str)>, tokio_postgres::Error> {
    let row = client.query_one(WHICH, &[]).await?;
    let flag = |i| row.try_get::<_, bool>(i).unwrap_or(false);
    Ok(match (flag(0), flag(1)) {
        (true, _) => Some(("pgweir.user_lookup", BY_FUNCTION)),
        (false, true) => Some(("pg_authid", BY_CATALOG)),
        (false, false) => None,
    })
}

/// Connects to one node, with our TLS.
struct Own {
    address: String,
    connector: Connector,
}

impl Connect for Own {
    fn connect(
        &self,
        settings: &tokio_postgres::Config,
    ) -> Pin<Box<dyn Future<Output = Result<(Client, JoinHandle<()>), tokio_postgres::Error>> + Send + '_>>
    {
        let settings = settings.clone();
        Box::pin(async move {
            let stream = dial(&self.address).await;
            let connecting = self.connector.connect_own(&settings, host_of(&self.address), stream);
            let (client, connection) = connecting.await?;
            let task = tokio::spawn(async move {
                if let Err(error) = connection.await {
                    tracing::debug!(error = describe(&error), "a connection for look-ups has ended");
                }
            });
            Ok((client, task))
        })
    }
}

/// A connection on loan: closed, not returned, unless somebody takes it out.
struct Lent(Option<Object>);

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(server) = self.0.take() {
            drop(Object::take(server));
        }
    }
}

/// How pgweir's own role connects to a node.
fn own_connection(address: &str, cluster: &config::Cluster) -> Option<tokio_postgres::Config> {
    let (host, port) = dial::split(address)?;
    let mut config = tokio_postgres::Config::new();
    config
        .host(host)
        .port(port)
        .user(&cluster.user)
        .dbname(&cluster.database)
        .application_name("pgweir auth_query")
        .options(format!("-c search_path= -c statement_timeout={}", LOOKUP_TIMEOUT.as_millis()))
        .connect_timeout(LOOKUP_TIMEOUT);
    if let Some(password) = &cluster.password {
        config.password(&password.0);
    }
    Some(config)
}

/// A name as Postgres would know it.
pub fn truncated(user: &str) -> &str {
    let end = (0..=NAME_BYTES_MAX.min(user.len())).rev().find(|&end| user.is_char_boundary(end));
    &user[..end.unwrap_or(0)]
}

/// A row of (name, stored password, valid until), or without the first or the last.
fn found(row: &Row) -> Result<Found, LookupError> {
    let bad = |error: tokio_postgres::Error| LookupError::Query(format!("auth_query: {}", describe(&error)));
    let secret = if row.len() < 2 { 0 } else { 1 };
    let secret: Option<String> = row.try_get(secret).map_err(bad)?;
    let valid_until = match row.len() {
        0..=2 => None,
        _ => row.try_get::<_, Option<Timestamp>>(2).map_err(bad)?.and_then(|t| t.0),
    };
    Ok(Found { secret: secret.map(Secret), valid_until })
}

/// A row of [`STANDINGS`].
fn standing(row: &Row) -> Result<Standing, LookupError> {
    read_standing(row).map_err(|error| LookupError::Query(describe(&error)))
}

fn read_standing(row: &Row) -> Result<Standing, tokio_postgres::Error> {
    // Negative: none.
    let limit = |limit: Option<i32>| limit.and_then(|limit| usize::try_from(limit).ok());
    let role = match row.try_get::<_, Option<u32>>(0)? {
        None => None,
        Some(oid) => Some(Role {
            oid,
            can_log_in: row.try_get(1)?,
            superuser: row.try_get(2)?,
            connections_max: limit(row.try_get(3)?),
            valid_until: row.try_get::<_, Option<Timestamp>>(4)?.and_then(|t| t.0),
        }),
    };
    let database = match row.try_get::<_, Option<u32>>(5)? {
        None => None,
        Some(oid) => Some(Database {
            oid,
            allows_connections: row.try_get(6)?,
            connections_max: limit(row.try_get(7)?),
            is_broken: row.try_get::<_, Option<i32>>(7)? == Some(BROKEN_DATABASE),
        }),
    };
    Ok(Standing { role, database, may_connect: row.try_get::<_, Option<bool>>(8)?.unwrap_or(false) })
}

/// `datconnlimit` of a database whose DROP was interrupted (`DATCONNLIMIT_INVALID_DB`).
const BROKEN_DATABASE: i32 = -2;

/// A point in time; `None`: infinity.
struct Timestamp(Option<SystemTime>);

impl<'a> FromSql<'a> for Timestamp {
    /// Microseconds since 2000-01-01 UTC; the largest and the smallest stand for the infinities.
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let micros = i64::from_be_bytes(raw.try_into()?);
        let epoch = UNIX_EPOCH + Duration::from_secs(946_684_800);
        Ok(Self(match micros {
            i64::MAX => None,
            0.. => epoch.checked_add(Duration::from_micros(micros.unsigned_abs())),
            // -infinity included.
            _ => Some(epoch.checked_sub(Duration::from_micros(micros.unsigned_abs())).unwrap_or(UNIX_EPOCH)),
        }))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMPTZ
    }
}

/// A query's failure: the server's fault, or the connection's.
fn failed(error: tokio_postgres::Error) -> LookupError {
    match error.code() {
        Some(code) if *code == SqlState::INSUFFICIENT_PRIVILEGE => LookupError::NotAllowed,
        // The server is going down, starting up, or standing by without being hot.
        // Characters that the database's encoding does not have, or that are none.
        Some(code)
            if *code == SqlState::UNTRANSLATABLE_CHARACTER
                || *code == SqlState::CHARACTER_NOT_IN_REPERTOIRE =>
        {
            LookupError::Name(describe(&error))
        }
        Some(code) if code.code().starts_with("57P") => LookupError::Unreachable(describe(&error)),
        Some(_) => LookupError::Query(describe(&error)),
        None => LookupError::Unreachable(describe(&error)),
    }
}

/// An error with its causes.
fn describe(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_between_characters() {
        assert_eq!(truncated("app"), "app");
        assert_eq!(truncated(&"x".repeat(70)).len(), 63);
        assert_eq!(truncated(&"é".repeat(40)).len(), 62);
    }

    #[test]
    fn the_ends_of_time_are_times() {
        let time = |micros: i64| Timestamp::from_sql(&Type::TIMESTAMPTZ, &micros.to_be_bytes()).unwrap().0;
        assert_eq!(time(i64::MAX), None, "infinity");
        assert_eq!(time(0), Some(UNIX_EPOCH + Duration::from_secs(946_684_800)));
        assert!(time(i64::MIN).unwrap() < SystemTime::now(), "-infinity is over");
        assert!(time(-1_000_000).unwrap() < time(0).unwrap());
        assert!(time(i64::MAX - 1).is_some_and(|time| time > SystemTime::now()));
        assert!(Timestamp::from_sql(&Type::TIMESTAMPTZ, b"short").is_err());
    }
}
