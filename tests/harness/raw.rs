//! A client that speaks the protocol byte by byte and waits for what it expects.
//!
//! Frames are `tag, length, body`; <https://www.postgresql.org/docs/current/protocol-message-formats.html>.

mod messages;

use crate::error::{Doing, HarnessError};
use crate::sql::{Login, Rows};
use bytes::{BufMut, BytesMut};
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::frontend;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

pub use messages::*;

/// Protocol 3.0.
pub const PROTOCOL_3_0: i32 = 3 << 16;
/// Protocol 3.2, with longer cancel keys; PostgreSQL 18 and later.
pub const PROTOCOL_3_2: i32 = (3 << 16) | 2;

/// How long to wait for a frame before the test gives up.
const PATIENCE: Duration = Duration::from_secs(20);

/// One frame from the server.
#[derive(Clone, PartialEq)]
pub struct Frame {
    /// The message type.
    pub tag: u8,
    /// What follows the length.
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Frame {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}[{}]", char::from(self.tag), self.body.escape_ascii())
    }
}

impl Frame {
    /// A field of an ErrorResponse or NoticeResponse, such as `C` for the SQLSTATE.
    pub fn field(&self, code: u8) -> Option<String> {
        self.body.split(|byte| *byte == 0).find_map(|field| {
            let (first, text) = field.split_first()?;
            (*first == code).then(|| String::from_utf8_lossy(text).into_owned())
        })
    }

    /// The values of a DataRow as text; `None` is NULL.
    pub fn columns(&self) -> Vec<Option<String>> {
        let mut rest = self.body.get(2..).unwrap_or_default();
        let mut columns = Vec::new();
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = i32::from_be_bytes(*length);
            let taken = usize::try_from(length).unwrap_or(0).min(after.len());
            let value = String::from_utf8_lossy(&after[..taken]).into_owned();
            columns.push((length >= 0).then_some(value));
            rest = &after[taken..];
        }
        columns
    }

    /// The body as text up to its first zero byte, as in CommandComplete.
    pub fn text(&self) -> String {
        let end = self.body.iter().position(|byte| *byte == 0).unwrap_or(self.body.len());
        String::from_utf8_lossy(&self.body[..end]).into_owned()
    }
}

/// A connection that does only what it is told.
#[derive(Debug)]
pub struct RawClient {
    stream: TcpStream,
    /// ParameterStatus messages in the order of arrival.
    pub parameters: Vec<(String, String)>,
    /// Process number and secret of BackendKeyData.
    pub key: Option<(i32, Vec<u8>)>,
    patience: Duration,
}

impl RawClient {
    /// A TCP connection; nothing is sent.
    pub fn connect(port: u16) -> Result<Self, HarnessError> {
        let stream = TcpStream::connect(("127.0.0.1", port)).doing(|| "connecting".into())?;
        stream.set_read_timeout(Some(PATIENCE)).doing(|| "setting a time-out".into())?;
        stream.set_nodelay(true).doing(|| "setting nodelay".into())?;
        Ok(RawClient { stream, parameters: Vec::new(), key: None, patience: PATIENCE })
    }

    /// A whole log-in, up to the first ReadyForQuery.
    pub fn login(login: &Login) -> Result<Self, HarnessError> {
        Self::login_with(login, PROTOCOL_3_0, &[])
    }

    /// A whole log-in with this protocol version and further start-up parameters.
    pub fn login_with(
        login: &Login,
        version: i32,
        parameters: &[(&str, &str)],
    ) -> Result<Self, HarnessError> {
        let mut client = Self::connect(login.port)?;
        let mut all = vec![("user", login.user.as_str()), ("database", login.database.as_str())];
        all.extend(parameters);
        client.startup(version, &all)?;
        let answers = client.authenticate(&login.password)?;
        match answers.last() {
            Some(frame) if frame.tag == b'Z' => Ok(client),
            other => Err(HarnessError::failed(format!("log-in ended with {other:?}"))),
        }
    }

    /// Waits so long for a frame from now on.
    pub fn set_patience(&mut self, patience: Duration) -> Result<(), HarnessError> {
        self.patience = patience;
        self.stream.set_read_timeout(Some(patience)).doing(|| "setting a time-out".into())
    }

