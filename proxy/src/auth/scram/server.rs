//! The server's side of a SCRAM exchange.
//!
//! [`Exchange`] → client-first → [`Challenged`] → client-final → done.

use super::{Key, Keys, ScramError, Verifier, attribute, decode_key, hmac, is_printable, nonce, sha256, xor};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use std::sync::Arc;
use subtle::ConstantTimeEq;

/// What we offered on this connection, and the mechanism that the client took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Offer {
    /// No channel binding was offered: there is no TLS, or the certificate has no defined binding.
    Plain,
    /// It was offered and the client does without.
    PlusDeclined,
    /// It was offered and taken: the hash of our certificate (`tls-server-end-point`).
    Plus(Arc<[u8]>),
}

/// An exchange that waits for the client's first message.
#[derive(Debug)]
pub struct Exchange {
    verifier: Verifier,
    offer: Offer,
    nonce: String,
}

/// An exchange that waits for the client's proof.
#[derive(Debug)]
pub struct Challenged {
    verifier: Verifier,
    /// What the client must repeat: header and channel binding, in Base64.
    binding: String,
    /// Both nonces.
    nonce: String,
    /// The auth message so far, with its comma.
    auth_message: String,
}

impl Exchange {
    /// Against this verifier.
    pub fn new(verifier: Verifier, offer: Offer) -> Self {
        Self { verifier, offer, nonce: nonce() }
    }

    /// With a nonce that is known beforehand.
    #[cfg(test)]
    pub fn with_nonce(mut self, nonce: &str) -> Self {
        self.nonce = nonce.to_owned();
        self
    }

    /// Takes client-first-message; gives server-first-message.
    ///
    /// # Errors
    /// When it is malformed, or its channel binding does not agree with what was offered.
    pub fn on_client_first(self, message: &[u8]) -> Result<(String, Challenged), ScramError> {
        let message = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let (flag, rest) = message.split_once(',').ok_or(ScramError::Malformed)?;
        let binding = self.expected_binding(flag)?;
        let (authzid, bare) = rest.split_once(',').ok_or(ScramError::Malformed)?;
        if authzid.starts_with("a=") {
            return Err(ScramError::Unsupported(
                "client uses authorization identity, but it is not supported",
            ));
        }
        if !authzid.is_empty() {
            return Err(ScramError::Malformed);
        }
        if bare.starts_with("m=") {
            return Err(ScramError::Unsupported("client requires an unsupported SCRAM extension"));
        }
        let mut rest = Some(bare);
        // The name in the start-up packet counts, as in Postgres.
        attribute(&mut rest, 'n')?;
        let client_nonce = attribute(&mut rest, 'r')?;
        if !is_printable(client_nonce) {
            return Err(ScramError::Malformed);
        }
        let nonce = [client_nonce, &self.nonce].concat();
        let salt = BASE64_STANDARD.encode(&self.verifier.salt);
        let server_first = format!("r={nonce},s={salt},i={}", self.verifier.iterations);
        let auth_message = format!("{bare},{server_first},");
        Ok((server_first, Challenged { verifier: self.verifier, binding, nonce, auth_message }))
    }

    /// What `c=` must be in the client's final message, by the flag of its first one.
    fn expected_binding(&self, flag: &str) -> Result<String, ScramError> {
        match (flag, &self.offer) {
            ("n", Offer::Plain | Offer::PlusDeclined) | ("y", Offer::Plain) => {
                Ok(BASE64_STANDARD.encode(format!("{flag},,")))
            }
            // It could bind and was told that we cannot: the offer was tampered with.
            ("y", Offer::PlusDeclined) => Err(ScramError::Binding("SCRAM channel binding negotiation error")),
            ("p=tls-server-end-point", Offer::Plus(hash)) => {
                Ok(BASE64_STANDARD.encode([b"p=tls-server-end-point,,", &hash[..]].concat()))
            }
            (flag, Offer::Plus(_)) if flag.starts_with("p=") => {
                Err(ScramError::Unsupported("unsupported SCRAM channel-binding type"))
            }
            _ => Err(ScramError::Malformed),
        }
    }
}

impl Challenged {
    /// Takes client-final-message; gives server-final-message, and the keys that the proof gave away.
    ///
    /// # Errors
    /// [`ScramError::Proof`] when the password is wrong; else when it is malformed.
    pub fn on_client_final(self, message: &[u8]) -> Result<(String, Keys), ScramError> {
        let message = std::str::from_utf8(message).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = message.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let proof = decode_key(proof).ok_or(ScramError::Malformed)?;
        let mut rest = Some(without_proof);
        let binding = attribute(&mut rest, 'c')?;
        if !bool::from(binding.as_bytes().ct_eq(self.binding.as_bytes())) {
            return Err(ScramError::Binding("SCRAM channel binding check failed"));
        }
        if attribute(&mut rest, 'r')? != self.nonce {
            return Err(ScramError::Nonce);
        }

        let auth_message = [&self.auth_message, without_proof].concat();
        let client_key = client_key(&self.verifier, auth_message.as_bytes(), &proof);
        let Some(client_key) = client_key else { return Err(ScramError::Proof) };
        let signature = hmac(&self.verifier.server_key, auth_message.as_bytes());
        let Verifier { iterations, salt, server_key, .. } = self.verifier;
        let server_final = format!("v={}", BASE64_STANDARD.encode(signature));
        Ok((server_final, Keys { salt, iterations, client_key, server_key }))
    }
}

/// `Proof XOR HMAC(StoredKey, AuthMessage)`, if its hash is the StoredKey.
fn client_key(verifier: &Verifier, auth_message: &[u8], proof: &Key) -> Option<Key> {
    let key = xor(proof, &hmac(&verifier.stored_key, auth_message));
    bool::from(sha256(&key).ct_eq(&verifier.stored_key)).then_some(key)
}

