//! `pgweir health`: asks a running pgweir how it is, for container images without a shell.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

/// Arguments of `pgweir health`.
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// What to ask: /healthz (does it live?) or /readyz (should clients be sent to it?)
    #[arg(long, default_value = "http://127.0.0.1:16432/readyz")]
    url: String,
}

/// Longer, and it is not well.
const WAIT: Duration = Duration::from_secs(2);
/// Enough for a status line and one sentence.
const ANSWER_BYTES_MAX: u64 = 8 * 1024;

/// Exit code 0 if the answer is 200.
pub fn run(args: &HealthArgs) -> ExitCode {
    match ask(&args.url) {
        Ok((200, text)) => {
            println!("{text}");
            ExitCode::SUCCESS
        }
        Ok((status, text)) => {
            eprintln!("{status}: {text}");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{}: {error}", args.url);
            ExitCode::FAILURE
        }
    }
}

/// Status and text of the answer.
fn ask(url: &str) -> Result<(u16, String), String> {
    let rest = url.strip_prefix("http://").ok_or("expected http://host:port/path")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, "readyz"));
    let addresses = host.to_socket_addrs().map_err(|e| e.to_string())?;
    let mut stream = connect(addresses)?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    let mut answer = vec![];
    stream
        .set_read_timeout(Some(WAIT))
        .and_then(|()| stream.write_all(request.as_bytes()))
        .and_then(|()| stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer))
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
        let asked = ask(&url);
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
        assert!(ask("ftp://x").is_err());
        assert!(ask("http://no-such-host.invalid:1/").is_err());
    }
}
