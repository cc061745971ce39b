//! The statements that a server has, and what is known of each there.

use super::ServerName;
use bytes::Bytes;
use router_rules::SessionEffect;
use std::collections::HashMap;

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
    /// When it was parsed, by the same count.
    parsed: u64,
}

/// The statements that one server has, least recently used first to go.
#[derive(Debug, Clone, Default)]
pub struct ServerStatements {
    used: HashMap<u64, Held, foldhash::fast::RandomState>,
    clock: u64,
    /// When the server was leased last, by that clock.
    leased: u64,
    /// The unnamed statement that the server has now, by key.
    pub unnamed: Option<u64>,
    /// The shape of that, where known.
    unnamed_shape: Option<u64>,
    /// When that was parsed, by the clock.
    unnamed_parsed: u64,
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
        self.used.insert(key, Held { used: self.clock, shape: None, schema, number, parsed: self.clock });
        evicted
    }

    /// The unnamed statement is this one from now on.
    pub fn set_unnamed(&mut self, key: u64) {
        self.clock += 1;
        (self.unnamed, self.unnamed_shape, self.unnamed_parsed) = (Some(key), None, self.clock);
    }

    /// True when the server has it under its shared name.
    pub fn holds(&self, key: u64) -> bool {
        self.used.contains_key(&key)
    }

    /// The server is some session's from here on.
    pub fn are_leased(&mut self) {
        self.leased = self.clock;
    }

    /// Its unnamed statement is this one, and was parsed since it was leased.
    pub fn has_just_parsed(&self, key: u64) -> bool {
        self.unnamed == Some(key) && self.unnamed_parsed > self.leased
    }

    /// The server has not parsed it since a client's Parse (`number`: of its statement), or others have had the
    /// server since then. Postgres reads a statement anew when it runs, under the settings of then, if the schema
    /// has changed in between. It does so, too, wherever its process has thrown its plans away, has made and taken
    /// back a schema, or has got its first temporary table: in a process of the client's own nobody else can.
    pub fn is_older(&self, key: u64, number: u64) -> bool {
        self.used.get(&key).is_some_and(|held| held.number < number || held.parsed <= self.leased)
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
    fn what_was_parsed_before_others_had_the_server_is_older() {
        let mut server = ServerStatements::default();
        server.are_leased();
        server.insert(1, 7, 0, 2);
        server.touch(1);
        assert!(!server.is_older(1, 7) && server.is_older(1, 8));
        server.are_leased();
        server.touch(1);
        assert!(server.is_older(1, 7));
        server.insert(1, 7, 0, 2);
        assert!(!server.is_older(1, 7));
        server.set_unnamed(2);
        assert!(server.has_just_parsed(2));
        server.are_leased();
        assert!(!server.has_just_parsed(2) && server.unnamed == Some(2));
    }
}
