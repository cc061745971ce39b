//! What a node's own configuration adds to the meaning of a statement.
//!
//! A read on a replica is to be what it would be on the primary, and `postgresql.conf` is not replicated: a
//! replica with another `TimeZone` or `search_path` answers otherwise. What roles and databases are configured
//! with is in the catalogs, and the same everywhere.

use crate::config::keys::SHAPING;
use crate::server::Row;
use std::collections::BTreeMap;

/// The settings by which extensions decide what a query finds, where a node is configured with them.
const EXTENSIONS: &str = "^(hnsw|ivfflat|pg_trgm|plpgsql|postgis|rum)[.]";

/// The last time that the node's configuration was read.
pub(super) const LOADED: &str = "SELECT pg_catalog.pg_conf_load_time()::pg_catalog.text";

/// Asks what a session has that sets nothing.
pub(super) fn question() -> String {
    format!(
        "SELECT s.name, s.reset_val FROM pg_catalog.pg_settings s \
         WHERE s.name OPERATOR(pg_catalog.=) ANY ('{{{}}}'::pg_catalog.text[]) \
            OR (s.name OPERATOR(pg_catalog.~) '{EXTENSIONS}' AND s.reset_val IS DISTINCT FROM s.boot_val)",
        SHAPING.join(",")
    )
}

/// The settings of a node that shape results, by their names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shaping(BTreeMap<String, String>);

impl Shaping {
    /// From the answer to [`question`].
    pub fn read(rows: &[Row]) -> Self {
        let pair = |row: &Row| match &**row {
            [Some(name), value] => Some((name.clone(), alike(value.clone().unwrap_or_default()))),
            _ => None,
        };
        Self(rows.iter().filter_map(pair).collect())
    }

    /// What differs from the primary's, of all but those that `may` differ; a sentence for people.
    pub fn difference(&self, node: &str, primary: &Shaping, may: &[String]) -> Option<String> {
        let shown = |of: &Shaping, name: &str| {
            of.0.get(name).map_or("not set".to_owned(), |value| format!("{value:?}"))
        };
        let names = self.0.keys().chain(primary.0.keys().filter(|name| !self.0.contains_key(*name)));
        let differ = names
            .filter(|name| self.0.get(*name) != primary.0.get(*name))
            .filter(|name| !may.iter().any(|may| may.eq_ignore_ascii_case(name)));
        let differ: Vec<_> = differ
            .map(|name| {
                format!("{name} is {} there and {} on the primary", shown(self, name), shown(primary, name))
            })
            .collect();
        (!differ.is_empty()).then(|| {
            format!(
                "{node} is configured otherwise than the primary, so that reads would show something else \
                 there: {}. It serves none until postgresql.conf says the same, or cluster.settings_may_differ \
                 names these settings",
                differ.join("; ")
            )
        })
    }
}

/// Different names of one time zone are no difference.
fn alike(value: String) -> String {
    match value.strip_prefix("Etc/") {
        Some(zone) => zone.to_owned(),
        None => value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shaping(of: &[(&str, &str)]) -> Shaping {
        let row =
            |(name, value): &(&str, &str)| -> Row { [name, value].map(|t| Some((*t).to_owned())).into() };
        Shaping::read(&of.iter().map(row).collect::<Vec<_>>())
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let primary = shaping(&[("TimeZone", "Etc/UTC"), ("search_path", "\"$user\", public")]);
        assert_eq!(
            primary.difference("b:1", &shaping(&[]), &["timezone".into(), "search_path".into()]),
            None
        );
        let alike = shaping(&[("TimeZone", "UTC"), ("search_path", "\"$user\", public")]);
        assert_eq!(alike.difference("b:1", &primary, &[]), None);
        let other = shaping(&[("TimeZone", "Japan"), ("pg_trgm.similarity_threshold", "0.9")]);
        let said = other.difference("b:1", &primary, &["search_path".into()]).unwrap();
        assert!(said.contains("TimeZone is \"Japan\" there and \"UTC\" on the primary"), "{said}");
        assert!(said.contains("pg_trgm.similarity_threshold is \"0.9\" there and not set"), "{said}");
        assert!(!said.contains("search_path is"), "{said}");
    }
}
