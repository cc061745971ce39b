//! The connections that pgweir opens for itself.
//!
//! Catalogs and `pg_stat_statements` are read through tokio-postgres ([`Link`]). A prober asks hundreds
//! of times per second while reads wait: it speaks over a socket of its own ([`open_server`]), as the
//! clients' statements do. A task, two channels and a lock for each question were 4 % of all CPU under
//! reads that wait for writes.

use crate::auth::Credentials;
use crate::config;
use crate::net::tls::Connector;
use crate::node::Node;
use crate::server::{Server, Target};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config};

/// What `pg_stat_activity` shows of them.
const APPLICATION_NAME: &str = "pgweir";

/// A connection and the task that moves its bytes; both end when this is dropped.
#[derive(Debug)]
pub struct Link {
    /// To ask with.
    pub client: Client,
    task: JoinHandle<()>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    /// Connects to `database` on the node at `address`, as the cluster's own role, within `limit`.
    ///
    /// # Errors
    /// A sentence for people.
    pub async fn open(
        cluster: &config::Cluster,
        address: &str,
        database: &str,
        limit: Duration,
    ) -> Result<Self, String> {
        Self::enter(cluster, address, database, limit).await.map_err(|e| e.to_string())
    }

    /// The same for who wants to know what kept us out.
    ///
    /// # Errors
    /// What kept us out.
    pub async fn enter(
        cluster: &config::Cluster,
        address: &str,
        database: &str,
        limit: Duration,
    ) -> Result<Self, NoEntry> {
        let settings = settings(cluster, address, database, limit).map_err(NoEntry::Unreached)?;
        // Read anew for each connection, of which there are few: replaced certificates count at once.
        let tls = Connector::new(&cluster.tls).map_err(|e| NoEntry::Unreached(e.to_string()))?;
        let connecting = settings.connect(tls.for_own_connections());
        let (client, connection) = match tokio::time::timeout(limit, connecting).await {
            Ok(connected) => connected.map_err(|e| NoEntry::of(&e, cluster.password.is_some()))?,
            Err(_) => {
                return Err(NoEntry::Unreached(format!(
                    "no connection within {}",
                    humantime::format_duration(limit)
                )));
            }
        };
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = explain(&error), "a connection of our own has ended");
            }
        });
        Ok(Self { client, task })
    }
}

/// What kept us out of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEntry {
    /// It answered, and refused.
    #[error("{message} ({sqlstate})")]
    Refused {
        /// Five characters.
        sqlstate: String,
        /// In the server's language.
        message: String,
    },
    /// It asks for a password, and there is none.
    #[error("it asks for a password, and cluster.password is not set")]
    PasswordMissing,
    /// No connection came about.
    #[error("{0}")]
    Unreached(String),
}

impl NoEntry {
    fn of(error: &tokio_postgres::Error, with_password: bool) -> Self {
        match error.as_db_error() {
            Some(db) => {
                Self::Refused { sqlstate: db.code().code().to_owned(), message: db.message().to_owned() }
            }
            // tokio-postgres has no other word for it: it fails as soon as the server asks.
            None if !with_password && explain(error).contains("password missing") => Self::PasswordMissing,
            None => Self::Unreached(cause(error)),
        }
    }
}

/// Connects to `node` as the cluster's own role, within its `probe_timeout`.
///
/// # Errors
/// A sentence for people.
pub async fn open_server(cluster: &config::Cluster, node: &Arc<Node>) -> Result<Server, String> {
    let limit = cluster.probe_timeout;
    let tls = Connector::new(&cluster.tls).map_err(|e| e.to_string())?;
    let credentials = cluster.password.clone().map_or_else(Credentials::none, Credentials::password);
    let settings = [("application_name", APPLICATION_NAME.into()), ("options", options(limit))];
    let target = Target {
        node: node.clone(),
        database: cluster.database.clone(),
        user: cluster.user.clone(),
        replication: None,
        settings: settings.map(|(name, value)| (name.to_owned(), value)).into(),
    };
    match tokio::time::timeout(limit, Server::open(&target, &credentials, &tls)).await {
        Ok(opened) => opened.map_err(|e| e.explain()),
        Err(_) => Err(format!("no connection within {limit:?}")),
    }
}

fn settings(
    cluster: &config::Cluster,
    address: &str,
    database: &str,
    limit: Duration,
) -> Result<Config, String> {
    let (host, port) = split_address(address)?;
    let mut settings = Config::new();
    settings
        .user(&cluster.user)
        .dbname(database)
        .port(port)
        .ssl_mode(cluster.tls.mode.for_own_connections())
        .application_name(APPLICATION_NAME)
        .connect_timeout(limit)
        .tcp_user_timeout(limit)
        .options(options(limit));
    if host.starts_with('/') {
        settings.host_path(Path::new(host))
    } else {
        settings.host(host)
    };
    if let Some(password) = &cluster.password {
        settings.password(&password.0);
    }
    Ok(settings)
}

/// Nothing that a role or database is configured with may change what our queries mean.
fn options(limit: Duration) -> String {
    format!("-c search_path=pg_catalog -c statement_timeout={}", limit.as_millis().max(1) * 10)
}

/// `host:port`, `[v6]:port` or `/directory:port`.
fn split_address(address: &str) -> Result<(&str, u16), String> {
    let wrong = || format!("{address:?} is not host:port");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Ok((host, port.parse().map_err(|_| wrong())?))
}

/// The innermost cause, in words for people: what failed is told by whoever shows it.
fn cause(error: &tokio_postgres::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    while let Some(inner) = innermost.source() {
        innermost = inner;
    }
    let text = innermost.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// An error with its causes: tokio-postgres's own text says only "db error".
pub fn explain(error: &tokio_postgres::Error) -> String {
    if let Some(db) = error.as_db_error() {
        return format!("{} ({})", db.message(), db.code().code());
    }
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_at_the_last_colon() {
        assert_eq!(split_address("db1:5432"), Ok(("db1", 5432)));
        assert_eq!(split_address("[::1]:5433"), Ok(("::1", 5433)));
        assert_eq!(split_address("/var/run/postgresql:5434"), Ok(("/var/run/postgresql", 5434)));
        assert!(split_address("db1").is_err());
        assert!(split_address("db1:x").is_err());
    }
}
