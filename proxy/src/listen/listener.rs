//! Accepts clients and hands each to an event loop.

use crate::front;
use crate::loops::EventLoops;
use crate::net::{Connection, Stream};
use crate::weir::Weir;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};

/// A client's socket on its way to an event loop.
enum Arrival {
    Tcp(std::net::TcpStream, SocketAddr),
    Unix(std::os::unix::net::UnixStream),
}

async fn serve(weir: Arc<Weir>, arrival: Arrival) {
    let (stream, peer) = match into_stream(arrival) {
        Ok(stream) => stream,
        Err(error) => return crate::limited!(warn, %error, "a client's socket cannot be used"),
    };
    front::serve(weir, Connection::new(stream), peer).await;
}

fn into_stream(arrival: Arrival) -> io::Result<(Stream, Option<SocketAddr>)> {
    match arrival {
        Arrival::Tcp(stream, peer) => {
            stream.set_nodelay(true)?;
            Ok((Stream::Tcp(tokio::net::TcpStream::from_std(stream)?), Some(peer)))
        }
        Arrival::Unix(stream) => Ok((Stream::Unix(tokio::net::UnixStream::from_std(stream)?), None)),
    }
}

/// Binds a TCP address so that a new process can bind it too while this one leaves, if that process wants to:
/// without `share` nobody else may listen there now.
///
/// # Errors
/// The socket's.
pub fn bind_tcp(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // The kernel refuses the address to who does not offer to share it, and looks at that when it binds.
    socket.set_reuse_port(share)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(true)?;
    socket.listen(4096)?;
    TcpListener::from_std(socket.into())
}

/// Binds a Unix socket, taking over one that nobody listens on any more; with `replace` also one that
/// somebody does: clients find the new one from one moment to the next.
///
/// # Errors
/// The socket's; without `replace`, when somebody listens on it.
pub fn bind_unix(path: &Path, replace: bool) -> io::Result<UnixListener> {
    if !replace && path.exists() && std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("{} is in use", path.display())));
    }
    let fresh = path.with_extension(format!(
        "{}.{}",
        path.extension().unwrap_or_default().display(),
        std::process::id()
    ));
    let _ = std::fs::remove_file(&fresh);
    let listener = UnixListener::bind(&fresh)?;
    std::fs::set_permissions(&fresh, std::os::unix::fs::PermissionsExt::from_mode(0o777))?;
    std::fs::rename(&fresh, path)?;
    Ok(listener)
}

/// Accepts TCP clients until `closing`. What fails for one client (or for want of file descriptors)
/// does not end it for the others. Who has reached the queue by then is still taken.
pub async fn accept_tcp(
    listener: TcpListener,
    weir: Arc<Weir>,
    loops: Arc<EventLoops>,
    closing: impl Future<Output = ()>,
) {
    let hand_over = |(stream, peer): (tokio::net::TcpStream, SocketAddr)| match stream.into_std() {
        Ok(stream) => loops.serve(serve(weir.clone(), Arrival::Tcp(stream, peer))),
        Err(error) => crate::limited!(warn, %error, "a client's socket cannot be used"),
    };
    let mut closing = std::pin::pin!(closing);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut closing => break,
        };
        match accepted {
            Ok(client) => hand_over(client),
            Err(error) => pause_after(&error).await,
        }
    }
    while let Ok(Ok(client)) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        hand_over(client);
    }
}

/// As [`accept_tcp`], for a Unix socket.
pub async fn accept_unix(
    listener: UnixListener,
    weir: Arc<Weir>,
    loops: Arc<EventLoops>,
    closing: impl Future<Output = ()>,
) {
    let hand_over = |stream: tokio::net::UnixStream| match stream.into_std() {
        Ok(stream) => loops.serve(serve(weir.clone(), Arrival::Unix(stream))),
        Err(error) => crate::limited!(warn, %error, "a client's socket cannot be used"),
    };
    let mut closing = std::pin::pin!(closing);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = &mut closing => break,
        };
        match accepted {
            Ok((stream, _)) => hand_over(stream),
            Err(error) => pause_after(&error).await,
        }
    }
    while let Ok(Ok((stream, _))) = tokio::time::timeout(Duration::ZERO, listener.accept()).await {
        hand_over(stream);
    }
}

async fn pause_after(error: &io::Error) {
    crate::limited!(warn, %error, "cannot accept a client (too few file descriptors?)");
    tokio::time::sleep(Duration::from_millis(100)).await;
}
