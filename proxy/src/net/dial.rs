//! A socket to a node.

use super::Stream;
use crate::limits::UNACKNOWLEDGED_MAX;
use std::io;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};

/// Opens a socket to `address`: `host:port`, or a directory with `:port` for a Unix socket.
///
/// # Errors
/// The socket's.
pub async fn dial(address: &str) -> io::Result<Stream> {
    if address.starts_with('/') {
        let (directory, port) = address.rsplit_once(':').unwrap_or((address, "5432"));
        return Ok(Stream::Unix(UnixStream::connect(format!("{directory}/.s.PGSQL.{port}")).await?));
    }
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(30))
        .with_interval(Duration::from_secs(10))
        .with_retries(3);
    let socket = socket2::SockRef::from(&stream);
    socket.set_tcp_keepalive(&keepalive)?;
    // Keep-alives rest while something is on its way that nobody acknowledges.
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED_MAX))?;
    Ok(Stream::Tcp(stream))
}

/// The host of `host:port`.
pub fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// Host and port of `host:port`, `[v6]:port` or `/directory:port`; brackets are no part of the host.
pub fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_at_the_last_colon() {
        assert_eq!(split("db1:5432"), Some(("db1", 5432)));
        assert_eq!(split("[::1]:5433"), Some(("::1", 5433)));
        assert_eq!(split("/var/run/postgresql:5434"), Some(("/var/run/postgresql", 5434)));
        assert_eq!(split("db1"), None);
        assert_eq!(split("db1:x"), None);
    }
}
