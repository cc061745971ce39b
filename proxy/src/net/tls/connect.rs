//! TLS as the client of a server.

use super::own::{self, OwnConnection};
use super::verify::Leniently;
use super::watch::Watch;
use super::{ALPN, TlsError, authorities, certificates, key, provider};
use crate::config::{ServerAuth, ServerTls, SslMode};
use crate::net::{Connection, Stream};
use arc_swap::ArcSwap;
use bytes::BufMut;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls_pki_types::ServerName;
use std::io;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

/// The code of an SSLRequest.
const SSL_REQUEST: u32 = 80_877_103;

/// Does handshakes with servers, as one `sslmode` asks for it, with certificates that can be replaced
/// while it runs. Clones share them.
#[derive(Clone, Debug)]
pub struct Connector {
    loaded: Arc<ArcSwap<Loaded>>,
}

#[derive(Debug)]
struct Loaded {
    settings: ServerTls,
    watch: Watch,
    config: Arc<ClientConfig>,
}

impl Connector {
    /// Reads CA, certificate and key.
    ///
    /// # Errors
    /// When a file cannot be read, or a mode that checks certificates has no CA to check with.
    pub fn new(tls: &ServerTls) -> Result<Self, TlsError> {
        Ok(Self { loaded: Arc::new(ArcSwap::from_pointee(load(tls)?)) })
    }

    /// A reload. On failure all stays as it was.
    ///
    /// # Errors
    /// As [`Connector::new`].
    pub fn apply(&self, tls: &ServerTls) -> Result<(), TlsError> {
        self.loaded.store(Arc::new(load(tls)?));
        Ok(())
    }

    /// Reads the files again if one of them was replaced. To be called now and then.
    pub fn refresh(&self) {
        let loaded = self.loaded.load();
        if !loaded.watch.has_changed() {
            return;
        }
        match self.apply(&loaded.settings) {
            Ok(()) => tracing::info!("cluster.tls: certificates read again"),
            Err(error) => {
                tracing::error!(%error, "cluster.tls: certificates not read again, the old ones stay")
            }
        }
    }

    /// Makes a connection of a fresh stream, under TLS if the mode asks for it or the server can.
    /// `host` is what the server is called in the configuration. Over a Unix socket there is no TLS.
    ///
    /// Not bounded in time: the caller is.
    ///
    /// # Errors
    /// When the mode demands TLS and the server has none, or the handshake fails.
    pub async fn connect(&self, mut stream: Stream, host: &str) -> io::Result<Connection> {
        let loaded = self.loaded.load_full();
        let mode = loaded.settings.mode;
        if mode == SslMode::Disable || stream.is_unix() {
            return Ok(Connection::new(stream));
        }
        let mut request = [0; 8];
        (&mut request[..]).put_u64((8 << 32) | u64::from(SSL_REQUEST));
        stream.write_all(&request).await?;
        // One byte and no more is read: what follows it belongs to the handshake.
        match stream.read_u8().await? {
            b'S' => handshake(loaded.config.clone(), stream, host).await,
            b'N' if mode == SslMode::Prefer => Ok(Connection::new(stream)),
            b'N' => Err(invalid("the server does not support TLS, but cluster.tls demands it")),
            // It cannot be trusted: nobody has proved to be the server yet.
            b'E' => Err(invalid("the server answered the request for TLS with an error")),
            _ => Err(invalid("the server did not understand the request for TLS")),
        }
    }

    /// What a server may ask for at a log-in.
    pub fn accepts(&self) -> ServerAuth {
        self.loaded.load().settings.auth.clone()
    }

    /// The same for the connections that pgweir makes for itself through tokio-postgres, on a stream that has
    /// just been opened, or not.
    ///
    /// # Errors
    /// The stream's, the handshake's, the server's.
    pub async fn connect_own(
        &self,
        settings: &tokio_postgres::Config,
        host: &str,
        stream: io::Result<Stream>,
    ) -> Result<(tokio_postgres::Client, OwnConnection), tokio_postgres::Error> {
        let loaded = self.loaded.load_full();
        own::connect(settings, host, stream, &loaded.settings, loaded.config.clone()).await
    }
}

async fn handshake(config: Arc<ClientConfig>, stream: Stream, host: &str) -> io::Result<Connection> {
    let stream = TlsConnector::from(config).connect(server_name(host)?, Box::new(stream)).await?;
    Ok(Connection::new(Stream::TlsClient(Box::new(stream))))
}

fn load(tls: &ServerTls) -> Result<Loaded, TlsError> {
    let watch = Watch::over([tls.ca.as_ref(), tls.certificate.as_ref(), tls.key.as_ref()]);
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier(tls)?));
    let mut config = match (&tls.certificate, &tls.key) {
        (Some(path), Some(key_path)) => builder
            .with_client_auth_cert(certificates(path)?, key(key_path)?)
            .map_err(|error| TlsError::Unusable(format!("{} and its key: {error}", path.display())))?,
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(TlsError::Unusable("a certificate needs its key, a key its certificate".into())),
    };
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(Loaded { settings: tls.clone(), watch, config: Arc::new(config) })
}

fn verifier(tls: &ServerTls) -> Result<Leniently, TlsError> {
    match (&tls.ca, tls.mode) {
        // As libpq: `require` with a CA at hand is `verify-ca`.
        (Some(ca), SslMode::Require | SslMode::VerifyCa) => Leniently::signed_by(authorities(ca)?, false),
        (Some(ca), SslMode::VerifyFull) => Leniently::signed_by(authorities(ca)?, true),
        (None, SslMode::VerifyCa | SslMode::VerifyFull) => {
            Err(TlsError::Unusable("verify-ca and verify-full need a file of CA certificates".into()))
        }
        (_, SslMode::Disable | SslMode::Prefer | SslMode::Require) => Ok(Leniently::anybody()),
    }
}

pub(super) fn server_name(host: &str) -> io::Result<ServerName<'static>> {
    let bare = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    ServerName::try_from(bare.to_owned()).map_err(|_| invalid("not a host name"))
}

fn invalid(message: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, message)
}
