//! SCRAM-SHA-256: proving a password without sending it.
//!
//! Client and server share a password; the server keeps only a [`Verifier`] made of it. With
//!
//! ```text
//! SaltedPassword = PBKDF2-HMAC-SHA-256(SASLprep(password), salt, iterations)
//! ClientKey      = HMAC(SaltedPassword, "Client Key")     StoredKey = SHA-256(ClientKey)
//! ServerKey      = HMAC(SaltedPassword, "Server Key")
//! AuthMessage    = client-first-bare "," server-first "," client-final-without-proof
//! ```
//!
//! the client proves itself by `ClientKey XOR HMAC(StoredKey, AuthMessage)`, the server by
//! `HMAC(ServerKey, AuthMessage)`.
//!
//! **Pass-through.** Whoever holds StoredKey learns ClientKey from a valid proof. ClientKey and
//! ServerKey are all that the client's side of an exchange needs, as long as salt and iterations are
//! the same: so a proxy that reads the verifiers of a cluster can check its clients with them and then
//! log in to every server of that cluster in the client's name, without ever knowing the password.
//!
//! [`server`] holds the server's side of the exchange, [`client`] the client's. Both are values that
//! take the other side's message and give the next one; neither knows a socket.
//!
//! <https://www.rfc-editor.org/rfc/rfc5802>, <https://www.rfc-editor.org/rfc/rfc7677>,
//! <https://www.postgresql.org/docs/current/sasl-authentication.html>

pub mod client;
pub mod server;

use crate::limits::SCRAM_ITERATIONS_MAX;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SecureRandom;
use ring::{digest, hmac, pbkdf2};
use std::borrow::Cow;
use std::fmt;
use std::num::NonZeroU32;
use subtle::ConstantTimeEq;

/// The mechanism's name, as servers offer it.
pub const MECHANISM: &str = "SCRAM-SHA-256";
/// The same with channel binding.
pub const MECHANISM_PLUS: &str = "SCRAM-SHA-256-PLUS";
/// What Postgres uses where nothing else is said (`scram_iterations`).
pub const DEFAULT_ITERATIONS: u32 = 4096;
/// Random bytes in a nonce, as Postgres has it.
const NONCE_BYTES: usize = 18;
/// Random bytes in a salt, as Postgres has it.
pub const SALT_BYTES: usize = 16;

/// A SHA-256 digest or a key of that size.
pub type Key = [u8; 32];

/// What a server keeps of a password.
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// PBKDF2 rounds.
    pub iterations: u32,
    /// Random, per password.
    pub salt: Vec<u8>,
    /// SHA-256 of the ClientKey.
    pub stored_key: Key,
    /// Proves the server.
    pub server_key: Key,
}

impl Verifier {
    /// Reads the form in which Postgres stores it: `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`.
    ///
    /// <https://www.postgresql.org/docs/current/catalog-pg-authid.html>
    pub fn parse(text: &str) -> Option<Self> {
        let (head, keys) = text.strip_prefix("SCRAM-SHA-256$")?.split_once('$')?;
        let (iterations, salt) = head.split_once(':')?;
        let (stored_key, server_key) = keys.split_once(':')?;
        let verifier = Self {
            iterations: iterations.parse().ok()?,
            salt: BASE64_STANDARD.decode(salt).ok()?,
            stored_key: decode_key(stored_key)?,
            server_key: decode_key(server_key)?,
        };
        (1..=SCRAM_ITERATIONS_MAX).contains(&verifier.iterations).then_some(verifier)
    }

    /// A verifier that no password fits, indistinguishable from a real one.
    pub fn that_never_fits(salt: Vec<u8>, iterations: u32) -> Self {
        Self { iterations, salt, stored_key: random(), server_key: random() }
    }

    /// True when these keys were derived from the same password with the same salt.
    pub fn fits(&self, keys: &Keys) -> bool {
        let stored = sha256(&keys.client_key).ct_eq(&self.stored_key);
        (stored & keys.server_key.ct_eq(&self.server_key)).into()
    }
}

