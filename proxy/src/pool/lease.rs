//! A server in a session's hands.

use super::Pool;
use crate::auth::LoginError;
use crate::node::Outstanding;
use crate::server::Server;
use crate::wire::{ErrorFields, Refusal};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// A server, for as long as a session needs it. Dropped, it is closed; given back, it is shared.
#[derive(Debug)]
pub struct Lease {
    server: Option<Box<Server>>,
    pool: Arc<Pool>,
    /// The reign of its node that it was leased in.
    pub reign: u64,
    /// It has run what keeps plans, by which those that the server has are the session's own.
    pub has_planned: bool,
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
    pub(super) fn of(pool: &Arc<Pool>, server: Box<Server>) -> Self {
        pool.leased.fetch_add(1, Ordering::Relaxed);
        let (reign, _outstanding) = (pool.node.reign(), pool.node.begin());
        Self { server: Some(server), pool: pool.clone(), reign, has_planned: false, _outstanding }
    }

    /// The session is done with the server, which owes nothing and is outside a transaction.
    pub fn give_back(self) {
        self.give_back_at(Instant::now());
    }

    /// The same, at `now`.
    pub fn give_back_at(mut self, now: Instant) {
        if let Some(server) = self.server.take() {
            self.pool.leased.fetch_sub(1, Ordering::Relaxed);
            self.pool.take_back(server, now);
        }
    }

    /// Not lent after all.
    pub(super) fn into_server(mut self) -> Option<Box<Server>> {
        let server = self.server.take()?;
        self.pool.leased.fetch_sub(1, Ordering::Relaxed);
        Some(server)
    }

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

impl LeaseError {
    /// What a session is told that is not who it was: it gets at no server any more.
    pub fn of_somebody(&self) -> Option<Refusal> {
        match self {
            LeaseError::Login(error) => match &**error {
                LoginError::Somebody(refusal) => Some(refusal.clone()),
                _ => None,
            },
            LeaseError::TooLong(_) => None,
        }
    }

    /// True when another node may do: this one is not there, or not ready.
    pub fn is_nodes_fault(&self) -> bool {
        let LeaseError::Login(error) = self else { return false };
        match &**error {
            LoginError::Io(_) => true,
            LoginError::ByServer(body) => {
                matches!(ErrorFields::parse(body).sqlstate.as_str(), "57P03" | "57P01" | "57P02")
            }
            LoginError::Refused(_) | LoginError::Somebody(_) => false,
        }
    }
}
