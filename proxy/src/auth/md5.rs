//! md5 authentication: old, weak, still spoken.
//!
//! Stored is `md5` + hex(MD5(password + user)); asked for is `md5` + hex(MD5(those 32 digits + salt)),
//! with a salt of four bytes. Whoever holds the stored form can log in with it.
//!
//! <https://www.postgresql.org/docs/current/auth-password.html>

use ::md5::{Digest, Md5};
use std::fmt::Write;
use subtle::ConstantTimeEq;

/// The form in which Postgres stores a password: `md5` and 32 digits.
pub fn stored(password: &str, user: &str) -> String {
    md5(&[password.as_bytes(), user.as_bytes()])
}

/// True for the form in which Postgres stores an md5 password.
pub fn is_stored(text: &str) -> bool {
    text.strip_prefix("md5").is_some_and(|digits| {
        digits.len() == 32 && digits.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// What a client that knows the stored form answers to a salt.
pub fn response(stored: &str, salt: [u8; 4]) -> String {
    md5(&[stored.strip_prefix("md5").unwrap_or(stored).as_bytes(), &salt])
}

/// Is this the answer? In constant time.
pub fn fits(stored: &str, salt: [u8; 4], answer: &[u8]) -> bool {
    response(stored, salt).as_bytes().ct_eq(answer).into()
}

fn md5(parts: &[&[u8]]) -> String {
    let mut hash = Md5::new();
    for part in parts {
        hash.update(part);
    }
    let mut text = String::with_capacity(35);
    text.push_str("md5");
    for byte in hash.finalize() {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_form_is_what_postgres_stores() {
        // SELECT 'md5' || md5('secret' || 'app')
        assert_eq!(stored("secret", "app"), "md56a422f785c9e20873908ce25d1736ae2");
        assert!(is_stored("md56a422f785c9e20873908ce25d1736ae2"));
        assert!(!is_stored("md56a422f785c9e20873908ce25d1736ae"));
        assert!(!is_stored("md56A422F785C9E20873908CE25D1736AE2"));
        assert!(!is_stored("SCRAM-SHA-256$"));
    }

    #[test]
    fn only_the_right_answer_to_the_salt_fits() {
        let stored = stored("secret", "app");
        let answer = response(&stored, [1, 2, 3, 4]);
        assert!(fits(&stored, [1, 2, 3, 4], answer.as_bytes()));
        assert!(!fits(&stored, [1, 2, 3, 5], answer.as_bytes()));
        assert!(!fits(&stored, [1, 2, 3, 4], &answer.as_bytes()[..20]));
        assert!(!fits(&stored, [1, 2, 3, 4], b""));
    }
}