impl fmt::Display for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [salt, stored_key, server_key] =
            [&self.salt[..], &self.stored_key, &self.server_key].map(|b| BASE64_STANDARD.encode(b));
        write!(f, "SCRAM-SHA-256${}:{salt}${stored_key}:{server_key}", self.iterations)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Verifier(SCRAM-SHA-256${}:…)", self.iterations)
    }
}

/// What the client's side of an exchange needs instead of the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Keys {
    /// The salt that they were derived with.
    pub salt: Vec<u8>,
    /// The rounds that they were derived with.
    pub iterations: u32,
    /// Proves the client.
    pub client_key: Key,
    /// Proves the server.
    pub server_key: Key,
}

impl Keys {
    /// Derives them from a password. Costs milliseconds: see [`SCRAM_ITERATIONS_MAX`].
    pub fn derive(password: &str, salt: &[u8], iterations: u32) -> Self {
        let rounds = NonZeroU32::new(iterations).unwrap_or(NonZeroU32::MIN);
        let mut salted: Key = [0; 32];
        let password = prepare(password);
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA256, rounds, salt, password.as_bytes(), &mut salted);
        let salted = hmac::Key::new(hmac::HMAC_SHA256, &salted);
        Self {
            salt: salt.to_vec(),
            iterations,
            client_key: hmac_with(&salted, b"Client Key"),
            server_key: hmac_with(&salted, b"Server Key"),
        }
    }

    /// The verifier that belongs to them.
    pub fn verifier(&self) -> Verifier {
        Verifier {
            iterations: self.iterations,
            salt: self.salt.clone(),
            stored_key: sha256(&self.client_key),
            server_key: self.server_key,
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(…)")
    }
}

/// What went wrong in an exchange, in Postgres's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// The other side does not speak SCRAM.
    #[error("malformed SCRAM message")]
    Malformed,
    /// The nonce that came back is not ours.
    #[error("invalid SCRAM response: nonce does not match")]
    Nonce,
    /// An optional part of SCRAM that nobody implements.
    #[error("{0}")]
    Unsupported(&'static str),
    /// A channel binding that contradicts the connection: somebody may stand in between.
    #[error("{0}")]
    Binding(&'static str),
    /// The password is wrong (or the user is not there).
    #[error("the proof is wrong")]
    Proof,
    /// The server does not know the password either: it is not the one it claims to be.
    #[error("incorrect server signature")]
    ServerSignature,
    /// The server wants more rounds than we compute.
    #[error("the server asks for {0} iterations, more than the allowed {SCRAM_ITERATIONS_MAX}")]
    Iterations(u32),
    /// The server reports an error in its last message.
    #[error("the server ended the SCRAM exchange with an error")]
    ServerError,
}

/// SASLprep, where it applies; the raw text where it does not, as Postgres does it.
///
/// <https://www.postgresql.org/docs/current/sasl-authentication.html#SASL-SCRAM-SHA-256>
fn prepare(password: &str) -> Cow<'_, str> {
    match stringprep::saslprep(password) {
        Ok(prepared) if !prepared.is_empty() => prepared,
        _ => Cow::Borrowed(password),
    }
}

/// A fresh nonce: printable, unpredictable.
pub fn nonce() -> String {
    BASE64_STANDARD.encode(random::<NONCE_BYTES>())
}

/// Unpredictable bytes.
///
/// # Panics
/// When the operating system has no randomness to give: there is no safe way on.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    ring::rand::SystemRandom::new().fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// HMAC-SHA-256.
pub fn hmac(key: &[u8], message: &[u8]) -> Key {
    hmac_with(&hmac::Key::new(hmac::HMAC_SHA256, key), message)
}

fn hmac_with(key: &hmac::Key, message: &[u8]) -> Key {
    fixed(hmac::sign(key, message).as_ref())
}

