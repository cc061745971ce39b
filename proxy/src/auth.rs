//! Who a client is, and how we log in to servers as that user.

use crate::config::Config;
use crate::net::Connection;
use crate::wire::Refusal;
use crate::wire::startup::Startup;
use std::sync::Arc;

/// What logging in to a server as a user needs.
#[derive(Clone)]
pub enum Credentials {
    /// Nothing: the server trusts us, or knows us by certificate.
    None,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

/// Who may log in: configured users, or verifiers read from the cluster and remembered.
#[derive(Debug, Default)]
pub struct Directory {}

impl Directory {
    /// Derives every configured user's verifier and keys, once.
    pub fn new(_config: &Config) -> Self {
        Self {}
    }

    /// A reload.
    pub fn apply(&self, _config: &Config) {}

    /// A server refused these credentials: forget them, so that the next log-in asks again.
    pub fn forget(&self, _user: &str) {}
}

/// Authenticates a client that has sent its StartupMessage, up to and including AuthenticationOk
/// (in `client.output`, not flushed).
///
/// # Errors
/// The refusal to be sent as FATAL, as Postgres words it.
pub async fn authenticate(
    _client: &mut Connection,
    _startup: &Startup,
    _directory: &Directory,
    _config: &Config,
) -> Result<Arc<Credentials>, LoginError> {
    Ok(Arc::new(Credentials::None))
}

/// Logs in to a server on which the StartupMessage has been sent, up to and including AuthenticationOk.
///
/// # Errors
/// The server's own refusal, byte for byte, or ours.
pub async fn log_in(
    _server: &mut Connection,
    _user: &str,
    _credentials: &Credentials,
) -> Result<(), LoginError> {
    Ok(())
}

/// Why a log-in failed.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// We refuse.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The server refused with this ErrorResponse (the body, without tag and length).
    #[error("the server refused the log-in")]
    ByServer(bytes::Bytes),
    /// The socket.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
