//! A socket with its two buffers.

pub mod dial;
pub mod patient;
pub mod room;
pub mod spare;
pub mod tls;

use crate::limits::{BACKLOG_BYTES_MAX, READ_BYTES};
use bytes::{Buf, BytesMut};
use std::io;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};

/// Any transport that a client or a server may use.
#[derive(Debug)]
pub enum Stream {
    /// TCP.
    Tcp(TcpStream),
    /// A Unix socket.
    Unix(UnixStream),
    /// TLS, as the server of a client.
    TlsServer(Box<tls::Served>),
    /// TLS, as the client of a server.
    TlsClient(Box<tokio_rustls::client::TlsStream<Box<Stream>>>),
}

impl Stream {
    /// True when what passes cannot be read on the way.
    pub fn is_tls(&self) -> bool {
        matches!(self, Stream::TlsServer(_) | Stream::TlsClient(_))
    }

    /// True for a Unix socket, under TLS or not.
    pub fn is_unix(&self) -> bool {
        matches!(self, Stream::Unix(_))
    }

    /// What a client's SCRAM exchange may be bound to: the hash of the certificate that we showed it.
    pub fn own_end_point(&self) -> Option<Arc<[u8]>> {
        match self {
            Stream::TlsServer(tls) => tls.end_point(),
            _ => None,
        }
    }

    /// What our SCRAM exchange may be bound to: the hash of the certificate that the server showed us.
    pub fn peer_end_point(&self) -> Option<Arc<[u8]>> {
        match self {
            Stream::TlsClient(tls) => tls::end_point::hash(tls.get_ref().1.peer_certificates()?.first()?),
            _ => None,
        }
    }

    /// The client has shown a certificate that was found good.
    pub fn has_client_certificate(&self) -> bool {
        matches!(self, Stream::TlsServer(tls) if tls.has_client_certificate())
    }

    /// Whom the client's certificate names, if it has shown one.
    pub fn client_common_name(&self) -> Option<String> {
        match self {
            Stream::TlsServer(tls) => tls.client_common_name(),
            _ => None,
        }
    }

    /// The event loop of this thread watches the socket from now on.
    fn move_here(&mut self) -> io::Result<()> {
        // The old loop has its own descriptor of the socket, and forgets it with that.
        match self {
            Stream::Tcp(s) => {
                let same = std::net::TcpStream::from(s.as_fd().try_clone_to_owned()?);
                *s = TcpStream::from_std(same)?;
            }
            Stream::Unix(s) => {
                let same = std::os::unix::net::UnixStream::from(s.as_fd().try_clone_to_owned()?);
                *s = UnixStream::from_std(same)?;
            }
            Stream::TlsServer(tls) => tls.stream.get_mut().0.move_here()?,
            Stream::TlsClient(tls) => tls.get_mut().0.move_here()?,
        }
        Ok(())
    }

    /// Something may have come: false only when there is certainly nothing to read. Asks without being woken.
    fn may_have_news(&self) -> bool {
        // Of no bytes, a read tells only whether the event loop has heard of any.
        let read = match self {
            Stream::Tcp(s) => s.try_read(&mut []),
            Stream::Unix(s) => s.try_read(&mut []),
            Stream::TlsServer(_) | Stream::TlsClient(_) => return true,
        };
        !read.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Resolves when there is something to read, without needing a buffer for it.
    fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Stream::Tcp(s) => s.poll_read_ready(cx),
            Stream::Unix(s) => s.poll_read_ready(cx),
            // TLS may hold decrypted bytes of its own: only a read can tell.
            Stream::TlsServer(_) | Stream::TlsClient(_) => Poll::Ready(Ok(())),
        }
    }
}

macro_rules! each {
    ($self:ident, $s:ident => $e:expr) => {
        match $self.get_mut() {
            Stream::Tcp($s) => $e,
            Stream::Unix($s) => $e,
            Stream::TlsServer(tls) => {
                let $s = &mut tls.stream;
                $e
            }
            Stream::TlsClient($s) => $e,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, s => Pin::new(s).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, s => Pin::new(s).poll_write(cx, buf))
    }
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, s => Pin::new(s).poll_flush(cx))
    }
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, s => Pin::new(s).poll_shutdown(cx))
    }
}

/// A socket, what has been read from it and what is still to be written to it.
#[derive(Debug)]
pub struct Connection {
    stream: Stream,
    /// Bytes received and not consumed yet. Idle connections hold no buffer.
    pub input: BytesMut,
    /// Bytes to send.
    pub output: BytesMut,
    /// Bytes read and written since they were last asked for.
    counts: (u64, u64),
}

impl Connection {
    /// Over a fresh stream.
    pub fn new(stream: Stream) -> Self {
        Self { stream, input: BytesMut::new(), output: BytesMut::new(), counts: (0, 0) }
    }

