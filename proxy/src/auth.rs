//! Who a client is, and how we log in to servers as that user.
//!
//! * [`client`]: the exchange with a client that wants in
//! * [`server`]: the exchange with a server that we want into
//! * [`directory`]: who there is, configured or looked up in the cluster ([`lookup`])
//! * [`census`]: what they are and may do on Postgres now ([`standing`])
//! * [`rules`]: which method a client has to use
//! * [`scram`], [`md5`]: the methods' arithmetic
//!
//! <https://www.postgresql.org/docs/current/client-authentication.html>

pub mod census;
pub mod client;
pub mod directory;
pub mod entry;
pub mod lookup;
pub mod md5;
pub mod rules;
pub mod scram;
pub mod server;
pub mod standing;

pub use census::Census;
pub use client::authenticate;
pub use directory::Directory;
pub use server::log_in;
pub use standing::{Identity, Standing};

use crate::config::Secret;
use crate::wire::{ErrorFields, Refusal, sqlstate};
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;

/// Where users can be looked up.
pub trait Nodes: Sync {
    /// The addresses of the nodes to be asked: the primary first, since replicas may lag behind a change,
    /// then whatever else is up. `None`: it is not known yet which of those that are listed are the cluster's.
    fn best_first(&self) -> Option<Vec<String>>;

    /// The primary, which alone knows what is so now.
    fn primary_address(&self) -> Option<String>;

    /// Which cluster it is, by its `system_identifier`: what another was asked says nothing of this one.
    fn system(&self) -> Option<u64>;
}

/// What servers are shown on behalf of one user.
///
/// Every session of the user shares it, and the newest log-in counts: a session that was there before its
/// user's password was changed gets at new servers by what a later log-in has taught us.
pub struct Credentials(ArcSwap<Shown>);

/// The forms of it.
enum Shown {
    /// Nothing is known: the server trusts us, or knows us by certificate.
    Nothing,
    /// The password itself: good for every method.
    Password(Password),
    /// The keys that a SCRAM log-in gave away: good for SCRAM with the same verifier.
    Scram(Arc<scram::Keys>),
    /// `md5` and 32 digits: good for md5.
    Md5(Secret),
}

impl Credentials {
    /// Nothing is known of the user.
    pub fn none() -> Self {
        Self::new(Shown::Nothing)
    }

    /// From a password.
    pub fn password(password: Secret) -> Self {
        Self::new(Shown::password(password))
    }

    fn new(shown: Shown) -> Self {
        Self(ArcSwap::from_pointee(shown))
    }

    /// A client has proved itself by this. A configured password stays: it is good for everything.
    fn learn(&self, learned: Shown) {
        let known = self.0.load();
        let keep = match (&**known, &learned) {
            (Shown::Password(_), Shown::Scram(_) | Shown::Md5(_)) => true,
            (Shown::Password(known), Shown::Password(learned)) => known.password == learned.password,
            (Shown::Scram(known), Shown::Scram(learned)) => known == learned,
            (Shown::Md5(known), Shown::Md5(learned)) => known == learned,
            _ => false,
        };
        if !keep {
            self.0.store(Arc::new(learned));
        }
    }
}

impl Shown {
    fn password(password: Secret) -> Self {
        Self::Password(Password { password, derived: Mutex::new(None) })
    }

    /// In a sentence.
    fn name(&self) -> &'static str {
        match self {
            Shown::Nothing => "nothing",
            Shown::Password(_) => "its password",
            Shown::Scram(_) => "its SCRAM keys",
            Shown::Md5(_) => "its md5 password",
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Credentials({})", self.0.load().name())
    }
}

/// A password with the keys last derived from it: servers of one cluster have one salt per user, so
/// the derivation, which costs milliseconds, is done once.
struct Password {
    password: Secret,
    derived: Mutex<Option<Arc<scram::Keys>>>,
}

impl Password {
    /// The keys for this salt. Derives them away from the event loop.
    async fn keys(&self, salt: &[u8], iterations: u32) -> Arc<scram::Keys> {
        if let Some(keys) = &*self.derived.lock()
            && keys.iterations == iterations
            && keys.salt == salt
        {
            return keys.clone();
        }
        let keys = Arc::new(derive(&self.password, salt, iterations).await);
        *self.derived.lock() = Some(keys.clone());
        keys
    }
}

/// [`scram::Keys::derive`], away from the event loop.
async fn derive(password: &Secret, salt: &[u8], iterations: u32) -> scram::Keys {
    let (password, salt) = (password.clone(), salt.to_vec());
    match tokio::task::spawn_blocking(move || scram::Keys::derive(&password.0, &salt, iterations)).await {
        Ok(keys) => keys,
        // The runtime is going down. No key fits these.
        Err(_) => scram::Keys {
            salt: Vec::new(),
            iterations,
            client_key: scram::random(),
            server_key: scram::random(),
        },
    }
}

/// Why a log-in failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// We refuse.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The server let us in, as somebody else than who the session is: the name has been given anew.
    #[error(transparent)]
    Somebody(Refusal),
    /// The server refused with this ErrorResponse (the body, without tag and length).
    #[error("the server refused the log-in")]
    ByServer(bytes::Bytes),
    /// The socket.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

/// What is full where a node lets nobody else in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// The node.
    Node,
    /// What it gives to this role, or to this database.
    Share,
}

impl LoginError {
    /// A sentence for people.
    pub fn explain(&self) -> String {
        match self {
            LoginError::ByServer(body) => {
                let ErrorFields { message, sqlstate, .. } = ErrorFields::parse(body);
                format!("{message} ({sqlstate})")
            }
            LoginError::Io(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                "the connection was closed".into()
            }
            LoginError::Io(error) => {
                // Without the operating system's number.
                error.to_string().split(" (os error").next().unwrap_or_default().to_lowercase()
            }
            LoginError::Refused(refusal) | LoginError::Somebody(refusal) => refusal.message.to_string(),
        }
    }

    /// Whether something is full, and what. The limits of a role and of a database are checked by functions
    /// of their own (`InitializeSessionUserId`, `CheckMyDatabase` in PostgreSQL's source).
    pub fn full(&self) -> Option<Full> {
        let LoginError::ByServer(body) = self else { return None };
        let fields = ErrorFields::parse(body);
        if fields.sqlstate != sqlstate::TOO_MANY_CONNECTIONS {
            return None;
        }
        let of_share = matches!(fields.routine.as_str(), "InitializeSessionUserId" | "CheckMyDatabase");
        Some(if of_share { Full::Share } else { Full::Node })
    }
}

/// Codes of the `R` messages.
///
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-AUTHENTICATIONOK>
mod request {
    pub const OK: u32 = 0;
    pub const CLEARTEXT: u32 = 3;
    pub const MD5: u32 = 5;
    pub const SASL: u32 = 10;
    pub const SASL_CONTINUE: u32 = 11;
    pub const SASL_FINAL: u32 = 12;
}

#[cfg(test)]
mod tests;
