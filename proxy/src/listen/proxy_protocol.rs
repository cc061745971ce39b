//! The PROXY protocol: a balancer in front says where a client comes from.

use crate::net::Connection;
use bytes::Buf;
use std::io;
use std::net::IpAddr;

/// Skips a PROXY protocol v2 header at the start of the connection; returns the client's address.
///
/// <https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt>
///
/// # Errors
/// When there is no such header.
pub(super) async fn read_proxy_header(client: &mut Connection) -> io::Result<Option<IpAddr>> {
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
    Ok(match (command, family) {
        (1, 1) => {
            let octets: [u8; 4] = body.get(..4).and_then(|b| b.try_into().ok()).ok_or_else(|| bad("torn"))?;
            Some(octets.into())
        }
        (1, 2) => {
            let octets: [u8; 16] =
                body.get(..16).and_then(|b| b.try_into().ok()).ok_or_else(|| bad("torn"))?;
            Some(octets.into())
        }
        _ => None,
    })
}
