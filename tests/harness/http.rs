//! HTTP requests as a test needs them: one request, one connection, the whole answer.

use crate::error::{Doing, HarnessError};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer, as it came.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// Header names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    /// The body; bytes that are not UTF-8 are replaced.
    pub body: String,
}

impl Answer {
    /// The first header of this (lower-case) name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// GETs `path` from `address` (`host:port`).
pub fn get(address: &str, path: &str) -> Result<Answer, HarnessError> {
    request(address, "GET", path, &[], "")
}

/// Sends one request; HTTP/1.0, so that the answer ends where the connection ends.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer, HarnessError> {
    let deed = || format!("{method} http://{address}{path}");
    let mut stream = TcpStream::connect(address).doing(deed)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).doing(deed)?;
    let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {address}\r\n");
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += &format!("Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
    stream.write_all(head.as_bytes()).doing(deed)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).doing(deed)?;
    parse(&bytes).ok_or_else(|| HarnessError::failed(format!("{}: not an HTTP answer", deed())))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let split = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..split]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body = String::from_utf8_lossy(&bytes[split + 4..]).into_owned();
    Some(Answer { status, headers, body })
}
