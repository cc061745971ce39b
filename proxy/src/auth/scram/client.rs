//! The client's side of a SCRAM exchange.
//!
//! [`Exchange`] → client-first → [`Started`] → server-first → [`Challenge`] → client-final →
//! [`Expectation`] → server-final → done.

use super::{Key, Keys, ScramError, attribute, decode_key, hmac, is_printable, nonce, xor};
use crate::limits::SCRAM_ITERATIONS_MAX;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// What the client can do about channel binding, and whether the server offered it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binding {
    /// No TLS, or a certificate that no binding is defined for.
    Unavailable,
    /// We could, but the server does not offer it. It is told so, and so notices an offer that was
    /// tampered with.
    NotOffered,
    /// Bound to the server's certificate by this hash (`tls-server-end-point`).
    EndPoint(Arc<[u8]>),
}

impl Binding {
    fn header(&self) -> &'static str {
        match self {
            Binding::Unavailable => "n,,",
            Binding::NotOffered => "y,,",
            Binding::EndPoint(_) => "p=tls-server-end-point,,",
        }
    }

    /// The value of `c=`.
    fn encoded(&self) -> String {
        match self {
            Binding::EndPoint(hash) => BASE64_STANDARD.encode([self.header().as_bytes(), hash].concat()),
            _ => BASE64_STANDARD.encode(self.header()),
        }
    }
}

/// An exchange that is about to start.
#[derive(Debug)]
pub struct Exchange {
    binding: Binding,
    /// Empty: the server goes by the start-up packet.
    user: String,
    nonce: String,
}

/// An exchange that waits for the server's challenge.
#[derive(Debug)]
pub struct Started {
    binding: Binding,
    nonce: String,
    bare: String,
}

/// What the server asks for.
#[derive(Debug)]
pub struct Challenge {
    binding: Binding,
    nonce: String,
    salt: Vec<u8>,
    iterations: u32,
    /// The auth message so far, with its comma.
    auth_message: String,
}

/// An exchange that waits for the server to prove itself.
#[derive(Debug)]
pub struct Expectation {
    signature: Key,
}

impl Exchange {
    /// With a fresh nonce.
    pub fn new(binding: Binding) -> Self {
        Self { binding, user: String::new(), nonce: nonce() }
    }

    /// With a name and a nonce that are known beforehand.
    #[cfg(test)]
    pub fn with(mut self, user: &str, nonce: &str) -> Self {
        self.user = user.to_owned();
        self.nonce = nonce.to_owned();
        self
    }

    /// Gives client-first-message.
    pub fn start(self) -> (String, Started) {
        let bare = format!("n={},r={}", self.user, self.nonce);
        let first = format!("{}{bare}", self.binding.header());
        (first, Started { binding: self.binding, nonce: self.nonce, bare })
    }
}

impl Started {
    /// Takes server-first-message.
    ///
    /// # Errors
    /// When it is malformed, answers somebody else's nonce or asks for too many iterations.
    pub fn on_server_first(self, message: &[u8]) -> Result<Challenge, ScramError> {
        let message = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        if message.starts_with("m=") {
            return Err(ScramError::Unsupported("server requires an unsupported SCRAM extension"));
        }
        let mut rest = Some(message);
        let nonce = attribute(&mut rest, 'r')?;
        let salt = BASE64_STANDARD.decode(attribute(&mut rest, 's')?).map_err(|_| ScramError::Malformed)?;
        let iterations: u32 = attribute(&mut rest, 'i')?.parse().map_err(|_| ScramError::Malformed)?;
        if !is_printable(nonce) || nonce.len() == self.nonce.len() || !nonce.starts_with(&self.nonce) {
            return Err(ScramError::Nonce);
        }
        if iterations == 0 {
            return Err(ScramError::Malformed);
        }
        if iterations > SCRAM_ITERATIONS_MAX {
            return Err(ScramError::Iterations(iterations));
        }
        let auth_message = format!("{},{message},", self.bare);
        Ok(Challenge { binding: self.binding, nonce: nonce.to_owned(), salt, iterations, auth_message })
    }
}