fn sha256(bytes: &[u8]) -> Key {
    fixed(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// Both callers pass the 32 bytes of a SHA-256.
fn fixed(bytes: &[u8]) -> Key {
    let mut key = [0; 32];
    key.copy_from_slice(bytes);
    key
}

fn xor(a: &Key, b: &Key) -> Key {
    std::array::from_fn(|i| a[i] ^ b[i])
}

fn decode_key(text: &str) -> Option<Key> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

/// Takes `name=value` off the front of a comma-separated list.
fn attribute<'a>(rest: &mut Option<&'a str>, name: char) -> Result<&'a str, ScramError> {
    let text = rest.ok_or(ScramError::Malformed)?;
    let (item, tail) = match text.split_once(',') {
        Some((item, tail)) => (item, Some(tail)),
        None => (text, None),
    };
    let value = item.strip_prefix(name).and_then(|v| v.strip_prefix('='));
    *rest = tail;
    value.ok_or(ScramError::Malformed)
}

/// RFC 5802: `printable = %x21-2B / %x2D-7E`.
fn is_printable(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|b| (0x21..=0x7e).contains(&b) && b != b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7677, section 3.
    const RFC_SALT: &str = "W22ZaJ0SNY7soEsUEjb6gQ==";

    fn rfc_keys() -> Keys {
        Keys::derive("pencil", &BASE64_STANDARD.decode(RFC_SALT).unwrap(), 4096)
    }

    #[test]
    fn a_verifier_reads_back_as_it_was_printed() {
        let verifier = rfc_keys().verifier();
        let text = verifier.to_string();
        assert!(text.starts_with("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$"));
        assert_eq!(Verifier::parse(&text), Some(verifier));
    }

    #[test]
    fn what_is_no_verifier_is_not_read_as_one() {
        let good = rfc_keys().verifier().to_string();
        for bad in [
            "",
            "md5d41d8cd98f00b204e9800998ecf8427e",
            "SCRAM-SHA-256$",
            "SCRAM-SHA-256$4096:$:",
            &good[..good.len() - 4],
            &good.replace("4096", "0"),
            &good.replace("4096", "99999999999"),
            &good.replace("4096", "x"),
        ] {
            assert_eq!(Verifier::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_exchange_of_rfc_7677_comes_out_byte_for_byte() {
        let (server_first, challenge) = server::Exchange::new(rfc_keys().verifier(), server::Offer::Plain)
            .with_nonce("%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")
            .on_client_first(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO")
            .unwrap();
        assert_eq!(
            server_first,
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
        );

        // The RFC's client sends its name; Postgres's clients leave it empty, so compute with both.
        let (client_first, client) =
            client::Exchange::new(client::Binding::Unavailable).with("user", "rOprNGfwEbeRWgbNEkqO").start();
        assert_eq!(client_first, "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge_seen = client.on_server_first(server_first.as_bytes()).unwrap();
        assert_eq!(challenge_seen.iterations(), 4096);
        let (client_final, expectation) = challenge_seen.respond(&rfc_keys());
        assert_eq!(
            client_final,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let (server_final, keys) = challenge.on_client_final(client_final.as_bytes()).unwrap();
        assert_eq!(server_final, "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(keys, rfc_keys(), "the proof gives the client's key away");
        expectation.on_server_final(server_final.as_bytes()).unwrap();
    }

    #[test]
    fn passwords_are_prepared_as_postgres_prepares_them() {
        assert_eq!(prepare("pencil"), "pencil");
        assert_eq!(prepare("I\u{ad}X"), "IX", "soft hyphens vanish");
        assert_eq!(prepare("\u{2168}"), "IX", "NFKC");
        assert_eq!(prepare("a\u{a0}b"), "a b", "a no-break space is a space");
        assert_eq!(prepare("\u{7}"), "\u{7}", "what is prohibited stays as it is");
        assert_eq!(prepare("\u{ad}"), "\u{ad}", "nothing is left: raw");
        assert_eq!(prepare(""), "");
    }
}
