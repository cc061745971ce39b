//! TLS as the server of a client.

use super::made;
use super::shown::shown;
use super::watch::Watch;
use super::{ALPN, TlsError, certificates, end_point, provider, revoked, roots};
use crate::config::ListenTls;
use crate::net::{Connection, Stream};
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use std::io;
use std::path::Path;
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

    /// The client showed a certificate that was found good.
    pub fn has_client_certificate(&self) -> bool {
        self.stream.get_ref().1.peer_certificates().is_some_and(|chain| !chain.is_empty())
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
    loaded: ArcSwap<Loaded>,
}

struct Loaded {
    files: ListenTls,
    watch: Watch,
    config: Arc<ServerConfig>,
    end_point: Option<Arc<[u8]>>,
}

impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Loaded").field(&self.files).finish()
    }
}

impl Acceptor {
    /// Reads certificate, key and client CA.
    ///
    /// # Errors
    /// When a file cannot be read or the three do not fit together.
    pub fn new(files: &ListenTls) -> Result<Self, TlsError> {
        Ok(Self { loaded: ArcSwap::from_pointee(load(files)?) })
    }

    /// For these settings; `None`: clients get no TLS. Where no certificate is configured, one is made; where
    /// it cannot be kept, those who ask for TLS are told that there is none, unless it is required.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn of(tls: Option<&ListenTls>) -> Result<Option<Self>, TlsError> {
        let Some(files) = tls else { return Ok(None) };
        let path = &files.certificate;
        if files.is_made
            && let Err(error) = made::keep(path)
        {
            let cause = format!("no certificate is configured, and none can be kept here: {error}");
            if files.is_required() {
                return Err(TlsError::File { path: path.clone(), cause });
            }
            tracing::warn!(path = %path.display(), %error, "clients get no TLS: no certificate is configured (listen.tls), and none can be kept in runtime.directory");
            return Ok(None);
        }
        Self::new(files).map(Some)
    }

    /// What can be known of these settings before a certificate is made.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn examine(files: &ListenTls) -> Result<(), TlsError> {
        match (files.is_made, &files.client_ca) {
            (false, _) => Self::new(files).map(drop),
            (true, Some(authorities)) => verifier(authorities, files).map(drop),
            (true, None) => Ok(()),
        }
    }

    /// A reload: reads these files. On failure all stays as it was.
    ///
    /// # Errors
    /// As [`Acceptor::new`].
    pub fn apply(&self, files: &ListenTls) -> Result<(), TlsError> {
        self.loaded.store(Arc::new(load(files)?));
        Ok(())
    }

    /// Reads the files again if one of them was replaced. To be called now and then.
    pub fn refresh(&self) {
        let loaded = self.loaded.load();
        if !loaded.watch.has_changed() {
            return;
        }
        // It may have been tidied away with other temporary files.
        let kept = if loaded.files.is_made { made::keep(&loaded.files.certificate) } else { Ok(()) };
        match kept.map_err(TlsError::from).and_then(|()| self.apply(&loaded.files)) {
            Ok(()) => tracing::info!("listen.tls: certificate read again"),
            Err(error) => {
                tracing::error!(%error, "listen.tls: certificate not read again, the old one stays")
            }
        }
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

/// As Postgres: a certificate is asked for and checked, but only some rules need one, unless all do.
fn verifier(authorities: &Path, files: &ListenTls) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots(authorities)?), provider());
    if !files.requires_certificate {
        builder = builder.allow_unauthenticated();
    }
    if let Some(path) = &files.client_crl {
        // As OpenSSL, a list that is out of date says nothing.
        builder = builder.with_crls(revoked(path)?).enforce_revocation_expiration();
    }
    builder.build().map_err(|error| TlsError::Unusable(format!("{}: {error}", authorities.display())))
}

fn load(files: &ListenTls) -> Result<Loaded, TlsError> {
    let watch = Watch::over([
        Some(&files.certificate),
        Some(&files.key),
        files.client_ca.as_ref(),
        files.client_crl.as_ref(),
    ]);
    let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &files.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => builder.with_client_cert_verifier(verifier(path, files)?),
    };
    let end_point = certificates(&files.certificate)?.first().and_then(|shown| end_point::hash(shown));
    let mut config = builder.with_cert_resolver(shown(&files.certificate, &files.key)?);
    config.alpn_protocols = vec![ALPN.to_vec()];
    // As Postgres: sessions are not resumed, which saves memory and a message.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Loaded { files: files.clone(), watch, config: Arc::new(config), end_point })
}
