//! TLS for the connections that pgweir makes for itself through tokio-postgres.

use super::connect::server_name;
use super::end_point;
use super::guard::Guard;
use crate::config::{ServerAuth, ServerTls, SslMode};
use crate::net::Stream;
use rustls::ClientConfig;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_postgres::tls::{ChannelBinding, TlsConnect};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// What moves the bytes of such a connection.
pub type OwnConnection = tokio_postgres::Connection<Guarded, Bound>;

/// Connects as `settings` say, with TLS as `tls` asks for it.
pub(super) async fn connect(
    settings: &tokio_postgres::Config,
    host: &str,
    stream: io::Result<Stream>,
    tls: &ServerTls,
    config: Arc<ClientConfig>,
) -> Result<(tokio_postgres::Client, OwnConnection), tokio_postgres::Error> {
    // Over a Unix socket there is no TLS.
    let mode = match &stream {
        Ok(stream) if stream.is_unix() => SslMode::Disable,
        _ => tls.mode,
    };
    let mut settings = settings.clone();
    settings.ssl_mode(for_tokio_postgres(mode));
    let guard = Guard::new(tls.auth.clone(), mode != SslMode::Disable);
    let guarded = Guarded { stream: stream.map_err(Some), guard };
    let handshake = Handshake { config, host: host.to_owned(), accepts: tls.auth.clone() };
    settings.connect_raw(guarded, handshake).await
}

/// tokio-postgres asks the server as told; what is then checked is up to us.
fn for_tokio_postgres(mode: SslMode) -> tokio_postgres::config::SslMode {
    match mode {
        SslMode::Disable => tokio_postgres::config::SslMode::Disable,
        SslMode::Prefer => tokio_postgres::config::SslMode::Prefer,
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => {
            tokio_postgres::config::SslMode::Require
        }
    }
}

/// A stream whose server is listened to before it is answered. One that could not be opened says why at its
/// first use.
#[derive(Debug)]
pub struct Guarded {
    stream: Result<Stream, Option<io::Error>>,
    guard: Guard,
}

impl Guarded {
    fn stream(&mut self) -> io::Result<Pin<&mut Stream>> {
        match &mut self.stream {
            Ok(stream) => Ok(Pin::new(stream)),
            Err(error) => Err(error.take().unwrap_or_else(|| io::ErrorKind::NotConnected.into())),
        }
    }
}

/// One handshake to come.
pub struct Handshake {
    config: Arc<ClientConfig>,
    host: String,
    accepts: ServerAuth,
}

/// A stream under TLS that knows its channel binding.
pub struct Bound {
    stream: TlsStream<Guarded>,
    guard: Guard,
}

impl TlsConnect<Guarded> for Handshake {
    type Stream = Bound;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Bound>> + Send>>;

    fn connect(self, stream: Guarded) -> Self::Future {
        Box::pin(async move {
            let name = server_name(&self.host)?;
            let stream = TlsConnector::from(self.config).connect(name, stream).await?;
            Ok(Bound { stream, guard: Guard::new(self.accepts, false) })
        })
    }
}

impl tokio_postgres::tls::TlsStream for Bound {
    fn channel_binding(&self) -> ChannelBinding {
        let certificate = self.stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        match certificate.and_then(|certificate| end_point::hash(certificate)) {
            Some(hash) => ChannelBinding::tls_server_end_point(hash.to_vec()),
            None => ChannelBinding::none(),
        }
    }
}

/// Reads, and shows the guard what came.
fn read_guarded<S: AsyncRead>(
    stream: Pin<&mut S>,
    guard: &mut Guard,
    cx: &mut Context<'_>,
    buf: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    let before = buf.filled().len();
    match stream.poll_read(cx, buf) {
        Poll::Ready(Ok(())) => Poll::Ready(guard.hear(&buf.filled()[before..])),
        other => other,
    }
}

impl AsyncRead for Guarded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Guarded { stream, guard } = self.get_mut();
        match stream {
            Ok(stream) => read_guarded(Pin::new(stream), guard, cx, buf),
            Err(_) => Poll::Ready(Err(io::ErrorKind::NotConnected.into())),
        }
    }
}

impl AsyncWrite for Guarded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().stream()?.poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().stream()?.poll_shutdown(cx)
    }
}

impl AsyncRead for Bound {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Bound { stream, guard } = self.get_mut();
        read_guarded(Pin::new(stream), guard, cx, buf)
    }
}

impl AsyncWrite for Bound {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
