//! Prepared statements: a client's names, and which of them a server has.
//!
//! A statement is known by its text, its parameter types and the settings under which it was parsed. Clients
//! name statements as they like; on servers a statement has one name of ours
//! (`pgweir_00000000000a1b2c`), shared by all clients that prepared the same under the same settings. A
//! server that lacks a statement is given it, unseen, just before it is bound.

mod name;

pub use name::{SERVER_NAME_PREFIX, ServerName};

use crate::node::Node;
use bytes::Bytes;
use router_rules::session::Settings;
use router_rules::statement::Kind;
use router_rules::{Classified, SessionEffect};
use std::collections::HashMap;
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

/// A statement on a server.
#[derive(Debug, Clone, Copy)]
struct Held {
    /// When it was used last, by the server's own count.
    used: u64,
    /// What it looks like there, where known.
    shape: Option<u64>,
    /// The state of the schema when it was parsed.
    schema: u64,
    /// The number of the statement that it was parsed for.
    number: u64,
}

/// The statements that one server has, least recently used first to go.
#[derive(Debug, Clone, Default)]
pub struct ServerStatements {
    used: HashMap<u64, Held, foldhash::fast::RandomState>,
    clock: u64,
    /// The unnamed statement that the server has now, by key.
    pub unnamed: Option<u64>,
    /// The shape of that, where known.
    unnamed_shape: Option<u64>,
    /// Statements that are of no use any more and will be closed ahead of what is sent next.
    doomed: Vec<Bytes>,
    /// Names that a request needs, until it is over.
    lent: Vec<Bytes>,
    /// Those of them that a request which is still to be sent will find there.
    ahead: Vec<Bytes>,
    /// Statements, by key, that are of no use once the request is over.
    passing: Vec<u64>,
}

impl ServerStatements {
    /// True when the server has it; marks it as used.
    pub fn touch(&mut self, key: u64) -> bool {
        self.clock += 1;
        let clock = self.clock;
        self.used.get_mut(&key).map(|held| held.used = clock).is_some()
    }

    /// True when the server has it as a Parse would make it now; marks it as used. Where it was parsed
    /// under another schema, the types of its parameters may not be what they would be today.
    pub fn touch_fresh(&mut self, key: u64, schema: u64) -> bool {
        self.used.get(&key).is_some_and(|held| held.schema == schema) && self.touch(key)
    }

    /// The server is being given one. Returns the one that must go to make room for it, if any.
    pub fn insert(&mut self, key: u64, number: u64, schema: u64, max: usize) -> Option<u64> {
        self.clock += 1;
        let evicted = if self.used.len() >= max.max(1) {
            // Rare: only when a server holds its full number of statements and gets a new one.
            self.used.iter().min_by_key(|(_, held)| held.used).map(|(key, _)| *key)
        } else {
            None
        };
        if let Some(key) = evicted {
            self.used.remove(&key);
        }
        self.used.insert(key, Held { used: self.clock, shape: None, schema, number });
        evicted
    }

    /// The unnamed statement is this one from now on.
    pub fn set_unnamed(&mut self, key: u64) {
        (self.unnamed, self.unnamed_shape) = (Some(key), None);
    }

    /// True when the server has it under its shared name.
    pub fn holds(&self, key: u64) -> bool {
        self.used.contains_key(&key)
    }

    /// The server has not parsed it since this client's Parse. Postgres may read it anew when it runs, under the
    /// settings of then, if the schema has changed in between.
    pub fn is_older(&self, prepared: &Prepared) -> bool {
        self.used.get(&prepared.key).is_some_and(|held| held.number < prepared.number)
    }

    /// What the statement looks like on this server, where it has it and that is known.
    pub fn shape(&self, key: u64, named: bool) -> Option<u64> {
        if named {
            return self.used.get(&key)?.shape;
        }
        self.unnamed_shape.filter(|_| self.unnamed == Some(key))
    }

    /// The server reads all of them anew, under the settings of whoever runs them next.
    pub fn are_read_anew(&mut self) {
        self.used.values_mut().for_each(|held| held.number = 0);
    }

    /// The server has told what a statement looks like.
    pub fn set_shape(&mut self, key: u64, named: bool, shape: u64) {
        if named {
            if let Some(held) = self.used.get_mut(&key) {
                held.shape = Some(shape);
            }
        } else if self.unnamed == Some(key) {
            self.unnamed_shape = Some(shape);
        }
    }

