//! What a server may ask for as a proof of who we are, held against what it says before we answer.
//!
//! tokio-postgres, through which pgweir reads catalogs and verifiers, answers whatever it is asked, with the
//! password in clear if that is what the server wants. So its bytes are looked at on their way to it, up to the
//! end of the log-in; our own log-ins ask [`ServerAuth`] directly.
//!
//! <https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-REQUIRE-AUTH>

use crate::config::{Proof, ServerAuth};
use crate::limits::{AUTH_MESSAGE_BYTES_MAX, SCRAM_ITERATIONS_MAX};
use crate::wire::frame;
use bytes::{Buf, BytesMut};
use std::io;

/// Looks at what a server says until we are logged in.
#[derive(Debug)]
pub(super) struct Guard {
    accepts: ServerAuth,
    state: State,
    heard: BytesMut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The answer to a request for TLS is due.
    Answer,
    /// A request for a proof may come; the last one was this.
    Log { asked: Option<Proof> },
    /// Nothing more to look at: logged in, or TLS begins.
    Over,
}

impl Guard {
    /// For a connection on which TLS was asked for, or not.
    pub(super) fn new(accepts: ServerAuth, asks_tls: bool) -> Self {
        let state = if asks_tls { State::Answer } else { State::Log { asked: None } };
        Self { accepts, state, heard: BytesMut::new() }
    }

    /// Looks at more of it.
    ///
    /// # Errors
    /// What the server may not ask for.
    pub(super) fn hear(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.state == State::Over {
            return Ok(());
        }
        self.heard.extend_from_slice(bytes);
        if self.state == State::Answer && !self.heard.is_empty() {
            self.state = match self.heard.get_u8() {
                b'S' => State::Over,
                b'N' | b'E' => State::Log { asked: None },
                _ => return Err(no_postgres("the server did not understand the request for TLS")),
            };
        }
        while let State::Log { asked } = self.state {
            let message = frame::take(&mut self.heard, AUTH_MESSAGE_BYTES_MAX);
            match message.map_err(no_postgres)? {
                None => return Ok(()),
                Some((b'R', body)) => self.state = self.judge(&body, asked)?,
                // Whatever else comes before the end of the log-in asks for nothing.
                Some(_) => {}
            }
        }
        self.heard = BytesMut::new();
        Ok(())
    }

    fn judge(&self, mut body: &[u8], asked: Option<Proof>) -> io::Result<State> {
        let refused = |what: String| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        match body.try_get_u32().ok().and_then(Proof::of_request) {
            Some(Proof::None) if asked.is_some() => Ok(State::Over),
            Some(proof) if !self.accepts.allows(proof) => refused(self.accepts.refusal(proof)),
            Some(Proof::None) => Ok(State::Over),
            Some(proof) => Ok(State::Log { asked: Some(proof) }),
            None if iterations(body).is_some_and(|count| count > SCRAM_ITERATIONS_MAX) => {
                refused(format!("the server asks for more than {SCRAM_ITERATIONS_MAX} iterations"))
            }
            None => Ok(State::Log { asked }),
        }
    }
}

/// What came is in another language.
fn no_postgres(why: impl std::fmt::Display) -> io::Error {
    let what = format!("what it says is not the protocol of PostgreSQL: {why}");
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The count in a SCRAM challenge: `r=…,s=…,i=4096`.
fn iterations(challenge: &[u8]) -> Option<u32> {
    let count = std::str::from_utf8(challenge).ok()?.split(',').find_map(|part| part.strip_prefix("i="))?;
    // One that is not even a number of ours is too large, too.
    Some(count.parse().unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(code: u32, rest: &[u8]) -> Vec<u8> {
        let mut out = vec![b'R'];
        out.extend_from_slice(&(8 + rest.len() as u32).to_be_bytes());
        out.extend_from_slice(&code.to_be_bytes());
        out.extend_from_slice(rest);
        out
    }

    fn heard(asks_tls: bool, bytes: &[u8]) -> Result<(), String> {
        let mut guard = Guard::new(ServerAuth::default(), asks_tls);
        bytes.iter().try_for_each(|byte| guard.hear(&[*byte])).map_err(|error| error.to_string())
    }

    #[test]
    fn a_password_in_clear_is_asked_for_in_vain_byte_by_byte() {
        let told = heard(false, &request(3, b"")).unwrap_err();
        assert!(told.contains("in clear"), "{told}");
        let mut behind = b"N".to_vec();
        behind.extend_from_slice(&request(3, b""));
        assert!(heard(true, &behind).is_err());
        let mut notice = b"N\0\0\0\x05\0".to_vec();
        notice.extend_from_slice(&request(3, b""));
        assert!(heard(false, &notice).is_err());
    }

    #[test]
    fn what_is_allowed_passes_and_what_follows_is_not_looked_at() {
        let mut scram = request(10, b"SCRAM-SHA-256\0\0");
        scram.extend(request(11, b"r=abc,s=def,i=4096"));
        scram.extend(request(12, b"v=x"));
        scram.extend(request(0, b""));
        scram.extend(request(3, b""));
        assert_eq!(heard(false, &scram), Ok(()));
        assert_eq!(heard(false, &request(5, b"salt")), Ok(()));
        // TLS begins: its bytes mean something else.
        assert_eq!(heard(true, b"SR\0\0\0\x08\0\0\0\x03"), Ok(()));
    }

    #[test]
    fn another_language_is_called_one() {
        for asks_tls in [false, true] {
            let told = heard(asks_tls, b"HTTP/1.1 400 Bad Request\r\n").unwrap_err();
            assert!(told.contains("not the protocol of PostgreSQL"), "{told}");
        }
    }

    #[test]
    fn a_challenge_of_too_many_rounds_is_refused() {
        let mut scram = request(10, b"SCRAM-SHA-256\0\0");
        scram.extend(request(11, b"r=abc,s=def,i=99999999999"));
        assert!(heard(false, &scram).unwrap_err().contains("iterations"));
    }
}
