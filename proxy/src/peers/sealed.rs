//! A cancel key on its way to another machine: sealed, so that nobody reads, makes or repeats one.
//!
//! Both sides have a secret in common. What is sent is the key with the time, encrypted and authenticated
//! (ChaCha20-Poly1305, under a key derived from the secret), behind a nonce of its own. It counts for half a minute,
//! so that the machines' clocks have to be in step to that degree, and each nonce once.

use crate::limits::{FORWARDED_MAX, FORWARDED_WINDOW};
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::error::Unspecified;
use ring::hkdf;
use std::collections::VecDeque;
use std::time::Duration;

/// What every datagram begins with: another version of it begins otherwise.
const MAGIC: &[u8; 8] = b"pgweir-1";
/// What keys are derived for.
const PURPOSE: &[u8] = b"pgweir: cancel requests between machines";

/// What tells one datagram from another.
pub(super) type Number = [u8; NONCE_LEN];

/// Seals, and opens what others have sealed with the same secret.
pub(super) struct Seal(LessSafeKey);

impl Seal {
    pub fn new(secret: &str) -> Result<Self, Unspecified> {
        let derived = hkdf::Salt::new(hkdf::HKDF_SHA256, MAGIC).extract(secret.as_bytes());
        let key = UnboundKey::from(derived.expand(&[PURPOSE], &CHACHA20_POLY1305)?);
        Ok(Self(LessSafeKey::new(key)))
    }

    /// The datagram for a key; `now` is the time since the epoch.
    pub fn close(&self, number: Number, now: Duration, key: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let mut sealed = [&now.as_secs().to_be_bytes(), key].concat();
        let nonce = Nonce::assume_unique_for_key(number);
        self.0.seal_in_place_append_tag(nonce, Aad::from(MAGIC), &mut sealed)?;
        Ok([&MAGIC[..], &number, &sealed].concat())
    }

    /// The number and the key of a datagram; `None`: nobody who has the secret has sealed it, or not lately.
    pub fn open(&self, datagram: &[u8], now: Duration) -> Option<(Number, Vec<u8>)> {
        let rest = datagram.strip_prefix(MAGIC)?;
        let (number, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut opened = sealed.to_vec();
        let nonce = Nonce::assume_unique_for_key(*number);
        let opened = self.0.open_in_place(nonce, Aad::from(MAGIC), &mut opened).ok()?;
        let (sent, key) = opened.split_first_chunk::<8>()?;
        let age = now.as_secs().abs_diff(u64::from_be_bytes(*sent));
        (age <= FORWARDED_WINDOW.as_secs()).then(|| (*number, key.to_vec()))
    }
}

/// The numbers of the datagrams that have come within the time for which they count.
#[derive(Debug, Default)]
pub(super) struct Recent(VecDeque<(Duration, Number)>);

impl Recent {
    /// True for one that has not come before. Where too many have come, none is new any more.
    pub fn is_new(&mut self, number: Number, now: Duration) -> bool {
        // It may have been sealed so much later than our clock says, and counts so long after that.
        while self.0.front().is_some_and(|(at, _)| now.saturating_sub(*at) > 3 * FORWARDED_WINDOW) {
            self.0.pop_front();
        }
        if self.0.len() >= FORWARDED_MAX || self.0.iter().any(|(_, known)| *known == number) {
            return false;
        }
        self.0.push_back((now, number));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn seal(secret: &str) -> Seal {
        Seal::new(secret).unwrap()
    }

    #[test]
    fn a_key_arrives_by_the_same_secret_alone() {
        let sealed = seal("one secret").close([7; 12], NOW, b"key").unwrap();
        assert!(!sealed.windows(3).any(|part| part == b"key"), "it can be read on the way");
        assert_eq!(seal("one secret").open(&sealed, NOW), Some(([7; 12], b"key".to_vec())));
        assert_eq!(seal("another").open(&sealed, NOW), None);
    }

    #[test]
    fn whatever_is_changed_on_the_way_is_nothing() {
        let seal = seal("one secret");
        let sealed = seal.close([7; 12], NOW, b"key").unwrap();
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(seal.open(&changed, NOW), None, "byte {at}");
            assert_eq!(seal.open(&sealed[..at], NOW), None, "cut at {at}");
        }
    }

    #[test]
    fn it_counts_for_a_while_whichever_clock_is_ahead() {
        let seal = seal("one secret");
        let sealed = seal.close([7; 12], NOW, b"key").unwrap();
        for (now, counts) in [
            (NOW + FORWARDED_WINDOW, true),
            (NOW - FORWARDED_WINDOW, true),
            (NOW + FORWARDED_WINDOW + Duration::from_secs(1), false),
            (NOW - FORWARDED_WINDOW - Duration::from_secs(1), false),
        ] {
            assert_eq!(seal.open(&sealed, now).is_some(), counts);
        }
    }

    #[test]
    fn none_is_heard_twice_and_the_memory_is_bounded() {
        let mut recent = Recent::default();
        let number = |i: usize| {
            let mut number = [0; 12];
            number[..8].copy_from_slice(&i.to_be_bytes());
            number
        };
        assert!(recent.is_new(number(0), NOW) && !recent.is_new(number(0), NOW + FORWARDED_WINDOW));
        (1..FORWARDED_MAX).for_each(|i| assert!(recent.is_new(number(i), NOW)));
        assert!(!recent.is_new(number(FORWARDED_MAX), NOW), "one too many");
        assert!(recent.is_new(number(FORWARDED_MAX), NOW + 4 * FORWARDED_WINDOW));
    }
}