impl Challenge {
    /// The salt of the server's verifier.
    pub fn salt(&self) -> &[u8] {
        &self.salt
    }

    /// The rounds of the server's verifier.
    pub fn iterations(&self) -> u32 {
        self.iterations
    }

    /// True when these keys were derived with the server's salt and iterations.
    pub fn is_for(&self, keys: &Keys) -> bool {
        keys.iterations == self.iterations && keys.salt == self.salt
    }

    /// Gives client-final-message.
    pub fn respond(self, keys: &Keys) -> (String, Expectation) {
        let without_proof = format!("c={},r={}", self.binding.encoded(), self.nonce);
        let auth_message = [&self.auth_message, without_proof.as_str()].concat();
        let stored_key = super::sha256(&keys.client_key);
        let proof = xor(&keys.client_key, &hmac(&stored_key, auth_message.as_bytes()));
        let signature = hmac(&keys.server_key, auth_message.as_bytes());
        (format!("{without_proof},p={}", BASE64_STANDARD.encode(proof)), Expectation { signature })
    }
}

impl Expectation {
    /// Takes server-final-message.
    ///
    /// # Errors
    /// When the server does not know the password either.
    pub fn on_server_final(self, message: &[u8]) -> Result<(), ScramError> {
        let message = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        if message.starts_with("e=") {
            return Err(ScramError::ServerError);
        }
        let signature = decode_key(attribute(&mut Some(message), 'v')?).ok_or(ScramError::Malformed)?;
        if bool::from(signature.ct_eq(&self.signature)) { Ok(()) } else { Err(ScramError::ServerSignature) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Started {
        Exchange::new(Binding::Unavailable).with("", "abc").start().1
    }

    #[test]
    fn a_challenge_that_does_not_extend_our_nonce_is_refused() {
        let first = |message: &str| started().on_server_first(message.as_bytes()).map(|_| ());
        assert_eq!(first("r=abcdef,s=MDEy,i=4096"), Ok(()));
        assert_eq!(first("r=abc,s=MDEy,i=4096"), Err(ScramError::Nonce));
        assert_eq!(first("r=xabc,s=MDEy,i=4096"), Err(ScramError::Nonce));
    }

    #[test]
    fn a_server_may_not_make_us_compute_for_ever() {
        let first =
            |i: &str| started().on_server_first(format!("r=abcdef,s=MDEy,i={i}").as_bytes()).map(|_| ());
        assert_eq!(first("1000000"), Ok(()));
        assert_eq!(first("1000001"), Err(ScramError::Iterations(1_000_001)));
        assert_eq!(first("0"), Err(ScramError::Malformed));
        assert_eq!(first("4294967296"), Err(ScramError::Malformed));
        assert_eq!(first("-1"), Err(ScramError::Malformed));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        let expectation = || {
            let challenge = started().on_server_first(b"r=abcdef,s=MDEy,i=1").unwrap();
            challenge.respond(&Keys::derive("x", b"012", 1)).1
        };
        let wrong = format!("v={}", BASE64_STANDARD.encode([0; 32]));
        assert_eq!(expectation().on_server_final(wrong.as_bytes()), Err(ScramError::ServerSignature));
        assert_eq!(expectation().on_server_final(b"v=AAAA"), Err(ScramError::Malformed));
        assert_eq!(expectation().on_server_final(b"e=invalid-proof"), Err(ScramError::ServerError));
        assert_eq!(expectation().on_server_final(b""), Err(ScramError::Malformed));
    }

    proptest::proptest! {
        #[test]
        fn no_server_message_makes_the_client_panic(
            raw in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            near in "(r=abc[ -~]{0,20},)?(s=[A-Za-z0-9+/=]{0,20},)?(i=-?[0-9]{0,12})?(,[ -~]{0,20})?",
            last in "[ve]=[A-Za-z0-9+/=]{0,60}",
        ) {
            let keys = Keys::derive("x", b"012", 1);
            for message in [&raw[..], near.as_bytes()] {
                let Ok(challenge) = started().on_server_first(message) else { continue };
                let (_, expectation) = challenge.respond(&keys);
                assert!(expectation.on_server_final(last.as_bytes()).is_err());
            }
        }
    }
}