    /// All that the server has under shared names.
    pub fn keys(&self) -> impl Iterator<Item = u64> + '_ {
        self.used.keys().copied()
    }

    /// The server has not got it under its shared name, or is losing it. The unnamed statement may be
    /// the same, and stays.
    pub fn remove(&mut self, key: u64) {
        self.used.remove(&key);
    }

    /// This is not the server's unnamed statement after all. Under its shared name it stays.
    pub fn remove_unnamed(&mut self, key: u64) {
        if self.unnamed == Some(key) {
            self.unnamed = None;
        }
    }

    /// The server has it, but its plan does not fit any more: it is to be closed and prepared anew.
    pub fn doom(&mut self, key: u64) {
        if self.used.remove(&key).is_some() {
            self.doomed.push(ServerName::of(key).into());
        }
        if self.unnamed == Some(key) {
            self.unnamed = None;
        }
    }

    /// The server has it for this request only.
    pub fn doom_later(&mut self, key: u64) {
        self.passing.push(key);
    }

    /// The server had it for a request that is over, and is about to lose it.
    pub fn is_passing(&self, key: u64) -> bool {
        self.passing.contains(&key)
    }

    /// The server has something of no use under this name.
    pub fn doom_name(&mut self, name: Bytes) {
        self.doomed.push(name);
    }

    /// The server has a statement under this name for as long as the request takes.
    pub fn lend_name(&mut self, name: Bytes) {
        self.lent.push(name);
    }

    /// The server has a statement under this name for the request that is about to be sent.
    pub fn lend_ahead(&mut self, name: Bytes) {
        self.lend_name(name.clone());
        self.ahead.push(name);
    }

    /// The request that is about to be sent finds this name there.
    pub fn is_lent_ahead(&self, name: &[u8]) -> bool {
        self.ahead.iter().any(|lent| lent == name)
    }

    /// The request has been sent, or will not be: what was lent for it goes as soon as it is over.
    pub fn end_ahead(&mut self) {
        self.ahead.clear();
    }

    /// It was not lent this time, after all.
    pub fn unlend_name(&mut self, name: &[u8]) {
        if let Some(at) = self.lent.iter().rposition(|lent| lent == name) {
            self.lent.remove(at);
        }
    }

    /// A statement has the name by right now.
    pub fn keep_name(&mut self, name: &[u8]) {
        self.lent.retain(|lent| lent != name);
    }

    /// What is to be closed now; `is_over`: the request before is.
    pub fn take_doomed(&mut self, is_over: bool) -> Vec<Bytes> {
        if self.doomed.is_empty() && self.passing.is_empty() && self.lent.is_empty() {
            return vec![];
        }
        if is_over {
            for key in std::mem::take(&mut self.passing) {
                self.doom(key);
            }
        }
        let mut doomed = std::mem::take(&mut self.doomed);
        if is_over {
            let ahead = &self.ahead;
            doomed.extend(self.lent.extract_if(.., |name| !ahead.contains(name)));
        }
        doomed
    }

    /// A statement with this effect gives or takes names.
    pub fn on_names(&mut self, effect: &SessionEffect) {
        match effect {
            SessionEffect::DeallocateAll | SessionEffect::DiscardAll => self.clear(),
            // What was there by this name for the moment is deallocated ahead of it.
            SessionEffect::Prepare(name) => self.keep_name(name.as_bytes()),
            // Without its plans a server reads each text again when that runs next.
            SessionEffect::DiscardSome => self.are_read_anew(),
            _ => {}
        }
    }

    /// DEALLOCATE ALL or DISCARD ALL ran.
    pub fn clear(&mut self) {
        self.used.clear();
        self.doomed.clear();
        self.lent.clear();
        self.ahead.clear();
        self.passing.clear();
        self.unnamed = None;
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.used.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_of_an_older_schema_is_not_what_a_parse_would_make() {
        let mut server = ServerStatements::default();
        server.insert(1, 0, 7, 2);
        assert!(server.touch_fresh(1, 7));
        assert!(!server.touch_fresh(1, 8));
        assert!(server.touch(1), "who prepared it then may go on with it");
    }

    #[test]
    fn what_is_lent_ahead_stays_until_its_request_has_been_sent() {
        let mut server = ServerStatements::default();
        server.lend_ahead("a".into());
        server.lend_name("b".into());
        assert_eq!(server.take_doomed(true), ["b"]);
        assert!(server.is_lent_ahead(b"a"));
        server.end_ahead();
        assert!(!server.is_lent_ahead(b"a"));
        assert!(server.take_doomed(false).is_empty());
        assert_eq!(server.take_doomed(true), ["a"]);
    }

    #[test]
    fn the_least_recently_used_statement_makes_room() {
        let mut server = ServerStatements::default();
        assert_eq!(server.insert(1, 0, 0, 2), None);
        assert_eq!(server.insert(2, 0, 0, 2), None);
        assert!(server.touch(1));
        assert_eq!(server.insert(3, 0, 0, 2), Some(2));
        assert!(!server.touch(2));
    }

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
    fn an_unnamed_statement_that_was_not_parsed_takes_no_shared_one_with_it() {
        let mut server = ServerStatements::default();
        server.insert(1, 0, 0, 2);
        server.set_unnamed(1);
        server.remove_unnamed(1);
        assert!(server.holds(1) && server.unnamed.is_none());
    }

    #[test]
    fn what_a_statement_looks_like_is_forgotten_with_it() {
        let mut server = ServerStatements::default();
        server.insert(1, 0, 0, 2);
        server.set_shape(1, true, 9);
        assert_eq!(server.shape(1, true), Some(9));
        server.doom(1);
        server.insert(1, 0, 0, 2);
        assert_eq!(server.shape(1, true), None);
        server.set_unnamed(1);
        server.set_shape(1, false, 9);
        assert_eq!(server.shape(1, false), Some(9));
        server.set_unnamed(1);
        assert_eq!(server.shape(1, false), None);
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
