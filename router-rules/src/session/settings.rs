//! The settings of a session, and how a server is brought to them.
//!
//! A session's settings travel with it: each is kept as the SQL that brings it about. A server
//! remembers which ones are applied to it. When a session leases a server and the two differ, one
//! batch of SETs and RESETs goes ahead of the session's own statement, in the same write.

use crate::encoding::Encoding;
use crate::quote::{quote_name, quote_text};
use crate::session::context;
use std::collections::BTreeMap;
use std::hash::BuildHasher;
use std::sync::{Arc, LazyLock};

/// Who one is, in the order in which it is set: SET SESSION AUTHORIZATION takes a SET ROLE back.
pub const IDENTITY: [&str; 2] = ["session_authorization", "role"];

/// What a transaction is unless it says otherwise.
const DEFAULTS: [&str; 3] = [ISOLATION, "default_transaction_read_only", "default_transaction_deferrable"];
const ISOLATION: &str = "default_transaction_isolation";
const READ_COMMITTED: &str = "read committed";

/// Stands for a setting whose name is not known; none is called so.
pub(super) const ANY: &str = "*";

/// A set of settings: name → SQL that brings it about. Cheap to clone and to compare.
#[derive(Debug, Clone)]
pub struct Settings(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    id: u64,
    /// Hashes those that a Parse may read.
    context: u64,
    /// Hashes those that a plan may have been made by.
    plans: u64,
    of: BTreeMap<String, Setting>,
}

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Setting {
    /// SQL that sets it for a whole session.
    pub replay: Arc<str>,
    /// Its value as text, where known.
    pub value: Option<Arc<str>>,
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self::from_map(BTreeMap::new())
    }
}

impl Settings {
    pub(super) fn of(&self) -> &BTreeMap<String, Setting> {
        &self.0.of
    }

    pub(super) fn from_map(of: BTreeMap<String, Setting>) -> Self {
        // Of this process's own seed, so that nobody can make two sets look like one.
        static SEED: LazyLock<foldhash::quality::RandomState> = LazyLock::new(Default::default);
        let id = if of.is_empty() { 0 } else { SEED.hash_one(&of) };
        let hash_of = |counts: fn(&str) -> bool| {
            let read: Vec<_> = of.iter().filter(|(name, _)| counts(name)).map(context::meaning).collect();
            if read.is_empty() { 0 } else { SEED.hash_one(&read) }
        };
        let (context, plans) = (hash_of(context::matters), hash_of(context::is_planned_by));
        Self(Arc::new(Inner { id, context, plans, of }))
    }

