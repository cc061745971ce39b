//! One question over HTTP to a pgweir that runs.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Longer, and it is not well.
const WAIT: Duration = Duration::from_secs(2);

/// Status and text of the answer, of which no more than `bytes_max` is read.
pub(super) fn get(url: &str, token: Option<&str>, bytes_max: u64) -> Result<(u16, String), String> {
    let rest = url.strip_prefix("http://").ok_or("expected http://host:port/path")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, "readyz"));
    let addresses = host.to_socket_addrs().map_err(|e| e.to_string())?;
    let mut stream = connect(addresses)?;
    let token = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\n{token}Connection: close\r\n\r\n");
    let mut answer = vec![];
    stream
        .set_read_timeout(Some(WAIT))
        .and_then(|()| stream.write_all(request.as_bytes()))
        .and_then(|()| stream.take(bytes_max).read_to_end(&mut answer))
        .map_err(|e| e.to_string())?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.get(9..12).and_then(|s| s.parse().ok()).ok_or("no HTTP answer")?;
    let text = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    Ok((status, text.trim().to_owned()))
}

fn connect(addresses: impl Iterator<Item = SocketAddr>) -> Result<TcpStream, String> {
    let mut last = "the name has no address".to_owned();
    for address in addresses {
        match TcpStream::connect_timeout(&address, WAIT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error.to_string(),
        }
    }
    Err(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    fn answered_with(answer: &'static [u8]) -> Result<(u16, String), String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/readyz", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let n = stream.read(&mut request).unwrap();
            stream.write_all(answer).unwrap();
            String::from_utf8_lossy(&request[..n]).into_owned()
        });
        let asked = get(&url, None, 8 * 1024);
        assert!(server.join().unwrap().starts_with("GET /readyz HTTP/1.1\r\n"));
        asked
    }

    #[test]
    fn the_answer_is_status_and_text() {
        assert_eq!(answered_with(b"HTTP/1.1 200 OK\r\n\r\nready\n"), Ok((200, "ready".into())));
        let draining = answered_with(b"HTTP/1.1 503 Service Unavailable\r\nX: y\r\n\r\ndraining\n");
        assert_eq!(draining, Ok((503, "draining".into())));
        assert!(answered_with(b"what?").is_err());
    }

    #[test]
    fn what_is_no_address_is_an_error() {
        assert!(get("ftp://x", None, 1).is_err());
        assert!(get("http://no-such-host.invalid:1/", None, 1).is_err());
    }
}
