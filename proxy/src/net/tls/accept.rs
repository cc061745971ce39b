//! TLS as the server of a client.

use super::{ALPN, TlsError, certificates, end_point, key, provider, roots};
use crate::config::ListenTls;
use crate::limits::CERTIFICATES_CHECK_EVERY;
use crate::net::{Connection, Stream};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A client's connection under TLS.
#[derive(Debug)]
pub struct Served {
    pub(in crate::net) stream: TlsStream<Box<Stream>>,
    end_point: Option<Arc<[u8]>>,
}

impl Served {
    /// The hash of the certificate that we showed.
    pub fn end_point(&self) -> Option<Arc<[u8]>> {
        self.end_point.clone()
    }

    /// The first common name of the certificate that the client showed, if it showed one.
    pub fn client_common_name(&self) -> Option<String> {
        let certificate = self.stream.get_ref().1.peer_certificates()?.first()?;
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let name = certificate.subject().iter_common_name().next()?.as_str().ok()?;
        Some(name.to_owned())
    }
}

/// Does handshakes with clients, with certificates that can be replaced while it runs.
#[derive(Debug)]
pub struct Acceptor {
    files: ListenTls,
    loaded: ArcSwap<Loaded>,
}

struct Loaded {
    config: Arc<ServerConfig>,
    end_point: Option<Arc<[u8]>>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Loaded(…)")
    }
}

impl Acceptor {
    /// Reads certificate, key and client CA.
    ///
    /// # Errors
    /// When a file cannot be read or the three do not fit together.
    pub fn new(files: &ListenTls) -> Result<Self, TlsError> {
        Ok(Self { files: files.clone(), loaded: ArcSwap::from_pointee(load(files)?) })
    }

    /// Reads the files again. On failure the old certificate stays.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn reload(&self) -> Result<(), TlsError> {
        self.loaded.store(Arc::new(load(&self.files)?));
        Ok(())
    }

    /// Reads the files again whenever one of them changes; never ends.
    pub async fn follow_files(&self) {
        let mut seen = self.stamps();
        loop {
            tokio::time::sleep(CERTIFICATES_CHECK_EVERY).await;
            let now = self.stamps();
            if now == seen {
                continue;
            }
            match self.reload() {
                Ok(()) => tracing::info!("TLS certificate reloaded"),
                Err(error) => tracing::error!(%error, "TLS certificate not reloaded, the old one stays"),
            }
            seen = now;
        }
    }

    /// What changes when a file is replaced, symbolic links on its way included.
    fn stamps(&self) -> Vec<Option<(u64, u64, i64, i64)>> {
        let stamp = |path: &Path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.ino(), file.size(), file.mtime(), file.mtime_nsec()))
        };
        let files: [Option<&PathBuf>; 3] =
            [Some(&self.files.certificate), Some(&self.files.key), self.files.client_ca.as_ref()];
        files.into_iter().flatten().map(|path| stamp(path)).collect()
    }

    /// The handshake with a client that has asked for TLS and been told `S` (flushed).
    ///
    /// # Errors
    /// `InvalidData` when the client sent something in the clear behind its request; the handshake's.
    pub async fn accept(&self, client: Connection) -> io::Result<Connection> {
        self.handshake(client.into_stream()?, b"").await
    }

    /// The handshake with a client that starts TLS without asking: the first byte it sends is
    /// [`Acceptor::DIRECT`]. What has been read of its hello is in `client.input`.
    ///
    /// <https://www.postgresql.org/docs/current/protocol-flow.html#PROTOCOL-FLOW-SSL>
    ///
    /// # Errors
    /// `InvalidData` when the client does not say by ALPN that it means Postgres; the handshake's.
    pub async fn accept_direct(&self, mut client: Connection) -> io::Result<Connection> {
        let hello = client.input.split();
        let client = self.handshake(client.into_stream()?, &hello).await?;
        match client.stream() {
            Stream::TlsServer(tls) if tls.stream.get_ref().1.alpn_protocol() == Some(ALPN) => Ok(client),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "received direct SSL connection request without ALPN protocol negotiation extension",
            )),
        }
    }

    /// The first byte of a TLS handshake record.
    pub const DIRECT: u8 = 0x16;

    async fn handshake(&self, stream: Stream, hello: &[u8]) -> io::Result<Connection> {
        let loaded = self.loaded.load_full();
        let mut fed = Ok(());
        let accept = TlsAcceptor::from(loaded.config.clone())
            .accept_with(Box::new(stream), |tls| fed = feed(tls, hello));
        let outcome = accept.await;
        fed?;
        let served = Served { stream: outcome?, end_point: loaded.end_point.clone() };
        Ok(Connection::new(Stream::TlsServer(Box::new(served))))
    }
}

/// Gives rustls what has already been read from the socket.
fn feed(tls: &mut rustls::ServerConnection, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        if tls.read_tls(&mut bytes)? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        tls.process_new_packets().map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    }
    Ok(())
}

fn load(files: &ListenTls) -> Result<Loaded, TlsError> {
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        // As Postgres: a certificate is asked for and checked, but only some rules need one.
        Some(path) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider())
                .allow_unauthenticated()
                .build()
                .map_err(|error| TlsError::Unusable(format!("{}: {error}", path.display())))?,
        ),
    };
    let chain = certificates(&files.certificate)?;
    let end_point = chain.first().and_then(|certificate| end_point::hash(certificate));
    let mut config = builder.with_single_cert(chain, key(&files.key)?).map_err(|error| {
        TlsError::Unusable(format!("{} and its key: {error}", files.certificate.display()))
    })?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // As Postgres: sessions are not resumed, which saves memory and a message.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Loaded { config: Arc::new(config), end_point })
}
