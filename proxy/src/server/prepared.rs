//! Prepared statements: a client's names, and which of them a server has.
//!
//! A statement is known by its text, its parameter types and the settings under which it was parsed. Clients
//! name statements as they like; on servers a statement has one name of ours
//! (`pgweir_00000000000a1b2c`), shared by all clients that prepared the same under the same settings. A
//! server that lacks a statement is given it, unseen, just before it is bound.

mod held;
mod name;

pub use held::ServerStatements;
pub use name::{SERVER_NAME_PREFIX, ServerName};

use crate::node::Node;
use bytes::Bytes;
use router_rules::Classified;
use router_rules::session::Settings;
use router_rules::statement::Kind;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A statement that a client prepared.
#[derive(Debug)]
pub struct Prepared {
    /// Text, types and settings, hashed; a number of its own where it is not shared.
    pub key: u64,
    /// The SQL as the client sent it.
    pub sql: Bytes,
    /// Parameter types as they stood in the Parse.
    pub types: Bytes,
    /// What it does.
    pub classified: Arc<Classified>,
    /// The classifier's scope it was classified under.
    pub scope: u64,
    /// Counts the statements that this process was asked to prepare: tells which came first.
    pub number: u64,
    /// Who may use it.
    pub sharing: Sharing,
    /// The settings that were in force at its Parse.
    pub under: Settings,
    /// The state of the schema at its Parse, as far as it was known.
    pub schema: u64,
    /// What has become known of it since.
    pub known: Arc<Known>,
}

/// Who may use a statement that a server has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Whoever prepares the same text under the same settings.
    All,
    /// This session: its Parse saw what others do not see.
    Own,
    /// This session, on the server that has parsed it: it holds the moment of its Parse.
    Tied,
}

/// What becomes known of a statement after its Parse.
#[derive(Debug, Default)]
pub struct Known {
    /// What its parameters and result look like, and the client may rely on, as a [`shape`]; 0 while
    /// that is not known.
    shape: AtomicU64,
    /// The client was told, or has run it.
    is_relied_upon: AtomicBool,
    /// The server that has parsed it, where it is tied to one.
    home: OnceLock<Home>,
}

/// The server that a statement is tied to.
#[derive(Debug, Clone)]
pub struct Home {
    /// Its node.
    pub node: Arc<Node>,
    /// Its process id there.
    pub process: i32,
}

impl Known {
    /// What the client may rely on; `None` while that is not known.
    pub fn shape(&self) -> Option<u64> {
        Some(self.shape.load(Ordering::Relaxed)).filter(|shape| *shape != 0)
    }

