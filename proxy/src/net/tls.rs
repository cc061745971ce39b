//! TLS with clients and with servers.
//!
//! * [`Acceptor`]: we are the server of a client
//! * [`Connector`]: we are the client of a server, with libpq's `sslmode`s
//! * [`end_point`]: what SCRAM binds itself to
//!
//! A handshake starts on a connection that holds no byte: what was sent in the clear before it is never
//! taken as sent under TLS (CVE-2021-23214).
//!
//! <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>

mod accept;
mod connect;
pub mod end_point;
mod guard;
mod made;
mod own;
mod shown;
mod verify;
mod watch;

pub use accept::{Acceptor, Served};
pub use connect::Connector;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The protocol's name in ALPN.
const ALPN: &[u8] = b"postgresql";

/// Certificates, keys or settings that TLS cannot work with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A PEM file that cannot be read.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        cause: String,
    },
    /// A certificate that does not fit its key, a CA that is none, and so on.
    #[error("{0}")]
    Unusable(String),
}

impl From<std::io::Error> for TlsError {
    fn from(error: std::io::Error) -> Self {
        Self::Unusable(error.to_string())
    }
}

impl From<rustls::Error> for TlsError {
    fn from(error: rustls::Error) -> Self {
        Self::Unusable(error.to_string())
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = |cause: String| TlsError::File { path: path.to_owned(), cause };
    let chain: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|e| file(e.to_string()))?.collect();
    let chain = chain.map_err(|e| file(e.to_string()))?;
    if chain.is_empty() { Err(file("no certificate in it".into())) } else { Ok(chain) }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path)
        .map_err(|error| TlsError::File { path: path.to_owned(), cause: error.to_string() })
}

/// CA certificates; those that rustls cannot use are left out, unless there is no other.
fn roots(path: &Path) -> Result<rustls::RootCertStore, TlsError> {
    let mut roots = rustls::RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(TlsError::File { path: path.to_owned(), cause: "no usable CA certificate in it".into() });
    }
    Ok(roots)
}

/// The TLS that a web server speaks, with this certificate and key.
///
/// # Errors
/// When a file cannot be read, or the two do not belong together.
pub fn plain_server(certificate: &Path, key: &Path) -> Result<rustls::ServerConfig, TlsError> {
    let builder =
        rustls::ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(builder.with_no_client_auth().with_cert_resolver(shown::shown(certificate, key)?))
}

/// Lists of revoked certificates.
fn revoked(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let file = |cause: String| TlsError::File { path: path.to_owned(), cause };
    let lists = CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect);
    let lists: Vec<_> = lists.map_err(|error| file(error.to_string()))?;
    if lists.is_empty() { Err(file("no revocation list in it".into())) } else { Ok(lists) }
}

fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    roots(path)?;
    certificates(path)
}