    /// From plain name and value pairs, as a StartupMessage brings them.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::from_map(
            pairs
                .into_iter()
                .map(|(name, value)| {
                    let replay = set_config(name, value);
                    (name.to_owned(), Setting { replay, value: Some(value.into()) })
                })
                .collect(),
        )
    }

    /// All of these, and of the others where both have one.
    #[must_use]
    pub fn overlaid(&self, others: &Settings) -> Self {
        let mut of = self.0.of.clone();
        of.extend(others.0.of.iter().map(|(name, setting)| (name.clone(), setting.clone())));
        Self::from_map(of)
    }

    /// The same, each in the words in which a server has reported it.
    #[must_use]
    pub fn as_reported(&self, reported: &BTreeMap<String, String>) -> Self {
        let mut of = self.0.of.clone();
        for (name, value) in reported {
            let name = name.to_ascii_lowercase();
            if let Some(setting) = of.get_mut(&name) {
                *setting = Setting { replay: set_config(&name, value), value: Some(value.as_str().into()) };
            }
        }
        Self::from_map(of)
    }

    /// A server cannot tell the two apart.
    pub fn is_as_on_servers(&self, other: &Settings) -> bool {
        self == other || self.on_servers().eq(other.on_servers())
    }

    fn on_servers(&self) -> impl Iterator<Item = (&String, &Setting)> {
        self.0.of.iter().filter(|(name, _)| is_for_server(name))
    }

    /// The names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.of.keys().map(String::as_str)
    }

    /// Equal for equal sets.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// Equal for sets under which Postgres parses a text alike.
    pub fn context(&self) -> u64 {
        self.0.context
    }

    /// Equal for sets under which Postgres plans alike what functions run. `by_all`: it may work out ahead what
    /// hangs on any of them.
    pub fn plans(&self, by_all: bool) -> u64 {
        if by_all { self.0.id } else { self.0.plans }
    }

    /// The value of a setting as text, where it is set and known.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.of.get(name)?.value.as_deref()
    }

    /// True when the setting is set to something.
    pub fn contains(&self, name: &str) -> bool {
        self.0.of.contains_key(name)
    }

    /// The names of those that Postgres lists: no placeholders, nor who one is.
    pub fn listed_names(&self) -> Vec<String> {
        let is_listed = |name: &str| !name.contains('.') && !IDENTITY.contains(&name) && name != "seed";
        let names = self.0.of.keys().filter(|name| is_listed(name));
        names.cloned().collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&Setting> {
        self.0.of.get(name)
    }

    pub(super) fn with(&self, name: &str, setting: Setting) -> Self {
        let mut of = self.0.of.clone();
        of.insert(name.to_owned(), setting);
        Self::from_map(of)
    }

    pub(super) fn without(&self, name: &str) -> Self {
        if !self.contains(name) {
            return self.clone();
        }
        let mut of = self.0.of.clone();
        of.remove(name);
        Self::from_map(of)
    }

    /// These on a replica, where no query runs that is SERIALIZABLE by default: a block there names its level.
    pub fn on_replica(&self) -> Self {
        let replay = format!("SET {ISOLATION} = '{READ_COMMITTED}'").into();
        self.with(ISOLATION, Setting { replay, value: Some(READ_COMMITTED.into()) })
    }

    /// The SQL that turns a server with `self` applied into one with `wanted` applied, a Query each;
    /// nothing when there is nothing to do.
    ///
    /// Who one is comes last: what a user may set, it may set before it becomes another. The encoding comes
    /// first, in a Query of its own: a server decodes a Query whole before it runs any of it; but last, where there are
    /// values beyond ASCII in another than UTF-8, which only a start-up packet can have given. What transactions are
    /// by default comes last, and is out of the way meanwhile: a replica runs no query in a SERIALIZABLE one. The
    /// `search_path` goes ahead of what is looked up along it.
    pub fn change_to(&self, wanted: &Settings) -> Vec<String> {
        if self == wanted {
            return vec![];
        }
        let encoding = "client_encoding";
        let mut queries = vec![];
        let differs = |name: &str| self.get(name) != wanted.get(name);
        // A start-up packet's values are taken as they are, whatever encoding it asks for.
        let other = wanted.value(encoding).filter(|value| Encoding::of(value) != Encoding::Utf8);
        let is_raw = |(name, setting): (&String, &Setting)| differs(name) && !setting.replay.is_ascii();
        let raw = other.filter(|_| wanted.0.of.iter().any(is_raw));
        if raw.is_some() {
            queries.push(format!("SET {encoding} = 'UTF8'"));
        } else if differs(encoding) {
            let of = wanted.get(encoding).map(|setting| setting.replay.to_string());
            queries.push(of.unwrap_or_else(|| format!("RESET {encoding}")));
        }
        let mut sql = String::new();
        let mut add = |statement: &str| {
            if !sql.is_empty() {
                sql.push(';');
            }
            sql.push_str(statement);
        };
        let identity_changes = IDENTITY.iter().any(|name| differs(name));
        // Under another identity a RESET or SET might be refused: step out of it first.
        let steps_out = IDENTITY.iter().any(|name| self.contains(name));
        if steps_out {
            add("RESET ROLE;RESET SESSION AUTHORIZATION");
        }
        let is_apart = |name: &str| {
            IDENTITY.contains(&name) || DEFAULTS.contains(&name) || name == encoding || !is_for_server(name)
        };
        for name in self.0.of.keys() {
            if !is_apart(name) && !wanted.contains(name) {
                add(&format!("RESET {}", quote_name(name)));
            }
        }
        let path = wanted.get("search_path").filter(|_| differs("search_path"));
        path.into_iter().for_each(|setting| add(&setting.replay));
        for (name, setting) in &wanted.0.of {
            if !is_apart(name) && name != "search_path" && differs(name) {
                add(&setting.replay);
            }
        }
        if identity_changes || steps_out {
            for setting in IDENTITY.iter().filter_map(|name| wanted.get(name)) {
                add(&setting.replay);
            }
        }
        let runs_read_committed = wanted.value(ISOLATION) == Some(READ_COMMITTED);
        let steps_down = !sql.is_empty() && (self.contains(ISOLATION) || runs_read_committed);
        if steps_down {
            queries.push(format!("SET {ISOLATION} = '{READ_COMMITTED}'"));
        }
        if !sql.is_empty() {
            queries.push(sql);
        }
        queries.extend(raw.map(|value| format!("SET {encoding} = {}", quote_text(value))));
        for name in DEFAULTS.into_iter().filter(|name| differs(name) || (steps_down && *name == ISOLATION)) {
            // By SET, which takes no snapshot.
            queries.push(match wanted.get(name).map(|setting| (&setting.value, &setting.replay)) {
                Some((Some(value), _)) => format!("SET {name} = {}", quote_text(value)),
                Some((None, replay)) => replay.to_string(),
                None => format!("RESET {name}"),
            });
        }
        queries
    }
}

/// pgweir's own settings concern pgweir: no server needs them.
fn is_for_server(name: &str) -> bool {
    !name.starts_with("pgweir.")
}

/// SQL that sets `name` to `value` for the session.
pub fn set_config(name: &str, value: &str) -> Arc<str> {
    set_config_for(name, value, false).into()
}

/// The same, for the session or for its transaction.
pub fn set_config_for(name: &str, value: &str, local: bool) -> String {
    format!("SELECT pg_catalog.set_config({},{},{local})", quote_text(name), quote_text(value))
}
