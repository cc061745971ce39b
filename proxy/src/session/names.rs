//! The names by which a client knows its prepared statements. No I/O.
//!
//! Names are given and taken when a message goes to the server, not when its answer comes: what follows in the
//! same batch counts on it. An error takes back what the messages behind it had done, by a copy kept in the ledger.

use crate::limits::{CLIENT_STATEMENT_BYTES_MAX, CLIENT_STATEMENTS_MAX};
use crate::server::prepared::{Prepared, ServerStatements};
use crate::wire::{Refusal, sqlstate};
use bytes::Bytes;
use router_rules::{Classified, SessionEffect};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// A client's prepared statements by name; the unnamed one under the empty name.
#[derive(Debug, Clone, Default)]
pub struct ClientStatements {
    of: HashMap<Bytes, Arc<Prepared>, foldhash::fast::RandomState>,
    /// What they hold, all together.
    bytes: usize,
}

/// Names that SQL's PREPARE has given.
pub type SqlNames = BTreeSet<Box<[u8]>>;

/// What was known of names before a statement gave or took some.
#[derive(Debug)]
pub struct Before {
    /// The client's.
    pub statements: ClientStatements,
    /// Those that SQL gave.
    pub sql_names: SqlNames,
    /// The server's.
    pub server: ServerStatements,
}

impl ClientStatements {
    /// The statement of this name.
    pub fn get(&self, name: &[u8]) -> Option<&Arc<Prepared>> {
        self.of.get(name)
    }

    /// The name is given.
    pub fn contains_key(&self, name: &[u8]) -> bool {
        self.of.contains_key(name)
    }

    /// The name means this from now on. What it meant before.
    pub fn insert(&mut self, name: Bytes, prepared: Arc<Prepared>) -> Option<Arc<Prepared>> {
        let size = name.len();
        self.bytes += size + size_of_statement(&prepared);
        let before = self.of.insert(name, prepared);
        self.bytes -= before.as_ref().map_or(0, |before| size + size_of_statement(before));
        before
    }

    /// The name means nothing any more. What it meant before.
    pub fn remove(&mut self, name: &[u8]) -> Option<Arc<Prepared>> {
        if self.of.is_empty() {
            return None;
        }
        let before = self.of.remove(name)?;
        self.bytes -= name.len() + size_of_statement(&before);
        Some(before)
    }

    /// No name means anything any more.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// All that have a name, oldest first.
    pub fn named(&self) -> Vec<(Bytes, Arc<Prepared>)> {
        let mut named: Vec<_> = self.of.iter().filter(|(name, _)| !name.is_empty()).collect();
        named.sort_by_key(|(_, prepared)| prepared.number);
        named.into_iter().map(|(name, prepared)| (name.clone(), prepared.clone())).collect()
    }

    /// Whether a statement of this length may have this name, where `given` more names are on their way.
    ///
    /// # Errors
    /// There are as many as a client may have.
    pub fn check(&self, name: &[u8], length: usize, given: usize) -> Result<(), Refusal> {
        if name.is_empty() || self.of.contains_key(name) {
            return Ok(());
        }
        let too_many = self.of.len() + given >= CLIENT_STATEMENTS_MAX;
        if !too_many && self.bytes + length <= CLIENT_STATEMENT_BYTES_MAX {
            return Ok(());
        }
        let message = match too_many {
            true => format!("too many prepared statements (at most {CLIENT_STATEMENTS_MAX} for one client)"),
            false => format!(
                "prepared statements too long (at most {} MiB for one client)",
                CLIENT_STATEMENT_BYTES_MAX >> 20
            ),
        };
        Err(Refusal::new(sqlstate::LIMIT_EXCEEDED, message).with_hint("Close some, or DEALLOCATE ALL."))
    }
}

/// What one costs: its text, and about as much as its types and the rest take.
fn size_of_statement(prepared: &Prepared) -> usize {
    prepared.sql.len() + prepared.types.len() + size_of::<Prepared>()
}

/// The statement gives or takes names.
pub fn touches_names(text: &Classified) -> bool {
    text.statements.iter().flat_map(|statement| &statement.effects).any(|effect| {
        use SessionEffect::{Deallocate, DeallocateAll, DiscardAll, Prepare};
        matches!(effect, Deallocate(_) | DeallocateAll | DiscardAll | Prepare(_))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::prepared::{Known, Sharing};
    use router_rules::session::Settings;
    use router_rules::{Classifier, Scope};

    fn statement(sql: &'static str) -> Arc<Prepared> {
        let scope = Scope::new(None, vec![], String::new(), true);
        Arc::new(Prepared {
            key: 1,
            sql: Bytes::from_static(sql.as_bytes()),
            types: Bytes::from_static(b"\0\0"),
            classified: Classifier::new(1 << 20).classify(sql.as_bytes(), &scope),
            scope: 1,
            number: 1,
            sharing: Sharing::All,
            under: Settings::default(),
            schema: 0,
            known: Arc::new(Known::default()),
        })
    }

    #[test]
    fn a_client_has_so_many_statements_and_no_more() {
        let mut all = ClientStatements::default();
        for number in 0..CLIENT_STATEMENTS_MAX {
            let name = Bytes::from(number.to_string());
            assert!(all.check(&name, 10, 0).is_ok());
            all.insert(name, statement("SELECT 1"));
        }
        assert_eq!(all.check(b"one more", 10, 0).unwrap_err().sqlstate, "53400");
        assert!(all.check(b"", 10, 0).is_ok() && all.check(b"7", 10, 0).is_ok());
        all.remove(b"7");
        assert!(all.check(b"one more", 10, 0).is_ok());
        assert!(all.check(b"one more", 10, 1).is_err(), "another one of the batch is on its way");
    }

    #[test]
    fn the_bytes_of_a_clients_statements_are_bounded_and_given_back() {
        let mut all = ClientStatements::default();
        all.insert(Bytes::from_static(b"a"), statement("SELECT 1"));
        all.insert(Bytes::from_static(b"a"), statement("SELECT 22"));
        assert!(all.check(b"b", CLIENT_STATEMENT_BYTES_MAX, 0).is_err());
        all.remove(b"a");
        assert_eq!(all.bytes, 0);
        assert!(all.check(b"b", CLIENT_STATEMENT_BYTES_MAX, 0).is_ok());
    }

    #[test]
    fn what_gives_or_takes_names_is_known() {
        for (sql, touches) in [
            ("DEALLOCATE ALL", true),
            ("DISCARD ALL", true),
            ("PREPARE a AS SELECT 1", true),
            ("SELECT 1", false),
        ] {
            assert_eq!(touches_names(&statement(sql).classified), touches, "{sql}");
        }
    }
}