    /// A server has told. The first Parse counts: what a later one would see is for Postgres to refuse.
    pub fn learn_shape(&self, shape: u64) {
        let _ = self.shape.compare_exchange(0, shape, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The client has not heard of it yet, and is to be told as things are now.
    pub fn forget_shape(&self) {
        self.shape.store(0, Ordering::Relaxed);
    }

    /// Whether the client knows what it looks like.
    pub fn is_relied_upon(&self) -> bool {
        self.is_relied_upon.load(Ordering::Relaxed)
    }

    /// The client was told, or has run it.
    pub fn rely(&self) {
        self.is_relied_upon.store(true, Ordering::Relaxed);
    }

    /// The server that has parsed it.
    pub fn home(&self) -> Option<&Home> {
        self.home.get()
    }

    /// This server parses it now; the first to do so counts.
    pub fn settle(&self, node: &Arc<Node>, process: i32) {
        self.home.get_or_init(|| Home { node: node.clone(), process });
    }
}

impl Prepared {
    /// The key of a text with these types, under these settings. The seed is this process's own, so that
    /// nobody can make two texts meet in one key. `own`: a number that nobody else has, for what is not shared.
    pub fn key_of(
        seed: &foldhash::quality::RandomState,
        sql: &[u8],
        types: &[u8],
        under: &Settings,
        own: Option<u64>,
    ) -> u64 {
        let mut hasher = seed.build_hasher();
        hasher.write(sql);
        hasher.write_u8(0);
        hasher.write(types);
        hasher.write_u64(under.context());
        if let Some(own) = own {
            hasher.write_u64(own);
        }
        hasher.finish()
    }

    /// What the client may rely on; `None` while that is not known.
    pub fn shape(&self) -> Option<u64> {
        self.known.shape()
    }

    /// What FETCH, EXECUTE and CALL return is not for their text to say, nor does Postgres hold them to it.
    pub fn has_fixed_shape(&self) -> bool {
        !self
            .classified
            .statements
            .iter()
            .any(|s| matches!(s.kind, Kind::Cursor | Kind::Prepare | Kind::Call))
    }
}

/// What a statement's parameters and result look like, hashed; never 0.
///
/// `parameters` and `result` are the bodies of ParameterDescription and of RowDescription (empty for
/// NoData). Of a result's columns names, types and modifiers count, as they do for Postgres when it
/// says "cached plan must not change result type"; the table that a column comes from does not.
///
/// <https://www.postgresql.org/docs/current/protocol-message-formats.html#PROTOCOL-MESSAGE-FORMATS-ROWDESCRIPTION>
pub fn shape(parameters: &[u8], result: &[u8]) -> u64 {
    let mut hasher = foldhash::quality::FixedState::with_seed(2).build_hasher();
    hasher.write(parameters);
    hasher.write_usize(parameters.len());
    let mut columns = result.get(2..).unwrap_or_default();
    while let Some(end) = memchr::memchr(0, columns) {
        let Some(of) = columns.get(end + 1..end + 19) else { break };
        hasher.write(&columns[..=end]);
        hasher.write(&of[6..16]);
        columns = &columns[end + 19..];
    }
    hasher.finish().max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_names_and_types_and_not_the_table_they_come_from() {
        let column = |name: &[u8], table: u32, kind: u32| {
            let mut body = vec![0, 1];
            body.extend_from_slice(name);
            body.push(0);
            body.extend_from_slice(&table.to_be_bytes());
            body.extend_from_slice(&1u16.to_be_bytes());
            body.extend_from_slice(&kind.to_be_bytes());
            body.extend_from_slice(&[0, 4, 0xff, 0xff, 0xff, 0xff, 0, 0]);
            body
        };
        let of = |body: &[u8]| shape(&[0, 0], body);
        assert_eq!(of(&column(b"a", 1, 23)), of(&column(b"a", 2, 23)));
        assert_ne!(of(&column(b"a", 1, 23)), of(&column(b"a", 1, 25)));
        assert_ne!(of(&column(b"a", 1, 23)), of(&column(b"b", 1, 23)));
        assert_ne!(of(&column(b"a", 1, 23)), of(b""));
        assert_ne!(shape(&[0, 1, 0, 0, 0, 23], b""), shape(&[0, 1, 0, 0, 0, 25], b""));
        shape(b"", &[0, 9, b'x', 0, 1]);
    }

    #[test]
    fn types_are_part_of_what_a_statement_is() {
        let seed = foldhash::quality::RandomState::default();
        let nothing = Settings::default();
        let key = |types| Prepared::key_of(&seed, b"SELECT $1", types, &nothing, None);
        assert_ne!(key(b"\0\0"), key(b"\0\x01\0\0\0\x17"));
    }

    #[test]
    fn what_a_parse_reads_is_part_of_what_a_statement_is() {
        let seed = foldhash::quality::RandomState::default();
        let key = |name: &str, value: &str, own| {
            Prepared::key_of(&seed, b"SELECT * FROM t", b"\0\0", &Settings::from_pairs([(name, value)]), own)
        };
        assert_ne!(key("search_path", "north", None), key("search_path", "south", None));
        assert_ne!(key("timezone", "UTC", None), key("timezone", "Japan", None));
        assert_eq!(key("work_mem", "1MB", None), key("work_mem", "2MB", None));
        assert_ne!(key("work_mem", "1MB", Some(1)), key("work_mem", "1MB", Some(2)));
    }
}