#[cfg(test)]
mod tests {
    use super::super::client::{self, Binding};
    use super::*;

    fn keys() -> Keys {
        Keys::derive("secret", b"0123456789abcdef", 2)
    }

    fn run(offer: Offer, binding: Binding, keys_of_client: &Keys) -> Result<Keys, ScramError> {
        let (first, client) = client::Exchange::new(binding).start();
        let (server_first, server) =
            Exchange::new(keys().verifier(), offer).on_client_first(first.as_bytes())?;
        let (client_final, client) = client.on_server_first(server_first.as_bytes())?.respond(keys_of_client);
        let (server_final, learned) = server.on_client_final(client_final.as_bytes())?;
        client.on_server_final(server_final.as_bytes())?;
        Ok(learned)
    }

    #[test]
    fn a_wrong_password_is_refused_and_a_right_one_gives_the_keys() {
        assert_eq!(run(Offer::Plain, Binding::Unavailable, &keys()), Ok(keys()));
        let wrong = Keys::derive("Secret", b"0123456789abcdef", 2);
        assert_eq!(run(Offer::Plain, Binding::Unavailable, &wrong), Err(ScramError::Proof));
    }

    #[test]
    fn learned_keys_log_in_to_another_server_with_the_same_verifier() {
        let learned = run(Offer::Plain, Binding::Unavailable, &keys()).unwrap();
        assert_eq!(run(Offer::Plain, Binding::Unavailable, &learned), Ok(keys()));
    }

    #[test]
    fn a_binding_to_another_certificate_is_refused() {
        let hash = |b: u8| Arc::<[u8]>::from([b; 32]);
        assert_eq!(run(Offer::Plus(hash(1)), Binding::EndPoint(hash(1)), &keys()), Ok(keys()));
        assert_eq!(
            run(Offer::Plus(hash(1)), Binding::EndPoint(hash(2)), &keys()),
            Err(ScramError::Binding("SCRAM channel binding check failed"))
        );
    }

    #[test]
    fn a_client_that_was_told_we_cannot_bind_is_warned_off() {
        assert_eq!(
            run(Offer::PlusDeclined, Binding::NotOffered, &keys()),
            Err(ScramError::Binding("SCRAM channel binding negotiation error"))
        );
        assert_eq!(run(Offer::Plain, Binding::NotOffered, &keys()), Ok(keys()));
        assert_eq!(run(Offer::PlusDeclined, Binding::Unavailable, &keys()), Ok(keys()));
    }

    #[test]
    fn a_mock_verifier_refuses_every_password() {
        let exchange = Exchange::new(Verifier::that_never_fits(b"salt".to_vec(), 2), Offer::Plain);
        let (first, client) = client::Exchange::new(Binding::Unavailable).start();
        let (server_first, server) = exchange.on_client_first(first.as_bytes()).unwrap();
        let challenge = client.on_server_first(server_first.as_bytes()).unwrap();
        let keys = Keys::derive("any", challenge.salt(), challenge.iterations());
        let (client_final, _) = challenge.respond(&keys);
        assert_eq!(server.on_client_final(client_final.as_bytes()).unwrap_err(), ScramError::Proof);
    }

    #[test]
    fn first_messages_that_postgres_refuses_are_refused() {
        let first = |message: &str| {
            Exchange::new(keys().verifier(), Offer::Plain).on_client_first(message.as_bytes()).map(|_| ())
        };
        assert_eq!(first("n,,n=,r=abc"), Ok(()));
        assert_eq!(first("n,,n=,r=abc,x=ext"), Ok(()), "unknown optional extensions are ignored");
        for malformed in
            ["", "n", "n,", "n,,", "n,,r=abc", "n,,n=,r=", "n,,n=,r=a\u{1}b", "x,,n=,r=a", "n,b,n=,r=a"]
        {
            assert_eq!(first(malformed), Err(ScramError::Malformed), "{malformed:?}");
        }
        assert!(matches!(first("n,a=x,n=,r=a"), Err(ScramError::Unsupported(_))));
        assert!(matches!(first("n,,m=x,n=,r=a"), Err(ScramError::Unsupported(_))));
        assert_eq!(first("p=tls-unique,,n=,r=a"), Err(ScramError::Malformed));
    }

    #[test]
    fn a_final_message_must_carry_our_nonce() {
        let (_, server) =
            Exchange::new(keys().verifier(), Offer::Plain).on_client_first(b"n,,n=,r=abc").unwrap();
        let proof = BASE64_STANDARD.encode([0; 32]);
        let result = server.on_client_final(format!("c=biws,r=abc,p={proof}").as_bytes());
        assert_eq!(result.unwrap_err(), ScramError::Nonce);
    }

    proptest::proptest! {
        #[test]
        fn no_client_message_makes_the_server_panic(
            first in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
            last in "(c=biws,)?(r=[ -~]{0,30},)?(p=)?[ -~]{0,60}",
            raw in proptest::collection::vec(proptest::num::u8::ANY, 0..200),
        ) {
            let fresh = || Exchange::new(Verifier::that_never_fits(vec![1; 16], 1), Offer::Plain);
            assert!(fresh().on_client_first(&first).is_err() || first.starts_with(b"n,,n=") || first.starts_with(b"y,,n="));
            for message in [last.as_bytes(), &raw] {
                let (_, server) = fresh().on_client_first(b"n,,n=,r=abc").unwrap();
                assert!(server.on_client_final(message).is_err());
            }
        }
    }
}
