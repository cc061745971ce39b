//! The connections that pgweir opens for itself.
//!
//! Catalogs and `pg_stat_statements` are read through tokio-postgres ([`Link`]). A prober asks hundreds
//! of times per second while reads wait: it speaks over a socket of its own ([`open_server`]), as the
//! clients' statements do. A task, two channels and a lock for each question were 4 % of all CPU under
//! reads that wait for writes.

pub use crate::auth::entry::{NoEntry, explain};
use crate::auth::{Credentials, LoginError};
use crate::config;
use crate::net::dial;
use crate::net::dial::{dial, host_of};
use crate::net::tls::Connector;
use crate::node::Node;
use crate::server::{Server, Target};
use crate::wire::{Refusal, sqlstate};
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
        let connecting = async {
            let stream = dial(address).await;
            tls.connect_own(&settings, host_of(address), stream).await
        };
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

/// Connects to `node` as the cluster's own role. The caller bounds the time.
///
/// # Errors
/// As [`Server::open`].
pub async fn open_server(cluster: &config::Cluster, node: &Arc<Node>) -> Result<Server, LoginError> {
    let limit = cluster.probe_timeout;
    let tls = Connector::new(&cluster.tls)
        .map_err(|e| LoginError::Refused(Refusal::new(sqlstate::CONFIG_FILE_ERROR, e.to_string())))?;
    let credentials = cluster.password.clone().map_or_else(Credentials::none, Credentials::password);
    // The path is set by SQL, so that the server still tells what its own configuration gives.
    let settings = [("application_name", APPLICATION_NAME.into()), ("options", timeout(limit))];
    let target = Target {
        node: node.clone(),
        database: cluster.database.clone(),
        user: cluster.user.clone(),
        replication: None,
        settings: settings.map(|(name, value)| (name.to_owned(), value)).into(),
    };
    let mut server = Server::open(&target, &credentials, &tls).await?;
    server.ask("SET search_path = pg_catalog").await?;
    Ok(server)
}

fn settings(
    cluster: &config::Cluster,
    address: &str,
    database: &str,
    limit: Duration,
) -> Result<Config, String> {
    let (host, port) = dial::split(address).ok_or_else(|| format!("{address:?} is not host:port"))?;
    let mut settings = Config::new();
    settings
        .user(&cluster.user)
        .dbname(database)
        .port(port)
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
    format!("-c search_path=pg_catalog {}", timeout(limit))
}

fn timeout(limit: Duration) -> String {
    format!("-c statement_timeout={}", limit.as_millis().max(1) * 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whatever_answers_is_told_apart_from_silence() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        for (mode, answer, part) in [
            ("require", &b"N"[..], "does not support TLS"),
            ("prefer", b"HTTP/1.1 400 Bad Request\r\n", "not the protocol of PostgreSQL"),
            ("disable", b"HTTP/1.1 400 Bad Request\r\n", "not the protocol of PostgreSQL"),
            ("disable", b"R\0\0\0\x08\0\0\0\x03", "cluster.require_auth"),
        ] {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer).await;
                let _ = stream.read(&mut [0; 1024]).await;
            });
            let text = format!("[cluster]\nnodes = [\"{address}\"]\npassword = \"x\"\ntls.mode = \"{mode}\"");
            let (config, _) = config::Config::parse(&text, "f").unwrap();
            let met = Link::enter(&config.cluster, &address, "postgres", Duration::from_secs(5)).await;
            match met {
                Err(NoEntry::Strange(why)) => assert!(why.contains(part), "{mode}: {why}"),
                other => panic!("{mode}: {other:?}"),
            }
        }
    }
}
