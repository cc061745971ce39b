//! A server is opened, in a place that was counted for it before.

use super::lease::{Lease, LeaseError};
use super::{Key, Pool};
use crate::auth::{Credentials, Identity, LoginError};
use crate::config::Config;
use crate::net::tls::Connector;
use crate::server::{Row, Server, Target};
use crate::wire::{Refusal, sqlstate};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// After a failed connection attempt, others fail with it for this long instead of trying themselves.
const RETRY_AFTER: Duration = Duration::from_millis(200);

/// As whom, and where, a server has let us in. Nothing that a `search_path` could bring is asked.
const IDENTITY: &str = "SELECT r.oid, d.oid, r.rolsuper FROM pg_catalog.pg_roles r, pg_catalog.pg_database d \
     WHERE r.rolname OPERATOR(pg_catalog.=) SESSION_USER \
       AND d.datname OPERATOR(pg_catalog.=) pg_catalog.current_database()";

/// The answer to [`IDENTITY`].
fn identity(rows: &[Row]) -> Option<Identity> {
    let value = |column: usize| rows.first()?.get(column)?.as_deref();
    Some(Identity {
        role: value(0)?.parse().ok()?,
        database: value(1)?.parse().ok()?,
        superuser: value(2)? == "t",
    })
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

/// A place counted for a server that is being opened; given up when that fails or is given up.
#[derive(Debug)]
pub(super) struct Place {
    pool: Arc<Pool>,
    taken: bool,
}

impl Place {
    pub(super) fn of(pool: &Arc<Pool>) -> Self {
        pool.opening.fetch_add(1, Ordering::Relaxed);
        Self { pool: pool.clone(), taken: false }
    }

    pub(super) fn taken_up(mut self) {
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

impl Pool {
    /// Opens a server in a place that is already counted.
    pub(super) async fn open(
        self: &Arc<Self>,
        place: Place,
        opening: Opening<'_>,
    ) -> Result<Lease, LeaseError> {
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
        match self.open_proved(&target, opening).await {
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
                if error.full().is_none() && !is_elsewhere(&error) {
                    self.state.lock().last_failure = Some((Instant::now(), error.clone()));
                }
                Err(LeaseError::Login(error))
            }
        }
    }

    /// Opens a server for whom the pool is for, within the configured time.
    async fn open_proved(&self, target: &Target, opening: Opening<'_>) -> Result<Server, LoginError> {
        let open = async {
            let server = open_within(target, opening).await?;
            self.made_sure(server).await
        };
        match tokio::time::timeout(opening.config.pool.server_connect, open).await {
            Ok(result) => result,
            Err(_) => Err(LoginError::Io(std::io::ErrorKind::TimedOut.into())),
        }
    }

    /// The server, if it knows us as who the pool is for: a name may have been given anew.
    async fn made_sure(&self, mut server: Server) -> Result<Server, LoginError> {
        let rows = server.ask(IDENTITY).await?;
        let is = identity(&rows);
        if is.is_some_and(|is| is.is_same_person(&self.key.identity)) {
            return Ok(server);
        }
        let Key { user, database, .. } = &self.key;
        let what = match is {
            Some(is) if is.database == self.key.identity.database => format!("role \"{user}\""),
            _ => format!("database \"{database}\""),
        };
        let message = format!("{what} is another one than when this session began");
        Err(LoginError::Somebody(
            Refusal::new(sqlstate::ADMIN_SHUTDOWN, message)
                .with_hint("It was dropped or renamed, and the name given anew. Connect again."),
        ))
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

/// The next attempt may lead to the right server.
fn is_elsewhere(error: &LoginError) -> bool {
    matches!(error, LoginError::Io(error) if error.kind() == std::io::ErrorKind::Other)
}

/// Opens a server of the node that is being watched, within the configured time.
///
/// # Errors
/// As [`Server::open`]; a time-out is an I/O error.
pub async fn open_within(target: &Target, opening: Opening<'_>) -> Result<Server, LoginError> {
    let open = async {
        let mut server = Server::open(target, opening.credentials, opening.tls).await?;
        if target.replication.is_none() {
            server.prove().await?;
            server.learn_start().await?;
        }
        Ok(server)
    };
    match tokio::time::timeout(opening.config.pool.server_connect, open).await {
        Ok(result) => result,
        Err(_) => Err(LoginError::Io(std::io::ErrorKind::TimedOut.into())),
    }
}