    /// The other end, for tests that need the socket itself.
    pub fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), HarnessError> {
        self.stream.write_all(bytes).doing(|| "sending".into())
    }

    /// Sends one frame.
    pub fn send_frame(&mut self, tag: u8, body: &[u8]) -> Result<(), HarnessError> {
        self.send(&frame(tag, body))
    }

    /// Sends a start-up packet.
    pub fn startup(&mut self, version: i32, parameters: &[(&str, &str)]) -> Result<(), HarnessError> {
        let mut body = version.to_be_bytes().to_vec();
        for (name, value) in parameters {
            body.extend_from_slice(format!("{name}\0{value}\0").as_bytes());
        }
        body.push(0);
        self.send_headless(&body)
    }

    /// Sends a packet without a tag: start-up, SSLRequest, CancelRequest.
    pub fn send_headless(&mut self, body: &[u8]) -> Result<(), HarnessError> {
        let mut packet = (body.len() as i32 + 4).to_be_bytes().to_vec();
        packet.extend_from_slice(body);
        self.send(&packet)
    }

    /// Answers whatever the server asks for, until ReadyForQuery or ErrorResponse; all frames
    /// that came, that one included.
    pub fn authenticate(&mut self, password: &str) -> Result<Vec<Frame>, HarnessError> {
        let mut frames = Vec::new();
        let mut scram: Option<ScramSha256> = None;
        loop {
            let frame = self.frame()?;
            if frame.tag == b'R' {
                self.answer_authentication(&frame.body, password, &mut scram)?;
            }
            let end = matches!(frame.tag, b'Z' | b'E');
            frames.push(frame);
            if end {
                return Ok(frames);
            }
        }
    }

    fn answer_authentication(
        &mut self,
        body: &[u8],
        password: &str,
        scram: &mut Option<ScramSha256>,
    ) -> Result<(), HarnessError> {
        let Some((kind, data)) = body.split_first_chunk::<4>() else {
            return Err(HarnessError::failed("an authentication request without a kind"));
        };
        let mut out = BytesMut::new();
        let sent = match (i32::from_be_bytes(*kind), scram) {
            (0, _) => Ok(()),
            (3, _) => frontend::password_message(password.as_bytes(), &mut out),
            (10, scram) => {
                let scram =
                    scram.insert(ScramSha256::new(password.as_bytes(), ChannelBinding::unsupported()));
                frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut out)
            }
            (11, Some(scram)) => {
                scram.update(data).doing(|| "SCRAM, server first".into())?;
                frontend::sasl_response(scram.message(), &mut out)
            }
            (12, Some(scram)) => scram.finish(data),
            (other, _) => {
                return Err(HarnessError::failed(format!("authentication request {other}")));
            }
        };
        sent.doing(|| "answering an authentication request".into())?;
        self.send(&out)
    }

    /// The next frame; parameters and the cancel key are noted on the way.
    pub fn frame(&mut self) -> Result<Frame, HarnessError> {
        let mut head = [0; 5];
        self.stream.read_exact(&mut head).doing(|| "waiting for a frame".into())?;
        let length = i32::from_be_bytes([head[1], head[2], head[3], head[4]]);
        let length = usize::try_from(length - 4)
            .map_err(|_| HarnessError::failed(format!("a frame of length {length}")))?;
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).doing(|| "reading a frame".into())?;
        let frame = Frame { tag: head[0], body };
        self.note(&frame);
        Ok(frame)
    }

    fn note(&mut self, frame: &Frame) {
        match frame.tag {
            b'S' => {
                let mut parts = frame.body.split(|byte| *byte == 0);
                let mut part = || String::from_utf8_lossy(parts.next().unwrap_or_default()).into_owned();
                self.parameters.push((part(), part()));
            }
            b'K' => {
                if let Some((pid, secret)) = frame.body.split_first_chunk::<4>() {
                    self.key = Some((i32::from_be_bytes(*pid), secret.to_vec()));
                }
            }
            _ => {}
        }
    }

    /// All frames up to and including the next ReadyForQuery.
    pub fn until_ready(&mut self) -> Result<Vec<Frame>, HarnessError> {
        self.until(b"Z")
    }

    /// All frames up to and including the first with one of these tags.
    pub fn until(&mut self, tags: &[u8]) -> Result<Vec<Frame>, HarnessError> {
        let mut frames = Vec::new();
        loop {
            let frame = self.frame()?;
            let end = tags.contains(&frame.tag);
            frames.push(frame);
            if end {
                return Ok(frames);
            }
        }
    }

    /// Runs SQL by the simple protocol.
    pub fn query(&mut self, sql: &str) -> Result<Vec<Frame>, HarnessError> {
        self.send(&query(sql))?;
        self.until_ready()
    }

    /// Runs SQL by the simple protocol: the rows of all its statements; an error if there is one.
    pub fn run(&mut self, sql: &str) -> Result<Rows, HarnessError> {
        let frames = self.query(sql)?;
        rows_or_error(&frames).map_err(|error| HarnessError::failed(format!("{sql:?}: {error}")))
    }

    /// The first value that the SQL returns; empty if there is none.
    pub fn value(&mut self, sql: &str) -> Result<String, HarnessError> {
        Ok(self.run(sql)?.into_iter().flatten().flatten().next().unwrap_or_default())
    }

    /// SQLSTATE and message of the error that the SQL must end with.
    pub fn refusal(&mut self, sql: &str) -> Result<(String, String), HarnessError> {
        let frames = self.query(sql)?;
        let error = frames.iter().find(|frame| frame.tag == b'E');
        let error = error.ok_or_else(|| HarnessError::failed(format!("{sql:?} succeeded")))?;
        Ok((error.field(b'C').unwrap_or_default(), error.field(b'M').unwrap_or_default()))
    }

    /// Parses a statement under a name (or the empty one).
    pub fn prepare(&mut self, name: &str, sql: &str) -> Result<(), HarnessError> {
        self.send(&[parse(name, sql), sync()].concat())?;
        rows_or_error(&self.until_ready()?).map(drop)
    }

    /// Binds and executes a prepared statement: its rows.
    pub fn execute(&mut self, name: &str, values: &[Option<&str>]) -> Result<Rows, HarnessError> {
        self.send(&[bind("", name, values), execute("", 0), sync()].concat())?;
        rows_or_error(&self.until_ready()?)
    }

    /// Does the server close the connection within this time, saying nothing more than these
    /// frames? An error if it keeps it open.
    pub fn until_closed(&mut self, at_most: Duration) -> Result<Vec<u8>, HarnessError> {
        self.stream.set_read_timeout(Some(at_most)).doing(|| "setting a time-out".into())?;
        let mut bytes = Vec::new();
        let result = self.stream.read_to_end(&mut bytes);
        let _ = self.stream.set_read_timeout(Some(self.patience));
        match result {
            Ok(_) => Ok(bytes),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Ok(bytes),
            Err(error) => Err(HarnessError::Io("the server keeps it open".into(), error)),
        }
    }

    /// Whether anything arrives within this time; nothing is consumed.
    pub fn is_silent_for(&mut self, time: Duration) -> Result<bool, HarnessError> {
        self.stream.set_read_timeout(Some(time)).doing(|| "setting a time-out".into())?;
        let peeked = self.stream.peek(&mut [0]);
        let _ = self.stream.set_read_timeout(Some(self.patience));
        match peeked {
            Ok(_) => Ok(false),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => Ok(true),
            Err(error) => Err(HarnessError::Io("peeking".into(), error)),
        }
    }

    /// Closes our sending side.
    pub fn shut(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Sends a CancelRequest for the key that this connection got, on a connection of its own.
    pub fn cancel(&self) -> Result<(), HarnessError> {
        let (pid, secret) = self.key.as_ref().ok_or_else(|| HarnessError::failed("no cancel key"))?;
        let port = self.stream.peer_addr().doing(|| "asking for the peer".into())?.port();
        cancel(port, *pid, secret)
    }
}

/// Sends a CancelRequest and waits for the server to close that connection.
pub fn cancel(port: u16, pid: i32, secret: &[u8]) -> Result<(), HarnessError> {
    let mut client = RawClient::connect(port)?;
    let mut body = (1234 << 16 | 5678_i32).to_be_bytes().to_vec();
    body.put_i32(pid);
    body.extend_from_slice(secret);
    client.send_headless(&body)?;
    client.until_closed(PATIENCE).map(drop)
}

/// The rows among frames, or their first error.
fn rows_or_error(frames: &[Frame]) -> Result<Rows, HarnessError> {
    match frames.iter().find(|frame| frame.tag == b'E') {
        Some(error) => {
            let field = |code| error.field(code).unwrap_or_default();
            Err(HarnessError::failed(format!("{} {}", field(b'C'), field(b'M'))))
        }
        None => Ok(frames.iter().filter(|f| f.tag == b'D').map(Frame::columns).collect()),
    }
}