    /// The transport.
    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Gives the transport up, for a TLS handshake.
    ///
    /// # Errors
    /// `InvalidData` when bytes arrived in the clear that must not be taken as sent under TLS
    /// (CVE-2021-23214), or when something is still to be sent.
    pub fn into_stream(self) -> io::Result<Stream> {
        if self.input.is_empty() && self.output.is_empty() {
            Ok(self.stream)
        } else {
            Err(io::Error::new(io::ErrorKind::InvalidData, "received unencrypted data after SSL request"))
        }
    }

    /// The event loop of this thread watches the socket from now on: for who goes on in another one.
    ///
    /// # Errors
    /// Too few file descriptors; nothing has changed then.
    pub fn move_here(&mut self) -> io::Result<()> {
        self.stream.move_here()
    }

    /// Something may have come that has not been read: false only when there is certainly nothing.
    pub fn may_have_news(&self) -> bool {
        !self.input.is_empty() || self.stream.may_have_news()
    }

    /// Reads once. `Ready(Ok(0))` is the end of the stream.
    ///
    /// Cancel-safe: what was read is in `input`.
    ///
    /// # Errors
    /// The transport's.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.input.is_empty() && self.stream.poll_readable(cx)?.is_pending() {
            // Nothing to read and nothing kept: give the memory back while we wait. While a request
            // that was split off is being served its memory is in use anyhow.
            if self.input.capacity() > 0 && spare::is_free(&mut self.input) {
                put_away(&mut self.input);
            }
            return Poll::Pending;
        }
        if self.input.capacity() - self.input.len() < READ_BYTES / 4 {
            if self.input.is_empty() {
                put_away(&mut self.input);
                self.input = spare::take();
            } else {
                self.input.reserve(READ_BYTES);
            }
        }
        let stream = Pin::new(&mut self.stream);
        let read = poll_read_buf(stream, cx, &mut self.input);
        match read {
            // TLS, which had to be read to be asked.
            Poll::Pending if self.input.is_empty() => put_away(&mut self.input),
            Poll::Ready(Ok(n)) => self.counts.0 += n as u64,
            _ => {}
        }
        read
    }

    /// Writes as much of `output` as the socket takes; `Ready` when all is gone.
    ///
    /// # Errors
    /// The transport's.
    pub fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush_first(cx, self.output.len())
    }

    /// Writes as much of the first `count` bytes of `output` as the socket takes; `Ready` when they are gone.
    ///
    /// # Errors
    /// The transport's.
    pub fn poll_flush_first(&mut self, cx: &mut Context<'_>, count: usize) -> Poll<io::Result<()>> {
        let mut left = count;
        while left > 0 {
            let n = ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output[..left]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.counts.1 += n as u64;
            match n == self.output.len() {
                // All of its room is there again.
                true => self.output.clear(),
                false => self.output.advance(n),
            }
            left -= n;
        }
        if self.output.is_empty() {
            put_away(&mut self.output);
        }
        if self.stream.is_tls() { Pin::new(&mut self.stream).poll_flush(cx) } else { Poll::Ready(Ok(())) }
    }

    /// Bytes read and written since this was last asked.
    pub fn take_counts(&mut self) -> (u64, u64) {
        std::mem::take(&mut self.counts)
    }

    /// Reads once.
    ///
    /// # Errors
    /// The transport's.
    pub async fn fill(&mut self) -> io::Result<usize> {
        std::future::poll_fn(|cx| self.poll_fill(cx)).await
    }

    /// Writes all of `output`.
    ///
    /// # Errors
    /// The transport's.
    pub async fn flush(&mut self) -> io::Result<()> {
        std::future::poll_fn(|cx| self.poll_flush(cx)).await
    }

    /// True when so much waits to be written that we should stop adding to it.
    pub fn is_backlogged(&self) -> bool {
        self.output.len() >= BACKLOG_BYTES_MAX
    }

    /// Reads until `input` holds at least `n` bytes.
    ///
    /// # Errors
    /// `UnexpectedEof` when the other side ends the stream before; the transport's.
    pub async fn fill_to(&mut self, n: usize) -> io::Result<()> {
        while self.input.len() < n {
            if self.fill().await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }
}

/// Leaves no buffer behind.
fn put_away(buffer: &mut BytesMut) {
    if buffer.capacity() > 0 {
        spare::give(std::mem::take(buffer));
    }
}

/// One `poll_read` into the spare capacity of `buffer`.
fn poll_read_buf(
    stream: Pin<&mut Stream>,
    cx: &mut Context<'_>,
    buffer: &mut BytesMut,
) -> Poll<io::Result<usize>> {
    use std::future::Future;
    let mut stream = stream;
    let future = tokio::io::AsyncReadExt::read_buf(&mut stream, buffer);
    let mut future = std::pin::pin!(future);
    future.as_mut().poll(cx)
}
