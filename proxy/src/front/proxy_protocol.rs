//! The PROXY protocol: a balancer in front says where a client comes from.

use crate::net::Connection;
use bytes::Buf;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

/// Skips a PROXY protocol v2 header at the start of the connection; returns the client's address.
///
/// <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>
///
/// # Errors
/// When there is no such header.
pub(super) async fn read_proxy_header(client: &mut Connection) -> io::Result<Option<SocketAddr>> {
    const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
    const HEADER: usize = 16;
    client.fill_to(HEADER).await?;
    let bad = |what: &'static str| io::Error::new(io::ErrorKind::InvalidData, what);
    if client.input[..12] != SIGNATURE || client.input[12] >> 4 != 2 {
        return Err(bad("no PROXY protocol v2 header"));
    }
    let (command, family) = (client.input[12] & 0xf, client.input[13] >> 4);
    let length = usize::from(u16::from_be_bytes([client.input[14], client.input[15]]));
    client.fill_to(HEADER + length).await?;
    client.input.advance(HEADER);
    let body = client.input.split_to(length);
    // Where from, where to, and the ports of both.
    let port = |at: usize| body.get(at..at + 2).map(|port| u16::from_be_bytes([port[0], port[1]]));
    let address = match (command, family) {
        (1, 1) => body.first_chunk::<4>().zip(port(8)).map(|(ip, port)| (Ipv4Addr::from(*ip), port).into()),
        (1, 2) => body.first_chunk::<16>().zip(port(32)).map(|(ip, port)| (Ipv6Addr::from(*ip), port).into()),
        _ => return Ok(None),
    };
    address.map(Some).ok_or_else(|| bad("torn"))
}
