//! The names that statements have on servers.

use bytes::Bytes;

/// How the names begin that statements have on servers.
pub const SERVER_NAME_PREFIX: &str = "pgweir_";

/// A name by which servers know a statement: ours for its key, or (empty) that of the unnamed one.
#[derive(Debug, Clone, Copy)]
pub struct ServerName {
    bytes: [u8; SERVER_NAME_PREFIX.len() + 16],
    length: usize,
}

impl ServerName {
    /// The unnamed statement's.
    pub const UNNAMED: Self = Self { bytes: [0; _], length: 0 };

    /// Ours: made for every Bind, so without any allocation.
    pub fn of(key: u64) -> Self {
        let mut bytes = [0; _];
        let (prefix, digits) = bytes.split_at_mut(SERVER_NAME_PREFIX.len());
        prefix.copy_from_slice(SERVER_NAME_PREFIX.as_bytes());
        for (at, digit) in digits.iter_mut().enumerate() {
            *digit = b"0123456789abcdef"[(key >> (60 - 4 * at)) as usize & 0xf];
        }
        Self { bytes, length: bytes.len() }
    }

    /// As it stands in messages.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

impl From<ServerName> for Bytes {
    fn from(name: ServerName) -> Self {
        Bytes::copy_from_slice(name.as_bytes())
    }
}
