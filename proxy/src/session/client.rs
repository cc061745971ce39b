//! The client's side of a session.

use crate::auth::{Credentials, Identity};
use crate::clients::registry::Card;
use crate::loops::Heard;
use crate::net::Connection;
use crate::observe::metrics::DatabaseMetrics;
use crate::pool::Tenant;
use std::net::IpAddr;
use std::sync::Arc;

/// Who the client is.
#[derive(Debug)]
pub struct Who {
    /// The user.
    pub user: String,
    /// The database.
    pub database: String,
    /// Who and what these names meant at its log-in.
    pub identity: Identity,
    /// How many servers Postgres gave to them then; `None`: as many as it has.
    pub servers_max: Option<usize>,
    /// How to log in to servers as that user.
    pub credentials: Arc<Credentials>,
    /// Where it comes from; `None` on a Unix socket.
    pub address: Option<IpAddr>,
}

impl Who {
    /// Whose servers it needs.
    pub fn tenant(&self) -> Tenant<'_> {
        let Who { user, database, identity, servers_max, .. } = self;
        Tenant { database, user, identity: *identity, servers_max: *servers_max }
    }
}

/// The client that a session serves.
pub(crate) struct Client {
    /// Its connection.
    pub(crate) socket: Connection,
    /// What others see of the session, and how they reach it.
    pub(crate) card: Arc<Card>,
    /// Where its statements are counted.
    pub(crate) counters: Arc<DatabaseMetrics>,
    /// Who it is.
    pub(crate) who: Who,
    /// Calls to go on in another event loop.
    pub(crate) heard: Heard,
}
