//! Prepared statements: a client's names, and which of them a server has.
//!
//! A statement is known by its text and parameter types. Clients name statements as they like;
//! on servers a statement has one name of ours (`pgweir_1f`), shared by all clients that prepared
//! the same text with the same types. A server that lacks a statement is given it, unseen, just
//! before it is bound.

use bytes::Bytes;
use router_rules::Classified;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A statement that a client prepared.
#[derive(Debug)]
pub struct Prepared {
    /// Text and types, hashed.
    pub key: u64,
    /// The SQL as the client sent it.
    pub sql: Bytes,
    /// Parameter types as they stood in the Parse.
    pub types: Bytes,
    /// What it does.
    pub classified: Arc<Classified>,
    /// The classifier's scope it was classified under.
    pub scope: u64,
    /// The client has asked what its result looks like, and may rely on the answer.
    pub described: AtomicBool,
}

impl Prepared {
    /// The key of a text with these types. The seed is this process's own, so that nobody can make
    /// two texts meet in one key.
    pub fn key_of(seed: &foldhash::quality::RandomState, sql: &[u8], types: &[u8]) -> u64 {
        let mut hasher = seed.build_hasher();
        hasher.write(sql);
        hasher.write_u8(0);
        hasher.write(types);
        hasher.finish()
    }
}

/// How the names begin that statements have on servers.
pub const SERVER_NAME_PREFIX: &str = "pgweir_";

/// The name by which servers know a statement.
pub fn server_name(key: u64) -> String {
    format!("{SERVER_NAME_PREFIX}{key:x}")
}

/// The statements that one server has, least recently used first to go.
#[derive(Debug, Default)]
pub struct ServerStatements {
    used: HashMap<u64, u64, foldhash::fast::RandomState>,
    clock: u64,
    /// The unnamed statement that the server has now, by key.
    pub unnamed: Option<u64>,
    /// Statements that are of no use any more and will be closed with the next request.
    doomed: Vec<Bytes>,
}

impl ServerStatements {
    /// True when the server has it; marks it as used.
    pub fn touch(&mut self, key: u64) -> bool {
        self.clock += 1;
        let clock = self.clock;
        self.used.get_mut(&key).map(|at| *at = clock).is_some()
    }

    /// The server is being given one. Returns the one that must go to make room for it, if any.
    pub fn insert(&mut self, key: u64, max: usize) -> Option<u64> {
        self.clock += 1;
        let evicted = if self.used.len() >= max.max(1) {
            // Rare: only when a server holds its full number of statements and gets a new one.
            self.used.iter().min_by_key(|(_, at)| **at).map(|(key, _)| *key)
        } else {
            None
        };
        if let Some(key) = evicted {
            self.used.remove(&key);
        }
        self.used.insert(key, self.clock);
        evicted
    }

    /// The server has not got it after all.
    pub fn remove(&mut self, key: u64) {
        self.used.remove(&key);
        if self.unnamed == Some(key) {
            self.unnamed = None;
        }
    }

    /// The server has it, but its plan does not fit any more: it is to be closed and prepared anew.
    pub fn doom(&mut self, key: u64) {
        if self.used.remove(&key).is_some() {
            self.doomed.push(server_name(key).into());
        }
        if self.unnamed == Some(key) {
            self.unnamed = None;
        }
    }

    /// The server has a statement under this name only for the moment.
    pub fn doom_name(&mut self, name: Bytes) {
        self.doomed.push(name);
    }

    /// What is to be closed now.
    pub fn take_doomed(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.doomed)
    }

    /// DEALLOCATE ALL or DISCARD ALL ran.
    pub fn clear(&mut self) {
        self.used.clear();
        self.doomed.clear();
        self.unnamed = None;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.used.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_used_statement_makes_room() {
        let mut server = ServerStatements::default();
        assert_eq!(server.insert(1, 2), None);
        assert_eq!(server.insert(2, 2), None);
        assert!(server.touch(1));
        assert_eq!(server.insert(3, 2), Some(2));
        assert!(!server.touch(2));
    }

    #[test]
    fn types_are_part_of_what_a_statement_is() {
        let seed = foldhash::quality::RandomState::default();
        let key = |types| Prepared::key_of(&seed, b"SELECT $1", types);
        assert_ne!(key(b"\0\0"), key(b"\0\x01\0\0\0\x17"));
    }
}
